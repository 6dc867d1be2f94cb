"""Ctrl-C in the middle of the library's calls: nothing is lost, the next call works."""

from typing import Any

import pyvisa
from pyvisa import constants
from pyvisa.constants import EventMechanism, EventType, StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import event_functions, events, exchange, highlevel, inbox, opened, wire
from pyvisa_daemon.channel import Channel
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from tests.pyvisa_daemon.peer import NAME, Bench
from tests.pyvisa_daemon.threads import ctrl_c, interrupted_everywhere
from tests.support.waiting import DEADLINE, wait_until

SRQ = EventType.service_request
QUEUE = EventMechanism.queue
FOREVER = constants.VI_TMO_INFINITE
LONG = int(DEADLINE * 1000)


# Ctrl-C, by a real signal.


def abandoned(bench: Bench) -> set[int]:
    """The requests that the daemon was told nobody waits for."""
    return {request.id for request in bench.seen(wire.Abandon)}


def test_wait_for_an_event_loses_nothing_when_interrupted(
    resource: MessageBasedResource, bench: Bench, channel: Channel
) -> None:
    """The event that comes later is still for the next wait; there was nothing to abandon."""
    resource.enable_event(SRQ, QUEUE)
    with ctrl_c(lambda: channel._waiting):
        resource.wait_on_event(SRQ, FOREVER)
    bench.happen(SRQ)
    assert resource.query("next?") == "next?"
    assert resource.wait_on_event(SRQ, 0).ret == StatusCode.success
    assert not bench.seen(wire.Abandon)


def test_lock_is_wanted_no_more_when_its_wait_was_interrupted(resource: MessageBasedResource, bench: Bench) -> None:
    """The daemon is told; the session has no lock; it may ask again."""
    bench.withhold(wire.Lock)
    with ctrl_c(lambda: bench.withheld):
        resource.lock(float("inf"))
    assert resource.query("next?") == "next?"
    assert abandoned(bench) == {bench.seen(wire.Lock)[0].id}
    bench.release()
    assert resource.lock(LONG) == "made"
    assert list(bench.sessions.values()) == [1]


def test_lock_is_given_back_when_its_grant_crossed_the_interrupt(resource: MessageBasedResource, bench: Bench) -> None:
    """Nobody knows of a lock that came too late, so nobody would ever unlock it."""
    bench.withhold(wire.Lock)
    with ctrl_c(lambda: bench.withheld):
        resource.lock(float("inf"))
    bench.answer(bench.seen(wire.Lock)[0])
    resource.read_stb()
    resource.read_stb()
    assert len(bench.seen(wire.Unlock)) == 1
    assert list(bench.sessions.values()) == [0]


def test_long_read_is_abandoned_when_interrupted(resource: MessageBasedResource, bench: Bench) -> None:
    """With the write that it follows; a late answer is nobody's, least of all the next query's."""
    bench.withhold(wire.Write, wire.Read)
    with ctrl_c(lambda: len(bench.withheld) == 2):
        resource.write("LONG?")
        resource.read()
    late = [bench.seen(wire.Write)[0], bench.seen(wire.Read)[0]]
    bench.release()
    assert resource.query("next?") == "next?"
    assert {request.id for request in late} <= abandoned(bench)
    for request in late:
        bench.answer(request)
    assert resource.query("and?") == "and?"


def test_query_is_abandoned_when_interrupted(resource: MessageBasedResource, bench: Bench) -> None:
    """One that had gone out; its answer is nobody's either."""
    bench.withhold(wire.Query)
    with ctrl_c(lambda: bench.withheld):
        resource.query("LONG?")
    late = bench.seen(wire.Query)[0]
    bench.release()
    assert resource.query("next?") == "next?"
    assert late.id in abandoned(bench)
    bench.answer(late)
    assert resource.query("and?") == "and?"


def test_open_is_abandoned_when_interrupted(manager: pyvisa.ResourceManager, bench: Bench) -> None:
    """However long it would have waited for its lock."""
    bench.withhold(wire.Open)
    with ctrl_c(lambda: bench.withheld):
        manager.open_resource(NAME, constants.AccessModes.exclusive_lock, FOREVER)
    bench.withhold()
    after = manager.open_resource(NAME)
    assert isinstance(after, MessageBasedResource)
    assert after.read_stb() == 16
    assert abandoned(bench) == {bench.seen(wire.Open)[0].id}


def test_asynchronous_read_goes_on_when_the_wait_for_it_was_interrupted(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench, channel: Channel
) -> None:
    """Only the wait ends."""
    resource.enable_event(EventType.io_completion, QUEUE)
    resource.write("data")
    bench.withhold(wire.Read)
    buffer, _, _ = library.read_asynchronously(resource.session, 5)
    with ctrl_c(lambda: channel._waiting):
        resource.wait_on_event(EventType.io_completion, FOREVER)
    bench.release()
    resource.wait_on_event(EventType.io_completion, LONG)
    assert bytes(buffer) == b"data\n"


def test_close_is_carried_out_when_interrupted(resource: MessageBasedResource, bench: Bench) -> None:
    """A close is never abandoned: a session that lives on at the daemon may hold a lock."""
    bench.withhold(wire.Close)
    with ctrl_c(lambda: bench.withheld):
        resource.close()
    assert not bench.seen(wire.Abandon)
    bench.release()
    wait_until(lambda: not bench.sessions)
    resource.close()


def test_close_goes_out_when_interrupted_while_it_collects_a_write(
    resource: MessageBasedResource, bench: Bench, channel: Channel
) -> None:
    """The write's outcome is not waited for, the session is closed all the same."""
    bench.withhold(wire.Write)
    resource.write("LONG?")
    with ctrl_c(lambda: channel._waiting):
        resource.close()
    wait_until(lambda: not bench.sessions)


# Ctrl-C before every single line.


EVERYTHING = (channel_module, exchange, inbox, opened, events, event_functions)


def test_events_are_in_step_when_ctrl_c_falls_before_any_line(manager: pyvisa.ResourceManager, bench: Bench) -> None:
    """Enabling, waiting, discarding and disabling: after each interruption they work as ever."""
    resource = manager.open_resource(NAME)

    def everything() -> None:
        resource.enable_event(SRQ, QUEUE)
        bench.happen(SRQ)
        resource.wait_on_event(SRQ, LONG)
        resource.disable_event(SRQ, QUEUE)

    count = 0
    for count in interrupted_everywhere(everything, *EVERYTHING):
        resource.disable_event(EventType.all_enabled, EventMechanism.all)
        resource.discard_events(EventType.all_enabled, EventMechanism.all)
        everything()
        assert resource.read_stb() == 16, f"at place {count}"
        resource.close()
        resource = manager.open_resource(NAME)
    assert 300 < count < 2000


def test_no_lock_is_left_when_ctrl_c_falls_before_any_line(resource: MessageBasedResource, bench: Bench) -> None:
    """Whatever the daemon had granted by then."""
    count = 0
    for count in interrupted_everywhere(lambda: resource.lock(LONG), channel_module, exchange):
        resource.query("next?")
        resource.query("and the next?")
        (session,) = bench.sessions
        assert bench.sessions[session] == 0, f"left behind at place {count}"
    assert count > 50
    resource.unlock()


def test_no_session_is_left_when_ctrl_c_falls_before_any_line_of_a_close(
    manager: pyvisa.ResourceManager, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """Closing again finishes what was begun, and raises only if nothing was left but to return."""
    sessions = [library.open(manager.session, NAME)[0]]
    raised = count = 0
    for count in interrupted_everywhere(lambda: library.close(sessions[-1]), *EVERYTHING, highlevel):
        try:
            library.close(sessions[-1])
        except pyvisa.VisaIOError:
            raised += 1
        assert not bench.sessions, f"left behind at place {count}"
        sessions.append(library.open(manager.session, NAME)[0])
        library.enable_event(sessions[-1], SRQ, QUEUE)
    assert count > 100
    assert raised <= 1


def test_no_session_is_left_when_ctrl_c_falls_before_any_line_of_an_open(
    manager: pyvisa.ResourceManager, resource: MessageBasedResource, bench: Bench
) -> None:
    """Opened by the daemon or not by then; but for the one step between sending and waiting."""
    count, left = 0, len(bench.sessions)
    kept: list[Any] = []
    for count in interrupted_everywhere(lambda: kept.append(manager.open_resource(NAME)), channel_module, exchange):
        resource.read_stb()
        left = len(bench.sessions)
        assert left <= 2, f"left behind at place {count}"
    assert count > 100


def test_completions_come_when_ctrl_c_falls_before_any_line(
    resource: MessageBasedResource, library: DaemonVisaLibrary
) -> None:
    """A write whose reply the interrupted call reads: its event is there, twice rather than not at all."""
    resource.enable_event(EventType.io_completion, QUEUE)
    jobs: list[int] = []

    def begin() -> None:
        jobs.append(library.write_asynchronously(resource.session, b"x")[0])

    begin()
    for place in interrupted_everywhere(resource.read_stb, *EVERYTHING):
        resource.read_stb()
        response = resource.wait_on_event(EventType.io_completion, LONG)
        assert response.event.job_id == jobs[-1], f"at place {place}"  # type: ignore[attr-defined]
        resource.discard_events(EventType.io_completion, QUEUE)
        begin()
    assert len(jobs) > 100
