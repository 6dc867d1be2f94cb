"""Every row of `functions.FUNCTIONS`: how a call of PyVISA's arrives at the daemon, and what comes back."""

import enum
import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa import constants
from pyvisa.constants import StatusCode
from pyvisa.highlevel import VisaLibraryBase
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import wire
from pyvisa_daemon.functions import FUNCTIONS, Function, Parameter
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.passed_functions import PassedFunctions
from tests.pyvisa_daemon.peer import Bench

#: kind -> what a program gives, and how it travels.
SAMPLES: dict[str, tuple[Any, Any]] = {
    "int": (7, 7),
    "bool": (True, True),
    "bytes": (bytearray(b"\x00\xff"), b"\x00\xff"),
    "ints": ((1, 2), [1, 2]),
    "int or None": (None, None),
    "None": (None, None),
}

#: What the bench gives for each kind of value.
GIVEN = {"": None, "int": 16, "bytes": b"data", "ints": [1, 2]}


def sample(parameter: Parameter) -> tuple[Any, Any]:
    if parameter.enum is None:
        return SAMPLES[parameter.kind]
    member = next(iter(getattr(constants, parameter.enum)))
    return member, int(member)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_call_arrives_as_its_row_says_when_made(resource: MessageBasedResource, bench: Bench, name: str) -> None:
    """By position and by name alike; the front takes it, and the value comes with its status."""
    function = FUNCTIONS[name]
    given, travelling = zip(*map(sample, function.parameters), strict=True) if function.parameters else ((), ())
    method = getattr(resource.visalib, name)
    names = list(inspect.signature(getattr(VisaLibraryBase, name)).parameters)[2:]
    answers = [
        method(resource.session, *given),
        method(session=resource.session, **dict(zip(names, given, strict=True))),
    ]
    for call in bench.seen(wire.Call):
        assert (call.function, call.arguments) == (name, list(travelling))
        assert function.accepts(call.arguments)
    assert len(bench.seen(wire.Call)) == 2
    expected = (GIVEN[function.gives], StatusCode.success) if function.gives else StatusCode.success
    assert answers == [expected, expected]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_row_is_pyvisas_method_when_compared(name: str) -> None:
    """Its parameters in PyVISA's order, the enums PyVISA's own, and a method of ours that says what it is."""
    function = FUNCTIONS[name]
    parameters = list(inspect.signature(getattr(VisaLibraryBase, name)).parameters)
    assert parameters[:2] == ["self", "session"]
    assert len(parameters) - 2 == len(function.parameters)
    for parameter in function.parameters:
        assert parameter.enum is None or issubclass(getattr(constants, parameter.enum), enum.IntEnum | enum.IntFlag)
    method = vars(PassedFunctions)[name]
    assert (method.__name__, method.__doc__) == (name, f"{function.visa}.")


def test_default_is_pyvisas_when_an_argument_is_left_out(resource: MessageBasedResource, bench: Bench) -> None:
    """Register access is not extended unless asked for."""
    resource.visalib.in_16(resource.session, constants.AddressSpace.a16, 4)
    resource.visalib.map_address(resource.session, constants.AddressSpace.a24, 0, 8)
    assert [call.arguments for call in bench.seen(wire.Call)] == [[1, 4, False], [2, 0, 8, False, None]]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read_stb", (1,)),
        ("flush", ()),
        ("set_buffer", (1, 2.5)),
        ("buffer_write", ("text",)),
        ("move_out_8", (1, 2, 2, 7, False)),
        ("move_out_8", (1, 2, 2, ["a"], False)),
        ("assert_trigger", (None,)),
    ],
)
def test_call_is_a_type_error_when_visa_could_not_take_it(
    resource: MessageBasedResource, bench: Bench, name: str, arguments: tuple[Any, ...]
) -> None:
    """Here, before anything is sent."""
    with pytest.raises(TypeError):
        getattr(resource.visalib, name)(resource.session, *arguments)
    assert not bench.seen(wire.Call)


def test_long_way_is_the_short_one_when_pyvisa_dispatches_by_width(
    resource: MessageBasedResource, bench: Bench
) -> None:
    """`read_memory` and its like are PyVISA's own, on top of these."""
    library = resource.visalib
    assert isinstance(library, DaemonVisaLibrary)
    assert library.read_memory(resource.session, constants.AddressSpace.a16, 4, 32)[0] == 16
    library.write_memory(resource.session, constants.AddressSpace.a16, 4, 5, constants.DataWidth.bit_8)
    assert [call.function for call in bench.seen(wire.Call)] == ["in_32", "out_8"]


arguments = st.none() | st.booleans() | st.integers() | st.binary() | st.lists(st.integers(), max_size=2)


@given(st.sampled_from(list(FUNCTIONS.values())), st.lists(arguments, max_size=8))
def test_row_accepts_arguments_of_its_kinds_only(function: Function, given: list[Any]) -> None:
    """What the front lets through: the right number, each of its type, and a bool is no number."""
    types = {"int": [int], "bool": [bool], "bytes": [bytes], "ints": [list], "None": [type(None)]}
    types["int or None"] = [int, type(None)]
    fits = len(given) == len(function.parameters) and all(
        type(argument) in types.get(parameter.kind, [int])
        for argument, parameter in zip(given, function.parameters, strict=True)
    )
    assert function.accepts(given) == fits
