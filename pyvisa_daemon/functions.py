"""The VISA functions (VPP-4.3) that go through to the instrument's own library as they are, as one table.

Pure; runs in every process. Each row is a method of PyVISA's `VisaLibraryBase`: the backend makes its methods from
this table, the front takes no function that is not in it, the child calls the method of that name. What needs more
than passing on (open, read, write, attributes, locks, events) has code of its own in each room.

To add a function: its row here, which says what becomes of it on a guarded resource, and its row in the test that shows
how it arrives.
"""

from dataclasses import dataclass
from enum import StrEnum

#: What an argument may be on our borders; an enum of VISA's travels as its number.
Argument = bool | int | bytes | list[int] | None

#: The kinds of `Parameter` that are not the name of an enum in `pyvisa.constants`.
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "bool": (bool,),
    "bytes": (bytes,),
    "ints": (list,),
    "int or None": (int, type(None)),
    "None": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument behind the session: what kind it is, or which enum of VISA's."""

    name: str
    kind: str = "int"

    @property
    def enum(self) -> str | None:
        """The enum's name in `pyvisa.constants`."""
        return None if self.kind in _TYPES else self.kind

    def accepts(self, argument: Argument) -> bool:
        """Is that what this function takes here? A bool is no number."""
        types = _TYPES.get(self.kind, (int,))
        return isinstance(argument, types) and (isinstance(argument, bool) is (self.kind == "bool"))


class Guarded(StrEnum):
    """What becomes of a function on a resource that is guarded (front_proc's guards)."""

    PASSES = "passes"  # it reads, or concerns the connection only
    MESSAGE = "message"  # it sends a program message, which is judged
    TRIGGER = "trigger"  # it is judged as the command *TRG
    ACTS = "acts"  # it does something that is no command: not where the resource is read-only
    RAW = "raw"  # it reaches the instrument past its commands, or instruments besides it: never


@dataclass(frozen=True, slots=True)
class Function:
    """One row. `name` is the method's, `visa` VISA's; `gives` the value beside the status: "", int, bytes or ints."""

    name: str
    visa: str
    guarded: Guarded
    parameters: tuple[Parameter, ...] = ()
    gives: str = ""
    #: It neither writes nor reads messages: it passes a hold, and a dirty session is good enough for it.
    is_aside: bool = False

    def accepts(self, arguments: list[Argument]) -> bool:
        """Are these arguments what it takes?"""
        return len(arguments) == len(self.parameters) and all(
            parameter.accepts(argument) for parameter, argument in zip(self.parameters, arguments, strict=True)
        )


def _row(name: str, visa: str, guarded: Guarded, *parameters: str, gives: str = "", is_aside: bool = False) -> Function:
    """A parameter is written `name` or `name: kind`."""
    pairs = (parameter.partition(": ") for parameter in parameters)
    accepted = tuple(Parameter(name, kind or "int") for name, _, kind in pairs)
    return Function(name, visa, guarded, accepted, gives, is_aside)


_PASSES, _ACTS, _RAW = Guarded.PASSES, Guarded.ACTS, Guarded.RAW


def _memory() -> list[Function]:
    """Register access comes in four widths (VPP-4.3, 6.3 and 6.4)."""
    space, more = "space: AddressSpace", "extended: bool"
    rows: list[Function] = []
    for bits in (8, 16, 32, 64):
        rows += [
            _row(f"in_{bits}", f"viIn{bits}", _PASSES, space, "offset", more, gives="int", is_aside=True),
            _row(f"out_{bits}", f"viOut{bits}", _RAW, space, "offset", "data", more, is_aside=True),
            _row(
                f"move_in_{bits}",
                f"viMoveIn{bits}",
                _PASSES,
                space,
                "offset",
                "length",
                more,
                gives="ints",
                is_aside=True,
            ),
            _row(
                f"move_out_{bits}",
                f"viMoveOut{bits}",
                _RAW,
                space,
                "offset",
                "length",
                "data: ints",
                more,
                is_aside=True,
            ),
            _row(f"peek_{bits}", f"viPeek{bits}", _PASSES, "address", gives="int", is_aside=True),
            _row(f"poke_{bits}", f"viPoke{bits}", _RAW, "address", "data", is_aside=True),
        ]
    return rows


_MOVE = (
    "source_space: AddressSpace",
    "source_offset",
    "source_width: DataWidth",
    "destination_space: AddressSpace",
    "destination_offset",
    "destination_width: DataWidth",
    "length",
)

_USB_SETUP = ("request_type_bitmap_field", "request_id", "request_value", "index")

_ROWS = [
    _row("clear", "viClear", _PASSES),
    _row("read_stb", "viReadSTB", _PASSES, gives="int", is_aside=True),
    _row("assert_trigger", "viAssertTrigger", Guarded.TRIGGER, "protocol: TriggerProtocol"),
    _row("flush", "viFlush", _PASSES, "mask: BufferOperation"),
    _row("set_buffer", "viSetBuf", _PASSES, "mask: BufferType", "size", is_aside=True),
    _row("buffer_read", "viBufRead", _PASSES, "count", gives="bytes"),
    _row("buffer_write", "viBufWrite", Guarded.MESSAGE, "data: bytes", gives="int"),
    _row("gpib_command", "viGpibCommand", _RAW, "data: bytes", gives="int"),
    _row("gpib_control_atn", "viGpibControlATN", _RAW, "mode: ATNLineOperation"),
    _row("gpib_control_ren", "viGpibControlREN", _ACTS, "mode: RENLineOperation", is_aside=True),
    _row("gpib_pass_control", "viGpibPassControl", _RAW, "primary_address", "secondary_address"),
    _row("gpib_send_ifc", "viGpibSendIFC", _RAW),
    _row("usb_control_in", "viUsbControlIn", _RAW, *_USB_SETUP, "length", gives="bytes", is_aside=True),
    _row("usb_control_out", "viUsbControlOut", _RAW, *_USB_SETUP, "data: bytes", is_aside=True),
    _row("vxi_command_query", "viVxiCommandQuery", _RAW, "mode: VXICommands", "command", gives="int"),
    _row(
        "assert_interrupt_signal", "viAssertIntrSignal", _RAW, "mode: AssertSignalInterrupt", "status_id", is_aside=True
    ),
    _row("assert_utility_signal", "viAssertUtilSignal", _RAW, "line: UtilityBusSignal", is_aside=True),
    _row(
        "map_trigger",
        "viMapTrigger",
        _ACTS,
        "trigger_source: InputTriggerLine",
        "trigger_destination: OutputTriggerLine",
        "mode: None",
        is_aside=True,
    ),
    _row(
        "unmap_trigger",
        "viUnmapTrigger",
        _ACTS,
        "trigger_source: InputTriggerLine",
        "trigger_destination: OutputTriggerLine",
        is_aside=True,
    ),
    _row(
        "map_address",
        "viMapAddress",
        _PASSES,
        "map_space: AddressSpace",
        "map_base",
        "map_size",
        "access: bool",
        "suggested: int or None",
        gives="int",
        is_aside=True,
    ),
    _row("unmap_address", "viUnmapAddress", _PASSES, is_aside=True),
    _row("memory_allocation", "viMemAlloc", _ACTS, "size", "extended: bool", gives="int", is_aside=True),
    _row("memory_free", "viMemFree", _ACTS, "offset", "extended: bool", is_aside=True),
    _row("move", "viMove", _RAW, *_MOVE, is_aside=True),
    *_memory(),
]

#: name -> row.
FUNCTIONS = {row.name: row for row in _ROWS}
