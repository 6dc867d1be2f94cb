"""The events of one session as its program sees them (VPP-4.3, 3.7): what is enabled, the queue, the handlers' turn.

Runs in the user's process. Pure: no socket, no clock, no thread, no PyVISA. Whoever reads the connection calls
`happened`; who waits for the queue, and the thread that calls handlers, each take from here. Every step is one
operation of a deque or a dict, so any thread may do it at any time. Copies are lists: `list` copies in one step,
while `tuple` may let the collector in between, and with it a finaliser that changes what is being copied.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntFlag

from pyvisa_daemon.exchange import Waiter

#: VI_ALL_ENABLED_EVENTS.
ALL_ENABLED = 0x3FFF7FFF

#: VI_ATTR_MAX_QUEUE_LENGTH as the standard begins with.
QUEUE_LENGTH = 50


class Mechanism(IntFlag):
    """How a session learns of an event; VISA's numbers."""

    QUEUE = 1
    HANDLER = 2
    SUSPENDED = 4


@dataclass(frozen=True, slots=True, eq=False)
class Occurrence:
    """One event: its VISA type, and its attributes by number. Equal to itself only, so that a deque finds it without
    running any Python, in one step."""

    event: int
    attributes: dict[int, object] = field(default_factory=dict)


class SessionEvents:
    """What one session has enabled, and what has happened since."""

    def __init__(self) -> None:
        self.queue_length = QUEUE_LENGTH
        self._enabled: dict[int, Mechanism] = {}
        self._queue: deque[Occurrence] = deque()
        #: For handlers: to be called, and held back while they are suspended.
        self._calls: deque[Occurrence] = deque()
        self._suspended: deque[Occurrence] = deque()
        self._has_overflowed = False
        self._waiters: dict[Waiter, None] = {}

    def mechanisms(self, event: int) -> Mechanism:
        """By what means that event type is enabled."""
        return self._enabled.get(event, Mechanism(0))

    @property
    def enabled(self) -> list[int]:
        """The event types that are enabled by any means."""
        return list(self._enabled)

    def selected(self, event: int) -> list[int]:
        """The event types that are meant: that one, or all that are enabled."""
        return self.enabled if event == ALL_ENABLED else [event]

    @property
    def has_handlers(self) -> bool:
        """Is any event type enabled for handlers?"""
        return any(Mechanism.HANDLER in mechanisms for mechanisms in list(self._enabled.values()))

    def is_queued(self, event: int) -> bool:
        """Is that type, or any, enabled for the queue?"""
        return any(Mechanism.QUEUE in self.mechanisms(kind) for kind in self.selected(event))

    def enable(self, event: int, mechanism: Mechanism) -> None:
        """Handlers run or are suspended, never both; what was held back is theirs when they run again."""
        before = self.mechanisms(event)
        if mechanism & (Mechanism.HANDLER | Mechanism.SUSPENDED):
            before &= ~(Mechanism.HANDLER | Mechanism.SUSPENDED)
        self._enabled[event] = before | mechanism
        if Mechanism.HANDLER in mechanism:
            self._calls.extend(_take(self._suspended, event))
        elif Mechanism.SUSPENDED in mechanism:
            self._suspended.extend(_take(self._calls, event))
        self._ring()

    def disable(self, event: int, mechanisms: Mechanism) -> list[int]:
        """Returns the types that nothing has enabled any more. What handlers were not called for they never are."""
        ended = []
        if Mechanism.HANDLER in mechanisms:
            _take(self._calls, event)
        for kind in self.selected(event):
            left = self.mechanisms(kind) & ~mechanisms
            if left:
                self._enabled[kind] = left
            elif self._enabled.pop(kind, None) is not None:
                ended.append(kind)
        self._ring()
        return ended

    def discard(self, event: int, mechanisms: Mechanism) -> bool:
        """viDiscardEvents. Was there anything?"""
        queues = {Mechanism.QUEUE: self._queue, Mechanism.SUSPENDED: self._suspended}
        taken = [_take(queue, event) for mechanism, queue in queues.items() if mechanism & mechanisms]
        return any(taken)

    def happened(self, occurrence: Occurrence) -> None:
        """It is queued for each means by which it is enabled; a full queue loses what comes last (VPP-4.3, 3.7.3)."""
        mechanisms = self.mechanisms(occurrence.event)
        destinations = {
            Mechanism.QUEUE: self._queue,
            Mechanism.HANDLER: self._calls,
            Mechanism.SUSPENDED: self._suspended,
        }
        for mechanism, queue in destinations.items():
            if not mechanism & mechanisms:
                continue
            if len(queue) < self.queue_length or mechanism is Mechanism.HANDLER:
                queue.append(occurrence)
            else:
                self._has_overflowed = True
        self._ring()

    def take(self, event: int) -> Occurrence | None:
        """The oldest queued one of that type, or of any enabled one."""
        return next(_taken(self._queue, event), None)

    def take_call(self) -> Occurrence | None:
        """The next one that handlers are to be called for."""
        for occurrence in _taken(self._calls, ALL_ENABLED):
            mechanisms = self.mechanisms(occurrence.event)  # as they are now: it may have come as they changed
            if Mechanism.HANDLER in mechanisms:
                return occurrence
            if Mechanism.SUSPENDED in mechanisms:
                self._suspended.append(occurrence)
        return None

    def has(self, event: int) -> bool:
        """Is one of that type queued?"""
        return any(event in (ALL_ENABLED, occurrence.event) for occurrence in list(self._queue))

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def take_overflow(self) -> bool:
        """Has the queue lost anything since this was last asked?"""
        had, self._has_overflowed = self._has_overflowed, False
        return had

    def waits(self, waiter: Waiter) -> None:
        """`waiter` sleeps until something happens here."""
        self._waiters[waiter] = None

    def waits_no_more(self, waiter: Waiter) -> None:
        self._waiters.pop(waiter, None)

    def _ring(self) -> None:
        for waiter in list(self._waiters):
            waiter.bell.put(None)


def _taken(queue: deque[Occurrence], event: int) -> Iterator[Occurrence]:
    """Removes those of that type, each as it is asked for."""
    for occurrence in list(queue):
        if event in (ALL_ENABLED, occurrence.event):
            try:
                queue.remove(occurrence)
            except ValueError:
                continue  # another thread was quicker
            yield occurrence


def _take(queue: deque[Occurrence], event: int) -> list[Occurrence]:
    """Removes and returns those of that type."""
    return list(_taken(queue, event))


class EventWaiter(Waiter):
    """Waits for the queue of `events` to hold one of type `event`, or for none such being enabled any more."""

    __slots__ = ("_event", "_events")

    def __init__(self, events: SessionEvents, event: int) -> None:
        super().__init__()
        self._events = events
        self._event = event

    @property
    def is_done(self) -> bool:
        return self._events.has(self._event) or not self._events.is_queued(self._event)


class CallWaiter(Waiter):
    """Waits for handlers to be called, or for there being none any more."""

    __slots__ = ("_events",)

    def __init__(self, events: SessionEvents) -> None:
        super().__init__()
        self._events = events

    @property
    def is_done(self) -> bool:
        return self._events.has_calls or not self._events.has_handlers
