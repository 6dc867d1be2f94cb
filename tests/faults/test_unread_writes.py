"""A long write to an instrument that does not read: bounded in time, and never sent twice."""

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from tests.faults.others import Others
from tests.faults.processes import memory
from tests.support.waiting import wait_until

LENGTH = 5_000_000
TIMEOUT_MS = 300


@pytest.fixture
def stalled(bench):
    """An instrument that reads nothing more on the connection that a client has, and that client."""
    instrument = bench.tcp()
    client = bench.client(instrument.resource, TIMEOUT_MS)
    assert client.write("STALL") == "6"
    wait_until(lambda: instrument.count("STALL") == 1)
    return instrument, client


@pytest.mark.fault(18)
def test_long_write_to_an_instrument_that_does_not_read_fails_in_time(bench, stalled):
    """By the text protocol: what waits behind it is not executed."""
    instrument, client = stalled
    others = Others(bench, client.resource)
    before = memory(bench.daemon.pid)
    client.send(f".#.write_binary LOAD #7{LENGTH:07d}".encode() + bytes(LENGTH) + b"\n")
    wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "busy")
    with bench.figures.timed("error"):
        others.queue()
        reply = client.line().decode()
    bench.figures.note("front_growth_mb", round((memory(bench.daemon.pid) - before) / 1e6, 1))
    assert reply.startswith(".#.error INSTRUMENT_HUNG effect=maybe "), reply
    bench.recovers(client)
    others.are_told()
    assert instrument.count("LOAD") == 0


@pytest.mark.fault(18)
def test_long_write_of_a_program_that_is_not_read_is_a_timeout(bench, stalled):
    """By stock PyVISA: VI_ERROR_TMO, as if the library had kept its own timeout; the front keeps little of it."""
    instrument, client = stalled
    before = memory(bench.daemon.pid)
    manager = pyvisa.ResourceManager(f"{bench.daemon.address}@daemon")
    try:
        with manager.open_resource(client.resource, timeout=TIMEOUT_MS) as program:
            program.read_termination = program.write_termination = "\n"
            with bench.figures.timed("error_of_program"), pytest.raises(pyvisa.VisaIOError) as raised:
                program.write_raw(f"LOAD #7{LENGTH:07d}".encode() + bytes(LENGTH) + b"\n")
            assert raised.value.error_code == StatusCode.error_timeout
            growth = memory(bench.daemon.pid) - before
            bench.figures.note("front_growth_of_program_mb", round(growth / 1e6, 1))
            assert growth < LENGTH
            assert program.query("ECHO? again") == "again"
    finally:
        manager.close()
    assert client.query("ECHO? told").startswith(".#.error SESSION_RESET effect=none ")
    assert client.query("ECHO? after") == "after"
    assert instrument.count("LOAD") == 0
