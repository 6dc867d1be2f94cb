"""A real child and what its library lacks, and the events of what it has."""

import pytest
from pyvisa.constants import BufferOperation, EventType, StatusCode

from instrument_proc import pipe
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.functions import FUNCTIONS
from tests.instrument_proc.conftest import MAV, TIMEOUT_VALUE
from tests.instrument_proc.spawned import SpawnedChild, error_of

SRQ = int(EventType.service_request)
RQS = 0x40

# What a library lacks.


@pytest.fixture(scope="module")
def serial(simulation, tmp_path_factory):
    """A child that has a simulated serial line open, which has neither status byte nor events nor registers."""
    with SpawnedChild(simulation, tmp_path_factory.mktemp("serial")) as child:
        assert child.open("ASRL1::INSTR").status == 0
        yield child


#: An argument that is fit for a parameter of that kind; 0 for an enum's.
FIT = {"bool": False, "bytes": b"x", "ints": [1], "int or None": None, "None": None}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("clear", "flush")])
def test_function_that_the_library_lacks_is_not_supported_and_has_no_effect(serial, name):
    """Never a NotImplementedError, and nothing is left behind."""
    answer = serial.run(name, *[FIT.get(parameter.kind, 0) for parameter in FUNCTIONS[name].parameters])
    assert answer.steps == ["STARTED", "Done"]
    assert error_of(answer) == ("VI_ERROR_NSUP_OPER", Effect.NONE, False)


def test_functions_that_are_mended_are_done_where_the_library_lacks_them(socket):
    """pyvisa-py has no device clear and no formatted buffers on a socket."""
    for name, *arguments in (["clear"], ["flush", int(BufferOperation.discard_read_buffer)]):
        answer = socket.run(name, *arguments)
        assert (answer.end.status, answer.end.dirty) == (0, False)


@pytest.mark.parametrize(
    ("library", "resource", "event", "token"),
    [
        ("simulation", "ASRL1::INSTR", SRQ, "VI_ERROR_INV_EVENT"),
        ("simulation", "GPIB0::8::INSTR", int(EventType.trig), "VI_ERROR_INV_EVENT"),
        ("simulation", "GPIB0::8::INSTR", 12345, "VI_ERROR_INV_EVENT"),
        ("@py", "", SRQ, "VI_ERROR_NSUP_OPER"),
    ],
)
def test_event_that_the_library_lacks_is_a_status(
    child_factory, simulation, instrument, library, resource, event, token
):
    """And it goes on."""
    child = child_factory(simulation if library == "simulation" else library)
    assert child.open(resource or instrument.resource).status == 0
    for _ in range(2):
        assert child.run("enable_event", event).end.token == token
    assert child.run("get_attribute", TIMEOUT_VALUE).end.status == 0


# Events.


def happened(answer):
    """The events that were told of while an order was carried out."""
    return [report.event for report in answer.reports if isinstance(report, pipe.Happened)]


def test_event_is_told_of_once_enabled(child_factory, simulation):
    """Here in the midst of a call; no more once it is disabled."""
    child = child_factory(simulation)
    child.open("GPIB0::8::INSTR")
    child.run("write", data=b"*SRE 16\n")
    assert happened(child.run("write", data=b"*IDN?\n")) == []
    child.run("read", 100)
    child.run("read_stb")
    assert child.run("enable_event", SRQ).end.status == 0
    assert child.run("enable_event", SRQ).end.status == StatusCode.success_event_already_enabled
    assert happened(child.run("write", data=b"*IDN?\n")) == [SRQ]
    assert child.run("read_stb").end.value == MAV | RQS
    child.run("read", 100)
    assert child.run("disable_event", SRQ).end.status == 0
    assert happened(child.run("write", data=b"*IDN?\n")) == []
    assert child.run("disable_event", SRQ).end.status == StatusCode.success_event_already_disabled


def test_events_that_are_to_be_restored_are_enabled_at_open(child_factory, simulation):
    """What a request for service was before the open is told at once: SRQ is a level."""
    child = child_factory(simulation)
    assert child.open("GPIB0::8::INSTR", events=[SRQ]).status == 0
    child.run("write", data=b"*SRE 16\n")
    assert happened(child.run("write", data=b"*IDN?\n")) == [SRQ]


def test_event_that_cannot_be_restored_fails_the_open(child_factory, simulation):
    """Nobody would know that it never comes."""
    assert child_factory(simulation).open("ASRL1::INSTR", events=[SRQ]).token == "VI_ERROR_INV_EVENT"
