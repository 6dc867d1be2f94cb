"""A stage for the front without processes: time that jumps, children that say what the test has them say.

    Stage        an event loop whose clock moves only when a test lets it, and everything a Resource needs of a front
    FakeChild    what a Keeper sees of a process: takes orders down, reports and dies when told to
    FakeAudit    keeps the records

Nothing sleeps: `stage.run()` does what is due now, `stage.pass_time(5)` what is due within five seconds.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from front_proc.access.rights import EVERYTHING
from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.configuration.resource_settings import DEFAULTS as DEFAULT_SETTINGS
from front_proc.configuration.resource_settings import EffectiveSettings
from front_proc.process import keeper as keeper_module
from front_proc.process.breaker import Breaker
from front_proc.process.identities import Identities
from front_proc.process.lifecycle import State
from front_proc.record.audit import EVENTS
from front_proc.serving import event_service as event_service_module
from front_proc.serving import lock_service as lock_service_module
from front_proc.serving import service as service_module
from front_proc.serving.pace import Rate
from front_proc.serving.resource import Resource
from front_proc.serving.service import Service
from front_proc.serving.sessions import (
    VI_ATTR_SEND_END_EN,
    VI_ATTR_TERMCHAR,
    VI_ATTR_TERMCHAR_EN,
    VI_ATTR_TMO_VALUE,
    Client,
    Session,
)
from front_proc.serving.spool import LongMessage
from front_proc.serving.tickets import Outcome, Ticket
from instrument_proc import pipe
from instrument_proc.signs import Step
from pyvisa_daemon.errors import ERRORS, Effect, Failure

T = TypeVar("T")

NAME = "TCPIP0::10.0.0.1::5025::SOCKET"
DEFAULTS: pipe.Attributes = [
    (VI_ATTR_TMO_VALUE, 2000),
    (VI_ATTR_TERMCHAR, 10),
    (VI_ATTR_TERMCHAR_EN, False),
    (VI_ATTR_SEND_END_EN, True),
]
NOT_FOUND = ERRORS["VI_ERROR_RSRC_NFOUND"].status

#: Seconds: a session's own timeout, and what a VISA call may take longer.
TIMEOUT = 2.0
GRACE = 2.0

#: Of PyVISA's constants: an attribute that is the resource's, and an event.
BAUD_RATE = 0x3FFF0021


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits by moving its clock to the next timer instead of sleeping."""

    def __init__(self) -> None:
        self._now = 1000.0
        selector = selectors.SelectSelector()
        select = selector.select

        def select_at_once(timeout: float | None = None) -> list[Any]:
            assert timeout is not None, "nothing is scheduled: the loop would wait for ever"
            self._now += max(0.0, timeout)
            return select(0)

        selector.select = select_at_once  # type: ignore[method-assign, assignment]
        super().__init__(selector)

    def time(self) -> float:
        return self._now

    def stand_still(self, seconds: float) -> None:
        self._now += seconds


class FakeAudit:
    """What happened."""

    #: Can it not be written?
    is_failing = False
    #: Do many records wait?
    is_far_behind = False

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def record(self, event: str, **fields: Any) -> None:
        assert event in EVENTS
        self.records.append({"event": event, **fields})

    def note(self, event: str, fields: Callable[[], dict[str, Any]]) -> None:
        self.record(event, **fields())

    def describe(self) -> dict[str, Any]:
        return {"failing": self.is_failing}

    def no_record(self) -> Failure:
        return Failure("NO_RECORD", "the disk is full")

    def of(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The records of one kind in which all of `fields` are as given."""
        return [
            record
            for record in self.records
            if record["event"] == event and all(record.get(name) == value for name, value in fields.items())
        ]


class FakeSigns:
    """The page of one child: [order, step, moment]."""

    def __init__(self) -> None:
        self.shown = (0, Step.TAKEN, 0.0)

    def of(self, order: int) -> tuple[Step, float]:
        number, step, moment = self.shown
        return (step, moment) if number == order else (Step.TAKEN, 0.0)


def _nobody() -> None:
    """Is told of the death of a child that was given to nobody."""


class FakeChild:
    """A process as its keeper sees it."""

    last_pid = 100

    def __init__(self, stage: "Stage") -> None:
        FakeChild.last_pid += 1
        self.pid = FakeChild.last_pid
        self.is_alive = True
        self.signs = FakeSigns()
        #: Everything it was ever told, and what it was told and has not answered.
        self.orders: list[pipe.Order] = []
        self.is_being_killed = self.is_being_terminated = False
        #: The numbers of the orders that it was told to cut short.
        self.aborts: list[int] = []
        self.is_paused = False
        #: It has an order to run something and has not said that it is done.
        self.is_occupied = False
        self.on_report: Callable[[pipe.Report], None] = lambda _: None
        self.on_garbage: Callable[[str], None] = lambda _: None
        self.on_death: Callable[[], None] = _nobody
        self._stage = stage

    # What a keeper does with it.

    def send(self, order: pipe.Order) -> None:
        self.orders.append(order)

    def run(self, order: pipe.Run, data: bytes | LongMessage) -> None:
        assert not self.is_occupied, "two orders in one child"
        self.is_occupied = True
        whole = data if isinstance(data, bytes) else b"".join(data.pieces())
        self.orders.append(msgspec.structs.replace(order, data=whole))
        self._stage.on_run(self.running)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def kill(self) -> None:
        self.is_being_killed = True
        if self.on_death is _nobody:
            self.is_alive = False  # nobody waits for its death

    def dump_and_kill(self) -> None:
        self.kill()

    def terminate(self) -> None:
        self.is_being_terminated = True

    def abort(self, ticket: int) -> None:
        self.aborts.append(ticket)

    def describe_state(self) -> str:
        return "disk-sleep in somewhere"

    def describe_death(self) -> str:
        return "killed by SIGKILL" if self.is_being_killed else "exited with code 1"

    # What a test does with it.

    @property
    def order(self) -> pipe.Order:
        """The newest order."""
        return self.orders[-1]

    @property
    def running(self) -> pipe.Run:
        """The newest order, which is a Run."""
        assert isinstance(self.order, pipe.Run)
        return self.order

    @property
    def runs(self) -> list[pipe.Run]:
        return [order for order in self.orders if isinstance(order, pipe.Run)]

    @property
    def was_opened(self) -> bool:
        return any(isinstance(order, pipe.Open) for order in self.orders)

    def say(self, report: pipe.Report) -> None:
        if isinstance(report, pipe.Done) and self.runs and report.ticket == self.runs[-1].ticket:
            self.is_occupied = False
        self.on_report(report)
        self._stage.run()

    def opens(self, ends: bool = False, can_abort: bool = False, identity: str = "") -> None:
        self.say(pipe.Opened(0, "", "", ends, DEFAULTS, can_abort, identity))

    def refuses(self, status: int = NOT_FOUND, token: str = "VI_ERROR_RSRC_NFOUND") -> None:
        self.say(pipe.Opened(status, token, "cannot connect: ECONNREFUSED", False, []))

    def happens(self, event: int, *attributes: tuple[int, int]) -> None:
        self.say(pipe.Happened(event, list(attributes)))

    def starts(self) -> None:
        self.shows(Step.STARTED)

    def writes(self) -> None:
        self.shows(Step.WRITTEN)

    def shows(self, step: Step) -> None:
        """A sign of life, now."""
        self.signs.shown = (self.running.ticket, step, self._stage.loop.time())

    def gives(self, data: bytes) -> None:
        self.say(pipe.Piece(self.running.ticket, data))

    def does(self, data: bytes = b"", **fields: Any) -> None:
        """Starts and ends its command well."""
        self.starts()
        self.say(pipe.Done(self.running.ticket, fields.pop("status", 0), data=data, **fields))

    def fails(self, token: str, effect: Effect = Effect.DONE, *, dirty: bool = False) -> None:
        """Starts its command, which fails."""
        self.starts()
        status = ERRORS[token].status
        self.say(pipe.Done(self.running.ticket, status, token=token, effect=effect, dirty=dirty, text="it failed"))

    def babbles(self) -> None:
        self.on_garbage("a frame length of -1 bytes")
        self._stage.run()

    def dies(self) -> None:
        assert self.is_alive
        self.is_alive = False
        self.on_death()
        self._stage.run()


def effective(**settings: Any) -> EffectiveSettings:
    """What holds for a resource of which only these `settings` are configured."""
    return EffectiveSettings(**DEFAULT_SETTINGS | {"library": "@py"} | settings)


class FakeHouse:
    """The front around a resource."""

    def __init__(self, stage: "Stage") -> None:
        self.audit = FakeAudit()
        self.linger = 60.0
        self.grace = GRACE
        self.limits = LIMITS
        self.lock_folder = Path("locks")
        self.rate = Rate()
        self.troubles: list[str] = []
        #: They cannot be written there, which is a trouble and no more.
        self.identities = Identities(Path("/proc/nowhere/identities.json"), self.troubles.append)
        self.breakers: dict[str, Breaker] = {}
        self.faults: list[BaseException] = []
        #: The pids of processes taken for hung.
        self.hangs: list[int] = []
        self.settings = effective()
        self._stage = stage

    def note_fault(self, error: BaseException) -> None:
        self.faults.append(error)

    def note_hang(self, resource: str, pid: int, process: str) -> None:
        self.hangs.append(pid)

    async def take_child(self) -> FakeChild:
        return await self._stage.next_child()

    def breaker_of(self, resource: str) -> Breaker:
        """Kept over all openings of it. +-20 % in the middle: a back-off of 1 s is 1 s."""
        return self.breakers.setdefault(resource, Breaker(LIMITS, spread=lambda: 0.5))

    def settings_of(self, resource: str) -> EffectiveSettings:
        return self.settings


class Answers:
    """What became of one ticket."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.outcomes: list[Outcome] = []
        self.pieces: list[bytes] = []

    @property
    def outcome(self) -> Outcome:
        assert len(self.outcomes) == 1, self.outcomes
        return self.outcomes[0]

    @property
    def is_open(self) -> bool:
        return not self.outcomes

    @property
    def said(self) -> str:
        """The outcome in a word: `ok`, or `TOKEN effect`; empty while there is none."""
        if not self.outcomes:
            return ""
        return f"{self.outcome.token} {self.outcome.effect.value}" if self.outcome.failed else "ok"


class Stage:
    """One resource in a front without processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = VirtualLoop()
        self.faults: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(f"{context}"))
        clock = SimpleNamespace(monotonic=self.loop.time)
        for module in (keeper_module, service_module, lock_service_module, event_service_module):
            monkeypatch.setattr(module, "time", clock)
        self.house = FakeHouse(self)
        self.children: list[FakeChild] = []
        #: False: a new child is awaited until `warm` gives one.
        self.is_warm = True
        #: What becomes of the next attempts to take a child, instead.
        self.no_child: Failure | None = None
        self._cold: list[asyncio.Future[FakeChild]] = []
        self.forgotten: list[Resource] = []
        #: Is told of every order to run something, as it is given.
        self.on_run: Callable[[pipe.Run], None] = lambda _: None
        self.resource = self.new_resource()

    # Time.

    def run(self) -> None:
        """Do all that is due now."""
        if asyncio._get_running_loop() is None:
            self.loop.run_until_complete(_turns())

    def pass_time(self, seconds: float) -> None:
        """Do all that is due within `seconds`."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.run()

    def stop_front(self, seconds: float) -> None:
        """Time passes, and nothing of the front runs meanwhile: SIGSTOP, a suspended machine."""
        self.loop.stand_still(seconds)

    def result(self, awaitable: Awaitable[T]) -> T:
        """What `awaitable` gives, without time passing."""
        task = asyncio.ensure_future(awaitable, loop=self.loop)
        self.run()
        assert task.done(), "it waits"
        return task.result()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = self.loop.create_task(coroutine)
        self.run()
        return task

    def close(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.run()
        self.loop.close()
        assert self.faults == []

    # The house.

    async def next_child(self) -> FakeChild:
        if self.no_child is not None:
            raise self.no_child
        if not self.is_warm:
            future: asyncio.Future[FakeChild] = self.loop.create_future()
            self._cold.append(future)
            return await future
        return self._new_child()

    def _new_child(self) -> FakeChild:
        child = FakeChild(self)
        self.children.append(child)
        return child

    def warm(self) -> None:
        """The children that were awaited are there."""
        cold, self._cold = self._cold, []
        for future in cold:
            if not future.done():
                future.set_result(self._new_child())
        self.run()

    def fail_to_start(self) -> None:
        """The children that were awaited could not be started."""
        cold, self._cold = self._cold, []
        for future in cold:
            if not future.done():
                future.set_exception(Failure("START_FAILED", "no process could be started"))
        self.run()

    @property
    def awaits_child(self) -> bool:
        return any(not future.done() for future in self._cold)

    def new_resource(self) -> Resource:
        async def make() -> Resource:
            return Resource(self.house, NAME, self.forgotten.append)  # type: ignore[arg-type]

        return self.loop.run_until_complete(make())

    # Short words for histories.

    @property
    def child(self) -> FakeChild:
        """The newest child."""
        return self.children[-1]

    @property
    def state(self) -> State:
        return self.resource.keeper.state

    def client(self, name: str = "") -> Client:
        return Client(f"10.0.0.9:{len(self.children)}", name=name, rights=EVERYTHING)

    def asks_to_open(self, client: Client | None = None) -> "asyncio.Task[Session]":
        return self.start(self.resource.open(client or self.client()))

    def opened(self, client: Client | None = None, *, ends: bool = False, can_abort: bool = False) -> Session:
        """A session, on a new child if there is none, whose interface then marks the END of messages or not."""
        opening = self.asks_to_open(client)
        if not opening.done():
            self.child.opens(ends, can_abort)
        return opening.result()

    def configure(self, **settings: Any) -> None:
        """The resource is made anew, with these settings."""
        self.house.settings = effective(**settings)
        self.resource = self.new_resource()

    @property
    def service(self) -> Service:
        return self.resource.service

    def sets(self, session: Session, attribute: int, state: pipe.State) -> None:
        """A local attribute, at once and without the child."""
        self.service.attributes.set_local(session, attribute, state)

    def asked(self, session: Session, data: bytes = b"MEAS?\n") -> Answers:
        """A write that is done: by default its answer is now awaited."""
        answers = self.submit(session, "write", data=data)
        self.child.does(value=len(data))
        return answers

    def submit(self, session: Session, call: str = "query", **fields: Any) -> Answers:
        answers: Answers
        ticket = Ticket(
            session, call, lambda outcome: answers.outcomes.append(outcome), lambda piece: answers.pieces.append(piece)
        )
        for field, value in fields.items():
            setattr(ticket, field, value)
        answers = Answers(ticket)
        self.resource.submit(ticket)
        self.run()
        return answers

    def events(self) -> list[str]:
        """The audit's events without those of commands and sessions."""
        quiet = {"command", "open", "close"}
        return [record["event"] for record in self.house.audit.records if record["event"] not in quiet]


def failure_of(task: "asyncio.Task[Any]") -> str:
    """The Failure that a task ended with, as `TOKEN effect`."""
    assert task.done(), "it still waits"
    error = task.exception()
    assert isinstance(error, Failure)
    return f"{error.token} {error.effect.value}"


def break_it(stage: Stage) -> None:
    """Six crashes in a minute."""
    for _ in range(6):
        if stage.state is State.BACKOFF:
            stage.pass_time(stage.house.breakers[NAME].wait(stage.loop.time()))
        if stage.state is State.OPENING:
            stage.child.opens()
        stage.child.dies()


def take_offline(stage: Stage, session: Session) -> Answers:
    """The connection is lost, and it cannot be opened again; the answers are of the command that tried."""
    stage.submit(session)
    stage.child.fails("VI_ERROR_CONN_LOST", dirty=True)
    stage.child.dies()
    answers = stage.submit(session)
    stage.child.refuses()
    stage.child.dies()
    assert stage.state is State.OFFLINE
    return answers


async def _turns() -> None:
    """Of the loop: enough for whatever one thing brings about."""
    for _ in range(6):
        await asyncio.sleep(0)
