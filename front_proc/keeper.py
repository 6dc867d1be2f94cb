"""The keeper of one instrument's process: follows the life cycle's table and keeps its deadlines.

Runs in the front. `lifecycle` says what follows from what, `child` does what is asked of a process, and the owner (a
Resource) knows who waits for what; this file only connects the three. A timer is kept per keeper, not per command:
an armed deadline that moved on re-arms when it fires.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from front_proc.audit import Audit
from front_proc.child import ChildProcess
from front_proc.lifecycle import TRANSITIONS, Action, Breaker, Event, State, transition
from front_proc.resource_settings import EffectiveSettings
from front_proc.tickets import Outcome, failed
from instrument_proc import pipe
from pyvisa_daemon.errors import Effect, Failure

#: Seconds each of these may take; a command's own deadline is its VISA timeout and the grace.
OPEN_TIME = 15.0
KILL_TIME = 2.0
CLOSE_TIME = 5.0

#: Seconds by which a timer may be late before the front itself must have been stopped.
LATE = 0.2


class House(Protocol):
    """What a resource and its keeper need of the front around them."""

    audit: Audit
    linger: float
    grace: float
    lock_folder: Path

    def note_fault(self, error: BaseException) -> None:
        """A fault of the daemon's own, for its log."""
        ...

    async def take_child(self) -> ChildProcess:
        """A warm child. Raises Failure(START_FAILED)."""
        ...

    def breaker_of(self, resource: str) -> Breaker:
        """What counts this resource's failures, also those of its earlier openings."""
        ...

    def settings_of(self, resource: str) -> EffectiveSettings:
        """What is configured for this resource."""
        ...


class Owner(Protocol):
    """Whose process it is."""

    name: str
    settings: EffectiveSettings

    def is_wanted(self, *, at_open: bool) -> bool:
        """Should there be a process? `at_open`: one that died opening is of no use to those who wait for the open."""
        ...

    def serve(self) -> None:
        """The process is ready for a command."""
        ...

    def to_open(self) -> tuple[pipe.Attributes, list[int]]:
        """The attributes and the events that a new process sets and enables."""
        ...

    def opened(self, report: pipe.Opened) -> None:
        """A new process has the session open."""
        ...

    def reported(self, report: pipe.Report) -> None:
        """The process says something about the command that it has."""
        ...

    def fail_opens(self, refusal: Outcome) -> None: ...

    def fail_running(self, token: str, text: str) -> None: ...

    def fail_queued(self, refusal: Outcome) -> None: ...

    def process_ended(self) -> None:
        """The process is gone, or will never be."""
        ...

    def forget(self) -> None: ...


class Keeper:
    """One process at a time, for one owner."""

    def __init__(self, house: House, owner: Owner) -> None:
        self._house = house
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.state = State.CLOSED
        self.child: ChildProcess | None = None
        #: How many processes have been asked to open it.
        self.generation = 0
        self.restarts = 0
        self.last_error: str | None = None
        #: Why its newest process was started, or will be.
        self.reason = ""
        #: How the death of its process is told to the command that it has.
        self._fate = "INSTRUMENT_CRASHED"
        #: Why the last open failed.
        self.refusal = failed("VI_ERROR_RSRC_NFOUND")
        self._breaker = house.breaker_of(owner.name)
        self._is_at_fault = False
        self._is_unreachable = False
        self._taking: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._backoff_timer: asyncio.TimerHandle | None = None

    def reset(self) -> None:
        """An operator says that it is fine again."""
        self._breaker.reset()
        self.fire(Event.RESET)

    def restart(self) -> None:
        """An operator says that it shall start anew."""
        if Event.RESTART in TRANSITIONS[self.state]:  # else it does so already, for a reason of its own
            self.reason = "an operator restarted it"
        self.fire(Event.RESTART)

    def shut(self) -> None:
        """The daemon stops."""
        self.reason, self._fate = "the daemon is stopping", "SHUTTING_DOWN"
        self.fire(Event.CLOSE)

    def lost(self, text: str) -> None:
        """The running command found that the instrument is no longer there."""
        self._is_unreachable = True
        self._blame(text)
        self.refusal = failed("VI_ERROR_CONN_LOST", text)
        self._house.audit.record("unreachable", resource=self._owner.name, error=text)
        self.fire(Event.LOST)

    def arm(self, seconds: float | None) -> None:
        """The process has `seconds` from now for its next sign of life; None for no limit."""
        if seconds is None:
            self._deadline = None
            return
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        now = self._loop.time()
        if now - self._deadline > LATE:
            self._deadline = now + LATE  # we slept, not they: what they said meanwhile is read first
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)
            return
        self._deadline = None
        self.fire(Event.DEADLINE)

    def fire(self, event: Event) -> None:
        """Follow the table."""
        self.state, actions = transition(self.state, event)
        for action in actions:
            self._ACTIONS[action](self)

    # What a child tells.

    def _reported(self, report: pipe.Report) -> None:
        if not isinstance(report, pipe.Opened):
            self._owner.reported(report)
            return
        if self.state is not State.OPENING:
            return  # it crossed a kill
        name = self._owner.name
        if report.status < 0:
            self._is_unreachable = True
            self._blame(report.text)
            self.refusal = Outcome(report.status, token=report.token, effect=Effect.NONE, text=f"{name}: {report.text}")
            self._house.audit.record("unreachable", resource=name, error=report.text, outcome=report.token)
            self.fire(Event.REFUSED)
            return
        assert self.child is not None
        again = "restarted" if self.generation > 1 else "opened"
        self.restarts += self.generation > 1
        self._house.audit.record(again, resource=name, pid=self.child.pid, generation=self.generation)
        self._owner.opened(report)
        self.fire(Event.OPENED)

    def _sent_garbage(self, why: str) -> None:
        if self.state is State.CLOSING:
            return  # its last words do not matter, and its end is awaited
        self._is_at_fault = True
        self._blame(f"process {self._pid} is out of order: {why}")
        self.refusal = failed("INSTRUMENT_CRASHED", self.reason)
        self.fire(Event.GARBAGE)

    def _died(self) -> None:
        assert self.child is not None
        child, self.child = self.child, None
        details = {"resource": self._owner.name, "pid": child.pid, "death": child.describe_death()}
        if self.state is State.CLOSING:
            self._house.audit.record("closed", **details)
        elif self.state in (State.KILLING, State.WEDGED):
            self._house.audit.record("killed", **details)
        else:
            self._is_at_fault = True
            self._blame(f"process {child.pid} crashed: {child.describe_death()}")
            self.refusal = failed("INSTRUMENT_CRASHED", self.reason)
            self._house.audit.record("crashed", **details)
        self.fire(self._verdict())
        self._owner.process_ended()

    def _verdict(self) -> Event:
        """How a death goes on."""
        at_open = self.state in (State.OPENING, State.STARTING)
        is_wanted = self._owner.is_wanted(at_open=at_open)
        if not is_wanted:
            return Event.DIED
        if self._is_at_fault:
            return self._breaker.failed(time.monotonic())
        return Event.DIED_OFFLINE if self._is_unreachable else Event.DIED_START

    def _blame(self, what: str) -> None:
        self.reason = self.last_error = what

    @property
    def _pid(self) -> int | None:
        return self.child.pid if self.child is not None else None

    # Actions, in the order of lifecycle.Action.

    def _take_child(self) -> None:
        self.arm(None)
        if self._backoff_timer is not None:
            self._backoff_timer.cancel()
        self._taking = self._loop.create_task(self._take_from_pool())

    async def _take_from_pool(self) -> None:
        try:
            child = await self._house.take_child()
        except Failure as error:
            self._is_at_fault = True
            self._blame(error.text)
            self.refusal = failed(error.token, error.text)
            if self.state is State.STARTING:
                self.fire(self._verdict())
            return
        if self.state is not State.STARTING:
            child.kill()  # nobody wants it any more
            return
        self.child = child
        child.on_report = self._reported
        child.on_garbage = self._sent_garbage
        child.on_death = self._died
        self.fire(Event.WARM)

    def _send_open(self) -> None:
        assert self.child is not None
        self._is_at_fault = self._is_unreachable = False
        self._fate = "INSTRUMENT_CRASHED"
        self.generation += 1
        name = self._owner.name
        lock_file = self._house.lock_folder / (quote(name, safe="") + ".lock")
        self.arm(OPEN_TIME)
        self.child.send(pipe.Open(name, self._owner.settings.library, str(lock_file), *self._owner.to_open()))

    def _serve(self) -> None:
        self.arm(None)
        self._owner.serve()

    def _fail_opens(self) -> None:
        self._owner.fail_opens(self.refusal)

    def _fail_running(self) -> None:
        future = "" if self._fate == "SHUTTING_DOWN" else "; it starts anew"
        self._owner.fail_running(self._fate, self.reason + future)

    def _fail_queued(self) -> None:
        name = self._owner.name
        if self._is_unreachable:
            self._owner.fail_queued(failed("VI_ERROR_CONN_LOST", f"{name}: not executed, {self.last_error}"))
        else:
            self._owner.fail_queued(failed("SESSION_RESET", f"{name}: not executed, {self.reason}"))

    def _dump_and_kill(self) -> None:
        assert self.child is not None
        self._is_at_fault = True
        self.child.dump_and_kill()
        self.arm(KILL_TIME)

    def _name_hang(self) -> None:
        self._blame(f"no answer by its deadline: process {self._pid} hung and is killed")
        self._fate = "INSTRUMENT_HUNG"
        self.refusal = failed("INSTRUMENT_HUNG", self.reason)
        self._house.audit.record("hung", resource=self._owner.name, pid=self._pid, generation=self.generation)

    def _kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.arm(KILL_TIME)

    def _send_close(self) -> None:
        assert self.child is not None
        self.child.send(pipe.Close())
        self.arm(CLOSE_TIME)

    def _start_backoff(self) -> None:
        self.refusal = failed(
            "INSTRUMENT_BACKOFF", f"{self.last_error}; the next start is in {self._breaker.wait:.0f} s"
        )
        self._house.audit.record("backoff", resource=self._owner.name, wait_s=round(self._breaker.wait, 3))
        self._backoff_timer = self._loop.call_later(self._breaker.wait, self.fire, Event.ELAPSED)

    def _give_up(self) -> None:
        self.refusal = failed("INSTRUMENT_BROKEN", f"{self.last_error}; `reset {self._owner.name}` tries again")
        self._house.audit.record("broken", resource=self._owner.name, error=self.last_error)

    def _call_wedged(self) -> None:
        self.refusal = failed("INSTRUMENT_WEDGED", f"process {self._pid} does not die: the kernel holds it")
        self._house.audit.record("wedged", resource=self._owner.name, pid=self._pid)
        self._owner.process_ended()  # for those who wait, though the kernel still has it

    def _forget(self) -> None:
        self.arm(None)
        self._owner.forget()

    _ACTIONS: dict[Action, Callable[["Keeper"], None]] = {
        Action.TAKE_CHILD: _take_child,
        Action.SEND_OPEN: _send_open,
        Action.SERVE: _serve,
        Action.FAIL_OPENS: _fail_opens,
        Action.FAIL_RUNNING: _fail_running,
        Action.FAIL_QUEUED: _fail_queued,
        Action.NAME_HANG: _name_hang,
        Action.DUMP_AND_KILL: _dump_and_kill,
        Action.KILL: _kill,
        Action.SEND_CLOSE: _send_close,
        Action.START_BACKOFF: _start_backoff,
        Action.GIVE_UP: _give_up,
        Action.CALL_WEDGED: _call_wedged,
        Action.FORGET: _forget,
    }
