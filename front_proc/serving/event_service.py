"""The events of one resource: who enables what, by which means it is noticed, who is told.

Runs in the front, one for each resource. The rules are those of `events`. Whether its library has events of its own
is found out by asking it; for service requests there are polls of the status byte otherwise.
"""

import time
from collections.abc import Callable
from weakref import WeakSet

from front_proc.serving.events import SERVICE_REQUEST, ResourceEvents
from front_proc.serving.sessions import Session
from front_proc.serving.tickets import Outcome, Ticket, failed
from instrument_proc import pipe
from pyvisa_daemon.errors import ERRORS

#: Statuses by which a library says that it has no such thing.
_UNABLE = frozenset(
    ERRORS[token].status for token in ("VI_ERROR_NSUP_OPER", "VI_ERROR_NIMPL_OPER", "VI_ERROR_INV_EVENT")
)

#: The status for a session that another has locked out: enabling is no I/O, and the polls are the daemon's own.
_LOCKED = ERRORS["VI_ERROR_RSRC_LOCKED"].status


class EventService:
    """`submit` takes tickets for the child; `interval` is that of the polls, in seconds, 0 for none."""

    def __init__(self, name: str, submit: Callable[[Ticket], None], interval: float) -> None:
        self._name = name
        self._submit = submit
        self._events = ResourceEvents(interval)
        #: The questions whether there is a status byte to be polled.
        self._probes: WeakSet[Ticket] = WeakSet()
        #: Only an interface that marks the END of messages has a status byte beside them.
        self.marks_end = False

    @property
    def to_restore(self) -> list[int]:
        """What a new process has to enable."""
        return sorted(self._events.native)

    @property
    def poll_at(self) -> float | None:
        """When the status byte is to be polled next."""
        return self._events.poll_at

    def enable(self, session: Session, event: int, on_outcome: Callable[[Outcome], None]) -> None:
        """viEnableEvent: `session.on_event` is told from now on, also of a request for service that is there already.
        VI_ERROR_INV_EVENT if the resource has no such events."""

        def ended(outcome: Outcome) -> None:
            if outcome.failed:
                self._events.unsubscribe(session, event)
            on_outcome(outcome)
            if is_there and not outcome.failed:
                self._tell((session,))

        def is_enabled(outcome: Outcome) -> None:
            if not outcome.failed:
                self._events.native.add(event)
            elif outcome.status in _UNABLE:
                if self._can_be_polled(event) and session in self._events.subscribers(event):
                    self._events.poll(time.monotonic())
                    probe = Ticket(session, "read_stb", ended_with_poll)
                    self._probes.add(probe)
                    self._submit(probe)
                    return
                outcome = failed("VI_ERROR_INV_EVENT", f"{self._name} has no events of type {event:#x}")
            ended(outcome)

        def ended_with_poll(outcome: Outcome) -> None:
            if outcome.status in _UNABLE:
                outcome = failed("VI_ERROR_INV_EVENT", f"{self._name} has no events and no status byte")
            ended(Outcome() if outcome.status == _LOCKED else outcome)

        is_known = self._events.is_enabled(event)
        is_there = self._events.subscribe(session, event)  # before it is enabled: what waits for that comes at once
        if is_known:
            ended(Outcome())
        else:
            self._submit(Ticket(session, "enable_event", is_enabled, arguments=[event]))

    def _can_be_polled(self, event: int) -> bool:
        return event == SERVICE_REQUEST and self.marks_end and self._events.can_poll

    def disable(self, session: Session, event: int, on_outcome: Callable[[Outcome], None]) -> None:
        """viDisableEvent; when it was the last session, in the library too."""
        is_native = event in self._events.native
        if not self._events.unsubscribe(session, event) or not is_native:
            on_outcome(Outcome())
            return

        def is_disabled(outcome: Outcome) -> None:
            if not outcome.failed and event in self._events.native:  # enabled anew before this: clients take turns
                self._events.native.discard(event)
                for wanting in self._events.subscribers(event)[:1]:
                    self.enable(wanting, event, lambda _: None)
            on_outcome(outcome)

        self._submit(Ticket(session, "disable_event", is_disabled, arguments=[event]))

    def left(self, session: Session) -> None:
        """`session` is closed. What nobody listens to any more is enabled anew for whoever comes next."""
        self._events.left(session)

    def happened(self, event: int, attributes: pipe.Attributes) -> None:
        """The library tells of an event."""
        for session in self._events.subscribers(event):
            session.on_event(event, attributes)

    def polled(self, report: pipe.Done, now: float) -> None:
        """A poll of the status byte ended."""
        stb = report.value if report.status >= 0 and isinstance(report.value, int) else None
        self._tell(self._events.polled(stb, now))

    def status_byte(self, ticket: Ticket, outcome: Outcome, own: int) -> Outcome:
        """The status byte that a session has read, with the requests that it has not seen, and `own` bits."""
        assert isinstance(outcome.value, int), "what read_stb gives"
        if ticket in self._probes:  # the daemon's question, not the session's
            self._tell(self._events.polled(outcome.value, time.monotonic()))
            return outcome
        stb, told = self._events.status_byte(ticket.session, outcome.value)
        self._tell(told)
        return Outcome(outcome.status, stb | own)

    def _tell(self, sessions: tuple[Session, ...]) -> None:
        for session in sessions:
            session.on_event(SERVICE_REQUEST, [])
