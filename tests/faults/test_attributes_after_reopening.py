"""Attributes of a session after its process was killed: they are as before, in what VISA says and in what it does."""

import os
import signal
import termios

import pytest
import pyvisa
from pyvisa.constants import ResourceAttribute, StatusCode, StopBits

from tests.support.waiting import wait_until


@pytest.fixture
def opened(bench):
    """A session of stock PyVISA: `opened(resource)`."""
    manager = pyvisa.ResourceManager(f"{bench.daemon.address}@daemon")
    yield lambda resource: manager.open_resource(resource, write_termination="\n")
    manager.close()


def is_killed(bench, session):
    """Its process is; whoever has the session is told once, when there is another."""
    resource = session.resource_name
    with bench.figures.timed("recovered"):
        os.kill(bench.daemon.resource(resource)["pid"], signal.SIGKILL)
        wait_until(lambda: bench.daemon.resource(resource).get("generation") == 2)
        with pytest.raises(pyvisa.VisaIOError, match="SESSION_RESET"):
            session.write("SET told")
    assert bench.daemon.resource(resource)["state"] == "ready"


def states(session, attributes):
    return {attribute: session.get_visa_attribute(attribute) for attribute in attributes}


def is_restored(bench, session, wanted):
    """Attributes that are `wanted` are so before, and after its process was killed."""
    before = states(session, wanted)
    assert before != wanted, "or this would show nothing"
    for attribute, state in wanted.items():
        session.set_visa_attribute(attribute, state)
    assert states(session, wanted) == wanted
    is_killed(bench, session)
    assert states(session, wanted) == wanted


def times_out(session):
    """An answer that takes 700 ms is too slow for it."""
    session.write("SLOW? 700,slow")
    with pytest.raises(pyvisa.VisaIOError) as failure:
        session.read_raw()
    return failure.value.error_code == StatusCode.error_timeout


@pytest.mark.fault(33)
def test_local_attributes_of_a_socket_are_restored_for_each_session(bench, opened):
    """Timeout, termination character and VI_ATTR_SUPPRESS_END_EN of two sessions that want something else each."""
    instrument = bench.tcp()
    session, other = opened(instrument.resource), opened(instrument.resource)
    other.read_termination = "\n"
    other.timeout = 5000
    wanted = {
        ResourceAttribute.timeout_value: 400,
        ResourceAttribute.termchar: ord("x"),
        ResourceAttribute.termchar_enabled: True,
        ResourceAttribute.suppress_end_enabled: False,
    }
    is_restored(bench, session, wanted)
    session.write("ECHO? 1x2")
    assert session.read_raw() == b"1x"
    assert session.read_raw() == b"2\n", "without VI_ATTR_SUPPRESS_END_EN what is there is enough"
    assert times_out(session)
    with pytest.raises(pyvisa.VisaIOError, match="SESSION_RESET"):
        other.write("SET told")
    assert other.query("SLOW? 700,1x2") == "1x2"
    assert instrument.count("SET") == 0


@pytest.mark.fault(33)
def test_local_attributes_of_vxi_11_are_restored(vxi11, bench, opened):
    session = opened(bench.watch(vxi11))
    wanted = {
        ResourceAttribute.timeout_value: 400,
        ResourceAttribute.termchar: ord("x"),
        ResourceAttribute.termchar_enabled: True,
    }
    is_restored(bench, session, wanted)
    session.write("ECHO? 1x2")
    assert session.read_raw() == b"1x"
    assert session.read_raw() == b"2\n"
    assert times_out(session)


@pytest.mark.fault(33)
def test_settings_of_a_serial_line_are_restored(serial_line, bench, opened):
    """They belong to the resource; the line itself has them again, which a new process had opened at 9600 baud."""
    session = opened(bench.watch(serial_line))
    session.timeout = 5000
    wanted = {ResourceAttribute.asrl_baud_rate: 19200, ResourceAttribute.asrl_stop_bits: StopBits.two}
    is_restored(bench, session, wanted)
    path = session.resource_name.removeprefix("ASRL").removesuffix("::INSTR")
    line = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    try:
        _, _, control, _, speed_in, speed_out, _ = termios.tcgetattr(line)
    finally:
        os.close(line)
    assert (speed_in, speed_out) == (termios.B19200, termios.B19200)
    assert control & termios.CSTOPB
    assert session.query("SLOW? 700,in time") == "in time\n"
