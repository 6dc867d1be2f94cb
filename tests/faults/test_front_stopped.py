"""SIGSTOP to the front for longer than its children's deadlines, then SIGCONT: it slept, not they."""

import os
import signal
import time

import pytest

from tests.faults.processes import pid_of, stop
from tests.faults.story import story
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault(39)

#: Seconds. In everyday runs it is longer than the commands' timeouts and grace together, too.
STOPPED = [3, pytest.param(30, marks=pytest.mark.full)]
TIMEOUT_MS = 1000


def go_on(bench):
    os.kill(bench.daemon.pid, signal.SIGCONT)


def patient(client):
    """It waits for longer than the front is stopped."""
    client.socket.settimeout(60)
    return client


@pytest.mark.parametrize("seconds", STOPPED)
def test_no_child_is_killed_for_the_time_in_which_the_front_slept(make_bench, seconds):
    """What ended meanwhile is delivered, what may take long goes on, and what is idle stays; one that hangs is hung."""
    bench = make_bench(limits={"queue-time": 120})
    instruments = [bench.tcp() for _ in range(3)]
    ended = [patient(bench.client(instrument.resource, TIMEOUT_MS)) for instrument in instruments]
    queued = patient(bench.client(ended[0].resource, TIMEOUT_MS))
    long = patient(bench.client(bench.stubborn("long"), 600_000))
    idle = [patient(bench.client(bench.stubborn(f"idle{number}"), TIMEOUT_MS)) for number in range(3)]
    hung = patient(bench.client(bench.stubborn("hung"), TIMEOUT_MS))
    resources = {client.resource for client in (*ended, long, *idle)}
    pids = {resource: pid_of(bench, resource) for resource in resources}
    for client in ended:
        client.begin("query", "SLOW? 700,in time")
    long.begin("query", f"SLEEP? {seconds + 1}")
    hung.begin("query", "HANG")
    queued.begin("query", "ECHO? behind it")
    wait_until(lambda: all(instrument.count("SLOW?") for instrument in instruments))
    wait_until(lambda: bench.executed(long.resource) and bench.executed(hung.resource))
    stop(bench.daemon.pid)
    time.sleep(seconds)  # nothing to wait for: that time passes is the fault
    go_on(bench)
    with bench.figures.timed("delivered"):
        assert [client.outcome() for client in ended] == ["in time"] * 3
    assert queued.outcome() == "behind it"
    assert [client.query(f"ECHO? {client.resource}") for client in idle] == [client.resource for client in idle]
    assert long.outcome() == str(seconds + 1)
    assert hung.outcome().startswith(".#.error INSTRUMENT_HUNG effect=maybe ")
    assert {resource: pid_of(bench, resource) for resource in resources} == pids
    assert [story(bench.daemon, resource) for resource in resources] == [["opened"]] * len(resources)
    assert story(bench.daemon, hung.resource)[:2] == ["opened", "hung"]


@pytest.mark.parametrize("seconds", STOPPED)
def test_opens_that_were_under_way_while_the_front_slept_succeed(make_bench, seconds):
    """Their processes were started, and the instruments opened, in time."""
    bench = make_bench(limits={"start-time": seconds * 0.9, "open-time": seconds * 0.9})
    clients = [patient(bench.client()) for _ in range(3)]
    names = [bench.stubborn(f"opened{number}") for number in range(3)]
    for client, name in zip(clients, names, strict=True):
        client.send(f".#.open_resource {name}\n".encode())
    wait_until(lambda: any(bench.daemon.resource(name) for name in names))
    stop(bench.daemon.pid)
    time.sleep(seconds)  # as above
    go_on(bench)
    assert [client.line().decode() for client in clients] == names
    assert [story(bench.daemon, name) for name in names] == [["opened"]] * 3
