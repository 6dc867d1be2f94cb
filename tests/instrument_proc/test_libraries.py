"""What libraries answer, in all their ways, becomes a value and a status, or a CallError: never anything else."""

import ctypes
import socket
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyvisa import errors, highlevel
from pyvisa.constants import AddressSpace, InputTriggerLine, ResourceAttribute, StatusCode, TriggerProtocol

from instrument_proc import visa_session
from instrument_proc.failures import CallError, attempt, translate
from instrument_proc.libraries import canonical, find_all
from instrument_proc.visa_session import VisaSession
from pyvisa_daemon.functions import FUNCTIONS

SUCCESS, NOT_EMPTY = StatusCode.success, StatusCode.success_queue_not_empty


class Library(SimpleNamespace, highlevel.VisaLibraryBase):
    """A VISA library whose functions are given as keywords; those of opening and closing succeed."""

    def open_default_resource_manager(self):
        return 1, SUCCESS

    def open(self, manager, resource):
        return 2, SUCCESS


@pytest.fixture
def opened(monkeypatch):
    """Opens a session in a library with these functions."""

    def open_in(library):
        monkeypatch.setattr(visa_session, "load", lambda *_: library)
        return VisaSession("@any", "GPIB0::1::INSTR")

    return open_in


@pytest.fixture
def answering(opened):
    """`answering("in_8", (1, SUCCESS))`: what comes of it when the library's function answers like this."""

    def call(name, answer, *arguments):
        def function(session, *given):
            if isinstance(answer, Exception):
                raise answer
            return answer

        return opened(Library(**{name: function})).call(FUNCTIONS[name], arguments)

    return call


# Names.


@given(
    st.one_of(st.text(max_size=30), st.lists(st.sampled_from(["VICP", "GPIB", "TCPIP", "::", "1", "INSTR", "-", ""])))
)
@example("VICP")
@example("VICPINSTR")
@example("")
def test_any_text_is_a_name_or_none(name):
    """The spare that is asked lives on."""
    try:
        found = canonical("".join(name))
    except CallError as error:
        token = error.token
    else:
        token, name = "", canonical(found)
        assert name == found
    assert token in ("", "VI_ERROR_INV_RSRC_NAME")


@pytest.mark.parametrize(
    ("name", "its_name"),
    [
        ("GPIB0::+22::INSTR", "GPIB0::22::INSTR"),
        ("GPIB0:: 22::1_0::INSTR", "GPIB0::22::10::INSTR"),
        ("TCPIP0::labpc::5_025::SOCKET", "TCPIP0::labpc::5025::SOCKET"),
        ("TCPIP0::labpc::\uff15\uff10\uff12\uff15::SOCKET", "TCPIP0::labpc::5025::SOCKET"),
        ("TCPIP0::+5::inst0::INSTR", "TCPIP0::+5::inst0::INSTR"),
        ("USB0::0b1::0o17::+5::+0::INSTR", "USB0::0x0001::0x000F::+5::0::INSTR"),
        ("USB0::2391::0x407::0042::00::INSTR", "USB0::2391::0x407::0042::00::INSTR"),
        ("ASRL/dev/ttyS+1::INSTR", "ASRL/dev/ttyS+1::INSTR"),
    ],
)
def test_number_that_is_one_to_python_only_is_written_as_in_visa(name, its_name):
    """pyvisa-py takes it: what holds for an instrument must hold for who spells it so. The front's `resource_names`
    compares the spellings that VISA has."""
    assert canonical(name) == its_name


@pytest.mark.parametrize(
    "name", ["ASRLspy:///dev/ptmx?file=/tmp/x::INSTR", "asrlSPY://x", "PRLGX-ASRL::alt://x?class=Y::INTFC", "ASRL://x"]
)
def test_url_that_does_more_than_open_a_line_is_no_name(name):
    """pyserial's spy:// writes any file that its user may: whoever may open something could have used that."""
    with pytest.raises(CallError) as refused:
        canonical(name)
    assert refused.value.token == "VI_ERROR_INV_RSRC_NAME"
    assert canonical("ASRLsocket://labpc:4001") == "ASRLsocket://labpc:4001::INSTR"


# Values and statuses.


@pytest.mark.parametrize(
    ("name", "answer", "value"),
    [
        ("clear", SUCCESS, None),
        ("clear", None, None),
        ("read_stb", (0x41, SUCCESS), 0x41),
        ("buffer_read", (bytearray(b"\x00\xff"), SUCCESS), b"\x00\xff"),
        ("move_in_16", ((ctypes.c_uint16 * 2)(1, 0xFFFF), SUCCESS), [1, 0xFFFF]),
        ("map_address", (0x7F00_0000_0000, SUCCESS), 0x7F00_0000_0000),
        ("map_address", (ctypes.c_void_p(0x3130), SUCCESS), 0x3130),  # its bytes read "01"
        ("map_address", (ctypes.c_void_p(None), SUCCESS), 0),
        ("memory_allocation", (ctypes.c_uint64(0x3939), SUCCESS), 0x3939),
    ],
)
def test_value_comes_in_a_type_of_ours(answering, name, answer, value):
    """Whatever the library wraps it in."""
    arguments = [0] * len(FUNCTIONS[name].parameters)
    assert answering(name, answer, *arguments) == (value, SUCCESS)


@pytest.mark.parametrize("status", [NOT_EMPTY, int(NOT_EMPTY), 0x3FFC0123])
def test_completion_code_comes_as_it_is(answering, status):
    """A vendor's own too."""
    assert answering("read_stb", (1, status)) == (1, status)
    assert answering("gpib_send_ifc", status) == (None, status)


@pytest.mark.parametrize(
    ("name", "answer", "token", "status"),
    [
        ("read_stb", (0, StatusCode.error_io), "VI_ERROR_IO", StatusCode.error_io),
        ("read_stb", (None, StatusCode.error_io), "VI_ERROR_IO", StatusCode.error_io),
        ("gpib_send_ifc", StatusCode.error_nonsupported_operation, "VI_ERROR_NSUP_OPER", -1073807257),
        ("gpib_send_ifc", -1073700000, "VI_ERROR_SYSTEM_ERROR", -1073700000),
        ("gpib_send_ifc", errors.VisaIOError(StatusCode.error_not_cic), "VI_ERROR_NCIC", StatusCode.error_not_cic),
        ("gpib_send_ifc", NotImplementedError(), "VI_ERROR_NSUP_OPER", -1073807257),
        ("gpib_send_ifc", ctypes.ArgumentError("argument 4"), "VI_ERROR_SYSTEM_ERROR", StatusCode.error_system_error),
        ("read_stb", None, "VI_ERROR_SYSTEM_ERROR", StatusCode.error_system_error),
        ("read_stb", (b"A", SUCCESS), "VI_ERROR_SYSTEM_ERROR", StatusCode.error_system_error),
        ("read_stb", (1, "well"), "VI_ERROR_SYSTEM_ERROR", StatusCode.error_system_error),
        ("buffer_read", (None, SUCCESS), "VI_ERROR_SYSTEM_ERROR", StatusCode.error_system_error),
    ],
)
def test_failure_comes_as_a_status_whether_returned_or_raised(answering, name, answer, token, status):
    """And so does nonsense."""
    with pytest.raises(CallError) as raised:
        answering(name, answer, *[1] * len(FUNCTIONS[name].parameters))
    assert (raised.value.token, raised.value.status) == (token, status)


def test_function_that_is_missing_altogether_is_not_supported(opened):
    """As where a vendor's VISA does not export a symbol; a fault within a library is something else."""
    library = Library()
    library.gpib_send_ifc = lambda session: library.viGpibSendIFC(session)
    library.read_stb = lambda session: session.bytes
    session = opened(library)
    tokens = []
    for name in ("gpib_send_ifc", "unmap_address", "read_stb"):
        with pytest.raises(CallError) as raised:
            session.call(FUNCTIONS[name], [])
        tokens.append(raised.value.token)
    assert tokens == ["VI_ERROR_NSUP_OPER", "VI_ERROR_NSUP_OPER", "VI_ERROR_SYSTEM_ERROR"]


# Arguments.


def test_arguments_arrive_as_pyvisa_s_enums(opened):
    """A number that the enum lacks goes through: the library judges it."""
    heard = []

    def keep(session, *given):
        heard.append(given)
        return SUCCESS

    session = opened(Library(assert_trigger=keep, out_8=keep, unmap_trigger=keep))
    session.call(FUNCTIONS["assert_trigger"], [1])
    session.call(FUNCTIONS["assert_trigger"], [777])
    session.call(FUNCTIONS["out_8"], [1, 0x10, 0xFF, False])
    session.call(FUNCTIONS["unmap_trigger"], [0, 777])
    assert heard == [(1,), (777,), (1, 0x10, 0xFF, False), (0, 777)]
    assert [type(given[0]) for given in heard] == [TriggerProtocol, int, AddressSpace, InputTriggerLine]
    assert [type(argument) for argument in heard[2][1:]] == [int, int, bool]


# Opening.


def fail():
    raise errors.VisaIOError(StatusCode.error_system_error)


def test_library_without_a_resource_manager_is_an_error_not_a_crash(opened):
    """A vendor's VISA does so without its driver."""
    library = Library()
    library.open_default_resource_manager = fail
    with pytest.raises(CallError) as raised:
        opened(library)
    assert raised.value.token == "VI_ERROR_SYSTEM_ERROR"
    with pytest.raises(CallError):
        find_all(library)


# What drivers raise.


@pytest.mark.parametrize(
    ("error", "token"),
    [
        (NotImplementedError("no"), "VI_ERROR_NSUP_OPER"),
        (ConnectionRefusedError(111, "refused"), "VI_ERROR_RSRC_NFOUND"),
        (socket.gaierror(-2, "unknown"), "VI_ERROR_RSRC_NFOUND"),
        (FileNotFoundError(2, "no such device"), "VI_ERROR_RSRC_NFOUND"),
        (TimeoutError("slow"), "VI_ERROR_TMO"),
        (ConnectionResetError(104, "reset"), "VI_ERROR_CONN_LOST"),
        (BrokenPipeError(32, "broken pipe"), "VI_ERROR_CONN_LOST"),
        (ConnectionAbortedError(103, "aborted"), "VI_ERROR_CONN_LOST"),
        (EOFError(), "VI_ERROR_CONN_LOST"),
        (OSError(16, "busy"), "VI_ERROR_RSRC_BUSY"),
        (OSError(19, "no device"), "VI_ERROR_CONN_LOST"),
        (OSError(5, "I/O"), "VI_ERROR_CONN_LOST"),
        (OSError(113, "no route"), "VI_ERROR_CONN_LOST"),
        (PermissionError(13, "denied"), "VI_ERROR_NPERMISSION"),
        (MemoryError(), "VI_ERROR_ALLOC"),
        (ValueError("a driver's own"), "VI_ERROR_SYSTEM_ERROR"),
        (ZeroDivisionError(), "VI_ERROR_SYSTEM_ERROR"),
    ],
)
def test_what_a_driver_raises_becomes_a_status(error, token):
    """With its words, and never an exception of another kind."""
    translated = translate(error)
    assert translated.token == token
    assert translated.text
    assert "\n" not in translated.text
    with pytest.raises(CallError):
        attempt(lambda: (_ for _ in ()).throw(error))


def test_traceback_in_a_driver_s_words_is_cut_to_its_end():
    """pyvisa-sim puts a whole one in there; a reply is one line."""
    error = translate(ValueError("Could not parse. 'Traceback (most recent call last):\\n  File x\\nKeyError: 1\\n'"))
    assert error.text == "KeyError: 1"


# Emptying a line on which nothing else helps.


class Talker(Library):
    """A serial line that says this, a byte for each read; None is silence."""

    def __init__(self, *said):
        super().__init__()
        self.said = list(said)

    def clear(self, session):
        raise NotImplementedError

    def read(self, session, count):
        byte = self.said.pop(0) if self.said else None
        if byte is None:
            raise errors.VisaIOError(StatusCode.error_timeout)
        return byte, SUCCESS

    def get_attribute(self, session, attribute):
        return {ResourceAttribute.termchar: 10, ResourceAttribute.timeout_value: 2000}[attribute], SUCCESS

    def set_attribute(self, session, attribute, state):
        return SUCCESS


@pytest.mark.parametrize(
    ("late_answers", "patience", "left"),
    [
        (0, 10.0, [b"a", b"\n", None, b"b", b"\n", None]),
        (1, 10.0, [b"b", b"\n", None]),
        (2, 10.0, []),
        (1, 0.0, [b"a", b"\n", None, b"b", b"\n", None]),
    ],
)
def test_line_is_read_until_quiet_and_until_late_answers_came(opened, late_answers, patience, left):
    """Which end with the termination character; nobody waits for longer than is said."""
    talker = Talker(b"x", None, b"a", b"\n", None, b"b", b"\n", None)
    opened(talker).resynchronise(late_answers, patience)
    assert talker.said == left


def test_line_that_never_falls_silent_is_an_error(opened, monkeypatch):
    """With signs of life until it is given up."""
    monkeypatch.setattr(visa_session, "DRAIN_LIMIT", 0.05)
    monkeypatch.setattr(visa_session, "DRAIN_SIGN", 0.0)
    talker, signs = Talker(), []
    talker.read = lambda session, count: (b"x", SUCCESS)
    with pytest.raises(CallError) as raised:
        opened(talker).resynchronise(go_on=lambda: signs.append(1))
    assert raised.value.token == "VI_ERROR_IO"
    assert signs
