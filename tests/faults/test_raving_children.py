"""Children that send what is no report, or too much, or nothing more: each loses its own instrument only."""

import re

import pytest

from tests.faults.others import Others
from tests.faults.processes import is_gone, memory, pid_of
from tests.support.waiting import wait_until

FRAME_LIMIT = 1 << 20

#: Bytes by which a flood may make the front grow: much less than what it brings.
GROWTH = 10_000_000

#: What is no frame of ours, or none with a report in it.
GARBAGE = {
    "a length of 2^31-1": "7fffffff",
    "a length of -1": "ffffffff",
    "an empty frame": "00000000",
    "half of a report": "0000000291a7",
    "a report that there is none of": "0000000592a3666f6f",
    "a traceback": b"Traceback (most recent call last):\n".hex(),
}
MORE_GARBAGE = {
    "a length of -2^31": "80000000",
    "a length one over the limit": "00100001",
    "no MessagePack": "00000001c1",
    "a tag that is no text": "0000000391a1ff",
    "a number": "0000000107",
}


@pytest.mark.fault(13)
def test_child_that_closes_its_descriptors_and_lives_is_killed(bench):
    """No EOF of a pipe is an end: it might still drive its instrument."""
    client = bench.client(bench.stubborn(), timeout_ms=30_000)
    others = Others(bench, client.resource)
    pid = pid_of(bench, client.resource)
    with bench.figures.timed("error"):
        client.begin("query", "CLOSE-ALL")
        wait_until(lambda: bench.executed(client.resource))
        others.queue()
        reply = client.outcome()
    assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), reply
    assert "closed its pipe and lives on" in reply
    assert is_gone(pid)
    bench.recovers(client)
    others.are_told()


@pytest.mark.fault(14)
@pytest.mark.parametrize(
    "half",
    [pytest.param("0000", id="header"), pytest.param("0000040093a970726f", id="frame", marks=pytest.mark.full)],
)
def test_half_a_frame_then_silence_is_a_hang(bench, half):
    """The front waits for the other half no longer than for any answer, and meanwhile serves everybody else."""
    client = bench.client(bench.stubborn(), timeout_ms=200)
    others = Others(bench, client.resource)
    pid = pid_of(bench, client.resource)
    with bench.figures.timed("error"):
        client.begin("query", f"RAW {half}")
        wait_until(lambda: bench.executed(client.resource))
        others.queue()
        reply = client.outcome()
    assert reply.startswith(".#.error INSTRUMENT_HUNG effect=maybe "), reply
    assert is_gone(pid)
    bench.recovers(client)
    others.are_told()


@pytest.mark.fault(14)
def test_half_a_frame_header_and_then_reports_is_garbage(bench):
    """The child goes on as if nothing were; what it says makes no sense any more."""
    client = bench.client(bench.stubborn(), timeout_ms=30_000)
    reply = client.query("RAW-ON 0000")
    assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), reply
    bench.recovers(client)


@pytest.mark.fault(15)
@pytest.mark.parametrize("garbage", [GARBAGE, pytest.param(MORE_GARBAGE, marks=pytest.mark.full)], ids=["some", "more"])
def test_garbage_is_told_at_once_and_costs_its_sender_only(bench, garbage):
    """Each kind from a child of its own, whose timeout would be long."""
    for number, (kind, sent) in enumerate(garbage.items()):
        client = bench.client(bench.stubborn(f"raving-{number}"), timeout_ms=30_000)
        pid = pid_of(bench, client.resource)
        with bench.figures.timed("error"):
            reply = client.query(f"RAW {sent}")
        assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), (kind, reply)
        assert "out of order" in reply, (kind, reply)
        assert is_gone(pid)
    bench.recovers(client)


@pytest.mark.fault(16)
def test_reply_at_the_frame_limit_arrives_and_one_over_it_ends_its_child(bench):
    """The answer is the frame but for a few bytes around it; a process that cannot make its report has failed."""
    client = bench.client(bench.stubborn(), timeout_ms=10_000)
    others = Others(bench, client.resource)
    with bench.figures.timed("at_the_limit"):
        answer = client.query(f"FRAME? {FRAME_LIMIT}")
    assert FRAME_LIMIT - 64 < len(answer) < FRAME_LIMIT
    assert set(answer) == {"x"}
    assert bench.daemon.resource(client.resource)["generation"] == 1
    with bench.figures.timed("error"):
        reply = client.query(f"FRAME? {FRAME_LIMIT + 1}")
    assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), reply
    assert "exited with code 1" in reply
    bench.recovers(client)
    others.are_told()


@pytest.mark.fault(17)
def test_flood_in_a_command_prolongs_nothing_and_fills_nothing(bench):
    """Reports of no command, without end: it ends by its own deadline at the latest, and the front stays small."""
    client = bench.client(bench.stubborn(), timeout_ms=700)
    others = Others(bench, client.resource)
    before = memory(bench.daemon.pid)
    with bench.figures.timed("error"):
        client.begin("query", "FLOOD 1000000000000")
        wait_until(lambda: bench.executed(client.resource))
        others.queue()
        reply = client.outcome()
    bench.figures.note("front_growth_mb", round((memory(bench.daemon.pid) - before) / 1e6, 1))
    assert memory(bench.daemon.pid) - before < GROWTH
    assert re.match(r"\.#\.error INSTRUMENT_(HUNG|CRASHED) effect=maybe ", reply), reply
    bench.recovers(client)
    others.are_told()


@pytest.mark.fault(17)
def test_flood_of_an_idle_child_hurts_nobody_and_ends_with_it(make_bench):
    """Its own instrument is served as well, by it or by the next process."""
    bench = make_bench(settings={"linger": 0})
    client = bench.client(bench.stubborn())
    before = memory(bench.daemon.pid)
    client.query("FLOOD-ON")
    for _ in range(3):
        bench.recovers(client)
    assert bench.client(bench.stubborn("other")).query("ECHO? fine") == "fine"
    bench.figures.note("front_growth_mb", round((memory(bench.daemon.pid) - before) / 1e6, 1))
    assert memory(bench.daemon.pid) - before < GROWTH
    client.close()
    wait_until(lambda: bench.daemon.resource(client.resource) == {})
