"""viWaitOnEvent through PyVISA: timeouts, order, overflow, contexts."""

import itertools
from typing import Any

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import EventAttribute, EventMechanism, EventType, StatusCode
from pyvisa.events import ExceptionEvent
from pyvisa.resources import GPIBInstrument, MessageBasedResource
from pyvisa.resources.resource import WaitResponse

from pyvisa_daemon import event_functions, wire
from pyvisa_daemon.channel import Channel
from pyvisa_daemon.exchange import Waiter
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from tests.pyvisa_daemon.peer import Bench
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until

SRQ, TRIG = EventType.service_request, EventType.trig
QUEUE, HANDLER = EventMechanism.queue, EventMechanism.handler
LONG = int(DEADLINE * 1000)


def trigger_of(response: WaitResponse) -> int:
    """Asked for by its number: PyVISA's TrigEvent asks for VI_ATTR_TRIG_ID, which is a session's."""
    return int(response.event.get_visa_attribute(EventAttribute.received_trigger_id))


def test_wait_takes_the_oldest_when_several_happened(resource: MessageBasedResource, bench: Bench) -> None:
    """Of the type asked for, or of any; more of them is a success with a remark."""
    for kind in (SRQ, TRIG):
        resource.enable_event(kind, QUEUE)
    bench.happen(SRQ)
    bench.happen(TRIG, [(EventAttribute.received_trigger_id, 3)])
    bench.happen(SRQ)
    resource.read_stb()  # whatever was sent before its reply is here now
    first = resource.wait_on_event(TRIG, 0)
    assert (first.ret, trigger_of(first)) == (StatusCode.success, 3)
    rest = [resource.wait_on_event(EventType.all_enabled, 0).ret for _ in range(2)]
    assert rest == [StatusCode.success_queue_not_empty, StatusCode.success]
    with pytest.raises(pyvisa.VisaIOError) as empty:
        resource.wait_on_event(SRQ, 0)
    assert empty.value.error_code == StatusCode.error_timeout


def test_event_is_seen_when_no_time_is_given_and_it_has_come(resource: MessageBasedResource, bench: Bench) -> None:
    """A timeout of 0 looks: at what the network has brought, not only at what somebody has read."""
    resource.enable_event(SRQ, QUEUE)
    bench.happen(SRQ)
    wait_until(lambda: not resource.wait_on_event(SRQ, 0, capture_timeout=True).timed_out)


@pytest.mark.parametrize("timeout", [constants.VI_TMO_INFINITE, None, LONG])
def test_wait_sleeps_until_it_happens_when_given_the_time(
    resource: MessageBasedResource, bench: Bench, timeout: Any, channel: Channel
) -> None:
    """PyVISA documents None for ever."""
    resource.enable_event(SRQ, QUEUE)
    waiting = in_thread(lambda: resource.wait_on_event(SRQ, timeout))
    wait_until(lambda: channel._waiting)
    bench.happen(SRQ)
    assert waiting().ret == StatusCode.success


def test_wait_ends_when_its_time_is_over(resource: MessageBasedResource) -> None:
    """As an error, or as PyVISA's `timed_out`, which has the event's type and no context."""
    resource.enable_event(SRQ, QUEUE)
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.wait_on_event(SRQ, 10)
    assert failed.value.error_code == StatusCode.error_timeout
    captured = resource.wait_on_event(SRQ, 10, capture_timeout=True)
    assert captured.timed_out
    assert (captured.event.event_type, captured.ret) == (SRQ, StatusCode.error_timeout)
    assert resource.last_status == StatusCode.error_timeout


def test_wait_does_not_begin_anew_when_another_thread_was_quicker(
    resource: MessageBasedResource, monkeypatch: pytest.MonkeyPatch, channel: Channel
) -> None:
    """Whoever was woken for an event that another thread took waits for the rest of his time."""
    resource.enable_event(SRQ, QUEUE)
    clock = itertools.count(1000.0, 0.25)
    monkeypatch.setattr(event_functions, "monotonic", lambda: next(clock))
    limits: list[float | None] = []

    def rung(channel: Channel, waiter: Waiter, limit: float | None) -> bool:
        limits.append(limit)
        return len(limits) < 4

    monkeypatch.setattr(Channel, "wait_for", rung)
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.wait_on_event(SRQ, 1000)
    assert failed.value.error_code == StatusCode.error_timeout
    assert limits == [0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("end", ["disable", "close", "close the manager"])
def test_wait_ends_when_nothing_can_come_any_more(
    manager: pyvisa.ResourceManager,
    resource: MessageBasedResource,
    end: str,
    library: DaemonVisaLibrary,
    channel: Channel,
) -> None:
    """Another thread disables the event or closes the session: nobody sleeps for ever."""
    resource.enable_event(SRQ, QUEUE)
    session = resource.session
    waiting = in_thread(lambda: library.wait_on_event(session, SRQ, constants.VI_TMO_INFINITE))
    wait_until(lambda: channel._waiting)
    {
        "disable": lambda: resource.disable_event(SRQ, QUEUE),
        "close": resource.close,
        "close the manager": manager.close,
    }[end]()
    with pytest.raises(pyvisa.VisaIOError) as failed:
        waiting()
    expected = {StatusCode.error_not_enabled}
    assert failed.value.error_code in expected | ({StatusCode.error_connection_lost} if "manager" in end else set())


def test_wait_is_refused_when_nothing_is_enabled_for_the_queue(resource: MessageBasedResource, bench: Bench) -> None:
    """VI_ERROR_NENABLED, for handlers is not for the queue; but what was queued before may still be fetched."""
    resource.install_handler(SRQ, lambda *_: None)
    resource.enable_event(SRQ, HANDLER)
    for kind in (SRQ, TRIG, EventType.all_enabled):
        with pytest.raises(pyvisa.VisaIOError) as failed:
            resource.wait_on_event(kind, LONG)
        assert failed.value.error_code == StatusCode.error_not_enabled
    resource.enable_event(SRQ, QUEUE)
    bench.happen(SRQ)
    resource.read_stb()
    resource.disable_event(SRQ, QUEUE)
    assert resource.wait_on_event(SRQ, 0).event.event_type == SRQ
    with pytest.raises(pyvisa.VisaIOError):
        resource.wait_on_event(SRQ, 0)


def test_overflow_is_told_when_the_queue_was_too_short(resource: MessageBasedResource, bench: Bench) -> None:
    """PyVISA's warning, once; the oldest are kept. The length is VI_ATTR_MAX_QUEUE_LENGTH, 50 unless set."""
    length = constants.ResourceAttribute.max_queue_length
    assert resource.get_visa_attribute(length) == 50
    resource.set_visa_attribute(length, 2)
    assert resource.get_visa_attribute(length) == 2
    resource.enable_event(TRIG, QUEUE)
    for number in range(4):
        bench.happen(TRIG, [(EventAttribute.received_trigger_id, number)])
    resource.read_stb()
    with pytest.warns(pyvisa.errors.VisaIOWarning):
        first = resource.wait_on_event(TRIG, 0)
    assert first.ret == StatusCode.warning_queue_overflow
    second = resource.wait_on_event(TRIG, 0)
    assert [trigger_of(first), trigger_of(second)] == [0, 1]
    assert second.ret == StatusCode.success
    assert length not in {request.attribute for request in bench.seen(wire.SetAttribute)}


def test_event_has_its_attributes_when_it_was_waited_for(resource: MessageBasedResource, bench: Bench) -> None:
    """PyVISA's event classes read them; what an event does not have is VI_ERROR_NSUP_ATTR."""
    resource.enable_event(EventType.exception, QUEUE)
    attributes = [(EventAttribute.status, int(StatusCode.error_timeout)), (EventAttribute.operation_name, "viRead")]
    bench.happen(EventType.exception, attributes)
    response = resource.wait_on_event(EventType.exception, LONG)
    event = response.event
    assert isinstance(event, ExceptionEvent)
    assert (event.status, event.operation_name) == (StatusCode.error_timeout, "viRead")
    assert event.get_visa_attribute(EventAttribute.event_type) == EventType.exception
    with pytest.raises(pyvisa.VisaIOError) as failed:
        event.get_visa_attribute(EventAttribute.job_id)
    assert failed.value.error_code == StatusCode.error_nonsupported_attribute


def test_context_is_closed_when_its_response_is_gone(
    resource: MessageBasedResource, bench: Bench, library: DaemonVisaLibrary
) -> None:
    """WaitResponse closes it from garbage collection; an event that nobody keeps leaves nothing behind."""
    resource.enable_event(SRQ, QUEUE)
    kept_before = dict(library._last_status_in_session)
    for _ in range(3):
        bench.happen(SRQ)
        response = resource.wait_on_event(SRQ, LONG)
        assert len(library._contexts) == 1
        assert response.event.get_visa_attribute(EventAttribute.event_type) == SRQ
        del response
        assert not library._contexts
    assert library._last_status_in_session.keys() == kept_before.keys()


def test_srq_is_waited_for_by_pyvisas_own_method_when_it_comes(
    resource: MessageBasedResource, bench: Bench, channel: Channel
) -> None:
    """`GPIBInstrument.wait_for_srq` waits on until the status byte says that this instrument asked, and discards."""
    assert isinstance(resource, GPIBInstrument)
    bench.stb = 0
    waiting = in_thread(lambda: resource.wait_for_srq(LONG))
    wait_until(lambda: channel._waiting and bench.enabled)
    bench.happen(SRQ)
    wait_until(lambda: bench.seen(wire.Call))
    bench.stb = 0x40
    for _ in range(2):
        bench.happen(SRQ)
    waiting()
    assert [call.function for call in bench.seen(wire.Call)] == ["read_stb", "read_stb"]
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.wait_for_srq(20)
    assert failed.value.error_code == StatusCode.error_timeout
