"""Many failures at once, and failures beside an open: everything comes back, and nobody waits for anybody else."""

import os
import signal
import time

import psutil
import pytest

from tests.faults.story import records, story
from tests.support.waiting import wait_until

LONG = 300.0


def own_processes(bench):
    """The daemon's children as the kernel has them, by state; a zombie is one that nobody has reaped."""
    return [process.status() for process in psutil.Process(bench.daemon.pid).children()]


@pytest.mark.fault(22)
@pytest.mark.parametrize("count", [20, pytest.param(50, marks=[pytest.mark.full, pytest.mark.timeout(LONG)])])
def test_children_killed_in_one_instant_are_all_reaped_and_come_back(bench, count):
    """Each session is told once that its command was not executed; the commands after that are."""
    clients = [bench.client() for _ in range(count)]
    for number, client in enumerate(clients):
        client.socket.settimeout(LONG)
        client.resource = bench.stubborn(f"n{number}")
        client.send(f".#.open_resource {client.resource}\n".encode())
    with bench.figures.timed("opened_all"):
        assert [client.line().decode() for client in clients] == [client.resource for client in clients]
    resources = {client.resource for client in clients}
    pids = [row["pid"] for row in bench.daemon.status()["resources"] if row["resource"] in resources]
    with bench.figures.timed("reaped"):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(psutil.pid_exists, pids)), what="all to be reaped")
    with bench.figures.timed("recovered"):
        for number, client in enumerate(clients):
            client.begin("query", f"ECHO? told {number}")
        told = [client.outcome() for client in clients]
    assert all(reply.startswith(".#.error SESSION_RESET effect=none ") for reply in told), told
    for number, client in enumerate(clients):
        assert client.query(f"ECHO? after {number}") == f"after {number}"
    rows = [row for row in bench.daemon.status()["resources"] if row["resource"] in resources]
    assert {row["generation"] for row in rows} == {2}
    assert psutil.STATUS_ZOMBIE not in own_processes(bench)
    for resource in resources:
        opened, died, restarted = story(bench.daemon, resource)
        # Where so many die at once the kernel may take long to end a process whose pipe it has closed already.
        assert (opened, died in ("crashed", "killed"), restarted) == ("opened", True, "restarted")


@pytest.mark.fault(23)
def test_failures_of_one_instrument_do_not_hold_up_the_open_of_another(bench):
    """B takes 2 s to open by itself, whatever A does; A fails twice meanwhile and is started anew."""
    failing = bench.client(bench.stubborn())
    alone = _opening(bench, bench.stubborn("slow-open.alone"))
    beside = _opening(bench, bench.stubborn("slow-open.beside"), lambda: _fails_twice(failing))
    bench.figures.note("open_alone", alone)
    bench.figures.note("open_beside", beside)
    bench.figures.note("open_ratio", beside / alone)
    opened = records(bench.daemon, bench.stubborn("slow-open.beside"))[0]
    crashed = bench.daemon.audit(event="crashed", resource=failing.resource)
    assert [record["time"] < opened["time"] for record in crashed] == [True, True], "it did fail twice meanwhile"
    assert not bench.daemon.audit(event="hung")
    bench.recovers(failing)


def _opening(bench, resource, meanwhile=lambda: None):
    """Seconds that an open takes."""
    client = bench.client()
    began = time.monotonic()
    client.send(f".#.open_resource {resource}\n".encode())
    meanwhile()
    assert client.line().decode() == resource
    return time.monotonic() - began


def _fails_twice(client):
    for number in range(2):
        assert client.query(f"EXIT {number}").startswith(".#.error INSTRUMENT_CRASHED effect=maybe ")
