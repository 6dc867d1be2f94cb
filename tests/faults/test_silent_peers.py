"""Peers that accept a connection and never speak: whoever asks has a bounded error, and nobody else is held up."""

import socket
import threading

import pytest

from tests.faults.processes import pid_of
from tests.support.instrument_process import Vxi11Instrument
from tests.support.waiting import wait_until

#: Both protocols of INSTR begin with a question of theirs.
INSTR = {
    "hislip": "TCPIP0::127.0.0.1::hislip0,{port}::INSTR",
    "vxi11": "TCPIP0::127.0.0.1,{port}::inst0::INSTR",
}


@pytest.fixture
def silent_port():
    """Connections to it are accepted, and what is sent to them is taken, until the test ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def vxi11():
    instrument = Vxi11Instrument()
    yield instrument
    instrument.switch_off()


@pytest.mark.fault(6)
def test_silence_on_a_socket_is_a_timeout_of_a_healthy_child(bench, silent_port):
    """Each query has its own; nobody is reset, and the process stays the same."""
    client = bench.client(f"TCPIP0::127.0.0.1::{silent_port}::SOCKET", timeout_ms=200)
    pid = pid_of(bench, client.resource)
    for number in range(3):
        with bench.figures.timed("socket_error"):
            reply = client.query(f"ECHO? {number}")
        assert reply.startswith(".#.error VI_ERROR_TMO effect=done "), reply
    row = bench.daemon.resource(client.resource)
    assert (row["pid"], row["generation"], row["state"]) == (pid, 1, "ready")


@pytest.mark.fault(6)
@pytest.mark.parametrize(
    ("limit", "token"),
    [
        pytest.param(1, "INSTRUMENT_HUNG", id="shorter than the library's"),
        pytest.param(15, "VI_ERROR_RSRC_NFOUND", id="longer", marks=pytest.mark.full),
    ],
)
def test_silence_at_the_opening_of_an_instr_is_a_bounded_error(make_bench, silent_port, limit, token):
    """pyvisa-py itself waits 5 s for an answer; the daemon as long as it is told to."""
    bench = make_bench(limits={"open-time": limit})
    replies = {}

    def opens(protocol, resource):
        with bench.figures.timed(f"{protocol}_error"):
            replies[resource] = bench.client().ask(f".#.open_resource {resource}")

    opening = [
        threading.Thread(target=opens, args=(name, spec.format(port=silent_port))) for name, spec in INSTR.items()
    ]
    for thread in opening:
        thread.start()
    for thread in opening:
        thread.join()
    assert len(replies) == len(INSTR)
    for resource, reply in replies.items():
        assert reply.startswith(f".#.error {token} effect=none "), reply
        wait_until(lambda resource=resource: bench.daemon.resource(resource) == {})


@pytest.mark.fault(6)
@pytest.mark.full
def test_instr_that_falls_silent_is_an_error_of_a_healthy_child(make_bench, vxi11):
    """pyvisa-py gives a VXI-11 call a second more than its timeout, and calls that VI_ERROR_IO: before the daemon's
    own grace is over. The answer that may still come cannot be cleared away, so the next command opens it anew."""
    bench = make_bench(settings={"grace": 2})
    client = bench.client(vxi11.resource, timeout_ms=200)
    pid = pid_of(bench, client.resource)
    with bench.figures.timed("silent_vxi11_error"):
        reply = client.query("STALL")
    assert reply.startswith(".#.error VI_ERROR_IO effect=done "), reply
    assert pid_of(bench, client.resource) == pid
    reply = client.query("ECHO? to be cleared before")
    assert reply.startswith(".#.error VI_ERROR_CONN_LOST effect=none "), reply
    bench.recovers(client)
    assert bench.daemon.audit(event="hung", resource=client.resource) == []
    assert [message for message in vxi11.history() if "ECHO? rec" not in message] == ["STALL"]
