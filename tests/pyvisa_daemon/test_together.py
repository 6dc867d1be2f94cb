"""Everything that may wait does so at once, on one connection: nobody holds up anybody, nobody relies on the clock."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import EventMechanism, EventType, StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import wire
from pyvisa_daemon.channel import Channel
from tests.pyvisa_daemon.conftest import open_message_based
from tests.pyvisa_daemon.peer import NAME, Bench
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until

SRQ = EventType.service_request
QUEUE, HANDLER = EventMechanism.queue, EventMechanism.handler
FOREVER = constants.VI_TMO_INFINITE


@pytest.fixture(autouse=True)
def no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wakes up by himself: who is not woken sleeps until the test fails."""
    monkeypatch.setattr(channel_module, "_TICK", 100 * DEADLINE)


def open_one(manager: pyvisa.ResourceManager) -> MessageBasedResource:
    return open_message_based(manager, read_termination="\n", write_termination="\n")


def test_short_calls_pass_when_others_wait_for_everything(
    manager: pyvisa.ResourceManager, resource: MessageBasedResource, bench: Bench, channel: Channel
) -> None:
    """A wait for an event, one for a lock, a long read, an open that waits for its lock, and a listener: one after
    another gets what it waits for, in any order, while this thread queries."""
    waiting, locking, reading, listening = (open_one(manager) for _ in range(4))
    waiting.enable_event(SRQ, QUEUE)
    called = threading.Event()
    listening.install_handler(EventType.trig, lambda *_: called.set())
    listening.enable_event(EventType.trig, HANDLER)
    reading.write("LONG")
    bench.withhold(wire.Lock, wire.Open, wire.Read)
    results: dict[str, Callable[[], Any]] = {
        "event": in_thread(lambda: waiting.wait_on_event(SRQ, FOREVER)),
        "lock": in_thread(lambda: locking.lock(float("inf"))),
        "read": in_thread(reading.read),
        "open": in_thread(lambda: manager.open_resource(NAME, constants.AccessModes.exclusive_lock, FOREVER)),
    }
    wait_until(lambda: len(channel._waiting) == 5 and len(bench.withheld) == 3)
    held = {type(request): request for request in bench.withheld.values()}
    bench.withhold()

    def chat() -> None:
        for turn in range(20):
            assert resource.query(f"{turn}?") == f"{turn}?"
            assert resource.read_stb() == 16

    chat()
    bench.happen(SRQ)
    assert results["event"]().event.event_type == SRQ
    chat()
    bench.answer(bench.withheld.pop(held[wire.Open].id))
    assert results["open"]().read_stb() == 16
    bench.happen(EventType.trig)
    assert called.wait(DEADLINE)
    chat()
    bench.answer(bench.withheld.pop(held[wire.Lock].id))
    assert results["lock"]() == "made"
    chat()
    bench.release()
    assert results["read"]() == "LONG"


def test_lock_passes_the_wait_when_the_same_session_does_both(
    resource: MessageBasedResource, bench: Bench, channel: Channel
) -> None:
    """Status byte, unlock and clear of a session whose other thread sleeps."""
    resource.enable_event(SRQ, QUEUE)
    bench.withhold(wire.Read)
    waiting = in_thread(lambda: resource.wait_on_event(SRQ, FOREVER))
    reading = in_thread(lambda: resource.visalib.read(resource.session, 10))
    wait_until(lambda: len(channel._waiting) == 2 and bench.withheld)
    resource.lock_excl()
    assert resource.read_stb() == 16
    resource.clear()
    resource.unlock()
    bench.happen(SRQ)
    assert waiting().ret == StatusCode.success
    bench.release()
    assert reading() == (b"", StatusCode.success)


def test_every_thread_gets_one_event_when_many_wait(
    resource: MessageBasedResource, bench: Bench, channel: Channel
) -> None:
    """As many events as threads, on one session: each is woken for one, whichever."""
    resource.enable_event(SRQ, QUEUE)
    waiting = [in_thread(lambda: resource.wait_on_event(SRQ, FOREVER)) for _ in range(6)]
    wait_until(lambda: len(channel._waiting) == 6)
    for _ in waiting:
        bench.happen(SRQ)
    assert {result().event.event_type for result in waiting} == {SRQ}


def test_every_session_gets_its_events_when_each_has_a_thread(
    manager: pyvisa.ResourceManager, resource: MessageBasedResource, bench: Bench
) -> None:
    """Some wait, some have handlers, one queries: a hundred events each, none lost, none doubled."""
    waiting = [open_one(manager) for _ in range(3)]
    listening = [open_one(manager) for _ in range(3)]
    counts = dict.fromkeys(range(3), 0)
    for number, listener in enumerate(listening):

        def handler(*_: Any, number: int = number) -> None:
            counts[number] += 1

        listener.install_handler(SRQ, handler)
        listener.enable_event(SRQ, HANDLER)
    for waiter in waiting:
        waiter.set_visa_attribute(constants.ResourceAttribute.max_queue_length, 1000)
        waiter.enable_event(SRQ, QUEUE)

    def collect(waiter: MessageBasedResource) -> bool:
        for _ in range(100):
            waiter.wait_on_event(SRQ, FOREVER)
        return waiter.wait_on_event(SRQ, 0, capture_timeout=True).timed_out

    collecting = [in_thread(lambda waiter=waiter: collect(waiter)) for waiter in waiting]  # type: ignore[misc]
    for turn in range(100):
        bench.happen(SRQ)
        if turn % 10 == 0:
            assert resource.query(f"{turn}?") == f"{turn}?"
    assert all(result() for result in collecting)
    wait_until(lambda: set(counts.values()) == {100})


def test_everybody_is_told_when_the_connection_is_lost(
    manager: pyvisa.ResourceManager, resource: MessageBasedResource, bench: Bench, channel: Channel
) -> None:
    """Whatever they wait for: VI_ERROR_CONN_LOST, at once."""
    resource.enable_event(SRQ, QUEUE)
    bench.withhold(wire.Lock, wire.Open, wire.Read)
    calls: list[Callable[[], Any]] = [
        lambda: resource.wait_on_event(SRQ, FOREVER),
        lambda: resource.lock(float("inf")),
        lambda: resource.visalib.read(resource.session, 10),
        lambda: manager.open_resource(NAME, open_timeout=FOREVER),
    ]
    results = [in_thread(call) for call in calls]
    wait_until(lambda: len(channel._waiting) == 4)
    bench.hang_up()
    for result in results:
        with pytest.raises(pyvisa.VisaIOError, match="open the resource again") as lost:
            result()
        assert lost.value.error_code == StatusCode.error_connection_lost
