"""Children that are stopped or do not close: they take no order and no signal but SIGKILL and SIGCONT."""

import pytest

from tests.faults.others import Others
from tests.faults.processes import pid_of, stacks, stop
from tests.support.waiting import wait_until

#: Deadlines of a close that goes wrong.
QUICK_CLOSE = {"limits": {"close-time": 0.3, "terminate-time": 0.3}, "settings": {"linger": 0}}


@pytest.mark.fault(11)
def test_command_to_a_stopped_child_has_no_effect(make_bench):
    """It fails by the time a command has to begin; the record says that the process was stopped."""
    bench = make_bench(limits={"begin-time": 0.3})
    client = bench.client(bench.stubborn(), timeout_ms=60_000)
    assert client.query("ECHO? before") == "before"
    others = Others(bench, client.resource)
    pid = pid_of(bench, client.resource)
    stop(pid)
    with bench.figures.timed("error"):
        client.begin("query", "ECHO? stopped")
        wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "busy")
        others.queue()
        reply = client.outcome()
    assert reply.startswith(".#.error INSTRUMENT_HUNG effect=none "), reply
    bench.recovers(client)
    others.are_told()
    told = bench.daemon.wait_for_audit(event="hung", resource=client.resource)
    assert (told["pid"], told["process"].split()[0]) == (pid, "stopped")
    assert stacks(bench) == ""
    assert "ECHO? stopped" not in bench.executed(client.resource)


@pytest.mark.fault(11)
def test_child_stopped_in_mid_command_may_have_acted(bench):
    """As any hang, but without stacks."""
    client = bench.client(bench.stubborn(), timeout_ms=200)
    with bench.figures.timed("error_in_command"):
        reply = client.query("STOP")
    assert reply.startswith(".#.error INSTRUMENT_HUNG effect=maybe "), reply
    bench.recovers(client)
    told = bench.daemon.wait_for_audit(event="hung", resource=client.resource)
    assert told["process"].split()[0] == "stopped"
    assert stacks(bench) == ""


@pytest.mark.fault(12)
def test_close_of_a_stopped_child_ends_it_by_a_signal_and_a_continue(make_bench):
    """Whoever opens it meanwhile is served by the next process, as soon as this one is gone."""
    bench = make_bench(**QUICK_CLOSE)
    client = bench.client(bench.stubborn())
    pid = pid_of(bench, client.resource)
    stop(pid)
    other = bench.client()
    with bench.figures.timed("closed"):
        client.send(b".#.close_resource\n")
        wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "closing")
        other.send(f".#.open_resource {client.resource}\n".encode())
        assert client.line() == b"ok"
    assert other.line().decode() == client.resource
    assert other.ask(".#.query_resource ECHO? again") == "again"
    killed = bench.daemon.wait_for_audit(event="killed", resource=client.resource)
    assert (killed["pid"], "SIGTERM" in killed["death"]) == (pid, True)
    assert bench.daemon.audit(event="hung", resource=client.resource) == []
    row = bench.daemon.resource(client.resource)
    assert (row["generation"], row["pid"] != pid) == (2, True)


@pytest.mark.fault(12)
def test_close_that_never_returns_ends_by_a_signal(make_bench):
    """Also where it holds the interpreter's lock; the resource is closed then, and opens again."""
    bench = make_bench(**QUICK_CLOSE)
    client = bench.client(bench.stubborn("hangs-in-close"))
    with bench.figures.timed("closed_hanging"):
        assert client.ask(".#.close_resource") == "ok"
    assert bench.daemon.resource(client.resource) == {}
    killed = bench.daemon.wait_for_audit(event="killed", resource=client.resource)
    assert "SIGTERM" in killed["death"]
    assert bench.client(client.resource).query("ECHO? again") == "again"
