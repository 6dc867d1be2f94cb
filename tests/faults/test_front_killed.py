"""SIGKILL to the front: nobody can close anything any more, and yet no child is left, whatever it was doing."""

import os
import signal
import time

import psutil
import pytest

from tests.faults.processes import pid_of, stop
from tests.faults.unkillable import WAYS
from tests.support.waiting import DEADLINE, wait_until

#: Nothing that a child does here is ended by a deadline of its own.
LONG = 600_000


def idle(bench):
    client = bench.client(bench.stubborn("idle"), LONG)
    assert client.query("ECHO? idle") == "idle"
    return client.resource


def busy(bench):
    """In a long read from a real socket."""
    instrument = bench.tcp()
    bench.client(instrument.resource, LONG).begin("query", "SLOW? 600000,never")
    wait_until(lambda: instrument.count("SLOW?"))
    return instrument.resource


def hung(bench):
    """In C, with the interpreter's lock held."""
    return in_a_call(bench, "hung", "HANG")


def spinning(bench):
    """In Python."""
    return in_a_call(bench, "spinning", "SPIN")


def in_a_call(bench, name, message):
    client = bench.client(bench.stubborn(name), LONG)
    client.begin("query", message)
    wait_until(lambda: message in bench.executed(client.resource))
    return client.resource


def opening(bench):
    """In an open that never returns, with the lock held."""
    name = bench.stubborn("hangs-in-open")
    bench.client().send(f".#.open_resource {name}\n".encode())
    wait_until(lambda: bench.daemon.resource(name).get("state") == "opening")
    return name


def closing(bench):
    """In a close that never returns."""
    client = bench.client(bench.stubborn("hangs-in-close"))
    client.send(b".#.close_resource\n")
    wait_until(lambda: bench.daemon.resource(client.resource).get("state") == "closing")
    return client.resource


def stopped(bench):
    """By SIGSTOP, between two commands: it cannot see that the front is gone."""
    name = idle(bench)
    stop(pid_of(bench, name))
    return name


def stopped_in_a_call(bench):
    """By SIGSTOP, in mid-command."""
    name = in_a_call(bench, "stopped", "STOP")
    wait_until(lambda: psutil.Process(pid_of(bench, name)).status() == psutil.STATUS_STOPPED)
    return name


def kill_front(bench):
    """SIGKILL, and the front is reaped."""
    bench.is_good_to_survive = False
    os.kill(bench.daemon.pid, signal.SIGKILL)
    bench.daemon.process.wait(DEADLINE)


def lives(process):
    """A zombie that nobody has reaped counts as gone."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    "doings",
    [[idle, busy, hung, spinning], [opening, closing, stopped, stopped_in_a_call]],
    ids=["idle, busy and hung", "opening, closing and stopped"],
)
def test_no_child_outlives_its_front(make_bench, doings):
    """Neither one that has an instrument nor a spare."""
    bench = make_bench(limits={"open-time": 600, "close-time": 600}, settings={"grace": 600, "linger": 0})
    names = {pid_of(bench, doing(bench)): doing.__name__ for doing in doings}
    left = {child: names.get(child.pid, "idle") for child in bench.daemon.children()}
    assert len(left) >= len(names) + 2, "GOOD's and a spare are idle, too"
    began = time.monotonic()
    kill_front(bench)
    while left:
        elapsed = time.monotonic() - began
        for child in [child for child in left if not lives(child)]:
            bench.figures.note(f"{left.pop(child)}_gone", elapsed)
        assert elapsed < DEADLINE, left
        time.sleep(0.002)
    bench.figures.note("gone", elapsed)
    assert elapsed < 5, "five times what is promised"
    bench.daemon.assert_nothing_left()


@pytest.mark.fault(37)
@pytest.mark.parametrize("way", [*WAYS[:1], *(pytest.param(way, marks=pytest.mark.full) for way in WAYS[1:2])])
def test_new_front_refuses_the_instrument_that_an_orphan_holds_and_serves_the_rest(bench, way, tmp_path):
    """The refusal names the orphan; with its death the instrument opens, and nobody has to do anything for it."""
    instrument = bench.tcp()
    bench.client(instrument.resource).query("ECHO? before")
    with way(tmp_path) as unkillable:
        client = bench.client(bench.stubborn(), LONG)
        orphan = psutil.Process(pid_of(bench, client.resource))
        client.begin("query", unkillable.message)
        wait_until(lambda: bench.executed(client.resource))
        unkillable.hold(orphan.pid)
        kill_front(bench)
        with bench.figures.timed("started"):
            bench.daemon_again()
        other = bench.client()
        for _ in range(2):
            with bench.figures.timed("error"):
                refusal = other.ask(f".#.open_resource {client.resource}")
            assert refusal.startswith(".#.error VI_ERROR_RSRC_BUSY effect=none "), refusal
            assert f"process {orphan.pid} " in refusal
        assert bench.client(instrument.resource).query("ECHO? meanwhile") == "meanwhile"
        assert bench.client(bench.stubborn("other")).query("ECHO? other") == "other"
        assert lives(orphan)
        unkillable.release()
        with bench.figures.timed("recovered"):
            wait_until(lambda: other.ask(f".#.open_resource {client.resource}") == client.resource)
    assert not lives(orphan)
    assert other.ask(".#.query_resource ECHO? after") == "after"
    assert bench.executed(client.resource) == [unkillable.message, "ECHO? after"], "and nothing twice"
