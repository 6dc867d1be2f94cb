"""The limits that a file sets, in a real daemon: what a client meets that goes beyond them."""

import contextlib

from pyvisa_daemon import wire
from tests.support.waiting import wait_until
from tests.support.wire_client import WireClient


def limited(daemon_factory, tmp_path, **limits):
    config = tmp_path / "limits.toml"
    rows = [f"{name.replace('_', '-')} = {value}" for name, value in limits.items()]
    config.write_text("\n".join(["[limits]", *rows]))
    return daemon_factory("--config", str(config))


def test_line_has_the_length_that_is_set(daemon_factory, tmp_path):
    daemon = limited(daemon_factory, tmp_path, line_length=2000)
    with daemon.text() as client:
        assert client.ask(".#.help ".ljust(2000, "x")).startswith(".#.error UNKNOWN_COMMAND effect=none ")
        client.send(b".#.help ".ljust(2001, b"x") + b"\n")
        assert client.everything().startswith(b".#.error LINE_TOO_LONG effect=none a line has at most 2000 bytes")


def test_block_does_not_count_as_a_line(daemon_factory, tmp_path, instrument):
    daemon = limited(daemon_factory, tmp_path, line_length=2000)
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        client.send(b".#.write_binary LOAD #510000" + bytes(10000) + b"\n")
        assert client.line() == b"10013"
        assert client.ask(".#.query_resource LOAD?") == "10000"


def test_as_many_more_clients_from_loopback_are_let_in_as_is_set(daemon_factory, tmp_path):
    daemon = limited(daemon_factory, tmp_path, clients=2, reserved_clients=1)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(daemon.text()) for _ in range(3)]
        for client in clients:
            assert client.ask(".#.ping") == "pong"
        beyond = stack.enter_context(daemon.text())
        assert beyond.everything().startswith(b".#.error TOO_MANY_CLIENTS effect=none ")
        clients[0].close()
        wait_until(lambda: clients[2].ask_json(".#.status")["clients"] == 2)


def test_client_that_reads_nothing_has_the_time_that_is_set(daemon_factory, tmp_path):
    """From as much output on as is set."""
    daemon = limited(daemon_factory, tmp_path, output_pause=1000, slow_reader_time=0.5)
    with daemon.text() as client:
        client.send(b".#.help\n" * 20_000)
        daemon.wait_for_audit(event="rejected", error="does not read its answers")


def test_client_for_which_too_much_waits_is_cut_at_once(daemon_factory, tmp_path, instrument):
    """Its time for a byte would not be over for long."""
    limits = {"output_pause": 50_000, "output_length": 100_000, "slow_reader_time": 1000}
    daemon = limited(daemon_factory, tmp_path, **limits)
    with WireClient(daemon.host, daemon.port, receive_buffer=4096) as greedy:
        session = greedy.open(instrument.resource)
        with contextlib.suppress(ConnectionError):
            while not daemon.audit(event="rejected", error="does not read its answers"):
                for _ in range(20):
                    write = wire.Write(greedy.number(), session, b"BLOCK? 200000\n")
                    greedy.send(write, wire.Read(greedy.number(), session, 200_009))
    daemon.wait_for_audit(event="rejected", error="does not read its answers")
