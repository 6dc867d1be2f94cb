"""One instrument as the front has it: its sessions, and what becomes of its process.

Runs in the front. The process that owns the instrument is the keeper's affair, the commands are the service's; here is
who has it open, who waits for that, and when it closes.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from front_proc.configuration.resource_settings import EffectiveSettings
from front_proc.house import House
from front_proc.process.keeper import Keeper
from front_proc.process.lifecycle import DORMANT, Event, State
from front_proc.serving.leases import NO_TERMS, Terms
from front_proc.serving.service import Service
from front_proc.serving.sessions import VI_ATTR_TMO_VALUE, Client, Session
from front_proc.serving.tickets import Outcome, Ticket, failed
from instrument_proc import pipe
from pyvisa_daemon.errors import Effect, Failure

_OPEN_STATES = frozenset({State.READY, State.BUSY, State.ABORTING, State.RESYNC})

#: Where an open is refused at once; what is offline is tried by every open.
_REFUSING = DORMANT - {State.OFFLINE}


class Resource:
    """One resource that is open or about to be."""

    def __init__(self, house: House, name: str, on_closed: Callable[["Resource"], None]) -> None:
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._on_closed = on_closed
        self.name = name
        self.settings = house.settings_of(name)
        #: The rows say something else by now.
        self.is_outdated = False
        self.keeper = Keeper(house, self)
        self.sessions: set[Session] = set()
        self.service = Service(house, name, self.keeper, self.sessions, self.settings)
        self._opens: list[tuple[Client, asyncio.Future[Session]]] = []
        self._linger_timer: asyncio.TimerHandle | None = None
        #: It stays open until the daemon stops, which is soon.
        self._awaits_stop = False
        self._closed = asyncio.Event()
        self._process_ended = asyncio.Event()

    # What clients ask.

    async def open(self, client: Client) -> Session:
        """A session for `client`, as soon as the instrument is open. Raises Failure, always with effect none."""
        self._stop_lingering()
        if self.keeper.state in _REFUSING and not self.keeper.may_wake():
            self.keeper.refusal_of_opens.checked()
        if self.keeper.state in _OPEN_STATES:
            return self._new_session(client)
        future: asyncio.Future[Session] = self._loop.create_future()
        waiting = (client, future)
        self._opens.append(waiting)
        self.keeper.want()
        try:
            return await future
        except asyncio.CancelledError:
            if _has_come(future):
                self.drop_session(future.result())
            raise
        finally:
            if waiting in self._opens:  # whoever asked waits no more
                self._opens.remove(waiting)
                self._linger()

    def submit(self, ticket: Ticket) -> None:
        """Accept a command; its outcome comes through `ticket.on_outcome`, perhaps at once."""
        self.service.submit(ticket)

    async def lock(
        self,
        session: Session,
        kind: int,
        key: str | None,
        timeout_s: float | None,
        terms: Terms = NO_TERMS,
        *,
        joins: bool = False,
    ) -> Outcome:
        """viLock; waits for `timeout_s` at most, None being for ever. Raises Failure."""
        if session not in self.sessions:
            raise Failure("NO_RESOURCE", f"the session on {self.name} is closed")
        ended: asyncio.Future[Outcome] = self._loop.create_future()

        def settle(outcome: Outcome) -> None:
            if not ended.done():
                ended.set_result(outcome)
            elif not outcome.failed:
                self.service.locks.unlock(session)  # granted just as whoever asked went away

        give_up = self.service.locks.lock(session, kind, key, timeout_s, settle, terms, joins=joins)
        try:
            return (await ended).checked()
        except asyncio.CancelledError:
            give_up()
            if _has_come(ended) and not ended.result().failed:
                self.service.locks.unlock(session)
            raise

    def drop_session(self, session: Session) -> None:
        """viClose of one session, by its client or because that is gone."""
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        session.client.sessions.discard(session)
        self.service.left(session)
        self._house.audit.record("close", **session.client.who(), resource=self.name)
        self._linger()
        self.service.dispatch()

    def abandon_opens(self, client: Client) -> None:
        """`client` is gone: nobody waits for the opens that it asked for."""
        for who, future in self._opens:
            if who is client:
                future.cancel()
        self._opens = [(who, future) for who, future in self._opens if who is not client]

    def reset(self) -> None:
        """An operator's word: start again at once what is in back-off, broken or offline; accept who has changed."""
        self.keeper.reset()

    def restart(self) -> None:
        """An operator's word: end the process, whatever it does, and open again."""
        self.keeper.restart()

    async def make_safe(self, reason: str) -> None:
        """Somebody's word, where it is open: send its safe state. Returns when that is done. Raises Failure."""
        if self.keeper.state is State.CLOSED:
            raise Failure("NO_RESOURCE", f"{self.name} has just been closed")
        self.service.make_safe(reason)
        await self.service.safe.whole()

    def forget_safety(self, outcome: Outcome) -> bool:
        """Somebody's word: what is due of its safe state is not sent. False if nothing was."""
        had_any = self.service.safe.forget(outcome)
        self._linger()
        self.service.dispatch()
        return had_any

    def end_safely(self) -> None:
        """The daemon stops, and before this closes its safe state is sent, if that is asked for or due: of what waits
        nothing is executed."""
        if self.settings.safe_at_stop or self.service.safe.is_due:
            self.service.fail(lambda _: True, failed("SHUTTING_DOWN"))
            self.service.make_safe("the daemon stops", patience=0.0)

    @property
    def is_open(self) -> bool:
        """Does its process have it open?"""
        return self.keeper.state in _OPEN_STATES

    @property
    def is_in_use(self) -> bool:
        """Has anybody a session, or waits for one? What a client that left has running is let end, too."""
        return bool(self.sessions or self._opens) or self.service.is_busy or self.is_being_made_safe

    @property
    def is_being_made_safe(self) -> bool:
        """Is there a safe state due that can be sent as things are?"""
        return self.service.safe.is_due and self.keeper.state not in DORMANT

    def drain(self) -> None:
        """The daemon ends with its last session: what nobody has open closes, unless it is to be made safe then."""
        self._awaits_stop = self.settings.safe_at_stop
        if self._awaits_stop:
            self._stop_lingering()
        elif self.keeper.state is State.READY and not self.is_wanted(at_open=False):
            self.keeper.fire(Event.CLOSE)  # it lingers

    def take(self, settings: EffectiveSettings) -> None:
        """The rows come to these by now. Its guards hold at once. All else waits until it is opened next, for which it
        does not linger."""
        self.settings = settings.guarding(self.settings)
        self.service.guard_by(settings.guards)
        self.is_outdated = self.settings != settings
        if self.is_outdated:
            self._stop_lingering()
            self._linger()

    @property
    def is_ending(self) -> bool:
        """Is it outdated, and to be closed as soon as that can be? Who comes now is not let in any more."""
        return self.is_outdated and not self.is_wanted(at_open=False) and self.keeper.state is not State.WEDGED

    async def abort(self, reason: str) -> None:
        """Somebody's word: cut the running command short. Returns when it has ended."""
        await self.service.abort(reason)

    def shut(self) -> None:
        """The daemon stops: close what is idle, kill what is not."""
        self.service.fail_queued(failed("SHUTTING_DOWN"))
        self.service.locks.fail_waiting(failed("SHUTTING_DOWN"))
        self.service.safe.forget(failed("SHUTTING_DOWN"))
        for session in tuple(self.sessions):
            self.drop_session(session)
        self.fail_opens(failed("SHUTTING_DOWN"))
        self.keeper.shut()

    async def closed(self) -> None:
        """Return when nothing of it is left: no session, no process."""
        await self._closed.wait()

    async def end_of_process(self) -> None:
        """Return when the process that there is now has ended, or cannot be killed."""
        if self.keeper.state is not State.WEDGED:
            await self._process_ended.wait()

    # What the keeper tells: its Owner.

    @property
    def running(self) -> int:
        return self.service.running

    @property
    def awaits_open(self) -> bool:
        return bool(self._opens)

    def is_wanted(self, *, at_open: bool) -> bool:
        return bool(self.sessions) or (bool(self._opens) and not at_open) or self.service.safe.is_due

    def to_open(self) -> tuple[pipe.Attributes, list[int]]:
        return self.service.attributes.to_restore, self.service.events.to_restore

    def opened(self, report: pipe.Opened) -> None:
        self.service.opened(report)
        for session in self.sessions:
            if session.generation is None:
                session.generation = self.keeper.generation

    def serve(self) -> None:
        opens, self._opens = self._opens, []
        for client, future in opens:
            if not future.done():
                future.set_result(self._new_session(client))
        self._linger()
        self.service.dispatch()

    def reported(self, report: pipe.Report) -> None:
        self.service.reported(report)

    def fail_opens(self, refusal: Outcome) -> None:
        opens, self._opens = self._opens, []
        for _, future in opens:
            if not future.done():
                future.set_exception(Failure(refusal.token, refusal.text, Effect.NONE, refusal.status))
        self._linger()  # they may have been all who wanted it

    def prolongs(self) -> bool:
        return self.service.prolongs()

    def distrust(self) -> None:
        self.service.distrust()

    def fail_running(self, token: str, text: str) -> None:
        self.service.fail_running(token, text)

    def fail_queued(self, refusal: Outcome) -> None:
        self.service.fail_queued(refusal)

    def process_ended(self) -> None:
        self._process_ended.set()
        self._process_ended = asyncio.Event()

    def forget(self) -> None:
        self._stop_lingering()
        self.service.stop_waiting()
        self._on_closed(self)
        self.process_ended()
        self._closed.set()

    # Opening, and nobody there.

    def _new_session(self, client: Client) -> Session:
        session = Session(client, self, generation=self.keeper.generation)
        session.begin(marks_end=self.service.marks_end)
        if self.settings.timeout is not None:
            self.service.attributes.set_local(session, VI_ATTR_TMO_VALUE, self.settings.timeout)
        self.sessions.add(session)
        self.process_ended()  # for those who closed it: it goes on, for somebody else
        client.sessions.add(session)
        self._stop_lingering()
        self._house.audit.record("open", **client.who(), resource=self.name, generation=self.keeper.generation)
        return session

    def _linger(self) -> None:
        """Nobody has it open: close it after a while; at once if there is no process to keep warm."""
        if self.is_wanted(at_open=False) or self.service.is_busy or self._awaits_stop or self._linger_timer is not None:
            return
        if self.keeper.state is State.READY and self._house.linger > 0 and not self.is_outdated:
            self._linger_timer = self._loop.call_later(self._house.linger, self._end_lingering)
        elif self.keeper.state in (State.READY, State.OFFLINE, State.BACKOFF, State.BROKEN, State.CHANGED):
            self.keeper.fire(Event.CLOSE)

    def _end_lingering(self) -> None:
        self._linger_timer = None
        if not self.service.is_busy:  # else it is being made safe, and lingers anew
            self.keeper.fire(Event.CLOSE)

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None


def _has_come(future: "asyncio.Future[Any]") -> bool:
    """Was it given a result in the very moment in which whoever waited for it went away?"""
    return future.done() and not future.cancelled() and future.exception() is None
