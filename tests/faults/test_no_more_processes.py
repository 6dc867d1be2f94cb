"""The machine has no descriptor, process or memory left for another child: opens fail, and all that is open goes on."""

import psutil
import pytest

from tests.faults.shortage import descriptors, no_descriptors, no_memory, no_processes
from tests.support.waiting import wait_until


class Opener:
    """One connection that opens one stubborn resource after another."""

    def __init__(self, bench):
        self._bench = bench
        self.client = bench.client()

    def is_sure_of_a_spare(self):
        """A warm process that nobody has: without one, no name is parsed."""
        assert "VI_ERROR_INV_RSRC_NAME" in self.client.ask(".#.open_resource nonsense")

    def attempt(self, name):
        """The error of an open, "" if it is open."""
        resource = self._bench.stubborn(name)
        reply = self.client.ask(f".#.open_resource {resource}")
        return "" if reply == resource else reply

    def fails(self, name):
        """As `attempt`, for one that finds no process."""
        with self._bench.figures.timed("error"):
            reply = self.attempt(name)
        assert reply.startswith(".#.error START_FAILED effect=none "), reply

    def opens_all(self, name):
        """Open until there is no spare left; the names that were opened, and whether that was all that was asked for:
        of three, at least one needs a process of its own."""
        names = [f"{name}-{number}" for number in range(3)]
        for number, each in enumerate(names):
            reply = self.attempt(each)
            if reply:
                assert reply.startswith(".#.error START_FAILED effect=none "), reply
                return names[:number], False
        return names, True

    def closes(self, names):
        for name in names:
            assert self.client.ask(f".#.close_resource {self._bench.stubborn(name)}") == "ok"


@pytest.mark.fault(21)
@pytest.mark.parametrize("shortage", [no_processes, no_memory])
def test_open_fails_while_no_process_can_be_started_and_works_afterwards(bench, shortage):
    """What is open answers all the while, and nothing has to be done when the shortage is over."""
    opener = Opener(bench)
    opener.is_sure_of_a_spare()
    with shortage(bench.daemon.pid):
        opened, is_all = opener.opens_all("short")
        assert not is_all, "processes can be started all the same"
        opener.fails("again")
        for name in opened:
            assert opener.client.ask(f".#.query_resource @{bench.stubborn(name)} ECHO? on") == "on"
    assert opener.attempt("again") == ""
    assert opener.client.ask(".#.query_resource ECHO? works") == "works"


@pytest.mark.fault(21)
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.full)])
def test_start_that_runs_out_of_descriptors_half_way_leaves_none_open(make_bench, step):
    """However many there are left, from none: the open fails cleanly, until there are enough."""
    bench = make_bench(settings={"linger": 0})
    opener, front = Opener(bench), bench.daemon.pid
    opener.is_sure_of_a_spare()
    before = descriptors_beside_children(front)
    is_all = False
    for free in range(0, 64, step):
        opener.is_sure_of_a_spare()
        with no_descriptors(front, free):
            opened, is_all = opener.opens_all(f"with-{free}")
        assert free or not is_all
        if not is_all:
            assert opener.attempt("again") == ""
            opened.append("again")
        opener.closes(opened)
        if is_all:
            bench.figures.note("descriptors_enough", free)
            break
    assert is_all
    wait_until(lambda: descriptors_beside_children(front) <= before, what="as few descriptors as before")


def descriptors_beside_children(front):
    """Of the front: for each child it has a pipe, one for its death, one for aborts, a pidfd, and two of spawning."""
    return descriptors(front) - 6 * len(psutil.Process(front).children())


@pytest.mark.fault(21)
def test_crash_while_no_process_can_be_started_is_made_good_afterwards(make_bench):
    """A start is tried at the pace of the back-off; whoever asks meanwhile is told at once, and why."""
    bench = make_bench(limits={"longest-backoff": 0.2, "failures": 1000})
    client, opener = bench.client(bench.stubborn(), timeout_ms=10_000), Opener(bench)
    opener.is_sure_of_a_spare()
    with no_processes(bench.daemon.pid):
        opener.opens_all("spare")
        assert client.query("EXIT 1").startswith(".#.error INSTRUMENT_CRASHED effect=maybe ")
        wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "backoff")
        refusal = client.query("ECHO? refused")
        assert refusal.startswith((".#.error INSTRUMENT_BACKOFF effect=none ", ".#.error START_FAILED effect=none "))
        assert "no process could be started" in refusal
    with bench.figures.timed("started_anew"):
        wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "ready")
    bench.recovers(client)
