"""The service at one instrument: each command from its acceptance to its one outcome.

Runs in the front, one for each resource. At most one order is with the child, all other tickets wait here: for their
turn, for the answers of others (the hold), for nobody's lock. Between them the daemon has errands of its own with the
child: emptying it of old answers, reading ahead, polling the status byte. Every accepted ticket ends in `finish`,
exactly once, whatever happens to the process.
"""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from front_proc.configuration.resource_settings import EffectiveSettings
from front_proc.guarding.guard_service import REASON_LIMIT, GuardService
from front_proc.guarding.guards import Guards
from front_proc.house import House
from front_proc.process.keeper import Keeper
from front_proc.process.lifecycle import DORMANT, Event, State
from front_proc.serving.attributes import ResourceAttributes
from front_proc.serving.errands import ERRAND, LOST, Errands
from front_proc.serving.event_service import EventService
from front_proc.serving.events import MAV
from front_proc.serving.hold import Hold
from front_proc.serving.lock_service import LockService
from front_proc.serving.pace import Pace
from front_proc.serving.queue import FairQueue
from front_proc.serving.safe_service import SafeService
from front_proc.serving.sessions import VI_ATTR_TERMCHAR, VI_ATTR_TERMCHAR_EN, Session
from front_proc.serving.spool import LongMessage, Overheard, Spool
from front_proc.serving.tickets import FREE_CALLS, WRITES, Outcome, Ticket, Traffic, failed
from instrument_proc import pipe
from instrument_proc.signs import Step
from pyvisa_daemon.errors import ERRORS, VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR, Effect
from pyvisa_daemon.program_message import contains_query

#: The status of a command that a device clear has cut short.
ABORTED = ERRORS["VI_ERROR_ABORT"].status

#: In the place of a termination character: none ends a read.
NO_TERMINATION = -1

#: Seconds that a running command has to end by itself before it is cut short for the safe state: most end sooner, and
#: to cut one may cost its process.
SOON = 0.5

#: The calls after which nothing is left of what their session has begun or not read.
_ANEW = frozenset({"query", "query_block", "clear"})

#: Where a process has a session, and at most one order.
_WORKING = frozenset({State.READY, State.BUSY, State.ABORTING, State.RESYNC})


class Service:
    """The tickets of one resource, whose `sessions` and process others look after."""

    def __init__(
        self, house: House, name: str, keeper: Keeper, sessions: set[Session], settings: EffectiveSettings
    ) -> None:
        self._house = house
        self._name = name
        self._keeper = keeper
        self._sessions = sessions
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self.attributes = ResourceAttributes()
        note = house.audit.record
        self.locks = LockService(name, self._record, self.dispatch, note, self._is_at_work, self._lost_lock)
        self.events = EventService(name, self.submit, settings.srq_poll)
        #: Does its interface mark the END of a message?
        self.marks_end = False
        #: What has ended, how fast.
        self.pace = Pace(house.rate)
        self._queue = FairQueue()
        self._hold = Hold(termination=settings.termination[0])
        self._running: Ticket | None = None
        #: What the settings say must not reach the instrument; None if they say nothing.
        self._guard: GuardService | None = None
        #: A long message is being read by it: nobody else's turn comes meanwhile.
        self._reading: asyncio.Task[None] | None = None
        self._read: Ticket | None = None
        self.guard_by(settings.guards)
        #: Who waits for the end of a ticket that is being aborted.
        self._aborts: list[tuple[Ticket, asyncio.Future[None]]] = []
        #: Seconds that a connection has which is made anew because there is no other way to empty it.
        self._reopening = house.limits.open_time if name.endswith("::SOCKET") else 0.0
        if settings.is_identified:
            self._reopening *= 2  # and asked who it is
        self._errands = Errands(keeper, house, self._reopening)
        self.safe = SafeService(name, house, settings, keeper, self._errands, self.attributes)
        self._is_paused = False
        self._last_ticket = ERRAND
        self._queue_timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0
        self._poll_timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        is_reading = self._read is not None and self._read.outcome is None  # else its session may be gone
        return self._running is not None or self._errands.is_under_way or is_reading

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def under_way(self) -> Ticket | None:
        """The command that is with the instrument."""
        return self._running

    @property
    def hold(self) -> Hold:
        """Whose answer is awaited."""
        return self._hold

    # Accepting.

    def submit(self, ticket: Ticket) -> None:
        """Accept a command; its outcome comes through `ticket.on_outcome`, perhaps at once."""
        self._last_ticket += 1
        ticket.number = self._last_ticket
        ticket.queued_at = time.monotonic()
        if ticket.call == "set_attribute" and self._is_local(ticket):
            ticket.traffic = Traffic.ASIDE
        refusal = self._refusal_at_once(ticket)
        if refusal is not None:
            self.finish(ticket, refusal)
        elif not self._is_answered_ahead(ticket):
            self._queue.add(ticket)
            if self._keeper.state in DORMANT:
                self._keeper.wake()
            self.dispatch()

    def _is_local(self, ticket: Ticket) -> bool:
        return ticket.arguments[0] in self.attributes.defaults

    def _refusal_at_once(self, ticket: Ticket) -> Outcome | None:
        """Why this command is not even queued; None if it is."""
        session = ticket.session
        if session not in self._sessions:
            return failed("NO_RESOURCE", f"the session on {self._name} is closed")
        if self._keeper.state in DORMANT and not self._keeper.may_wake():
            session.generation = None
            return self._keeper.refusal_of_commands
        if self._is_locked_out(ticket):
            return self.locks.refusal(session)
        most = self._house.limits.queue_length
        if self._queue.waiting_of(session.client) >= most:
            return failed("QUEUE_FULL", f"{most} commands of this client wait for {self._name}")
        return None

    def _is_locked_out(self, ticket: Ticket) -> bool:
        is_free = ticket.call in FREE_CALLS or (ticket.call == "set_attribute" and ticket.traffic is Traffic.ASIDE)
        return not is_free and self.locks.excludes(ticket.session)

    def _is_answered_ahead(self, ticket: Ticket) -> bool:
        """Serve a read from what was read ahead, if its session has nothing else under way."""
        session = ticket.session
        if ticket.traffic is not Traffic.ANSWER or not session.ahead or _is_void(ticket):
            return False
        is_first = self._queue.next_of(session) in (None, ticket)
        if not is_first or (self._running is not None and self._running.session is session):
            return False
        self.finish(ticket, self._answered_ahead(ticket))
        return True

    def _answered_ahead(self, ticket: Ticket) -> Outcome:
        count = ticket.arguments[0] if ticket.arguments else None
        data, status = ticket.session.ahead.take(count if isinstance(count, int) else None)
        return Outcome(status, data=data)

    def _is_at_work(self, session: Session) -> bool:
        is_running = self._running is not None and self._running.session is session
        return is_running or self._queue.next_of(session) is not None

    def _lost_lock(self, session: Session, why: str) -> None:
        """What it has waiting it sent unknowing, and by that it is told."""
        if session not in self._sessions:
            return  # nor has it anything waiting; and `left` has seen to the rest
        self._demand_safety(f"{session.client.in_words()} has lost its lock: {why}")
        waiting = self._queue.withdraw(lambda ticket: ticket.session is session and self._is_locked_out(ticket))
        if waiting:
            outcome = self.locks.refusal(session)
            for ticket in waiting:
                self.finish(ticket, outcome)

    def abandon(self, ticket: Ticket) -> None:
        """Its client waits no more: what has not begun does not begin."""
        for waiting in self._queue.withdraw(lambda other: other is ticket):
            self.finish(waiting, failed("CLIENT_GONE", "whoever asked waits no more"))

    def left(self, session: Session) -> None:
        """`session` is closed, or its client is gone: what it has waiting is not executed, what runs goes on to its
        end."""
        if self._settings.safe_state and session.client.gone and self.locks.has_any(session):
            self._demand_safety(f"{session.client.in_words()} had a lock: {session.client.gone}")
        self.fail(lambda ticket: ticket.session is session, failed("CLIENT_GONE"))
        running = self._running
        if running is not None and running.session is session:
            self.resume()
            if session.timeout_ms is None:  # nobody else would ever end it
                self._loop.call_later(self._house.grace, self._cut, running.number)
        self._hold.left(session)
        self.events.left(session)
        self.locks.left(session)
        session.ahead.clear()
        if self._guard is not None:
            self._guard.left(session)

    def guard_by(self, guards: Guards) -> None:
        """These hold from now on, for every command whose turn comes."""
        if self._guard is not None and guards:
            self._guard.take(guards)
        elif self._guard is not None:
            for session in self._guard.opened(marks_end=self.marks_end):
                session.is_cut_off = True
            self._guard = None
        elif guards:
            limit = self._house.limits.confirm_time
            self._guard = GuardService(self._name, guards, limit, self._record_confirmed, self._unrecorded)
            self._guard.opened(marks_end=self.marks_end)

    def confirm(self, session: Session, reason: str) -> Outcome:
        """`session` means the next message that needs a confirmation, for this reason. Nothing to do without guards."""
        if session not in self._sessions:
            return failed("NO_RESOURCE", f"the session on {self._name} is closed")
        words = " ".join(reason.split())
        if not words or len(words) > REASON_LIMIT:
            return failed("BAD_ARGUMENT", f"a reason has 1 to {REASON_LIMIT} characters")
        if self._guard is not None:
            self._guard.confirm(session, words, time.monotonic())
        self._house.audit.record("confirm", **session.client.who(), resource=self._name, reason=words)
        return Outcome(effect=Effect.NONE)

    def _record_confirmed(self, session: Session, reason: str, rule: str, message: str) -> None:
        fields = {"resource": self._name, "reason": reason, "rule": rule, "command": message}
        self._house.audit.record("confirmed", **session.client.who(), **fields)

    async def abort(self, reason: str) -> None:
        """Cut the running command short, whoever's it is and whoever has a lock. Returns when it has ended."""
        ticket = self._running
        if ticket is None:
            return
        ended: asyncio.Future[None] = self._loop.create_future()
        self._aborts.append((ticket, ended))
        self.resume()
        self._keeper.abort(reason)
        await ended

    def make_safe(self, reason: str, patience: float = SOON) -> None:
        """Send the safe state, if there is one, before anybody's command; what runs has so many seconds to end."""
        self._demand_safety(reason, patience)
        self.dispatch()

    def _demand_safety(self, reason: str, patience: float = SOON) -> None:
        if self._keeper.state is State.CLOSED:
            return  # nobody has it open: there is no way to it
        self.safe.demand(reason)
        if self.safe.is_due and self._running is not None:
            self._loop.call_later(patience, self._clear_the_way, self._running.number)

    def _clear_the_way(self, number: int) -> None:
        """The safe state has waited long enough for this command."""
        if self.running == number and self.safe.is_due:
            self.resume()
            self._keeper.abort(f"the instrument is made safe: {self.safe.reason}")

    def _cut(self, number: int) -> None:
        """Its client is gone, and without a timeout it might run for ever."""
        if self.running == number:
            self._keeper.cut("CLIENT_GONE", "the command's client left, and it had no timeout")

    def fail(self, belongs: Callable[[Ticket], bool], outcome: Outcome) -> None:
        """End waiting tickets with `outcome`."""
        for ticket in self._queue.withdraw(belongs):
            self.finish(ticket, outcome)

    # One exit for every ticket.

    def finish(self, ticket: Ticket, outcome: Outcome) -> None:
        """The end of a ticket: one reply, one audit record."""
        assert ticket.outcome is None, "a ticket ends once"
        ticket.outcome = outcome
        now = time.monotonic()
        try:
            ticket.on_outcome(outcome)
        except Exception as error:  # who asked may be in any state: the instrument's affairs must go on
            self._house.note_fault(error)
        if self._aborts:
            self._tell_aborts(ticket)
        if self.locks.limited:
            self.locks.ended(ticket, now)
        if isinstance(ticket.data, Spool):
            ticket.data.close()
        began = ticket.dispatched_at or now
        self.pace.ended(now, now - began if ticket.dispatched_at else None, is_failure=outcome.status < 0)
        size = ticket.received + len(outcome.data)
        self._record(ticket.session, ticket.describe(), outcome, began - ticket.queued_at, now - began, size)

    def _tell_aborts(self, ticket: Ticket) -> None:
        for aborted, ended in self._aborts:
            if aborted is ticket and not ended.done():
                ended.set_result(None)
        self._aborts = [(aborted, ended) for aborted, ended in self._aborts if aborted is not ticket]

    def _record(
        self, session: Session, describe: Callable[[], str], outcome: Outcome, waited: float, ran: float, size: int = 0
    ) -> None:
        token = outcome.token if outcome.failed else "ok"
        client = session.client  # as it is now: it may call itself something else by the time this is written
        who = (client.address, client.name, client.rights.user)
        fields = (*who, self._name, self._keeper.generation, describe, token, outcome.effect)
        self._house.audit.note("command", partial(_on_record, *fields, waited, ran, size))

    # Serving.

    def opened(self, report: pipe.Opened) -> None:
        """A new process has the session open."""
        self.marks_end = report.ends
        self.events.marks_end = report.ends
        self.attributes.opened(report.attributes)
        # A new connection to a socket is a line of its own; a bus and a serial line are what they were.
        self._hold = self._hold.reopened(marks_end=report.ends, is_new_line=self._name.endswith("::SOCKET"))
        self._is_paused = False
        for session in self._sessions:
            session.begin(marks_end=report.ends)
        if self._guard is not None:
            for session in self._guard.opened(marks_end=report.ends):
                session.is_cut_off = session.generation is None  # else it is told of the new process anyway

    def dispatch(self) -> None:
        """Give the child its next order, if it is idle and somebody's turn has come."""
        if self.safe.is_due:
            self._send_safe_state()
        if not self._queue and self.events.poll_at is None:
            return
        while self._keeper.state is State.READY and not self._errands.is_under_way and self._reading is None:
            now = time.monotonic()
            if self._polls_now(now):
                break
            if self._hold.holder is not None and self._is_hold_over(self._hold.holder, now):
                self._end_hold(self._hold.holder)
                continue
            ticket = self._next()
            if ticket is None:
                break
            self._serve(ticket)
        if self._queue:
            self._watch_queue()

    def _send_safe_state(self) -> None:
        """Its next message, or an errand that makes way for it: what others have begun or not read is put in order."""
        while self.safe.is_due and self._keeper.state is State.READY and not self._errands.is_under_way:
            if self._hold.holder is not None:
                self._end_hold(self._hold.holder)
            elif self._hold.has_remains:
                self._errands.resynchronise(self._hold)
            else:
                self._last_ticket += 1
                self.safe.send(self._last_ticket, self._hold)

    def _next(self) -> Ticket | None:
        holder = self._hold.holder
        if holder is None:
            return self._queue.first()
        ticket = self._queue.head(lambda other: other.session is holder or other.traffic is Traffic.ASIDE)
        if ticket is not None and self._hold.ends_with(ticket, self._may_ask(ticket)):
            return self._queue.first()
        return ticket

    def _may_ask(self, ticket: Ticket) -> bool:
        message = ticket.beginning
        return ticket.call in WRITES and self._settings.hold.answers(message, contains_query(message)) > 0

    def _serve(self, ticket: Ticket) -> None:
        refusal = self._refusal_in_turn(ticket)
        if refusal is None and self._hold.needs_resync(ticket):
            self._errands.resynchronise(self._hold)
            return
        if refusal is None and self._hold.needs_look(ticket):
            self._errands.read_rest(self._hold, self.attributes)
            return
        if refusal is None and self._guard is not None:
            if self._guard.has_to_read(ticket):
                self._read = ticket
                self._reading = self._loop.create_task(self._read_long(self._guard, ticket))
                return
            refusal = self._guarded(self._guard, ticket)
        self._queue.take(ticket)
        if refusal is not None:
            self.finish(ticket, refusal)
        elif not self._is_answered_ahead(ticket):
            self._run(ticket)

    async def _read_long(self, guard: GuardService, ticket: Ticket) -> None:
        """Have the guard read a long message that is still in the queue; its turn comes again when that is done."""
        try:
            steps = guard.read(ticket)
            while ticket.outcome is None and next(steps, StopIteration) is None:  # withdrawn, its file is closed
                await asyncio.sleep(0)
        except Exception as error:  # a full disk, or a fault of ours: what cannot be judged is not sent
            self._house.note_fault(error)
            self.fail(lambda other: other is ticket, failed("INTERNAL_ERROR"))
        finally:
            self._reading = self._read = None
        self.dispatch()

    def _unrecorded(self) -> Outcome | None:
        if not self._house.audit.is_failing:
            return None
        failure = self._house.audit.no_record()
        return failed(failure.token, failure.text)

    def _guarded(self, guard: GuardService, ticket: Ticket) -> Outcome | None:
        """How it ends without the instrument, if it does; what cannot be judged for a fault of ours is not sent."""
        try:
            return guard.outcome(ticket)
        except Exception as error:
            self._house.note_fault(error)
            return failed("INTERNAL_ERROR")

    def _refusal_in_turn(self, ticket: Ticket) -> Outcome | None:
        """Why a ticket whose turn has come is not carried out after all."""
        if _is_void(ticket):
            return failed("WRITE_FAILED")
        if self._is_locked_out(ticket):
            return self.locks.refusal(ticket.session)
        session = ticket.session
        if session.is_cut_off and ticket.call in WRITES:
            session.begin(marks_end=self.marks_end)
            return failed("SESSION_RESET", f"{self._name}: the message that this goes on with was dropped for others")
        if session.generation != self._keeper.generation:
            session.generation = self._keeper.generation
            text = f"{self._name} was opened anew since ({self._keeper.reason}); check its settings"
            return failed("SESSION_RESET", text)
        return None

    def _run(self, ticket: Ticket) -> None:
        self._running = ticket
        ticket.dispatched_at = time.monotonic()
        if ticket.call in WRITES and self.marks_end:
            ticket.session.ahead.clear()  # a new message takes the place of an old answer (IEEE 488.2, 6.3.2.3)
        elif ticket.call in _ANEW and not ticket.session.is_fresh:
            ticket.session.begin(marks_end=self.marks_end)  # whatever was begun or unread, this is something new
        message = self._overheard(ticket) if ticket.call in WRITES else ticket.data
        call, arguments = ticket.call, ticket.arguments
        if call == "write_read" and ticket.session.ahead:
            ticket.is_answered = True  # old answers come first, and those are here
            call, arguments = "write", ()
        changes = self.attributes.changes(ticket.session)
        self._keeper.fire(Event.DISPATCHED)
        # The shorter of what it has to begin and what it has from then on: `prolongs` looks whether it has begun.
        self._keeper.arm(min(self._house.limits.begin_time, self._call_time(ticket) or self._house.limits.begin_time))
        assert self._keeper.child is not None
        self._keeper.child.run(pipe.Run(ticket.number, call, list(arguments), changes), message)

    def _overheard(self, ticket: Ticket) -> bytes | LongMessage:
        """What a write sends, of which is heard what it asks for: of a long one as it goes to the child."""
        if isinstance(ticket.data, Spool):
            return Overheard(ticket.data, partial(self._hear, ticket), ticket.before)
        self._hear(ticket, ticket.beginning, True)
        return ticket.data

    def _hear(self, ticket: Ticket, piece: bytes, is_last: bool) -> None:
        session = ticket.session
        session.has_written = True
        ticket.answers += session.lexer.feed(piece, ends=is_last and session.sends_end)
        if is_last:
            ticket.answers = self._settings.hold.answers(ticket.beginning, ticket.answers)
            ticket.is_unfinished = session.lexer.is_unfinished

    @property
    def running(self) -> int:
        """The number of the command that the process has."""
        return ERRAND if self._running is None else self._running.number

    def reported(self, report: pipe.Report) -> None:
        """The process says something."""
        running = self._running
        if isinstance(report, pipe.Done | pipe.Piece):
            if running is not None and report.ticket == running.number:
                self._ticket_reported(report)
                return
            if report.ticket == self._errands.number:
                self._errands.reported(report)
                return
        elif isinstance(report, pipe.Happened):
            try:
                self.events.happened(report.event, report.attributes)
            except Exception as error:  # whoever is told may be in any state
                self._house.note_fault(error)
            return
        if self._keeper.state in _WORKING:
            self._keeper.sent_garbage("it reports on a command that it does not have")
        # Anything else is of a command that had its outcome already: its process is to die.

    def _ticket_reported(self, report: pipe.Done | pipe.Piece) -> None:
        ticket = self._running
        assert ticket is not None
        if ticket.call == "write_read" and ticket.traffic is Traffic.MESSAGE and _has_written(report):
            self._goes_on_to_read(ticket)
        if isinstance(report, pipe.Done):
            self._done(ticket, report)
            return
        self._prolong(ticket)
        self._hold.heard(ticket, report.data)
        self._forward(ticket, report.data)

    def _forward(self, ticket: Ticket, data: bytes) -> None:
        ticket.received += len(data)
        try:
            ticket.on_piece(data)
        except Exception as error:  # whoever is told may be in any state
            self._house.note_fault(error)

    def _goes_on_to_read(self, ticket: Ticket) -> None:
        """It has written: from here on it is a read."""
        self._hold.ended(ticket, Outcome(), False, time.monotonic())
        ticket.traffic, ticket.answers, ticket.is_unfinished = Traffic.ANSWER, 0, False

    def _done(self, ticket: Ticket, report: pipe.Done) -> None:
        is_heard = ticket.ahead > 0 and self._may_read_on(ticket, report)
        if is_heard and self._reads_on(ticket, report):
            return
        value = report.value if ticket.reads_by is None else ticket.reads_by
        has_written = ticket.call == "write_read" and ticket.traffic is Traffic.ANSWER
        effect = Effect.DONE if has_written else report.effect
        if ticket.before and type(value) is int:
            value = max(0, value - len(ticket.before))  # of its own bytes; the others were counted before
        outcome = Outcome(report.status, value, report.data, report.token, effect, report.text)
        if ticket.is_answered and not outcome.failed:
            is_kept = bool(ticket.session.ahead)  # unless the session has left meanwhile
            outcome = self._answered_ahead(ticket) if is_kept else failed("CLIENT_GONE", effect=Effect.DONE)
        else:
            self._hold.ended(ticket, outcome, report.dirty, time.monotonic(), is_heard=is_heard)
        if report.status == ABORTED and self._keeper.state is State.ABORTING:
            outcome = failed("COMMAND_ABORTED", f"{self._name}: {self._keeper.reason}", effect)
            if not report.dirty:
                self._drop_half_a_message()
                self._hold.resynchronised()  # by the device clear
        session = ticket.session
        if session not in self._sessions:
            self._hold.left(session)  # it closed meanwhile
        if outcome.failed:
            if ticket.traffic is not Traffic.ASIDE:
                session.begin(marks_end=self.marks_end)
            if not self._may_have_acted(ticket):
                self.attributes.are_unknown()
        elif ticket.call == "set_attribute":
            attribute, state = cast(tuple[int, pipe.State | bytes], ticket.arguments)
            self.attributes.were_set(session, attribute, state.decode() if isinstance(state, bytes) else state)
        elif ticket.call == "read_stb":
            mav = MAV if session.ahead and self.marks_end else 0
            outcome = self.events.status_byte(ticket, outcome, mav)
        if report.status == LOST:
            session.generation = None
        self._running = None  # not before: a fault of ours on the way here costs this ticket its process, not its reply
        self.resume()
        self.finish(ticket, outcome)
        if report.status == LOST:
            self._keeper.lost(report.text)
        else:
            if not outcome.failed:
                self._keeper.succeeded()
            self._keeper.fire(Event.DONE)

    def _may_read_on(self, ticket: Ticket, report: pipe.Done) -> bool:
        """May the answer go on behind this read? On a stream, if that ended at its count or a byte of a block looked
        like an end."""
        if self.marks_end or ticket.session is not self._hold.holder or self._keeper.state is not State.BUSY:
            return False
        if report.status == VI_SUCCESS_MAX_CNT:
            return bool(report.data)
        return report.status == VI_SUCCESS_TERM_CHAR and self._hold.may_be_in_block(report.data)

    def _reads_on(self, ticket: Ticket, report: pipe.Done) -> bool:
        """Go on with what has come of the answer, as far as its client takes it. That is of this session for certain,
        which can tell what its next reads would give of it."""
        self._hold.heard(ticket, report.data)
        at_most, ticket.ahead = ticket.ahead, 0
        promised, termination = self._hold.promised, _termination_of(ticket.session)
        if termination is None or not (promised or report.status == VI_SUCCESS_MAX_CNT):
            return False
        self._forward(ticket, report.data)
        ticket.reads_by = termination
        self._prolong(ticket)
        call, count = ("read_on_block", min(promised, at_most)) if promised else ("read_on", at_most)
        assert self._keeper.child is not None
        self._keeper.child.run(pipe.Run(ticket.number, call, [count], []), b"")
        return True

    def goes_on(self, session: Session) -> None:
        """`session` is busy with what it has of its answer: that is not idle."""
        self._hold.goes_on(session, time.monotonic())
        if self.locks.limited:
            self.locks.was_used(session)

    def was_used(self, session: Session) -> None:
        """Something long comes, or goes, that may be `session`'s: that is not idle."""
        if self.locks.limited:
            self.locks.was_used(session)

    def distrust(self) -> None:
        """What the process says from here on is not read."""
        self.safe.distrust()
        if self._running is not None:
            self._running.is_doubtful = True

    def fail_running(self, token: str, text: str) -> None:
        """The process that had a command is dead."""
        ticket, self._running = self._running, None
        self._errands.forget()
        self.safe.process_died(token, text)
        if ticket is None:
            return  # it ended while its process was being killed
        ticket.session.generation = None
        may_have_acted = self._may_have_acted(ticket)
        failure = failed(token, f"{self._name}: {text}", Effect.MAYBE if may_have_acted else Effect.NONE)
        self._hold.ended(ticket, failure, may_have_acted, time.monotonic())
        self.finish(ticket, failure)
        # What it sent meanwhile it sent unknowing.
        outcome = failed("SESSION_RESET", f"{self._name}: not executed, {text}")
        self.fail(lambda waiting: waiting.session is ticket.session, outcome)

    def _may_have_acted(self, ticket: Ticket) -> bool:
        return ticket.is_doubtful or self._keeper.step_of(ticket.number)[0] >= Step.STARTED

    def fail_queued(self, refusal: Outcome) -> None:
        """Nothing that waits will be carried out."""
        self._errands.forget()
        if self.safe.is_due:
            self.safe.refused(refusal)
        for ticket in self._queue.withdraw(lambda _: True):
            ticket.session.generation = None
            self.finish(ticket, refusal)

    # Deadlines, and clients that are slower than their instrument.

    def prolongs(self) -> bool:
        """The deadline is here: has the process more time by the signs of life that it has shown since?"""
        if self._keeper.state not in (State.BUSY, State.RESYNC):
            return False  # it is to end, whatever it does
        running, now = self._running, time.monotonic()
        number = self._errands.number if running is None else running.number
        limit = self._errands.limit if running is None else self._call_time(running)
        step, moment = self._keeper.step_of(number)
        looks_after = limit
        if running is not None and step is Step.TAKEN:
            moment, limit = running.dispatched_at, self._house.limits.begin_time
        if limit is None:
            self._keeper.arm(None)
            return True
        left = moment + limit - now
        if left > 0:  # what begins meanwhile may hang as soon as it has had its own time
            self._keeper.arm(min(left, looks_after or left))
        return left > 0

    def _prolong(self, ticket: Ticket) -> None:
        """`ticket` has its time anew, unless its process is to die: that does not wait for what it still says."""
        if self._keeper.state is State.BUSY and not self._is_paused:
            self._keeper.arm(self._call_time(ticket))

    def _call_time(self, ticket: Ticket) -> float | None:
        """Seconds for one VISA call of `ticket`: its timeout and the grace; an infinite one ends with its client."""
        timeout_ms = ticket.session.timeout_ms
        if timeout_ms is None:
            return None
        reopening = self._reopening if ticket.call == "clear" else 0.0
        return max(timeout_ms / 1000 + self._house.grace + reopening, self._settings.deadline)

    def pause(self) -> None:
        """Whoever is being answered does not keep up: the child waits, and that is no fault of its own."""
        is_busy = self._running is not None and self._keeper.state is State.BUSY  # else it is to end, whoever reads
        if is_busy and self._keeper.child is not None and not self._is_paused:
            self._is_paused = True
            self._keeper.child.pause()
            self._keeper.arm(None)

    def resume(self) -> None:
        """Whoever is being answered has room again, or is gone."""
        if not self._is_paused:
            return
        self._is_paused = False
        if self._keeper.child is not None:
            self._keeper.child.resume()
        if self._running is not None:
            self._prolong(self._running)

    # Waiting.

    def _is_hold_over(self, holder: Session, now: float) -> bool:
        waiting = (ticket for ticket in self._queue if ticket.traffic is not Traffic.ASIDE)
        somebody_waits = any(ticket.session is not holder and not self._is_locked_out(ticket) for ticket in waiting)
        return somebody_waits and (self.locks.excludes(holder) or self._hold.is_over(now))

    def _watch_queue(self) -> None:
        """Look again when the oldest ticket has waited too long, or a hold runs out, whichever is first.

        A timer that is early by then is not moved: it looks, and is set anew."""
        now, hold_ends = time.monotonic(), self._hold.expires_at()
        if hold_ends is None or hold_ends <= now or self._keeper.state is not State.READY:
            hold_ends = math.inf
        if self._queue_timer is not None:
            if self._looks_at <= hold_ends:
                return
            self._queue_timer.cancel()
        oldest = min(ticket.queued_at for ticket in self._queue)
        self._looks_at = min(oldest + self._house.limits.queue_time, hold_ends)
        self._queue_timer = self._loop.call_later(max(0.001, self._looks_at - now), self._look_at_queue)

    def _look_at_queue(self) -> None:
        self._queue_timer = None
        limit = self._house.limits.queue_time
        oldest = time.monotonic() - limit
        outcome = failed("QUEUE_TIMEOUT", f"waited {limit:g} s for {self._name}")
        self.fail(lambda ticket: ticket.queued_at <= oldest, outcome)
        self.dispatch()

    def stop_waiting(self) -> None:
        """Nothing of it is left to be done."""
        self.locks.stop_waiting()
        self.safe.stop_waiting()
        if self._reading is not None:
            self._reading.cancel()
        for timer in (self._queue_timer, self._poll_timer):
            if timer is not None:
                timer.cancel()

    # Between the commands.

    def _end_hold(self, holder: Session) -> None:
        """Others wait: whatever the holder is owed is read ahead, or given up."""
        if self._hold.can_be_read_ahead:
            self._errands.read_ahead(self._hold, holder, self.attributes)
        else:
            self._drop_half_a_message()
            self._hold.give_up()

    def _drop_half_a_message(self) -> None:
        """What its holder has written of a message is lost to the instrument: it must not send the rest of it."""
        if self._hold.holder is not None and self._hold.is_half:
            self._hold.holder.is_cut_off = True

    def _polls_now(self, now: float) -> bool:
        """Poll the status byte if it is time to; else see to it that it will be."""
        if self._poll_timer is not None:
            self._poll_timer.cancel()
            self._poll_timer = None
        moment = self.events.poll_at
        if moment is None:
            return False
        if now < moment:
            self._poll_timer = self._loop.call_later(moment - now, self.dispatch)
            return False
        self._errands.poll(lambda report: self.events.polled(report, time.monotonic()))
        return True


def _termination_of(session: Session) -> int | None:
    """The character that ends its reads, or NO_TERMINATION; None if that is no character, as some libraries allow."""
    if not session.attribute(VI_ATTR_TERMCHAR_EN):
        return NO_TERMINATION
    character = session.attribute(VI_ATTR_TERMCHAR)
    return character if isinstance(character, int) and 0 <= character <= 0xFF else None


def _has_written(report: pipe.Done | pipe.Piece) -> bool:
    """Is the message of a write_read, of which this comes, with the instrument?"""
    return isinstance(report, pipe.Piece) or report.effect is Effect.DONE


def _is_void(ticket: Ticket) -> bool:
    """Has the write failed that it depends on?"""
    return ticket.after is not None and ticket.after.outcome is not None and ticket.after.outcome.failed


def _on_record(
    address: str,
    name: str,
    user: str,
    resource: str,
    generation: int,
    describe: Callable[[], str],
    outcome: str,
    effect: Effect,
    waited: float,
    ran: float,
    size: int,
) -> dict[str, Any]:
    """The audit's fields for a command. Called in the writer's thread."""
    return {
        "client": address,
        "name": name,
        "user": user,
        "resource": resource,
        "generation": generation,
        "command": describe(),
        "outcome": outcome,
        "effect": effect.value,
        "waited_ms": round(waited * 1000, 3),
        "ran_ms": round(ran * 1000, 3),
        "bytes": size,
    }
