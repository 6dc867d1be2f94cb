"""One instrument as the front has it: its sessions, its queue, its hold.

Runs in the front. The process that owns the instrument is the keeper's affair; at most one ticket is with it, the rest
wait here. Every accepted ticket ends in `finish`, exactly once, whatever happens to the process.
"""

import asyncio
import time
from collections.abc import Callable

from front_proc.attributes import ResourceAttributes
from front_proc.hold import Hold
from front_proc.keeper import House, Keeper
from front_proc.lifecycle import REFUSING, Event, State
from front_proc.queue import FairQueue
from front_proc.sessions import Client, Session
from front_proc.tickets import Outcome, Ticket, failed
from instrument_proc import pipe
from pyvisa_daemon.errors import ERRORS, Effect, Failure

#: Seconds to the child's `started`, and for a resynchronisation.
STARTED_TIME = 2.0
RESYNC_TIME = 5.0

#: Seconds a ticket may wait in the queue, and how many one client may have there.
QUEUE_TIME = 120.0
QUEUE_LIMIT = 64

#: Seconds between two attempts to reach an instrument that cannot be reached.
OFFLINE_TIME = 1.0

#: Bytes of an answer's beginning that are looked at.
HEAD_SIZE = 16

#: The status that means: the child is well, the connection to the instrument is not.
_LOST = ERRORS["VI_ERROR_CONN_LOST"].status

#: A resynchronisation is nobody's ticket.
_RESYNC = 0

_OPEN_STATES = frozenset({State.READY, State.BUSY, State.RESYNC})


class Resource:
    """One resource that is open or about to be."""

    def __init__(self, house: House, name: str, on_closed: Callable[["Resource"], None]) -> None:
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._on_closed = on_closed
        self.name = name
        self.keeper = Keeper(house, self)
        self.sessions: set[Session] = set()
        #: Does its interface mark the END of a message?
        self.marks_end = False
        self.attributes = ResourceAttributes()
        self._queue = FairQueue()
        self._hold = Hold()
        self._running: Ticket | None = None
        self._opens: list[tuple[Client, asyncio.Future[Session]]] = []
        self._last_ticket = _RESYNC
        self._queue_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._retry_at = 0.0
        self._closed = asyncio.Event()
        self._process_ended = asyncio.Event()

    # What clients ask.

    async def open(self, client: Client) -> Session:
        """A session for `client`, as soon as the instrument is open. Raises Failure, always with effect none."""
        self._stop_lingering()
        if self.keeper.state in REFUSING:
            self.keeper.refusal.checked()
        if self.keeper.state in _OPEN_STATES:
            return self._new_session(client)
        future: asyncio.Future[Session] = self._loop.create_future()
        self._opens.append((client, future))
        self.keeper.fire(Event.WANTED)
        return await future

    def submit(self, ticket: Ticket) -> None:
        """Accept a command; its outcome comes through `ticket.on_outcome`, perhaps at once."""
        now = time.monotonic()
        self._last_ticket += 1
        ticket.number = self._last_ticket
        ticket.queued_at = now
        state = self.keeper.state
        if ticket.session not in self.sessions:
            self.finish(ticket, failed("NO_RESOURCE", f"the session on {self.name} is closed"))
        elif state in REFUSING:
            ticket.session.generation = None
            self.finish(ticket, self.keeper.refusal)
        elif state is State.OFFLINE and now < self._retry_at:
            ticket.session.generation = None
            self.finish(ticket, failed("VI_ERROR_CONN_LOST", self.keeper.refusal.text))
        elif self._queue.waiting_of(ticket.session.client) >= QUEUE_LIMIT:
            self.finish(ticket, failed("QUEUE_FULL", f"{QUEUE_LIMIT} commands of this client wait for {self.name}"))
        else:
            self._queue.add(ticket)
            if state is State.OFFLINE:
                self._retry_at = now + OFFLINE_TIME
                self.keeper.fire(Event.WANTED)
            self._dispatch()

    def drop_session(self, session: Session) -> None:
        """viClose of one session: what it has waiting is not executed, what runs goes on to its end."""
        if session not in self.sessions:
            return
        self.sessions.discard(session)
        session.client.sessions.discard(session)
        for ticket in self._queue.withdraw(lambda ticket: ticket.session is session):
            self.finish(ticket, failed("CLIENT_GONE"))
        if self._running is not None and self._running.session is session and session.timeout_ms is None:
            self._prolong(self._running)  # nobody else would ever end it
        self._hold.left(session)
        self._house.audit.record("close", **session.client.who(), resource=self.name)
        self._linger()
        self._dispatch()

    def abandon_opens(self, client: Client) -> None:
        """`client` is gone: nobody waits for the opens that it asked for."""
        for who, future in self._opens:
            if who is client:
                future.cancel()
        self._opens = [(who, future) for who, future in self._opens if who is not client]

    def reset(self) -> None:
        """An operator's word: start again at once what is in back-off, broken or offline."""
        self._retry_at = 0.0
        self.keeper.reset()

    def restart(self) -> None:
        """An operator's word: end the process, whatever it does, and open again."""
        self.keeper.restart()

    def shut(self) -> None:
        """The daemon stops: close what is idle, kill what is not."""
        self.fail_queued(failed("SHUTTING_DOWN"))
        for session in tuple(self.sessions):
            self.drop_session(session)
        self.fail_opens(failed("SHUTTING_DOWN"))
        self.keeper.shut()

    async def closed(self) -> None:
        """Return when nothing of it is left: no session, no process."""
        await self._closed.wait()

    async def end_of_process(self) -> None:
        """Return when the process that there is now has ended, or cannot be killed."""
        await self._process_ended.wait()

    @property
    def is_busy(self) -> bool:
        return self._running is not None or self.keeper.state is State.RESYNC

    @property
    def queued(self) -> int:
        return len(self._queue)

    # One exit for every ticket.

    def finish(self, ticket: Ticket, outcome: Outcome) -> None:
        """The end of a ticket: one reply, one audit record."""
        assert ticket.outcome is None, "a ticket ends once"
        ticket.outcome = outcome
        now = time.monotonic()
        try:
            ticket.on_outcome(outcome)
        except Exception as error:  # whoever asked may be in any state; the instrument's affairs must go on
            self._house.note_fault(error)
        dispatched = ticket.dispatched_at or now
        self._house.audit.record(
            "command",
            **ticket.session.client.who(),
            resource=self.name,
            generation=self.keeper.generation,
            command=ticket.command,
            outcome=outcome.token if outcome.failed else "ok",
            effect=outcome.effect.value,
            waited_ms=round((dispatched - ticket.queued_at) * 1000, 3),
            ran_ms=round((now - dispatched) * 1000, 3),
            bytes=ticket.received + len(outcome.data),
        )

    # What the keeper tells: its Owner.

    def is_wanted(self, *, at_open: bool) -> bool:
        return bool(self.sessions) or (bool(self._opens) and not at_open)

    def opened(self, report: pipe.Opened) -> None:
        self.marks_end = report.ends
        self.attributes.opened(report.attributes)
        self._hold = Hold(marks_end=report.ends)
        for session in self.sessions:
            if session.generation is None:
                session.generation = self.keeper.generation

    def serve(self) -> None:
        opens, self._opens = self._opens, []
        for client, future in opens:
            if not future.done():
                future.set_result(self._new_session(client))
        self._linger()
        self._dispatch()

    def reported(self, report: pipe.Report) -> None:
        if isinstance(report, pipe.Done) and report.ticket == _RESYNC:
            if self.keeper.state is State.RESYNC:
                self._resynchronised(report)
            return
        ticket = self._running
        if ticket is None or getattr(report, "ticket", None) != ticket.number:
            return  # of a command that had its outcome already
        match report:
            case pipe.Done():
                self._done(ticket, report)
            case pipe.Piece():
                self._prolong(ticket)
                ticket.head = ticket.head or report.data[:HEAD_SIZE]
                ticket.received += len(report.data)
                ticket.on_piece(report.data)
            case pipe.Started():
                ticket.is_started = True
                self._prolong(ticket)
            case pipe.Written():
                self._prolong(ticket)

    def fail_opens(self, refusal: Outcome) -> None:
        opens, self._opens = self._opens, []
        for _, future in opens:
            if not future.done():
                future.set_exception(Failure(refusal.token, refusal.text, Effect.NONE, refusal.status))
        self._linger()  # they may have been all who wanted it

    def fail_running(self, token: str, text: str) -> None:
        ticket, self._running = self._running, None
        if ticket is None:
            return  # it ended while its process was being killed
        ticket.session.generation = None
        effect = Effect.MAYBE if ticket.is_started else Effect.NONE
        self.finish(ticket, failed(token, f"{self.name}: {text}", effect))
        # What it sent meanwhile it sent unknowing.
        for waiting in self._queue.withdraw(lambda waiting: waiting.session is ticket.session):
            self.finish(waiting, failed("SESSION_RESET", f"{self.name}: not executed, {text}"))

    def fail_queued(self, refusal: Outcome) -> None:
        for ticket in self._queue.withdraw(lambda _: True):
            ticket.session.generation = None
            self.finish(ticket, refusal)

    def process_ended(self) -> None:
        self._process_ended.set()
        self._process_ended = asyncio.Event()

    def forget(self) -> None:
        self._stop_lingering()
        if self._queue_timer is not None:
            self._queue_timer.cancel()
        self._on_closed(self)
        self._closed.set()

    # Serving.

    def _new_session(self, client: Client) -> Session:
        session = Session(client, self, generation=self.keeper.generation)
        self.sessions.add(session)
        client.sessions.add(session)
        self._stop_lingering()
        self._house.audit.record("open", **client.who(), resource=self.name, generation=self.keeper.generation)
        return session

    def _dispatch(self) -> None:
        """Give the child its next ticket, if it is idle and somebody's turn has come."""
        while self.keeper.state is State.READY:
            self._hold.expire(time.monotonic(), self._somebody_waits)
            ticket = self._queue.head(self._hold.holder)
            if ticket is not None and self._hold.ends_with(ticket):
                ticket = self._queue.head()
            if ticket is None:
                break
            refusal = self._refusal_of(ticket)
            if refusal is not None:
                self._queue.take(ticket)
                self.finish(ticket, refusal)
            elif self._hold.needs_resync(ticket):
                self._resynchronise()
            else:
                self._queue.take(ticket)
                self._run(ticket)
        if self._queue:
            self._watch_queue()

    def _refusal_of(self, ticket: Ticket) -> Outcome | None:
        """Why a ticket whose turn has come is not carried out after all."""
        if ticket.after is not None and ticket.after.outcome is not None and ticket.after.outcome.failed:
            return failed("WRITE_FAILED")
        session = ticket.session
        if session.generation != self.keeper.generation:
            session.generation = self.keeper.generation
            text = f"{self.name} was opened anew since ({self.keeper.reason}); check its settings"
            return failed("SESSION_RESET", text)
        return None

    def _run(self, ticket: Ticket) -> None:
        self._running = ticket
        ticket.dispatched_at = time.monotonic()
        changes = self.attributes.changes(ticket.session)
        self.keeper.fire(Event.DISPATCHED)
        self.keeper.arm(STARTED_TIME)
        assert self.keeper.child is not None
        self.keeper.child.run(pipe.Run(ticket.number, ticket.call, ticket.arguments, changes, ticket.data))

    def _resynchronise(self) -> None:
        self.keeper.fire(Event.DIRTY)
        self.keeper.arm(RESYNC_TIME)
        assert self.keeper.child is not None
        self.keeper.child.run(pipe.Run(_RESYNC, "resynchronise", [], []))

    def _resynchronised(self, report: pipe.Done) -> None:
        if report.status < 0:
            self.keeper.lost(report.text)
            return
        self._hold.resynchronised()
        self.keeper.fire(Event.DONE)

    def _done(self, ticket: Ticket, report: pipe.Done) -> None:
        self._running = None
        outcome = Outcome(report.status, report.value, report.data, report.token, report.effect, report.text)
        self._hold.ended(ticket, outcome, report.dirty, time.monotonic())
        if ticket.session not in self.sessions:
            self._hold.left(ticket.session)  # it closed meanwhile
        if outcome.failed and not ticket.is_started:
            self.attributes.are_unknown()
        elif ticket.call == "set_attribute" and not outcome.failed:
            attribute, state = ticket.arguments
            self.attributes.were_set(ticket.session, int(attribute), state)
        if outcome.status == _LOST:
            ticket.session.generation = None
        self.finish(ticket, outcome)
        if outcome.status == _LOST:
            self.keeper.lost(report.text)
        else:
            self.keeper.fire(Event.DONE)

    def _prolong(self, ticket: Ticket) -> None:
        """`ticket` has its time anew, unless its process is to die: that does not wait for what it still says."""
        if self.keeper.state is State.BUSY:
            self.keeper.arm(self._call_time(ticket))

    def _call_time(self, ticket: Ticket) -> float | None:
        """Seconds for one VISA call of `ticket`: its timeout and the grace; an infinite one ends with its client."""
        timeout_ms = ticket.session.timeout_ms
        if timeout_ms is None:
            return None if ticket.session in self.sessions else self._house.grace
        return timeout_ms / 1000 + self._house.grace

    # Waiting, and nobody there.

    def _somebody_waits(self, holder: Session) -> bool:
        return any(ticket.session is not holder for ticket in self._queue)

    def _watch_queue(self) -> None:
        """Look again when the oldest ticket has waited too long, or a hold runs out, whichever is first."""
        if self._queue_timer is not None:
            self._queue_timer.cancel()
        moments = [min(ticket.queued_at for ticket in self._queue) + QUEUE_TIME]
        hold_ends = self._hold.expires_at()
        if hold_ends is not None and self.keeper.state is State.READY:
            moments.append(hold_ends)
        self._queue_timer = self._loop.call_later(max(0.001, min(moments) - time.monotonic()), self._look_at_queue)

    def _look_at_queue(self) -> None:
        oldest = time.monotonic() - QUEUE_TIME
        for ticket in self._queue.withdraw(lambda ticket: ticket.queued_at <= oldest):
            self.finish(ticket, failed("QUEUE_TIMEOUT", f"waited {QUEUE_TIME:g} s for {self.name}"))
        self._dispatch()

    def _linger(self) -> None:
        """Nobody has it open: close it after a while; at once if there is no process to keep warm."""
        if self.sessions or self._opens or self.is_busy or self._linger_timer is not None:
            return
        if self.keeper.state is State.READY and self._house.linger > 0:
            self._linger_timer = self._loop.call_later(self._house.linger, self.keeper.fire, Event.CLOSE)
        elif self.keeper.state in (State.READY, State.OFFLINE, State.BACKOFF, State.BROKEN):
            self.keeper.fire(Event.CLOSE)

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
