"""Children that hang: killed at their deadline, their stacks on record, and everybody told once what became of it."""

import pytest

from tests.faults.others import Others
from tests.faults.processes import is_gone, pid_of, stacks
from tests.support.waiting import wait_until

#: Milliseconds of VISA timeout, and seconds until the daemon takes that for a hang: with the bench's grace.
TIMEOUT_MS = 200
DEADLINE = 0.5


@pytest.mark.parametrize(
    ("message", "function"),
    [
        pytest.param("HANG", "hang", marks=pytest.mark.fault(1)),
        pytest.param("HANG-FREE", "hang", marks=pytest.mark.fault(2)),
        pytest.param("SPIN", "spin", marks=pytest.mark.fault(3)),
    ],
)
def test_hang_in_a_call_costs_one_command_and_its_process(make_bench, message, function):
    """The stack says where it hung; the instrument acted once at most; the process is dead, another serves."""
    bench = make_bench(limits={"failures": 1000, "longest-backoff": 0.1})
    client = bench.client(bench.stubborn(), TIMEOUT_MS)
    others = Others(bench, client.resource)
    pid = pid_of(bench, client.resource)
    with bench.figures.timed("error"):
        client.begin("query", message)
        wait_until(lambda: bench.executed(client.resource))
        others.queue()
        reply = client.outcome()
    bench.figures.note("error_after_deadline", bench.figures.seen["error"] - DEADLINE)
    assert reply.startswith(".#.error INSTRUMENT_HUNG effect=maybe "), reply
    assert f"no answer by its deadline: process {pid} hung" in reply
    assert is_gone(pid)
    bench.recovers(client)
    others.are_told()
    assert bench.executed(client.resource).count(message) == 1
    bench.daemon.wait_for_audit(event="hung", resource=client.resource, pid=pid, generation=1)
    row = bench.daemon.resource(client.resource)
    assert (row["generation"], row["restarts"], row["state"]) == (2, 1, "ready")
    for number in range(20):  # 10 ms are not always enough for a stack on a machine that is busy with others
        if f" in {function}\n" in stacks(bench):
            return
        client.query(f"{message} {number}")
        bench.recovers(client)
    raise AssertionError("no stack")


@pytest.mark.fault(4)
def test_hang_before_the_write_began_has_no_effect(make_bench):
    """Setting an attribute comes first: its deadline is the one for beginning, whatever the timeout."""
    bench = make_bench(limits={"begin-time": 0.3})
    client = bench.client(bench.stubborn("hangs-in-set"), timeout_ms=60_000)
    others = Others(bench, client.resource)
    with bench.figures.timed("error"):
        client.begin("query", "ECHO? never")
        wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "busy")
        others.queue()
        reply = client.outcome()
    assert reply.startswith(".#.error INSTRUMENT_HUNG effect=none "), reply
    assert bench.executed(client.resource) == []
    assert " in set_attribute\n" in stacks(bench)
    client.ask(".#.timeout 2000")  # as it was at open: nothing to set
    bench.recovers(client)
    others.are_told()
