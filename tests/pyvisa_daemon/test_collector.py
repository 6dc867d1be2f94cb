"""The collector in the middle of the library's calls: what it closes is closed, and nobody else notices."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import EventMechanism, EventType
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import event_functions, events, exchange, inbox, opened, wire
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from tests.pyvisa_daemon.peer import NAME, Bench
from tests.pyvisa_daemon.threads import at_lines_of
from tests.support.waiting import DEADLINE, wait_until

SRQ = EventType.service_request
QUEUE = EventMechanism.queue
LONG = int(DEADLINE * 1000)


EVERYTHING = (channel_module, exchange, inbox, opened, events, event_functions)


@pytest.fixture
def quiet_collector() -> Iterator[None]:
    """It strikes when the test says so, and has only the test's garbage to look at."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("has_events", [False, True])
def test_resource_is_closed_when_it_is_collected_inside_any_line(
    manager: pyvisa.ResourceManager,
    resource: MessageBasedResource,
    bench: Bench,
    quiet_collector: None,
    has_events: bool,
) -> None:
    """`Resource.__del__` disables, discards and closes, wherever this thread is, and the daemon hears of it."""

    def leave(place: int) -> None:
        lost = manager.open_resource(NAME)
        if has_events:
            lost.enable_event(SRQ, QUEUE)
            bench.happen(SRQ)
        lost.__dict__["cycle"] = lost
        del lost

        def collect(line: int) -> None:
            if line == place:
                struck.append(line)
                gc.collect()

        with at_lines_of(collect, *EVERYTHING):
            assert resource.query("kept?") == "kept?"

    for place in range(10**6):
        struck: list[int] = []
        leave(place)
        if not struck:
            gc.collect()
            break
        assert resource.query("next?") == "next?"
        wait_until(lambda: len(bench.sessions) == 1)
    assert place > 100
    assert manager.list_opened_resources() == [resource]
    wait_until(lambda: len({owner for owner, _ in bench.enabled} - set(bench.sessions)) == 0)


def test_context_is_closed_when_its_response_is_collected_inside_any_line(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench, quiet_collector: None
) -> None:
    """`WaitResponse.__del__` in the middle of another wait of the same thread."""
    resource.enable_event(SRQ, QUEUE)
    for place in range(10**6):
        for _ in range(2):
            bench.happen(SRQ)
        lost = resource.wait_on_event(SRQ, LONG)
        lost.__dict__["cycle"] = lost
        del lost
        struck: list[int] = []

        def collect(line: int, place: int = place, struck: list[int] = struck) -> None:
            if line == place:
                struck.append(line)
                gc.collect()

        with at_lines_of(collect, *EVERYTHING):
            response = resource.wait_on_event(SRQ, LONG)
        gc.collect()
        assert list(library._contexts) == [response.event.context]
        if not struck:
            break
    assert place > 50


def test_events_find_their_session_when_the_collector_closes_others(
    manager: pyvisa.ResourceManager, resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """Whoever reads looks through the open sessions, and a finaliser may close some of them in that moment."""
    resource.enable_event(SRQ, QUEUE)
    (session,) = bench.sessions
    events_of = library._sessions[resource.session].events
    events_of.queue_length = 10**6
    channel = library._sessions[resource.session].channel

    class Cycle:
        """Garbage that opens and closes a session, and leaves as much garbage behind."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            number = next(library._numbers)
            library._sessions[number] = opened.OpenSession(channel, -1, 0)
            closed.append(library._sessions.pop(number))
            if len(closed) < 2000:
                library._sessions[next(library._numbers)] = opened.OpenSession(channel, -1, 0)
                Cycle()

    closed: list[Any] = []
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(1, 10**6, 10**6)
    count = 0
    try:
        Cycle()
        while len(closed) < 2000:
            library._happened(channel, wire.Happened(session, SRQ))
            count += 1
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        for number, other in library._sessions.copy().items():
            if other.number == -1:
                del library._sessions[number]
    taken = sum(1 for _ in iter(lambda: events_of.take(SRQ), None))
    assert taken == count
