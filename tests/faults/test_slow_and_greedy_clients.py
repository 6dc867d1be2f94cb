"""Clients that send too slowly, and clients that do not read: they are cut, and cost nobody else anything."""

import contextlib
import time

import psutil
import pytest

from front_proc.configuration.limits import DEFAULTS
from pyvisa_daemon import wire
from tests.support.waiting import wait_until
from tests.support.wire_client import WireClient

#: Bytes that the front may need more, for a client that reads nothing.
PROMISED = 40e6

#: What it asks for: so many answers of a megabyte.
COUNT, SIZE = 1000, 1_000_000


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    "line_time", [1.0, pytest.param(DEFAULTS.line_time, marks=[pytest.mark.full, pytest.mark.timeout(120)])]
)
def test_clients_that_send_a_byte_now_and_then_are_cut_in_time(make_bench, line_time):
    """A hundred: some in the middle of the first prefix, some in a line; a byte does not prolong its line's time."""
    bench = make_bench(limits={"line-time": line_time})
    clients = [bench.daemon.text() for _ in range(100)]
    for client in clients[::2]:
        client.send(b".#.")
    began = time.monotonic()
    for byte in b".#":
        for client in clients:
            client.send(bytes([byte]))
        time.sleep(0.9 * line_time)
    for client in clients:
        reply = client.everything()
        bench.figures.note("cut_after", time.monotonic() - began)
        assert reply.startswith(b".#.error LINE_TIMEOUT effect=none "), reply
        client.close()
    assert len(bench.daemon.audit(event="rejected", outcome="LINE_TIMEOUT")) == len(clients)
    wait_until(lambda: bench.daemon.status()["clients"] == 2)  # GOOD, and who looks


def asks_in_text(bench, resource):
    """All requests at once; the daemon takes one at a time."""
    client = bench.client(resource, timeout_ms=10_000)
    client.send(b".#.query_binary BLOCK? %d\n" % SIZE * COUNT)
    return client


def asks_in_the_wire(bench, resource):
    """All requests at once: the daemon takes as many as may be queued."""
    client = WireClient(bench.daemon.host, bench.daemon.port)
    session = client.open(resource)
    for _ in range(COUNT):
        write = wire.Write(client.number(), session, b"BLOCK? %d\n" % SIZE)
        client.send(write, wire.Read(client.number(), session, len(f"#7{SIZE}\n") + SIZE))
    return client


def is_cut(bench, client):
    """Before it has had a tenth of what it asked for."""
    with contextlib.closing(client):
        size = 0
        while data := client.socket.recv(1 << 20):
            size += len(data)
        return size < COUNT * SIZE / 10


@pytest.mark.fault(46)
def test_clients_that_ask_for_a_gigabyte_and_never_read_are_cut(bench):
    """Their answers stay where they are, the front keeps little of them. Who waits for those instruments goes on."""
    instruments = {asks_in_text: bench.tcp(), asks_in_the_wire: bench.tcp()}
    front = psutil.Process(bench.daemon.pid)
    at_first = front.memory_info().rss
    greedy = [ask(bench, instrument.resource) for ask, instrument in instruments.items()]

    def are_cut():
        bench.figures.note("rss_growth_mb", (front.memory_info().rss - at_first) / 1e6)
        return len(bench.daemon.audit(event="rejected", error="does not read its answers")) == len(greedy)

    with bench.figures.timed("cut_after"):
        wait_until(are_cut, deadline=4 * DEFAULTS.slow_reader_time)
    assert bench.figures.seen["rss_growth_mb"] < PROMISED / 1e6
    assert all(is_cut(bench, client) for client in greedy)
    for instrument in instruments.values():
        assert instrument.count("BLOCK?") < 50, "it was not held back"
        bench.recovers(bench.client(instrument.resource))


@pytest.mark.fault(46)
def test_client_that_never_reads_its_many_answers_is_cut(bench):
    """Each of them is too short to be held back; together they are too much."""
    instrument = bench.tcp()
    front = psutil.Process(bench.daemon.pid)
    at_first = front.memory_info().rss
    with WireClient(bench.daemon.host, bench.daemon.port, receive_buffer=4096) as greedy:
        session = greedy.open(instrument.resource)
        with bench.figures.timed("many_cut_after"), contextlib.suppress(ConnectionError):
            while not bench.daemon.audit(event="rejected", error="does not read its answers"):
                for _ in range(20):
                    write = wire.Write(greedy.number(), session, b"BLOCK? 200000\n")
                    greedy.send(write, wire.Read(greedy.number(), session, 200_009))
                bench.figures.note("many_rss_growth_mb", (front.memory_info().rss - at_first) / 1e6)
    bench.daemon.wait_for_audit(event="rejected", error="does not read its answers")
    assert bench.figures.seen["many_rss_growth_mb"] < PROMISED / 1e6
    bench.recovers(bench.client(instrument.resource))
