"""Queues and masks of one session against a model, and what threads and the collector may do to them meanwhile."""

import gc
import threading
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pyvisa_daemon.events import ALL_ENABLED, CallWaiter, EventWaiter, Mechanism, Occurrence, SessionEvents
from tests.pyvisa_daemon.threads import in_thread

QUEUE, HANDLER, SUSPENDED = Mechanism
EVERY = QUEUE | HANDLER | SUSPENDED

kinds = st.integers(1, 3)
selections = kinds | st.just(ALL_ENABLED)
enabling = st.sampled_from([QUEUE, HANDLER, SUSPENDED, QUEUE | HANDLER, QUEUE | SUSPENDED])
any_mechanisms = st.builds(Mechanism, st.integers(0, 7))


class EventsMachine(RuleBasedStateMachine):
    """Everything that a program and its daemon may do, in any order: each occurrence is where the model has it."""

    def __init__(self) -> None:
        super().__init__()
        self.events = SessionEvents()
        self.length = 3
        self.events.queue_length = self.length
        self.enabled: dict[int, set[Mechanism]] = {}
        self.queue: list[Occurrence] = []
        self.calls: list[Occurrence] = []
        self.held: list[Occurrence] = []
        self.overflowed = False

    @rule(event=kinds, mechanisms=enabling)
    def enable(self, event: int, mechanisms: Mechanism) -> None:
        self.events.enable(event, mechanisms)
        now = self.enabled.setdefault(event, set())
        if HANDLER in mechanisms or SUSPENDED in mechanisms:
            now -= {HANDLER, SUSPENDED}
        now |= set(mechanisms)
        source, sink = (self.held, self.calls) if HANDLER in now else (self.calls, self.held)
        if HANDLER in mechanisms or SUSPENDED in mechanisms:
            sink += chosen(source, event)

    @rule(event=selections, mechanisms=any_mechanisms)
    def disable(self, event: int, mechanisms: Mechanism) -> None:
        ended = []
        for kind in list(self.enabled) if event == ALL_ENABLED else [event]:
            had = self.enabled.get(kind, set())
            left = had - set(mechanisms)
            if HANDLER in mechanisms:
                chosen(self.calls, kind)
            if had and not left:
                ended.append(kind)
                del self.enabled[kind]
            elif had:
                self.enabled[kind] = left
        assert sorted(self.events.disable(event, mechanisms)) == sorted(ended)

    @rule(event=selections, mechanisms=any_mechanisms)
    def discard(self, event: int, mechanisms: Mechanism) -> None:
        gone = chosen(self.queue, event) if QUEUE in mechanisms else []
        gone += chosen(self.held, event) if SUSPENDED in mechanisms else []
        assert self.events.discard(event, mechanisms) == bool(gone)

    @rule(event=kinds)
    def happen(self, event: int) -> None:
        occurrence = Occurrence(event)
        self.events.happened(occurrence)
        mechanisms = self.enabled.get(event, set())
        if HANDLER in mechanisms:
            self.calls.append(occurrence)
        for mechanism, queue in ((QUEUE, self.queue), (SUSPENDED, self.held)):
            if mechanism in mechanisms and len(queue) < self.length:
                queue.append(occurrence)
            elif mechanism in mechanisms:
                self.overflowed = True

    @rule(event=selections)
    def take(self, event: int) -> None:
        assert self.events.has(event) == any(event in (ALL_ENABLED, occurrence.event) for occurrence in self.queue)
        expected = next((occurrence for occurrence in self.queue if event in (ALL_ENABLED, occurrence.event)), None)
        assert self.events.take(event) is expected
        if expected is not None:
            self.queue.remove(expected)

    @rule()
    def take_call(self) -> None:
        assert self.events.take_call() is (self.calls.pop(0) if self.calls else None)

    @rule(length=st.integers(1, 5))
    def limit(self, length: int) -> None:
        self.length = self.events.queue_length = length

    @rule()
    def take_overflow(self) -> None:
        assert self.events.take_overflow() == self.overflowed
        self.overflowed = False

    @invariant()
    def masks_agree(self) -> None:
        assert {event: set(self.events.mechanisms(event)) for event in self.events.enabled} == self.enabled
        assert self.events.has_handlers == any(HANDLER in mechanisms for mechanisms in self.enabled.values())
        assert self.events.has_calls == bool(self.calls)
        for kind in (1, 2, 3):
            assert self.events.is_queued(kind) == (QUEUE in self.enabled.get(kind, set()))
            assert self.events.selected(kind) == [kind]
        assert sorted(self.events.selected(ALL_ENABLED)) == sorted(self.enabled)

    @invariant()
    def waiters_agree(self) -> None:
        for event in (1, ALL_ENABLED):
            has_one = any(event in (ALL_ENABLED, occurrence.event) for occurrence in self.queue)
            may_come = any(QUEUE in self.enabled.get(kind, set()) for kind in self.events.selected(event))
            assert EventWaiter(self.events, event).is_done == (has_one or not may_come)
        assert CallWaiter(self.events).is_done == (bool(self.calls) or not self.events.has_handlers)


def chosen(queue: list[Occurrence], event: int) -> list[Occurrence]:
    """Those of that type, which `queue` has no more."""
    found = [occurrence for occurrence in queue if event in (ALL_ENABLED, occurrence.event)]
    queue[:] = [occurrence for occurrence in queue if occurrence not in found]
    return found


TestEvents = EventsMachine.TestCase


def test_queue_keeps_the_oldest_when_it_is_full() -> None:
    """VPP-4.3, 3.7.3: what comes last is lost, and that is told once."""
    events = SessionEvents()
    events.enable(7, QUEUE)
    came = [Occurrence(7, {1: number}) for number in range(60)]
    for occurrence in came:
        events.happened(occurrence)
    assert [events.take(7) for _ in range(51)] == [*came[:50], None]
    assert events.take_overflow()
    assert not events.take_overflow()


def test_calls_are_kept_all_when_handlers_are_slow() -> None:
    """A handler that takes its time misses nothing: the queue's length is none of its business."""
    events = SessionEvents()
    events.queue_length = 2
    events.enable(7, HANDLER)
    for _ in range(10):
        events.happened(Occurrence(7))
    assert sum(1 for _ in iter(events.take_call, None)) == 10
    assert not events.take_overflow()


def test_call_is_held_back_when_handlers_are_suspended_as_it_comes() -> None:
    """Whoever reads looked at the mask a moment before the program changed it."""
    events = SessionEvents()
    events.enable(7, HANDLER)
    late = Occurrence(7)
    events.enable(7, SUSPENDED)
    events._calls.append(late)
    assert events.take_call() is None
    events.enable(7, HANDLER)
    assert events.take_call() is late


def test_call_is_dropped_when_handlers_are_disabled_as_it_comes() -> None:
    """The same with viDisableEvent: no handler is called after it."""
    events = SessionEvents()
    events.enable(7, QUEUE | HANDLER)
    events.disable(7, HANDLER)
    events._calls.append(Occurrence(7))
    assert events.take_call() is None
    assert not events.has_calls


@pytest.mark.parametrize("change", ["happened", "enable", "disable"])
def test_waiters_are_rung_when_anything_changes(change: str) -> None:
    """Each of those that wait; who does no more is left in peace."""
    events = SessionEvents()
    events.enable(7, QUEUE)
    waiters = [EventWaiter(events, 7), CallWaiter(events), EventWaiter(events, 8)]
    for waiter in waiters:
        events.waits(waiter)
    events.waits_no_more(waiters[2])
    {
        "happened": lambda: events.happened(Occurrence(7)),
        "enable": lambda: events.enable(7, HANDLER),
        "disable": lambda: events.disable(ALL_ENABLED, EVERY),
    }[change]()
    assert [waiter.bell.empty() for waiter in waiters] == [False, False, True]


def test_each_occurrence_is_taken_once_when_threads_take_and_discard() -> None:
    """Four threads take, one discards, one brings: nothing is lost, doubled, or raises."""
    events = SessionEvents()
    events.queue_length = 10**6
    for kind in (1, 2):
        events.enable(kind, QUEUE)
    is_over = threading.Event()

    def take(kind: int) -> list[Occurrence]:
        taken = []
        while not is_over.is_set() or events.has(kind):
            occurrence = events.take(kind)
            if occurrence is not None:
                taken.append(occurrence)
        return taken

    def discard() -> None:
        while not is_over.is_set():
            events.discard(2, QUEUE)

    takers = [in_thread(lambda kind=kind: take(kind)) for kind in (1, 1, 1, ALL_ENABLED)]
    discarding = in_thread(discard)
    came = [Occurrence(1 + number % 2) for number in range(2000)]
    for occurrence in came:
        events.happened(occurrence)
    is_over.set()
    discarding()
    taken = [occurrence for taker in takers for occurrence in taker()]
    assert len(set(taken)) == len(taken)
    assert {occurrence for occurrence in came if occurrence.event == 1} <= set(taken)


class Cycle:
    """Garbage whose finaliser does something, and leaves as much garbage behind."""

    left = 0

    def __init__(self, events: SessionEvents) -> None:
        self.events, self.itself = events, self

    def __del__(self) -> None:
        self.events.happened(Occurrence(1))
        self.events.take(1)
        self.events.enable(9, QUEUE)
        self.events.disable(9, QUEUE)
        waiter = EventWaiter(self.events, 1)
        self.events.waits(waiter)
        self.events.waits_no_more(waiter)
        if Cycle.left:
            Cycle.left -= 1
            Cycle(self.events)


@pytest.fixture
def greedy_collector() -> Iterator[None]:
    """It collects at every chance it gets."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(1, 10**6, 10**6)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()
    Cycle.left = 0
    gc.collect()


def test_events_stay_whole_when_the_collector_strikes_inside_any_step(greedy_collector: None) -> None:
    """Finalisers bring, take and wait for events wherever this thread is; only that they are many makes them hit."""
    events = SessionEvents()
    for kind in (1, 2):
        events.enable(kind, QUEUE | HANDLER)
    events.queue_length = 10**6
    for _ in range(30):
        events.happened(Occurrence(2))
    Cycle.left = 3000
    Cycle(events)
    while Cycle.left:
        events.happened(Occurrence(2))
        assert events.has(2)
        assert events.take(2) is not None
        assert events.has_handlers
        events.take_call()
        events.enable(3, SUSPENDED)
        events.disable(3, EVERY)
        events.discard(3, QUEUE)
        assert not events.has(3)
