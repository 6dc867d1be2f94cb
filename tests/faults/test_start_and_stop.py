"""Stop while an instrument hangs, stop twice, kill -9 then start: what was sent was executed once, or never."""

import os
import signal
import subprocess

import pytest

from tests.faults.processes import is_gone, pid_of
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.fault(57)

#: Nothing here is ended by a deadline of its own.
LONG = 600_000

#: Seconds that a busy machine may take to the end; 10 are promised.
ALLOWED = 30


@pytest.fixture
def busy(make_bench):
    """A bench with one client whose command hangs, one whose command waits behind it, and one who has been served."""
    bench = make_bench(settings={"grace": 600})
    bench.hung, bench.waiting = bench.client(bench.stubborn(), LONG), bench.client(bench.stubborn(), LONG)
    bench.served = bench.client(bench.tcp().resource)
    assert bench.served.query("ECHO? served") == "served"
    bench.hung.begin("query", "HANG")
    wait_until(lambda: bench.executed(bench.hung.resource))
    bench.waiting.begin("query", "ECHO? behind")
    wait_until(lambda: bench.daemon.resource(bench.hung.resource)["queued"] == 1)
    return bench


def begin_to_stop(bench, operators):
    """Several say so at once; none of them waits yet."""
    bench.is_good_to_survive = False
    clients = [bench.daemon.text() for _ in range(operators)]
    for client in clients:
        client.socket.settimeout(ALLOWED)
        client.send(b".!.end_daemon\n")
    return clients


def works_again(bench):
    """In the same run folder, with the same instruments; what was sent before is not executed after."""
    with bench.figures.timed("started"):
        bench.daemon_again()
    for resource in (bench.hung.resource, bench.served.resource):
        assert bench.client(resource).query(f"ECHO? again {resource}") == f"again {resource}"
    assert bench.executed(bench.hung.resource) == ["HANG", f"ECHO? again {bench.hung.resource}"]


def test_stop_while_an_instrument_hangs_is_bounded_and_told_to_everybody(busy):
    """Whoever stops it hears that it has ended, each of them; whoever waits hears how far it came."""
    pid = pid_of(busy, busy.hung.resource)
    with busy.figures.timed("ended"):
        clients = begin_to_stop(busy, operators=2)
        assert busy.hung.outcome().startswith(".#.error SHUTTING_DOWN effect=maybe ")
        assert busy.waiting.outcome().startswith(".#.error SHUTTING_DOWN effect=none ")
        assert [client.line() for client in clients] == [b"ended"] * 2
        assert busy.daemon.process.wait(ALLOWED) == 0
    for client in clients:
        client.close()
    assert is_gone(pid)
    busy.daemon.assert_nothing_left()
    works_again(busy)


def test_stop_script_waits_for_the_end_and_is_no_error_the_second_time(busy):
    """`ended` is not said before the process is gone; when nothing runs the script says so."""
    command = [str(ROOT / "scripts" / "stop.sh"), "--port", str(busy.daemon.port)]
    busy.is_good_to_survive = False
    with busy.figures.timed("ended_by_script"):
        first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert first.returncode == 0, first
    assert busy.daemon.process.wait(DEADLINE) == 0
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (second.returncode, second.stderr) == (0, "")
    assert "no daemon is running" in second.stdout
    busy.daemon.assert_nothing_left()
    works_again(busy)


def test_killed_daemon_starts_again_and_repeats_nothing(busy):
    """kill -9 then start: the hung child is gone by then, the instruments are served, and no command came twice."""
    busy.is_good_to_survive = False
    os.kill(busy.daemon.pid, signal.SIGKILL)
    busy.daemon.process.wait(DEADLINE)
    works_again(busy)
    assert [record["event"] for record in busy.daemon.audit() if "address" in record] == ["start", "start"]


def test_daemon_killed_while_it_stops_starts_again(busy):
    """Somebody has no patience."""
    clients = begin_to_stop(busy, operators=1)
    wait_until(lambda: busy.daemon.status()["state"] == "stopping")
    os.kill(busy.daemon.pid, signal.SIGKILL)
    busy.daemon.process.wait(DEADLINE)
    for client in clients:
        client.close()
    works_again(busy)
