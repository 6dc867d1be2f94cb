"""Clients that are gone before their command's turn has come: it is never executed, whoever notices that first.

A client that closes and one that only ends its input send the same FIN. The second one, `printf ... | nc -N`, goes on
getting its replies.
"""

import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from pyvisa_daemon import wire
from tests.faults.link import Link
from tests.support.waiting import wait_until
from tests.support.wire_client import WireClient

#: What somebody else's command takes meanwhile, in milliseconds: longer than the daemon needs to notice what is told
#: at once, and what it has to look for.
AT_ONCE, BY_LOOKING = 600, 1600

#: As `nc -N HOST PORT` does it: sends its input, ends its sending side, and reads until the daemon closes.
NC = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(sys.argv[3].encode())
connection.shutdown(socket.SHUT_WR)
while data := connection.recv(65536):
    sys.stdout.buffer.write(data)
"""


@contextmanager
def occupied(bench, instrument, milliseconds=BY_LOOKING):
    """Somebody has the instrument busy; it is seen to that nothing else was executed meanwhile."""
    greedy = bench.client(instrument.resource, timeout_ms=10_000)
    greedy.begin("query", f"SLOW? {milliseconds},first")
    wait_until(lambda: instrument.count("SLOW?") == 1)
    yield
    assert greedy.outcome() == "first"
    assert greedy.query("ECHO? last") == "last"
    assert instrument.history() == [f"SLOW? {milliseconds},first", "ECHO? last"]


def is_withdrawn(bench, message):
    """Say in the book that `message` must not be executed, and wait until it is on record that it is not."""
    bench.book[-1].effect = "none"
    with bench.figures.timed("error"):
        record = bench.daemon.wait_for_audit(event="command", command=message, outcome="CLIENT_GONE")
    assert record["effect"] == "none"


def resets(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def half_closes_and_closes_later(client):
    client.end_sending()
    time.sleep(0.7)  # it has been looked at, and was there
    client.close()


def closes_in_mid_line(client):
    client.send(b".#.query_resource ECHO? half")
    client.close()


@pytest.mark.fault(28)
def test_commands_of_text_clients_that_left_are_not_executed(bench):
    """They wait in the instrument's queue when their clients go, each in its own way."""
    instrument = bench.tcp()
    ways = [lambda client: client.close(), resets, closes_in_mid_line, half_closes_and_closes_later]
    clients = [bench.client(instrument.resource) for _ in ways]
    with occupied(bench, instrument):
        for number, (client, leave) in enumerate(zip(clients, ways, strict=True)):
            client.begin("query", f"ECHO? never {number}")
            wait_until(lambda: bench.daemon.resource(instrument.resource)["queued"] == 1)
            leave(client)
            is_withdrawn(bench, f"query ECHO? never {number}")


@pytest.mark.fault(28)
def test_commands_behind_the_running_one_of_a_client_that_left_are_not_executed(bench):
    """What runs goes on to its end; what the client had sent ahead stays in its connection."""
    instrument = bench.tcp()
    client = bench.client(instrument.resource)
    client.begin("query", f"SLOW? {AT_ONCE},running")
    for number in range(3):
        client.begin("write", f"SET {number}")
        bench.book[-1].effect = "none"
    wait_until(lambda: instrument.count("SLOW?") == 1)
    client.close()
    bench.daemon.wait_for_audit(event="command", command=f"query SLOW? {AT_ONCE},running", outcome="ok")
    other = bench.client(instrument.resource)
    assert other.query("ECHO? other") == "other"
    assert instrument.history() == [f"SLOW? {AT_ONCE},running", "ECHO? other"]


@pytest.mark.fault(28)
def test_client_that_sent_more_than_is_read_ahead_is_seen_to_leave(bench):
    """Its connection is not read from, and so tells nothing by itself."""
    instrument = bench.tcp()
    client = bench.client(instrument.resource)
    with occupied(bench, instrument):
        client.begin("query", "ECHO? never")
        wait_until(lambda: bench.daemon.resource(instrument.resource)["queued"] == 1)
        client.send(b".#.query_resource ECHO? nor this\n" * 10_000)
        client.close()
        is_withdrawn(bench, "query ECHO? never")


@pytest.mark.fault(28)
def test_killed_netcat_is_seen_to_be_gone(bench):
    """It had ended its input long before: nothing comes from it any more, not even a packet."""
    instrument = bench.tcp()
    with occupied(bench, instrument):
        script = f".#.open_resource {instrument.resource}\n.#.query_resource ECHO? never\n"
        command = [sys.executable, "-c", NC, bench.daemon.host, str(bench.daemon.port), script]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as netcat:
            wait_until(lambda: bench.daemon.resource(instrument.resource).get("queued") == 1)
            netcat.kill()
        with bench.figures.timed("error"):
            record = bench.daemon.wait_for_audit(event="command", outcome="CLIENT_GONE", effect="none")
        assert record["command"] == "query ECHO? never"


@pytest.mark.fault(28)
@pytest.mark.full
def test_killed_netcat_on_another_machine_is_seen_to_be_gone_when_its_kernel_forgets_it(make_bench):
    """Which takes a minute, but for two seconds here; before that it answers probes as if nothing were the matter."""
    with Link() as link:
        bench = make_bench(limits={"silent-peer-time": 1}, settings={"host": "0.0.0.0", "allow": link.network})
        instrument = bench.tcp()
        forgets = [*link.prefix, "sh", "-c", "echo 2 > /proc/sys/net/ipv4/tcp_fin_timeout"]
        subprocess.run(forgets, check=True)
        with occupied(bench, instrument, milliseconds=8000):
            script = f".#.open_resource {instrument.resource}\n.#.query_resource ECHO? never\n"
            command = [*link.prefix, sys.executable, "-c", NC, link.here, str(bench.daemon.port), script]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as netcat:
                wait_until(lambda: bench.daemon.resource(instrument.resource).get("queued") == 1)
                netcat.kill()
            with bench.figures.timed("elsewhere"):
                bench.daemon.wait_for_audit(command="query ECHO? never", outcome="CLIENT_GONE", effect="none")


@pytest.mark.fault(28)
def test_netcat_that_waits_gets_its_replies(bench):
    """However long that takes: its end of the connection is open."""
    instrument = bench.tcp()
    greedy = bench.client(instrument.resource, timeout_ms=10_000)
    greedy.begin("query", f"SLOW? {AT_ONCE},first")
    wait_until(lambda: instrument.count("SLOW?") == 1)
    with bench.daemon.text() as client:
        client.send(f".#.open_resource {instrument.resource}\n.#.query_resource ECHO? waits\n".encode())
        client.end_sending()
        assert client.everything() == f"{instrument.resource}\nwaits\n".encode()
    assert greedy.outcome() == "first"


@pytest.mark.fault(28)
def test_single_command_of_a_client_that_does_not_wait_reaches_an_idle_instrument(bench):
    """It waited for nobody: by the time that its client is seen to be gone it has begun."""
    instrument = bench.tcp()
    for number in range(10):
        with bench.client(instrument.resource) as client:
            client.begin("write", f"SET {number}")
        bench.daemon.wait_for_audit(event="command", command=f"write SET {number}", outcome="ok")
    assert instrument.count("SET") == 10


@pytest.mark.fault(28)
def test_commands_of_pyvisa_programs_that_left_are_not_executed(bench):
    """Such a program never half-closes: a FIN says that it is gone."""
    instrument = bench.tcp()
    ways = [WireClient.close, WireClient.reset, lambda program: program.socket.shutdown(socket.SHUT_WR)]
    programs = [WireClient(bench.daemon.host, bench.daemon.port) for _ in ways]
    sessions = [program.open(instrument.resource) for program in programs]
    with occupied(bench, instrument, AT_ONCE):
        for number, (program, leave) in enumerate(zip(programs, ways, strict=True)):
            message = f"SET never {number}\n".encode()
            program.send(wire.Write(program.number(), sessions[number], message))
            wait_until(lambda: bench.daemon.resource(instrument.resource)["queued"] == 1)
            leave(program)
            record = bench.daemon.wait_for_audit(command=f"write SET never {number}")
            assert (record["outcome"], record["effect"]) == ("CLIENT_GONE", "none")
    programs[-1].close()
