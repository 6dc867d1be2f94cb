"""VISA functions that need more than passing on: what of them arrives in a child's library, and what stays outside.

The library is `@recorder` (backends/pyvisa_recorder). Messages and attributes arrive there; locks are the daemon's own.
Events and asynchronous operations are in test_event_functions.
"""

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import AccessModes, InterfaceType, ResourceAttribute, StatusCode

from pyvisa_daemon.framing import PIECE_SIZE
from tests.daemon.recorded import GPIB, PXI, SERIAL, SOCKET, USB, VXI, VXI11, typed
from tests.support.waiting import wait_until

MAX_COUNT = StatusCode.success_max_count_read


# Sessions.


def test_open(manager, recorder):
    """viOpen in the child, without a lock: locks are the daemon's."""
    recorder.forget()
    resource = manager.open_resource(VXI11, AccessModes.exclusive_lock, 1000)
    assert manager.last_status == StatusCode.success
    assert recorder.calls("", "open") == [typed("open", VXI11, AccessModes.no_lock, 0)]
    resource.close()
    wait_until(lambda: recorder.calls(VXI11, "close"), what="viClose in the child")


def test_open_of_what_the_library_does_not_have(manager):
    """Its own status."""
    with pytest.raises(pyvisa.VisaIOError) as raised:
        manager.open_resource("GPIB0::30::INSTR")
    assert raised.value.error_code == manager.last_status == StatusCode.error_resource_not_found


def test_close(manager, recorder):
    """Once the last session of all is closed; each is closed for its program at once."""
    first, second = manager.open_resource(VXI11), manager.open_resource(VXI11)
    recorder.forget()
    first.close()
    assert manager.visalib.last_status == StatusCode.success
    with pytest.raises(pyvisa.errors.InvalidSession):
        first.read_stb()
    second.read_stb()
    assert recorder.calls(VXI11, "close") == []
    second.close()
    wait_until(lambda: recorder.calls(VXI11, "close") == [typed("close")], what="viClose in the child")


def test_open_default_resource_manager(manager):
    """Each is a session of its own, and what was opened through it closes with it."""
    library = manager.visalib
    session, status = library.open_default_resource_manager()
    assert (status, session != manager.session) == (StatusCode.success, True)
    opened, _ = library.open(session, GPIB)
    library.close(session)
    with pytest.raises(pyvisa.VisaIOError) as raised:
        library.read_stb(opened)
    assert raised.value.error_code == StatusCode.error_invalid_object
    assert manager.list_resources("PXI?*") == (PXI,)


def test_list_resources(manager, recorder):
    """viFindRsrc for everything in the child; the program's own expression is applied here."""
    recorder.forget()
    assert manager.list_resources("(GPIB|VXI)?*INSTR") == (GPIB, VXI)
    assert manager.last_status == StatusCode.success
    assert manager.list_resources("FIREWIRE?*") == ()
    assert {call[1] for call in recorder.calls("", "list_resources")} <= {("str", "?*")}


def test_parse_resource_extended(manager, recorder):
    """Here, without a library; what PyVISA cannot parse the child's library may."""
    recorder.forget()
    info = manager.resource_info("gpib::8")
    assert (info.interface_type, info.resource_name, info.alias) == (InterfaceType.gpib, GPIB, None)
    assert recorder.calls("") == []
    assert manager.resource_info("digitizer").alias == "digitizer"
    assert recorder.calls("", "parse_resource_extended") == [typed("parse_resource_extended", "digitizer")]


def test_name_that_only_the_library_can_parse_opens(manager, recorder):
    """Under the name that the library gives it."""
    session, _ = manager.open_bare_resource("pxi::3")
    recorder.forget()
    manager.visalib.clear(session)
    assert recorder.functions(PXI) == [typed("clear")]
    manager.visalib.close(session)


def test_parse_resource(manager):
    """Here; PyVISA's own."""
    info = manager.resource_info(USB, extended=False)
    assert (info.interface_type, info.interface_board_number) == (InterfaceType.usb, 0)


def test_status_description(manager, opened, recorder):
    """Here, in PyVISA's words."""
    gpib = opened(GPIB)
    recorder.forget()
    text, status = manager.visalib.status_description(gpib.session, StatusCode.error_timeout)
    assert (text.partition(":")[0], status) == ("VI_ERROR_TMO", StatusCode.success)
    assert recorder.calls(GPIB) == []


# Messages.


def test_write(opened, recorder):
    """Byte by byte; the number of bytes comes back."""
    gpib, message = opened(GPIB), bytes(range(256))
    recorder.forget()
    assert gpib.write_raw(message) == 256
    assert gpib.write("VOLT 1") == 8
    assert gpib.write_raw(b"") == 0
    assert recorder.functions(GPIB) == [typed("write", data) for data in (message, b"VOLT 1\r\n", b"")]
    assert gpib.last_status == StatusCode.success


def test_long_write(opened, recorder):
    """One viWrite where its last byte carries END, piece by piece where nothing marks it."""
    message = b"0123456789" * 100_000
    for name, count in ((GPIB, 1), (SOCKET, -(-len(message) // PIECE_SIZE))):
        resource = opened(name)
        recorder.forget()
        assert resource.write_raw(message) == len(message)
        calls = recorder.functions(name)
        assert [call[0][1] for call in calls] == ["write"] * count
        assert b"".join(call[1][1] for call in calls) == message
        resource.read_bytes(len(message))


def test_read(opened, recorder):
    """With the program's own count; the status tells whether there is more."""
    gpib = opened(GPIB)
    gpib.write_raw(b"0123456789")
    recorder.forget()
    with gpib.ignore_warning(MAX_COUNT):
        assert gpib.visalib.read(gpib.session, 4) == (b"0123", MAX_COUNT)
    assert gpib.last_status == MAX_COUNT
    assert gpib.visalib.read(gpib.session, 100) == (b"456789", StatusCode.success)
    assert recorder.functions(GPIB) == [typed("read", 4), typed("read", 100)]


def test_long_read(opened, recorder):
    """More than the pipe takes at once is read piece by piece, the counts together as asked for."""
    gpib, message = opened(GPIB), b"0123456789" * 60_000
    gpib.write_raw(message)
    recorder.forget()
    data, status = gpib.visalib.read(gpib.session, 1_000_000)
    assert (data, status) == (message, StatusCode.success)
    assert recorder.functions(GPIB) == [typed("read", PIECE_SIZE)] * 3


def test_write_from_file(opened, recorder, tmp_path):
    """The file is the program's; what arrives is its bytes, in one message."""
    gpib, file = opened(GPIB), tmp_path / "waveform"
    file.write_bytes(b"0123456789")
    recorder.forget()
    assert gpib.visalib.write_from_file(gpib.session, str(file), 4) == (4, StatusCode.success)
    assert recorder.functions(GPIB) == [typed("write", b"0123")]
    with pytest.raises(pyvisa.VisaIOError) as raised:
        gpib.visalib.write_from_file(gpib.session, str(tmp_path / "missing"), 4)
    assert raised.value.error_code == gpib.last_status == StatusCode.error_file_access


def test_read_to_file(opened, recorder, tmp_path):
    """The file is the program's; behind what it has if VI_ATTR_FILE_APPEND_EN says so."""
    gpib, file = opened(GPIB), tmp_path / "trace"
    file.write_bytes(b"old ")
    for is_appended, content in ((True, b"old 01234"), (False, b"01234")):
        gpib.set_visa_attribute(ResourceAttribute.file_append_enabled, is_appended)
        gpib.write_raw(b"01234")
        recorder.forget()
        assert gpib.visalib.read_to_file(gpib.session, str(file), 100) == (5, StatusCode.success)
        assert recorder.functions(GPIB) == [typed("read", 100)]
        assert file.read_bytes() == content


# Attributes.


def test_get_attribute(opened, recorder):
    """Number by number; its state as a plain value, which PyVISA's classes turn into their enums."""
    serial = opened(SERIAL)
    recorder.forget()
    assert serial.baud_rate == 9600
    assert serial.parity is constants.Parity.none
    assert serial.resource_manufacturer_name == "RECORDER"
    assert recorder.calls(SERIAL) == [
        typed("get_attribute", ResourceAttribute.asrl_baud_rate),
        typed("get_attribute", ResourceAttribute.asrl_parity),
        typed("get_attribute", ResourceAttribute.resource_manufacturer_name),
    ]
    with pytest.raises(pyvisa.VisaIOError) as raised:
        _ = serial.data_bits
    assert raised.value.error_code == serial.last_status == StatusCode.error_nonsupported_attribute


def test_set_attribute(opened, recorder):
    """Its state arrives as a plain value."""
    serial = opened(SERIAL)
    recorder.forget()
    serial.baud_rate = 115_200
    serial.parity = constants.Parity.even
    serial.timeout = 1234
    assert recorder.calls(SERIAL, "set_attribute") == [
        typed("set_attribute", ResourceAttribute.asrl_baud_rate, 115_200),
        typed("set_attribute", ResourceAttribute.asrl_parity, 2),
        typed("set_attribute", ResourceAttribute.timeout_value, 1234),
    ]
    assert serial.last_status == StatusCode.success
    with pytest.raises(pyvisa.VisaIOError) as raised:
        serial.data_bits = 7
    assert raised.value.error_code == serial.last_status == StatusCode.error_nonsupported_attribute


# Locks.


@pytest.fixture
def two(manager):
    """Two sessions on one resource."""
    sessions = [manager.open_resource(GPIB) for _ in range(2)]
    yield sessions
    for session in sessions:
        session.close()


def test_lock(two, recorder):
    """The daemon's, across all clients: nothing arrives."""
    mine, other = two
    recorder.forget()
    mine.lock_excl(0)
    assert (mine.last_status, mine.lock_state) == (StatusCode.success, AccessModes.exclusive_lock)
    with pytest.raises(pyvisa.VisaIOError) as raised:
        other.read_stb()
    assert raised.value.error_code == other.last_status == StatusCode.error_resource_locked
    mine.lock_excl(0)
    assert mine.last_status == StatusCode.success_nested_exclusive
    mine.unlock()
    mine.unlock()
    key = mine.lock(0)
    assert other.lock(0, key) == key
    other.read_stb()
    assert [call[0][1] for call in recorder.functions(GPIB)] == ["read_stb"]


def test_unlock(two):
    """Of a session that has no lock is an error."""
    mine, _ = two
    mine.lock_excl(0)
    mine.unlock()
    assert mine.last_status == StatusCode.success
    with pytest.raises(pyvisa.VisaIOError) as raised:
        mine.unlock()
    assert raised.value.error_code == mine.last_status == StatusCode.error_session_not_locked


# What PyVISA's base does itself, here.


def test_widths_are_chosen_by_pyvisa(opened, recorder):
    """read_memory, write_memory, move_in, move_out, peek, poke: each is the function of its width."""
    vxi, a16 = opened(VXI), constants.AddressSpace.a16
    library, session = vxi.visalib, vxi.session
    recorder.forget()
    library.read_memory(session, a16, 0, constants.DataWidth.bit_8)
    library.write_memory(session, a16, 0, 1, constants.DataWidth.bit_16)
    library.move_in(session, a16, 0, 1, constants.DataWidth.bit_32)
    library.move_out(session, a16, 0, 1, [1], constants.DataWidth.bit_64)
    library.peek(session, 1, 8)
    library.poke(session, 1, 16, 1)
    names = [call[0][1] for call in recorder.functions(VXI)]
    assert names == ["in_8", "out_16", "move_in_32", "move_out_64", "peek_8", "poke_16"]
