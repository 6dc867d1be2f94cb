"""Events and asynchronous operations: what of them arrives in a child's library, and what stays with the program.

The library is `@recorder` (backends/pyvisa_recorder). A handler of the child's tells of events; queues, masks and
handlers are the program's own, and so is the completion of an asynchronous operation.
"""

import threading

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import EventAttribute, EventMechanism, EventType, StatusCode

from tests.daemon.recorded import GPIB, VXI11, typed
from tests.support.waiting import DEADLINE

QUEUE, HANDLER, ALL = EventMechanism.queue, EventMechanism.handler, EventMechanism.all
SRQ, TRIG, COMPLETION = EventType.service_request, EventType.trig, EventType.io_completion
MAX_COUNT = StatusCode.success_max_count_read


class Witness:
    """Handlers, and what they were called with."""

    def __init__(self):
        self.calls = []
        self.called = threading.Semaphore(0)

    def handler(self, session, event_type, context, user_handle):
        self.calls.append((session, event_type, context, user_handle, threading.current_thread()))
        self.called.release()

    def wait(self):
        assert self.called.acquire(timeout=DEADLINE), "the handler was not called"
        return self.calls[-1]


@pytest.fixture
def source(manager):
    """A session of this test alone, the only one on its resource, and `tell`, which makes an event happen."""
    with manager.open_resource(VXI11) as resource:
        resource.tell = lambda event: resource.write_raw(b"EVENT %d" % event)
        yield resource


def test_enable_event(source, manager, recorder):
    """A handler of the child's is installed and enabled, whatever the program enables; once for all sessions."""
    recorder.forget()
    source.enable_event(TRIG, QUEUE)
    assert source.last_status == StatusCode.success
    source.enable_event(TRIG, QUEUE)
    assert source.last_status == StatusCode.success_event_already_enabled
    with manager.open_resource(VXI11) as other:
        other.enable_event(TRIG, QUEUE)
        source.tell(TRIG)
        assert other.wait_on_event(TRIG, 10_000).event.event_type == TRIG
    assert recorder.functions(VXI11) == [
        typed("install_handler", TRIG),
        typed("enable_event", TRIG, HANDLER),
        typed("write", b"EVENT %d" % TRIG),
    ]


def test_enable_event_that_the_library_refuses(source):
    """Its status."""
    with pytest.raises(pyvisa.VisaIOError) as raised:
        source.enable_event(EventType.clear, QUEUE)
    assert raised.value.error_code == source.last_status == StatusCode.error_invalid_event


def test_disable_event(source, manager, recorder):
    """In the library with the last session that has it enabled."""
    source.enable_event(TRIG, QUEUE)
    with manager.open_resource(VXI11) as other:
        other.enable_event(TRIG, QUEUE)
        recorder.forget()
        other.disable_event(TRIG, ALL)
        assert recorder.functions(VXI11) == []
        source.disable_event(TRIG, ALL)
    assert source.last_status == StatusCode.success
    assert recorder.functions(VXI11) == [typed("disable_event", TRIG, HANDLER), typed("uninstall_handler", TRIG)]
    source.disable_event(TRIG, ALL)


@pytest.mark.parametrize(
    ("event", "attributes"),
    [
        (SRQ, {}),
        (TRIG, {EventAttribute.received_trigger_id: constants.TriggerID.ttl3}),
        (EventType.exception, {EventAttribute.operation_name: "viWrite", EventAttribute.status: StatusCode.error_io}),
        (EventType.vxi_signal_interrupt, {EventAttribute.signal_register_status_id: 0xBEEF}),
        (EventType.usb_interrupt, {EventAttribute.usb_received_interrupt_size: 2, EventAttribute.status: MAX_COUNT}),
    ],
)
def test_wait_on_event(source, event, attributes):
    """The event and what it has besides, from a thread of the library's, in the program's queue."""
    source.enable_event(event, QUEUE)
    source.tell(event)
    response = source.wait_on_event(event, 10_000)
    assert (response.event.event_type, response.timed_out) == (event, False)
    assert {number: response.event.get_visa_attribute(number) for number in attributes} == attributes
    assert source.last_status == StatusCode.success
    with pytest.raises(pyvisa.VisaIOError) as raised:
        source.wait_on_event(event, 0)
    assert raised.value.error_code == source.last_status == StatusCode.error_timeout
    assert source.wait_on_event(event, 0, capture_timeout=True).timed_out


def test_wait_on_any_event_for_ever(source):
    """VI_ALL_ENABLED_EVENTS and VI_TMO_INFINITE."""
    source.enable_event(TRIG, QUEUE)
    source.enable_event(SRQ, QUEUE)
    source.tell(SRQ)
    assert source.wait_on_event(EventType.all_enabled, constants.VI_TMO_INFINITE).event.event_type == SRQ


def test_discard_events(source, recorder):
    """The program's own queue: nothing arrives."""
    witness = Witness()
    source.install_handler(TRIG, witness.handler)
    source.enable_event(TRIG, HANDLER)
    source.enable_event(TRIG, QUEUE)
    source.tell(TRIG)
    witness.wait()
    recorder.forget()
    source.discard_events(TRIG, QUEUE)
    assert source.last_status == StatusCode.success
    source.discard_events(TRIG, QUEUE)
    assert source.last_status == StatusCode.success_queue_already_empty
    assert recorder.calls(VXI11) == []


def test_wait_for_srq(manager):
    """GPIBInstrument's, as a program waits for the end of a measurement."""
    with manager.open_resource(GPIB) as gpib:
        gpib.enable_event(SRQ, QUEUE)
        gpib.write_raw(b"EVENT %d" % SRQ)
        gpib.wait_for_srq(10_000)
        assert gpib.last_status == StatusCode.success_queue_already_empty


def test_install_handler(source):
    """It is called on a thread of its own with its own session and the very user handle that installing gave."""
    witness = Witness()
    user_handle = source.install_handler(TRIG, witness.handler, 4711)
    source.enable_event(TRIG, HANDLER)
    source.tell(TRIG)
    session, event_type, _, handle, thread = witness.wait()
    assert (session, event_type, handle.value) == (source.session, TRIG, 4711)
    assert handle is user_handle
    assert thread is not threading.current_thread()
    source.uninstall_handler(TRIG, witness.handler, user_handle)


def test_handler_may_call_the_library(source):
    """Its event has attributes, its session answers."""
    heard, is_called = [], threading.Event()

    def handler(resource, event, user_handle):
        heard.append((event.get_visa_attribute(EventAttribute.event_type), resource.read_stb(), user_handle))
        is_called.set()

    source.install_handler(TRIG, source.wrap_handler(handler))
    source.enable_event(TRIG, HANDLER)
    source.tell(TRIG)
    assert is_called.wait(DEADLINE)
    assert heard == [(TRIG, source.read_stb(), None)]


def test_uninstall_handler(source):
    """It is called no more; others are."""
    gone, here = Witness(), Witness()
    source.install_handler(TRIG, gone.handler)
    source.install_handler(TRIG, here.handler)
    source.enable_event(TRIG, HANDLER)
    source.uninstall_handler(TRIG, gone.handler)
    source.tell(TRIG)
    here.wait()
    assert gone.calls == []
    with pytest.raises(pyvisa.errors.UnknownHandler):
        source.uninstall_handler(TRIG, gone.handler)
    source.visalib.uninstall_all_visa_handlers(source.session)
    with pytest.raises(pyvisa.errors.UnknownHandler):
        source.uninstall_handler(TRIG, here.handler)


# Asynchronous operations.


@pytest.fixture
def asynchronous(source):
    """A session that is told of completions by its queue."""
    source.enable_event(COMPLETION, QUEUE)
    return source


def test_write_asynchronously(asynchronous, recorder):
    """A viWrite; its end is an event of the program's own."""
    recorder.forget()
    job, status = asynchronous.visalib.write_asynchronously(asynchronous.session, b"VOLT 1")
    assert status == StatusCode.success
    response = asynchronous.wait_on_event(COMPLETION, 10_000)
    event = response.event
    assert (event.job_id, event.status, event.return_count) == (job, StatusCode.success, 6)
    assert event.operation_name == "viWriteAsync"
    assert recorder.functions(VXI11) == [typed("write", b"VOLT 1")]


def test_read_asynchronously(asynchronous, recorder):
    """A viRead into a buffer that is known by its job."""
    asynchronous.write_raw(b"01234")
    recorder.forget()
    buffer, job, status = asynchronous.visalib.read_asynchronously(asynchronous.session, 100)
    assert status == StatusCode.success
    response = asynchronous.wait_on_event(COMPLETION, 10_000)
    event = response.event
    assert (event.job_id, event.status, event.data) == (job, StatusCode.success, b"01234")
    assert bytes(buffer)[:5] == b"01234"
    assert recorder.functions(VXI11) == [typed("read", 100)]


def test_get_buffer_from_id(asynchronous):
    """The very buffer, for as long as somebody keeps it."""
    asynchronous.write_raw(b"01234")
    buffer, job, _ = asynchronous.visalib.read_asynchronously(asynchronous.session, 100)
    assert asynchronous.visalib.get_buffer_from_id(job) is buffer
    assert asynchronous.visalib.get_buffer_from_id(10**6) is None
    asynchronous.wait_on_event(COMPLETION, 10_000)


def test_move_asynchronously(asynchronous, recorder):
    """A viMove."""
    a16, a32 = constants.AddressSpace.a16, constants.AddressSpace.a32
    arguments = (a16, 0x10, constants.DataWidth.bit_16, a32, 0x20, constants.DataWidth.bit_32, 5)
    recorder.forget()
    job, _ = asynchronous.visalib.move_asynchronously(asynchronous.session, *arguments)
    response = asynchronous.wait_on_event(COMPLETION, 10_000)
    event = response.event
    assert (event.job_id, event.operation_name, event.return_count) == (job, "viMoveAsync", 5)
    assert recorder.functions(VXI11) == [typed("move", *arguments)]


def test_terminate(asynchronous, manager, recorder):
    """What has not begun does not begin; its completion is VI_ERROR_ABORT."""
    library = asynchronous.visalib
    with manager.open_resource(VXI11) as other:
        recorder.forget()
        other.write("VOLT?")  # its answer is to come: nobody else's turn
        job, _ = library.write_asynchronously(asynchronous.session, b"VOLT 1")
        assert library.terminate(asynchronous.session, None, job) == StatusCode.success
        response = asynchronous.wait_on_event(COMPLETION, 10_000)
        assert (response.event.job_id, response.event.status) == (job, StatusCode.error_abort)
        other.read_raw()
    asynchronous.write_raw(b"VOLT 2")
    assert recorder.calls(VXI11, "write") == [typed("write", b"VOLT?\r\n"), typed("write", b"VOLT 2")]


def test_operation_that_is_over_cannot_be_terminated(asynchronous):
    """VI_ERROR_INV_JOB_ID."""
    job, _ = asynchronous.visalib.write_asynchronously(asynchronous.session, b"VOLT 1")
    asynchronous.wait_on_event(COMPLETION, 10_000)
    with pytest.raises(pyvisa.VisaIOError) as raised:
        asynchronous.visalib.terminate(asynchronous.session, None, job)
    assert raised.value.error_code == asynchronous.last_status == StatusCode.error_invalid_job_i_d
