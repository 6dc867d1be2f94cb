"""Every VISA function, from PyVISA's own classes to a VISA library in a child: its arguments, its value, its status.

The library is `@recorder` (tests/daemon/backends/pyvisa_recorder), which writes down how it was called. Each row of
ROWS is a function that goes through as it is; functions with code of their own are in test_own_functions, and
docs/explanation/compliance.md names for each function the test that shows how it arrives.
"""

import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pyvisa
from pyvisa import constants, resources
from pyvisa.constants import StatusCode
from pyvisa.highlevel import VisaLibraryBase

from pyvisa_daemon.errors import Effect
from pyvisa_daemon.functions import FUNCTIONS
from tests.daemon.backends.pyvisa_recorder import status_of, value_of
from tests.daemon.recorded import GPIB, INTERFACE, PXI, SERIAL, USB, VXI, typed
from tests.support.daemon import ROOT

FAILURE = StatusCode.error_not_cic

A16, A24, A32, BAR0 = (getattr(constants.AddressSpace, name) for name in ("a16", "a24", "a32", "pxi_bar0"))
BIT_16, BIT_32 = constants.DataWidth.bit_16, constants.DataWidth.bit_32


class Row(NamedTuple):
    """One function: how a program calls it, on which resource, what arrives behind the session."""

    resource: str
    call: Callable[[Any], Any]
    arrives: tuple[Any, ...]
    #: What the program gets of the value and the status: both, value, status or nothing.
    gets: str = "both"


def low(name: str, resource: str, *arguments: Any, arrives: tuple[Any, ...] | None = None, gets: str = "both") -> Row:
    """A function that PyVISA's classes do not use: called at the library."""
    return Row(
        resource,
        lambda opened: getattr(opened.visalib, name)(opened.session, *arguments),
        arguments if arrives is None else arrives,
        gets,
    )


def memory(bits: int) -> dict[str, Row]:
    """Register access in one width, most of it by VXIInstrument and PXIInstrument."""
    most = 2**bits - 1
    numbers = [0, 1, most]
    return {
        f"in_{bits}": Row(VXI, lambda vxi: vxi.read_memory(A16, 0x10, bits), (A16, 0x10, False), "value"),
        f"out_{bits}": Row(
            PXI, lambda pxi: pxi.write_memory(BAR0, 0x20, most, bits, True), (BAR0, 0x20, most, True), "status"
        ),
        f"move_in_{bits}": Row(VXI, lambda vxi: vxi.move_in(A24, 0x30, 3, bits), (A24, 0x30, 3, False), "value"),
        f"move_out_{bits}": Row(
            PXI,
            lambda pxi: pxi.move_out(A32, 2**40, 3, iter(numbers), bits, True),
            (A32, 2**40, 3, numbers, True),
            "status",
        ),
        f"peek_{bits}": low(f"peek_{bits}", VXI, 2**47),
        f"poke_{bits}": low(f"poke_{bits}", VXI, 2**47, most, gets="status"),
    }


_DISCARD = constants.BufferOperation.discard_read_buffer | constants.BufferOperation.discard_write_buffer
_ADDRESS = constants.RENLineOperation.asrt_address
_TTL3, _PANEL = constants.InputTriggerLine.ttl3, constants.OutputTriggerLine.panel
_MOVE = (A16, 0x10, BIT_16, A32, 0x20, BIT_32, 5)

ROWS: dict[str, Row] = {
    "clear": Row(GPIB, lambda gpib: gpib.clear(), (), "nothing"),
    "read_stb": Row(GPIB, lambda gpib: gpib.read_stb(), (), "value"),
    "assert_trigger": Row(GPIB, lambda gpib: gpib.assert_trigger(), (constants.TriggerProtocol.default,), "nothing"),
    "flush": Row(SERIAL, lambda serial: serial.flush(_DISCARD), (_DISCARD,), "nothing"),
    "set_buffer": low("set_buffer", SERIAL, constants.BufferType.io_in, 4096, gets="status"),
    "buffer_read": low("buffer_read", GPIB, 100),
    "buffer_write": low("buffer_write", GPIB, b"\x00VOLT\xff"),
    "gpib_command": Row(INTERFACE, lambda intfc: intfc.send_command(b"\x3f\x28\x08"), (b"\x3f\x28\x08",)),
    "gpib_control_atn": Row(
        INTERFACE,
        lambda intfc: intfc.control_atn(constants.ATNLineOperation.asrt_immediate),
        (constants.ATNLineOperation.asrt_immediate,),
        "status",
    ),
    "gpib_control_ren": Row(GPIB, lambda gpib: gpib.control_ren(_ADDRESS), (_ADDRESS,), "status"),
    "gpib_pass_control": Row(
        INTERFACE,
        lambda intfc: intfc.pass_control(5, constants.VI_NO_SEC_ADDR),
        (5, constants.VI_NO_SEC_ADDR),
        "status",
    ),
    "gpib_send_ifc": Row(INTERFACE, lambda intfc: intfc.send_ifc(), (), "status"),
    "usb_control_in": Row(USB, lambda usb: usb.control_in(0xA1, 7, 0x102, 3, 24), (0xA1, 7, 0x102, 3, 24), "value"),
    "usb_control_out": Row(
        USB, lambda usb: usb.control_out(0x21, 9, 0x200, 1, b"\x00\x01"), (0x21, 9, 0x200, 1, b"\x00\x01"), "status"
    ),
    "vxi_command_query": low("vxi_command_query", VXI, constants.VXICommands.command_response_32, 0xDEADBEEF),
    "assert_interrupt_signal": low(
        "assert_interrupt_signal", VXI, constants.AssertSignalInterrupt.irq3, 0xFF18, gets="status"
    ),
    "assert_utility_signal": low("assert_utility_signal", VXI, constants.UtilityBusSignal.sysrest, gets="status"),
    "map_trigger": low("map_trigger", VXI, _TTL3, _PANEL, None, gets="status"),
    "unmap_trigger": low("unmap_trigger", VXI, _TTL3, _PANEL, gets="status"),
    "map_address": low("map_address", VXI, A24, 0x200000, 0x1000, arrives=(A24, 0x200000, 0x1000, False, None)),
    "unmap_address": low("unmap_address", VXI, gets="status"),
    "memory_allocation": low("memory_allocation", PXI, 4096, arrives=(4096, False)),
    "memory_free": low("memory_free", PXI, 2**40, True, gets="status"),
    "move": low("move", VXI, *_MOVE, gets="status"),
    **memory(8),
    **memory(16),
    **memory(32),
    **memory(64),
}


def test_every_function_that_passes_through_has_a_row():
    """A new one needs its row."""
    assert ROWS.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_row_has_the_parameters_that_pyvisa_has(name):
    """In their order; the first two are the library and the session."""
    named = [*inspect.signature(getattr(VisaLibraryBase, name)).parameters][2:]
    assert [parameter.name for parameter in FUNCTIONS[name].parameters] == named


@pytest.fixture(scope="module")
def table():
    """docs/visa_functions.py, from which the page's tables are made."""
    spec = importlib.util.spec_from_file_location("visa_functions", ROOT / "docs" / "visa_functions.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_function_of_pyvisa_s_is_accounted_for(table):
    """It passes through, has code of its own, or is the program's: once, with a reason and a test."""
    known = [*FUNCTIONS, *table.OWN, *table.LOCAL]
    assert sorted(known) == sorted(table.public_functions())
    assert all(reason for reason, _ in table.LOCAL.values())


def test_page_names_a_test_for_every_function(table):
    """One that exists."""
    page = (ROOT / "docs" / "explanation" / "compliance.md").read_text()
    named = dict(re.findall(r"^\| `(\w+)` \|.*\| `(test_\w+\.py::[^`]+)` \|$", page, re.MULTILINE))
    assert named.keys() == table.public_functions()
    tests = {
        f"{file.name}::{name}"
        for file in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert {test.partition("[")[0] for test in named.values()} <= tests
    assert {name: named[name] for name in ROWS} == {
        name: f"test_every_function.py::test_function_arrives[{name}]" for name in ROWS
    }
    assert all(f" {release}" in page for release in table.RELEASES.values())


@pytest.mark.parametrize("name", ROWS)
def test_function_arrives(name, opened, recorder):
    """Argument by argument, in the right types; its value and status come back, `last_status` too."""
    row = ROWS[name]
    resource = opened(row.resource)
    recorder.forget()
    result = row.call(resource)
    assert recorder.functions(row.resource) == [typed(name, *row.arrives)]
    answers = {
        "both": (value_of(name), status_of(name)),
        "value": value_of(name),
        "status": status_of(name),
        "nothing": None,
    }
    assert typed(result) == typed(answers[row.gets])
    assert resource.last_status == status_of(name)
    assert resource.visalib.last_status == status_of(name)


@pytest.mark.parametrize("name", ROWS)
def test_failure_of_the_library_reaches_the_program(name, opened):
    """As the VisaIOError that it would be without a daemon; the instrument may have acted, if it was to act."""
    row = ROWS[name]
    resource = opened(row.resource)
    resource.visalib.write(resource.session, b"FAIL %d" % FAILURE)
    with pytest.raises(pyvisa.VisaIOError) as raised:
        row.call(resource)
    assert raised.value.error_code == FAILURE
    assert raised.value.effect is (Effect.NONE if name == "read_stb" else Effect.MAYBE)
    assert resource.last_status == FAILURE
    row.call(resource)
    assert resource.last_status == status_of(name)


def test_resources_have_the_classes_that_pyvisa_has_for_them(opened):
    """So the rows above go through what a program uses."""
    classes = {
        GPIB: resources.GPIBInstrument,
        INTERFACE: resources.GPIBInterface,
        USB: resources.USBInstrument,
        SERIAL: resources.SerialInstrument,
        VXI: resources.VXIInstrument,
        PXI: resources.PXIInstrument,
    }
    assert {name: type(opened(name)) for name in classes} == classes


# Arguments.


@pytest.mark.parametrize(
    ("name", "named", "arrives"),
    [
        ("in_8", {"space": A16, "offset": 1}, (A16, 1, False)),
        ("in_8", {"space": 0, "offset": 1}, (0, 1, False)),
        ("out_16", {"extended": True, "data": 7, "space": A24, "offset": 2**33}, (A24, 2**33, 7, True)),
        (
            "usb_control_in",
            dict.fromkeys(("request_type_bitmap_field", "request_id", "request_value", "index"), 1),
            (1, 1, 1, 1, 0),
        ),
        ("map_trigger", {"trigger_source": _TTL3, "trigger_destination": _PANEL}, (_TTL3, _PANEL, None)),
        ("map_address", {"map_space": A16, "map_base": 0, "map_size": 8, "suggested": 99}, (A16, 0, 8, False, 99)),
        ("buffer_write", {"data": bytearray(b"ab")}, (b"ab",)),
        ("set_buffer", {"mask": 3, "size": True}, (constants.BufferType.read | constants.BufferType.write, 1)),
        ("assert_trigger", {"protocol": 777}, (777,)),
    ],
)
def test_arguments_by_name_and_defaults_arrive(opened, recorder, name, named, arrives):
    """Also what an enum of PyVISA's does not know: the library judges it."""
    resource = opened(VXI)
    recorder.forget()
    getattr(resource.visalib, name)(resource.session, **named)
    assert recorder.functions(VXI) == [typed(name, *arrives)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("poke_8", (1, "one")),
        ("poke_8", (1.5, 1)),
        ("in_8", ()),
        ("in_8", (A16, 1, False, 4)),
        ("gpib_command", ("text",)),
        ("move_out_8", (A16, 0, 1, ["a"])),
        ("clear", (1,)),
    ],
)
def test_arguments_that_visa_could_not_take_are_a_type_error(opened, recorder, name, arguments):
    """Before anything is sent."""
    resource = opened(VXI)
    recorder.forget()
    with pytest.raises(TypeError):
        getattr(resource.visalib, name)(resource.session, *arguments)
    assert recorder.functions(VXI) == []
    assert resource.visalib.peek_8(resource.session, 1)[0] == value_of("peek_8")


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63)])
def test_widest_numbers_arrive(opened, recorder, number):
    """What is wider than any VISA type is refused, and the connection lives on."""
    resource = opened(VXI)
    recorder.forget()
    resource.visalib.poke_64(resource.session, 2**64 - 1, number)
    assert recorder.functions(VXI) == [typed("poke_64", 2**64 - 1, number)]
    with pytest.raises((OverflowError, pyvisa.VisaIOError)):
        resource.visalib.poke_64(resource.session, 2**64, number)
    resource.visalib.poke_64(resource.session, 1, 1)


def test_long_data_arrives_whole(opened, recorder):
    """Bytes and numbers of more than one frame of the wire."""
    resource = opened(VXI)
    recorder.forget()
    data, numbers = bytes(range(256)) * 2000, list(range(100_000))
    resource.visalib.buffer_write(resource.session, data)
    resource.move_out(A16, 0, len(numbers), numbers, 32)
    assert recorder.functions(VXI) == [
        typed("buffer_write", data),
        typed("move_out_32", A16, 0, len(numbers), numbers, False),
    ]


def test_group_trigger_of_a_gpib_interface_arrives(opened, recorder):
    """Attributes of two resources, then command bytes."""
    interface, instrument = opened(INTERFACE), opened(GPIB)
    recorder.forget()
    interface.group_execute_trigger(instrument)
    talk, unlisten, listen, trigger = 0x48, 0x3F, 0x28, 0x08
    assert recorder.functions(INTERFACE) == [typed("gpib_command", bytes([talk, unlisten, listen, trigger]))]
