"""The library of simulated instruments, as a VISA library and through a PyVISA ResourceManager."""

import threading
import warnings

import pytest
import pyvisa
from pyvisa.constants import (
    VI_TMO_INFINITE,
    BufferOperation,
    EventAttribute,
    EventMechanism,
    EventType,
    ResourceAttribute,
    StatusCode,
    TriggerProtocol,
)
from pyvisa_sim.highlevel import SimVisaLibrary

from instrument_proc.simulated import SimulatedLibrary
from instrument_proc.simulated_instrument import EAV, ESB, MAV, RQS

SRQ, ALL = EventType.service_request, EventType.all_enabled
QUEUE, HANDLER = EventMechanism.queue, EventMechanism.handler

DEFINITION = r"""
spec: "1.1"
devices:
  instrument:
    eom:
      GPIB INSTR: {q: "\n", r: "\n"}
      USB INSTR: {q: "\n", r: "\n"}
      TCPIP INSTR: {q: "\n", r: "\n"}
      TCPIP SOCKET: {q: "\n", r: "\n"}
      ASRL INSTR: {q: "\n", r: "\n"}
    error:
      status_register:
        - {q: "*ESR?", command_error: 32}
      error_queue:
        - {q: "SYST:ERR?", default: "0", command_error: "-100"}
    dialogues:
      - {q: "VAL?", r: "42"}
      - {q: "*TRG", r: "triggered"}
    properties:
      sre: {default: 0, getter: {q: "*SRE?", r: "{:d}"}, setter: {q: "*SRE {}"}, specs: {type: int}}
  deaf:
    eom:
      GPIB INSTR: {q: "\n", r: "\n"}
    error:
      error_queue:
        - {q: "SYST:ERR?", default: "0", command_error: "-100"}
resources:
  GPIB1::8::INSTR: {device: instrument}
  GPIB0::9::INSTR: {device: deaf}
  USB0::0x0957::1031::X::0::INSTR: {device: instrument}
  TCPIP0::localhost::inst0::INSTR: {device: instrument}
  TCPIP0::localhost::5025::SOCKET: {device: instrument}
  ASRL1::INSTR: {device: instrument}
"""

GPIB, DEAF, USB = "GPIB1::8::INSTR", "GPIB0::9::INSTR", "USB0::0x0957::1031::X::0::INSTR"
VXI11, SOCKET, SERIAL = "TCPIP0::localhost::inst0::INSTR", "TCPIP0::localhost::5025::SOCKET", "ASRL1::INSTR"
MESSAGE_BASED, STREAMS = [GPIB, USB, VXI11], [SOCKET, SERIAL]


@pytest.fixture
def path(tmp_path) -> str:
    file = tmp_path / "instruments.yaml"
    file.write_text(DEFINITION)
    return str(file)


class Bench:
    """The library, and what a test does with one session at a time."""

    def __init__(self, path: str) -> None:
        self.library = SimulatedLibrary(path)
        self.manager = self.library.open_default_resource_manager()[0]

    def open(self, name: str) -> int:
        session, status = self.library.open(self.manager, name)
        assert status == StatusCode.success
        return session

    def query(self, session: int, message: bytes) -> bytes:
        self.library.write(session, message)
        return bytes(self.library.read(session, 100)[0])

    def is_silent(self, session: int) -> bool:
        self.library.set_attribute(session, ResourceAttribute.timeout_value, 1)
        return self.status_of(self.library.read, session, 100) == StatusCode.error_timeout

    def status_of(self, function, *arguments) -> int:
        """The status that `function` raises, or returns last."""
        try:
            result = function(*arguments)
        except pyvisa.VisaIOError as error:
            return error.error_code
        return result[-1] if isinstance(result, tuple) else result

    def events(self, session: int) -> int:
        """How many are in the queue, which is empty then."""
        count = 0
        while True:
            status = self.status_of(self.library.wait_on_event, session, SRQ, 0)
            if status < 0:
                assert status in (StatusCode.error_timeout, StatusCode.error_not_enabled)
                return count
            count += 1


@pytest.fixture
def bench(path) -> Bench:
    return Bench(path)


# Opening, attributes.


def test_library_is_one_for_each_path(path):
    """As every PyVISA library; and none of pyvisa-sim's own."""
    assert SimulatedLibrary(path) is SimulatedLibrary(path)
    assert SimVisaLibrary(path) is not SimulatedLibrary(path)


def test_empty_path_is_what_pyvisa_sim_has_for_it():
    """Its own instruments."""
    library, theirs = SimulatedLibrary(""), SimVisaLibrary("")
    manager = library.open_default_resource_manager()[0]
    assert library.list_resources(manager, "?*") == theirs.list_resources(manager, "?*")


@pytest.mark.parametrize("text", ["", "devices: {}", 'spec: "9.9"', "spec: [", None])
def test_file_that_cannot_be_taken_raises_what_pyvisa_sim_raises(tmp_path, text):
    """Of the same class, in the same words."""
    file = tmp_path / "bad.yaml"
    if text is not None:
        file.write_text(text)
    raised = []
    for library in (SimVisaLibrary, SimulatedLibrary):
        with pytest.raises(Exception, match="Could not parse definitions file") as error:
            library(str(file))
        raised.append((error.type, str(error.value).rpartition("\\n")[2]))
    assert raised[0] == raised[1]


def test_unknown_resource_is_session_0_and_a_status(bench):
    """pyvisa-sim raises nothing here; neither is raised now."""
    assert bench.library.open(bench.manager, "GPIB0::30::INSTR") == (0, StatusCode.error_resource_not_found)
    assert bench.library.open(bench.manager, "nonsense") == (0, StatusCode.error_invalid_resource_name)


@pytest.mark.parametrize("name", MESSAGE_BASED + STREAMS)
def test_termination_character_is_lf_when_nobody_set_it(bench, name):
    """VPP-4.3's default, on GPIB too."""
    assert bench.library.get_attribute(bench.open(name), ResourceAttribute.termchar) == (10, StatusCode.success)


@pytest.mark.parametrize(
    ("name", "attribute", "state"),
    [
        (GPIB, ResourceAttribute.interface_number, 1),
        (GPIB, ResourceAttribute.gpib_primary_address, 8),
        (USB, ResourceAttribute.manufacturer_id, 0x957),
        (USB, ResourceAttribute.model_code, 1031),
        (USB, ResourceAttribute.usb_interface_number, 0),
    ],
)
def test_attribute_that_the_name_tells_is_a_number(bench, name, attribute, state):
    """Of the right field of the name."""
    assert bench.library.get_attribute(bench.open(name), attribute) == (state, StatusCode.success)


def test_attribute_without_a_state_is_not_supported(bench):
    """pyvisa-sim gives PyVISA's NotAvailable, with success; it stays settable."""
    session, attribute = bench.open(GPIB), ResourceAttribute.resource_manufacturer_name
    for _ in range(2):
        assert bench.status_of(bench.library.get_attribute, session, attribute) == (
            StatusCode.error_nonsupported_attribute
        )
    assert bench.status_of(bench.library.get_attribute, session, ResourceAttribute.asrl_baud_rate) < 0
    assert bench.status_of(bench.library.get_attribute, bench.manager, ResourceAttribute.resource_class) == (
        StatusCode.error_nonsupported_attribute
    )


# Buffers.


@pytest.mark.parametrize("name", MESSAGE_BASED + STREAMS)
def test_clear_empties_both_buffers(bench, name):
    """What was not read, and the message that had begun."""
    session = bench.open(name)
    bench.library.write(session, b"VAL?\n")
    bench.library.write(session, b"VA")
    assert bench.library.clear(session) == StatusCode.success
    assert bench.query(session, b"VAL?\n") == b"42\n"
    assert bench.is_silent(session)


@pytest.mark.parametrize(
    ("name", "mask", "is_emptied"),
    [
        (SERIAL, BufferOperation.discard_receive_buffer, True),
        (SERIAL, BufferOperation.discard_receive_buffer2, True),
        (SOCKET, BufferOperation.discard_receive_buffer, True),
        (SERIAL, BufferOperation.discard_read_buffer, False),
        (SERIAL, BufferOperation.flush_transmit_buffer, False),
        (GPIB, BufferOperation.discard_receive_buffer, False),
    ],
)
def test_flush_empties_what_was_received_on_a_stream(bench, name, mask, is_emptied):
    """And only that: an instrument on GPIB keeps its output until it is read or cleared."""
    session = bench.open(name)
    bench.library.write(session, b"VAL?\n")
    assert bench.library.flush(session, mask) == StatusCode.success
    assert bench.is_silent(session) == is_emptied


def test_flush_forgets_what_was_not_sent(bench):
    """The message begins anew; a mask of other bits is refused."""
    session = bench.open(SERIAL)
    bench.library.write(session, b"VA")
    bench.library.flush(session, BufferOperation.discard_transmit_buffer)
    assert bench.query(session, b"VAL?\n") == b"42\n"
    assert bench.status_of(bench.library.flush, session, 0x100) == StatusCode.error_invalid_mask


@pytest.mark.parametrize(("name", "is_emptied"), [(SOCKET, True), (SERIAL, False), (GPIB, False)])
def test_closing_takes_what_was_on_its_way_when_it_is_a_socket(bench, name, is_emptied):
    """The connection is gone. Nobody unplugs the others."""
    session = bench.open(name)
    bench.library.write(session, b"VAL?\n")
    assert bench.library.close(session) == StatusCode.success
    assert bench.is_silent(bench.open(name)) == is_emptied


# Status byte and trigger.


@pytest.mark.parametrize("name", MESSAGE_BASED)
def test_status_byte_says_that_an_answer_is_there_until_it_is_read(bench, name):
    """MAV, and a request for service if that is enabled: polled once."""
    session = bench.open(name)
    bench.library.write(session, b"*SRE 16\n")
    assert bench.library.read_stb(session) == (0, StatusCode.success)
    bench.library.write(session, b"VAL?\n")
    assert [bench.library.read_stb(session)[0] for _ in range(2)] == [MAV | RQS, MAV]
    bench.library.read(session, 2)
    assert bench.library.read_stb(session)[0] == MAV
    bench.library.read(session, 2)
    assert bench.library.read_stb(session)[0] == 0


def test_request_is_gone_when_what_it_was_for_was_read(bench):
    """Nobody polled; there is nothing left to ask service for."""
    session = bench.open(GPIB)
    bench.library.write(session, b"*SRE 16\n")
    bench.query(session, b"VAL?\n")
    assert bench.library.read_stb(session)[0] == 0


@pytest.mark.parametrize("name", STREAMS)
def test_stream_has_no_serial_poll_and_no_trigger(bench, name):
    """Nor service requests."""
    session = bench.open(name)
    for call in (
        (bench.library.read_stb, session),
        (bench.library.assert_trigger, session, TriggerProtocol.default),
    ):
        assert bench.status_of(*call) == StatusCode.error_nonsupported_operation
    assert bench.status_of(bench.library.enable_event, session, SRQ, QUEUE) == StatusCode.error_invalid_event


@pytest.mark.parametrize("name", MESSAGE_BASED)
def test_trigger_does_what_the_definition_has_for_trg(bench, name):
    """Here it is answered, and that may be a reason to request service."""
    session = bench.open(name)
    bench.library.write(session, b"*SRE 16\n")
    bench.library.enable_event(session, SRQ, QUEUE)
    assert bench.library.assert_trigger(session, TriggerProtocol.default) == StatusCode.success
    assert bench.events(session) == 1
    assert bytes(bench.library.read(session, 100)[0]) == b"triggered\n"


def test_trigger_does_nothing_when_the_definition_has_no_trg(bench):
    """No command error: no message was sent."""
    session = bench.open(DEAF)
    assert bench.library.assert_trigger(session, TriggerProtocol.default) == StatusCode.success
    assert bench.library.read_stb(session)[0] == 0
    bench.library.write(session, b"*TRG\n")
    assert bench.library.read_stb(session)[0] == EAV


def test_trigger_with_another_protocol_is_refused(bench):
    """Message based interfaces have one."""
    session = bench.open(GPIB)
    assert bench.status_of(bench.library.assert_trigger, session, TriggerProtocol.on) == (
        StatusCode.error_invalid_protocol
    )


# Events.


def requesting(bench: Bench, name: str = GPIB) -> int:
    """A session on an instrument that requests service for each answer it has."""
    session = bench.open(name)
    bench.library.write(session, b"*SRE 16\n")
    return session


def ask(bench: Bench, session: int) -> None:
    """One more request for service: the last answer is gone, and here is a new one."""
    bench.library.clear(session)
    bench.library.write(session, b"VAL?\n")


def test_queue_holds_an_event_for_each_request(bench):
    """They are taken one by one, each with a context of its own."""
    session = requesting(bench)
    assert bench.library.enable_event(session, SRQ, QUEUE) == StatusCode.success
    for _ in range(2):
        ask(bench, session)
    kind, first, status = bench.library.wait_on_event(session, SRQ, 0)
    assert (kind, status) == (SRQ, StatusCode.success_queue_not_empty)
    kind, second, status = bench.library.wait_on_event(session, ALL, 0)
    assert (kind, status) == (SRQ, StatusCode.success)
    assert first != second
    assert bench.library.get_attribute(first, EventAttribute.event_type) == (SRQ, StatusCode.success)
    assert bench.status_of(bench.library.get_attribute, first, EventAttribute.status) == (
        StatusCode.error_nonsupported_attribute
    )
    assert bench.library.close(first) == StatusCode.success
    assert bench.library.close(first) == StatusCode.error_invalid_object
    assert bench.status_of(bench.library.wait_on_event, session, SRQ, 0) == StatusCode.error_timeout


def test_queue_takes_no_more_than_its_length(bench):
    """VI_ATTR_MAX_QUEUE_LENGTH: what comes later is lost."""
    session = requesting(bench)
    bench.library.set_attribute(session, ResourceAttribute.max_queue_length, 2)
    bench.library.enable_event(session, SRQ, QUEUE)
    for _ in range(4):
        ask(bench, session)
    assert bench.events(session) == 2


def test_every_session_that_enabled_it_has_the_event(bench):
    """And no other: neither one that did not, nor one on another instrument."""
    session, second, third, elsewhere = (bench.open(name) for name in (GPIB, GPIB, GPIB, USB))
    for other in (second, third, elsewhere):
        bench.library.enable_event(other, SRQ, QUEUE)
    bench.library.close(third)
    bench.library.write(session, b"*SRE 16\n")
    ask(bench, session)
    assert [bench.events(other) for other in (session, second, elsewhere)] == [0, 1, 0]


def test_enabling_is_an_event_when_service_is_requested_already(bench):
    """`assert_trigger(); wait_for_srq()` enables too late for the moment, but SRQ is still there. Once."""
    session = requesting(bench)
    ask(bench, session)
    assert bench.library.enable_event(session, SRQ, QUEUE) == StatusCode.success
    assert bench.library.enable_event(session, SRQ, QUEUE) == StatusCode.success_event_already_enabled
    assert bench.events(session) == 1


def test_enabling_is_no_event_when_the_request_is_over(bench):
    """Polled, or what it was for is gone."""
    session = requesting(bench)
    ask(bench, session)
    bench.library.read_stb(session)
    bench.library.enable_event(session, SRQ, QUEUE)
    second = requesting(bench, USB)
    bench.query(second, b"VAL?\n")
    bench.library.enable_event(second, SRQ, QUEUE)
    assert [bench.events(session), bench.events(second)] == [0, 0]


def test_handlers_are_called_last_installed_first_within_the_write(bench):
    """Each has a context that lives as long as it; a status byte read there is that of the request."""
    session, calls = requesting(bench), []

    def handler(*arguments):
        calls.append((*arguments, bench.library.read_stb(session)[0]))
        assert bench.library.get_attribute(arguments[2], EventAttribute.event_type)[0] == SRQ

    for user_handle in ("first", "second"):
        installed = bench.library.install_handler(session, SRQ, handler, user_handle)
        assert installed == (handler, user_handle, handler, StatusCode.success)
    bench.library.enable_event(session, SRQ, HANDLER)
    bench.library.write(session, b"VAL?\n")
    context = calls[0][2]
    assert calls == [(session, SRQ, context, "second", MAV | RQS), (session, SRQ, context, "first", MAV)]
    assert bench.library.close(context) == StatusCode.error_invalid_object
    assert bench.events(session) == 0


def test_handler_ends_the_chain_when_it_says_so(bench):
    """VI_SUCCESS_NCHAIN; the queue has its event all the same."""
    session, calls = requesting(bench), []
    bench.library.install_handler(session, SRQ, lambda *_: calls.append("old"))
    bench.library.install_handler(session, SRQ, lambda *_: StatusCode.success_no_more_handler_calls_in_chain)
    bench.library.enable_event(session, SRQ, QUEUE | HANDLER)
    ask(bench, session)
    assert calls == []
    assert bench.events(session) == 1


def test_handler_may_ask_the_instrument_and_cause_the_next_request(bench):
    """A write within a handler is a call like any other."""
    session, answers = requesting(bench), []

    def handler(*_):
        answers.append(bytes(bench.library.read(session, 100)[0]))
        if len(answers) < 3:
            bench.library.write(session, b"VAL?\n")

    bench.library.install_handler(session, SRQ, handler)
    bench.library.enable_event(session, SRQ, HANDLER)
    bench.library.write(session, b"VAL?\n")
    assert answers == [b"42\n"] * 3


def test_handler_is_not_called_when_it_is_uninstalled(bench):
    """That one of several; one that is not there cannot be."""
    session, calls = requesting(bench), []
    for name in ("stays", "goes"):
        bench.library.install_handler(session, SRQ, _noting(calls, name), name)
    handler = _noting(calls, "other")
    bench.library.install_handler(session, SRQ, handler, "goes too")
    assert bench.library.uninstall_handler(session, SRQ, handler, "goes too") == StatusCode.success
    assert bench.status_of(bench.library.uninstall_handler, session, SRQ, handler, "goes too") == (
        StatusCode.error_invalid_handler_reference
    )
    bench.library.enable_event(session, SRQ, HANDLER)
    ask(bench, session)
    assert calls == ["goes", "stays"]


def _noting(calls, name):
    return lambda *_: calls.append(name)


def test_handler_that_cannot_be_called_is_a_type_error(bench):
    """As PyVISA expects of a library."""
    with pytest.raises(TypeError):
        bench.library.install_handler(bench.open(GPIB), SRQ, "handler")


def test_disabling_stops_events_and_leaves_the_queue(bench):
    """What is in the queue can still be taken."""
    session = requesting(bench)
    bench.library.enable_event(session, SRQ, QUEUE)
    ask(bench, session)
    assert bench.library.disable_event(session, SRQ, QUEUE) == StatusCode.success
    ask(bench, session)
    assert bench.library.disable_event(session, SRQ, QUEUE) == StatusCode.success_event_already_disabled
    assert bench.events(session) == 1
    assert bench.status_of(bench.library.wait_on_event, session, SRQ, 0) == StatusCode.error_not_enabled


def test_discarding_empties_the_queue(bench):
    """Of all mechanisms it is the queue that has one."""
    session = requesting(bench)
    bench.library.enable_event(session, SRQ, QUEUE)
    ask(bench, session)
    assert bench.library.discard_events(session, SRQ, EventMechanism.suspend_handler) == (
        StatusCode.success_queue_already_empty
    )
    assert bench.library.discard_events(session, ALL, EventMechanism.all) == StatusCode.success
    assert bench.library.discard_events(session, ALL, EventMechanism.all) == StatusCode.success_queue_already_empty
    assert bench.events(session) == 0


@pytest.mark.parametrize(
    ("function", "arguments", "status"),
    [
        ("enable_event", (EventType.trig, QUEUE), StatusCode.error_invalid_event),
        ("disable_event", (EventType.io_completion, QUEUE), StatusCode.error_invalid_event),
        ("discard_events", (EventType.exception, QUEUE), StatusCode.error_invalid_event),
        ("wait_on_event", (EventType.clear, 0), StatusCode.error_invalid_event),
        ("install_handler", (EventType.trig, print), StatusCode.error_invalid_event),
        ("install_handler", (ALL, print), StatusCode.error_invalid_event),
        ("uninstall_handler", (ALL, print), StatusCode.error_invalid_event),
        ("uninstall_handler", (SRQ, print), StatusCode.error_handler_not_installed),
        ("enable_event", (SRQ, 0), StatusCode.error_invalid_mechanism),
        ("enable_event", (SRQ, 8), StatusCode.error_invalid_mechanism),
        ("enable_event", (SRQ, EventMechanism.all), StatusCode.error_invalid_mechanism),
        ("enable_event", (SRQ, EventMechanism.suspend_handler), StatusCode.error_nonsupported_mechanism),
        ("enable_event", (SRQ, HANDLER), StatusCode.error_handler_not_installed),
        ("enable_event", (ALL, QUEUE), StatusCode.success),
        ("disable_event", (SRQ, 0), StatusCode.error_invalid_mechanism),
        ("disable_event", (ALL, EventMechanism.all), StatusCode.success_event_already_disabled),
        ("discard_events", (SRQ, 0), StatusCode.error_invalid_mechanism),
        ("wait_on_event", (SRQ, 0), StatusCode.error_not_enabled),
        ("wait_on_event", (ALL, 0), StatusCode.error_not_enabled),
    ],
)
def test_event_call_gives_the_status_that_the_standard_has_for_it(bench, function, arguments, status):
    """Nothing is enabled by a call that is refused."""
    session = requesting(bench)
    assert bench.status_of(getattr(bench.library, function), session, *arguments) == status
    ask(bench, session)
    assert bench.events(session) == 0


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("clear", ()),
        ("flush", (BufferOperation.discard_receive_buffer,)),
        ("read_stb", ()),
        ("assert_trigger", (TriggerProtocol.default,)),
        ("enable_event", (SRQ, QUEUE)),
        ("disable_event", (SRQ, QUEUE)),
        ("discard_events", (SRQ, QUEUE)),
        ("wait_on_event", (SRQ, 0)),
        ("install_handler", (SRQ, print)),
        ("uninstall_handler", (SRQ, print)),
    ],
)
def test_session_that_is_closed_is_an_invalid_object(bench, function, arguments):
    """For every function that is added."""
    session = bench.open(GPIB)
    bench.library.close(session)
    assert bench.status_of(getattr(bench.library, function), session, *arguments) == StatusCode.error_invalid_object
    assert bench.library.last_status == StatusCode.error_invalid_object


@pytest.mark.parametrize("timeout", [None, VI_TMO_INFINITE, 100_000])
def test_wait_ends_when_another_thread_causes_the_event(bench, timeout):
    """However long it would have waited."""
    session = requesting(bench)
    bench.library.enable_event(session, SRQ, QUEUE)
    statuses = []
    waiting = threading.Thread(
        target=lambda: statuses.append(bench.library.wait_on_event(session, SRQ, timeout)[2]), daemon=True
    )
    waiting.start()
    bench.library.write(session, b"VAL?\n")
    waiting.join(30)
    assert statuses == [StatusCode.success]


# Through PyVISA.


def test_pyvisa_program_waits_for_a_service_request(path):
    """As one on GPIB does: enable, trigger, wait, read; nothing is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager = pyvisa.ResourceManager(SimulatedLibrary(path))
        instrument = manager.open_resource(GPIB, read_termination="\n", write_termination="\n")
        for _ in range(2):
            instrument.write("*SRE 16")
            instrument.assert_trigger()
            instrument.wait_for_srq(1000)
            assert instrument.stb == MAV
            assert instrument.read() == "triggered"
        instrument.write("nonsense")
        assert instrument.stb == EAV
        instrument.clear()
        assert instrument.stb == EAV, "no *ESE: the event status is not summed up"
        assert not instrument.stb & ESB
        instrument.enable_event(SRQ, QUEUE)
        assert instrument.wait_on_event(SRQ, 0, capture_timeout=True).timed_out
        manager.close()


def test_pyvisa_handler_is_called_with_its_event(path):
    """wrap_handler, install, enable; closing takes it all away."""
    manager = pyvisa.ResourceManager(SimulatedLibrary(path))
    instrument, calls = manager.open_resource(VXI11, read_termination="\n", write_termination="\n"), []

    def handler(resource, event, user_handle):
        calls.append((resource, event.event_type, user_handle, resource.read_stb(), resource.read()))

    wrapped = instrument.wrap_handler(handler)
    instrument.install_handler(SRQ, wrapped, "mine")
    instrument.enable_event(SRQ, HANDLER)
    instrument.write("*SRE 16")
    instrument.write("VAL?")
    assert calls == [(instrument, SRQ, "mine", MAV | RQS, "42")]
    instrument.uninstall_handler(SRQ, wrapped, "mine")
    instrument.write("VAL?")
    assert len(calls) == 1
    instrument.install_handler(SRQ, wrapped, "again")
    manager.close()
