"""Events through PyVISA: enabling, disabling, discarding. See `test_wait_on_event` and `test_handlers` for the rest."""

from typing import Any

import pytest
import pyvisa
from pyvisa.constants import EventMechanism, EventType, StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import wire
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from tests.pyvisa_daemon.conftest import Manage
from tests.pyvisa_daemon.peer import NAME, Bench, Conversation
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until

SRQ, TRIG = EventType.service_request, EventType.trig
QUEUE, HANDLER, SUSPENDED = EventMechanism.queue, EventMechanism.handler, EventMechanism.suspend_handler
BOTH: Any = QUEUE | HANDLER  # PyVISA has no name for it
LONG = int(DEADLINE * 1000)


def test_event_is_enabled_at_the_daemon_once_when_enabled_by_several_means(
    resource: MessageBasedResource, bench: Bench, library: DaemonVisaLibrary
) -> None:
    """The daemon is told of the first and the last only: masks are this program's."""
    session = resource.session
    resource.install_handler(SRQ, lambda *_: None)
    assert library.enable_event(session, SRQ, QUEUE) == StatusCode.success
    assert library.enable_event(session, SRQ, QUEUE) == StatusCode.success_event_already_enabled
    assert library.enable_event(session, SRQ, SUSPENDED) == StatusCode.success
    assert library.enable_event(session, SRQ, HANDLER) == StatusCode.success
    assert library.enable_event(session, SRQ, BOTH) == StatusCode.success_event_already_enabled
    assert len(bench.seen(wire.EnableEvent)) == 1
    resource.disable_event(SRQ, QUEUE)
    assert not bench.seen(wire.DisableEvent)
    resource.disable_event(SRQ, EventMechanism.all)
    assert [request.event for request in bench.seen(wire.DisableEvent)] == [SRQ]
    assert library.disable_event(session, SRQ, EventMechanism.all) == StatusCode.success
    assert len(bench.seen(wire.DisableEvent)) == 1


def test_already_enabled_is_said_when_one_of_the_means_is(
    resource: MessageBasedResource, library: DaemonVisaLibrary
) -> None:
    """VI_SUCCESS_EVENT_EN: "for at least one of the specified mechanisms" (VPP-4.3, viEnableEvent)."""
    session = resource.session
    resource.install_handler(SRQ, lambda *_: None)
    resource.enable_event(SRQ, QUEUE)
    assert library.enable_event(session, SRQ, BOTH) == StatusCode.success_event_already_enabled


def test_all_enabled_events_are_meant_when_enabling_so(resource: MessageBasedResource, bench: Bench) -> None:
    """VI_ALL_ENABLED_EVENTS switches what is enabled so far, and nothing is no error."""
    resource.enable_event(EventType.all_enabled, QUEUE)
    resource.install_handler(SRQ, lambda *_: None)
    resource.enable_event(SRQ, HANDLER)
    resource.enable_event(EventType.all_enabled, SUSPENDED)
    resource.enable_event(EventType.all_enabled, QUEUE)
    assert [request.event for request in bench.seen(wire.EnableEvent)] == [SRQ]
    bench.happen(SRQ)
    assert resource.wait_on_event(EventType.all_enabled, LONG).event.event_type == SRQ
    resource.enable_event(TRIG, QUEUE)
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.enable_event(EventType.all_enabled, HANDLER)
    assert failed.value.error_code == StatusCode.error_handler_not_installed


@pytest.mark.parametrize("mechanism", [0, HANDLER | SUSPENDED, QUEUE | HANDLER | SUSPENDED, 8, QUEUE | 0x100])
def test_mechanism_is_refused_when_it_cannot_be_enabled(resource: MessageBasedResource, mechanism: Any) -> None:
    """VI_ERROR_INV_MECH: handlers run or are suspended, and there is nothing else (VPP-4.3, 3.7.1)."""
    resource.install_handler(SRQ, lambda *_: None)
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.enable_event(SRQ, mechanism)
    assert failed.value.error_code == StatusCode.error_invalid_mechanism


def test_handlers_are_refused_when_none_is_installed(resource: MessageBasedResource, bench: Bench) -> None:
    """VI_ERROR_HNDLR_NINSTALLED, one for another type does not count, and the daemon hears nothing."""
    resource.install_handler(TRIG, lambda *_: None)
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.enable_event(SRQ, HANDLER)
    assert failed.value.error_code == StatusCode.error_handler_not_installed
    assert not bench.seen(wire.EnableEvent)


def test_event_is_refused_when_there_is_no_such_type(resource: MessageBasedResource, bench: Bench) -> None:
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.enable_event(12345, QUEUE)  # type: ignore[arg-type]
    assert failed.value.error_code == StatusCode.error_invalid_event
    assert not bench.seen(wire.EnableEvent)


def test_event_stays_disabled_when_the_daemon_refuses_it(resource: MessageBasedResource, bench: Bench) -> None:
    """VI_ERROR_INV_EVENT of a resource that has no such events; the next attempt asks again."""
    bench.withhold(wire.EnableEvent)
    for turn in range(2):
        enabling = in_thread(lambda: resource.enable_event(SRQ, QUEUE))
        wait_until(lambda: bench.withheld)
        bench.refuse(wire.EnableEvent, "VI_ERROR_INV_EVENT")
        with pytest.raises(pyvisa.VisaIOError) as failed:
            enabling()
        assert failed.value.error_code == StatusCode.error_invalid_event
        assert len(bench.seen(wire.EnableEvent)) == turn + 1
    with pytest.raises(pyvisa.VisaIOError) as waited:
        resource.wait_on_event(SRQ, 0)
    assert waited.value.error_code == StatusCode.error_not_enabled


def test_event_is_not_lost_when_it_comes_right_behind_the_enabling(manage: Manage) -> None:
    """An instrument that requests service already: both arrive in one piece."""

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.send(wire.Reply(peer.expect(wire.Open).id, 0, [1, 2000]))
        enabling = peer.expect(wire.EnableEvent)
        peer.send(wire.Reply(enabling.id, 0), wire.Happened(1, SRQ))
        for request in peer.requests():
            peer.send(wire.Reply(request.id, 0))  # type: ignore[union-attr]

    resource = manage(script).open_resource(NAME)
    resource.enable_event(SRQ, QUEUE)
    assert resource.wait_on_event(SRQ, LONG).event.event_type == SRQ


def test_events_are_discarded_when_asked(
    resource: MessageBasedResource, bench: Bench, library: DaemonVisaLibrary
) -> None:
    """Of that type, by that means; an empty queue is a success of its own."""
    session = resource.session
    for kind in (SRQ, TRIG):
        resource.enable_event(kind, QUEUE)
        bench.happen(kind)
    resource.read_stb()
    assert library.discard_events(session, SRQ, HANDLER) == StatusCode.success_queue_already_empty
    assert library.discard_events(session, SRQ, QUEUE) == StatusCode.success
    assert library.discard_events(session, SRQ, QUEUE) == StatusCode.success_queue_already_empty
    assert library.discard_events(session, EventType.all_enabled, EventMechanism.all) == StatusCode.success
    with pytest.raises(pyvisa.VisaIOError):
        resource.wait_on_event(EventType.all_enabled, 0)


def test_each_session_has_its_own_events_when_two_are_open(
    manager: pyvisa.ResourceManager, resource: MessageBasedResource, bench: Bench
) -> None:
    """Enabled here, not there; told here, not there."""
    other = manager.open_resource(NAME)
    resource.enable_event(SRQ, QUEUE)
    bench.happen(SRQ)
    other.enable_event(SRQ, QUEUE)
    with pytest.raises(pyvisa.VisaIOError):
        other.wait_on_event(SRQ, 0)
    assert resource.wait_on_event(SRQ, LONG).ret == StatusCode.success


def test_everything_is_switched_off_when_a_resource_closes(resource: MessageBasedResource, bench: Bench) -> None:
    """PyVISA disables, discards and closes; the daemon is told once of each."""
    for kind in (SRQ, TRIG):
        resource.enable_event(kind, QUEUE)
    resource.enable_event(EventType.io_completion, QUEUE)
    bench.happen(SRQ)
    resource.close()
    assert sorted(request.event for request in bench.seen(wire.DisableEvent)) == sorted([SRQ, TRIG])
    assert not bench.sessions


def test_event_calls_return_when_the_connection_is_lost(
    resource: MessageBasedResource, bench: Bench, library: DaemonVisaLibrary
) -> None:
    """viDisableEvent, viDiscardEvents and viClose give a status, whatever was enabled; all else fails."""
    session = resource.session
    resource.install_handler(SRQ, lambda *_: None)
    for kind in (SRQ, TRIG, EventType.io_completion):
        resource.enable_event(kind, QUEUE)
    resource.enable_event(SRQ, HANDLER)
    bench.hang_up()
    with pytest.raises(pyvisa.VisaIOError) as lost:
        resource.wait_on_event(SRQ, LONG)
    assert lost.value.error_code == StatusCode.error_connection_lost
    with pytest.raises(pyvisa.VisaIOError) as late:
        resource.enable_event(EventType.clear, QUEUE)
    assert late.value.error_code == StatusCode.error_connection_lost
    assert library.disable_event(session, EventType.all_enabled, EventMechanism.all) == StatusCode.success
    assert library.discard_events(session, EventType.all_enabled, EventMechanism.all) >= 0
    resource.close()
    assert library.disable_event(session, SRQ, QUEUE) == StatusCode.success
    assert library.discard_events(session, SRQ, QUEUE) >= 0
