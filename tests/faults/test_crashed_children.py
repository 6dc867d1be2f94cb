"""Children that die: the running command fails once and says how far it came; the next process works."""

import os
import signal

import pytest

from tests.support.waiting import wait_until


@pytest.mark.fault(7)
def test_child_killed_while_idle_costs_one_session_reset(bench):
    """One command is told, and it was not executed; the next one works."""
    instrument = bench.tcp()
    client = bench.client(instrument.resource)
    assert client.query("ECHO? before") == "before"
    os.kill(bench.daemon.resource(instrument.resource)["pid"], signal.SIGKILL)
    wait_until(lambda: bench.daemon.resource(instrument.resource)["generation"] == 2)
    assert client.query("ECHO? told").startswith(".#.error SESSION_RESET effect=none ")
    assert client.query("ECHO? after") == "after"
    assert instrument.history() == ["ECHO? before", "ECHO? after"]


@pytest.mark.fault(8)
def test_child_killed_in_mid_query_leaves_exactly_one_write(bench):
    """The instrument acted once; the error says that it may have, and nothing is sent again."""
    instrument = bench.tcp()
    client = bench.client(instrument.resource, timeout_ms=10_000)
    client.begin("query", "SLOW? 5000,answer")
    wait_until(lambda: instrument.count("SLOW?") == 1)
    with bench.figures.timed("error"):
        os.kill(bench.daemon.resource(instrument.resource)["pid"], signal.SIGKILL)
        reply = client.outcome()
    assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), reply
    assert "SIGKILL" in reply
    bench.recovers(client)
    assert instrument.count("SLOW?") == 1


@pytest.mark.fault(9)
@pytest.mark.parametrize(("message", "name"), [("SEGV", "SIGSEGV"), ("ABORT", "SIGABRT")])
def test_signal_that_ended_the_child_is_named(bench, message, name):
    """In the error, in status and in the audit."""
    client = bench.client(bench.stubborn())
    with bench.figures.timed("error"):
        reply = client.query(message)
    assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), reply
    assert name in reply
    bench.recovers(client)
    assert name in bench.daemon.resource(client.resource)["last_error"]


@pytest.mark.fault(10)
def test_exit_in_mid_command_is_a_crash(bench):
    """Also with code 0: nobody told it to end."""
    client = bench.client(bench.stubborn())
    with bench.figures.timed("error"):
        reply = client.query("EXIT 0")
    assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), reply
    assert "exited with code 0" in reply
    bench.recovers(client)
