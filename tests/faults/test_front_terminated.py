"""SIGTERM with hung, busy and good children: it ends in good order, everybody is told, nothing is left."""

import os
import signal
import threading
import time

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from tests.faults.processes import pid_of, stop
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.fault(38)

#: Nothing here is ended by a deadline of its own.
LONG = 600_000

#: Seconds that a busy machine may take to the end; 10 are promised.
ALLOWED = 30


class Program(threading.Thread):
    """A stock PyVISA program that asks, and what comes of it."""

    def __init__(self, bench, resource, message):
        super().__init__()
        self._manager = pyvisa.ResourceManager(f"{bench.daemon.address}@daemon")
        self._instrument = self._manager.open_resource(resource, timeout=LONG, write_termination="\n")
        self._message = message
        self.error = None
        self.start()

    def run(self):
        try:
            self._instrument.query(self._message)
        except pyvisa.VisaIOError as error:
            self.error = error
        finally:
            self._manager.close()


def test_daemon_ends_in_time_whatever_its_children_do(make_bench):
    """What ends within two seconds is delivered; the rest is told how far it came. Exit code 0."""
    bench = make_bench(settings={"grace": 600})
    quick, slow = bench.tcp(), bench.tcp()
    ends = bench.client(quick.resource, LONG)
    lasts = bench.client(slow.resource, LONG)
    hung, behind = bench.client(bench.stubborn("hung"), LONG), bench.client(bench.stubborn("hung"), LONG)
    holder, waiter = bench.client(bench.stubborn("locked")), bench.client(bench.stubborn("locked"))
    closing = bench.client(bench.stubborn("hangs-in-close"))
    stopped = bench.client(bench.stubborn("stopped"))
    opening = bench.client()
    program = Program(bench, bench.stubborn("program"), "HANG-FREE")
    hung.begin("query", "HANG")
    wait_until(lambda: bench.executed(hung.resource) and bench.executed(bench.stubborn("program")))
    behind.begin("query", "ECHO? behind")
    assert holder.ask(".#.lock") == "ok"
    waiter.send(b".#.lock inf\n")
    opening.send(f".#.open_resource {bench.stubborn('hangs-in-open')}\n".encode())
    wait_until(lambda: bench.daemon.resource(bench.stubborn("hangs-in-open")).get("state") == "opening")
    stop(pid_of(bench, stopped.resource))
    ends.begin("query", "SLOW? 700,in time")
    lasts.begin("query", "SLOW? 600000,never")
    wait_until(lambda: quick.count("SLOW?") and slow.count("SLOW?"))

    bench.is_good_to_survive = False
    began = time.monotonic()
    os.kill(bench.daemon.pid, signal.SIGTERM)
    assert ends.outcome() == "in time"
    assert hung.outcome().startswith(".#.error SHUTTING_DOWN effect=maybe ")
    assert lasts.outcome().startswith(".#.error SHUTTING_DOWN effect=maybe ")
    assert behind.outcome().startswith(".#.error SHUTTING_DOWN effect=none ")
    assert waiter.line().startswith(b".#.error SHUTTING_DOWN effect=none ")
    assert opening.line().startswith(b".#.error SHUTTING_DOWN effect=none ")
    assert bench.daemon.process.wait(ALLOWED) == 0
    bench.figures.note("ended", time.monotonic() - began)
    assert time.monotonic() - began < ALLOWED
    program.join(DEADLINE)
    assert not program.is_alive()
    assert program.error is not None
    assert program.error.error_code == StatusCode.error_connection_lost
    for client in (closing, stopped):
        assert client.everything() == b""
    bench.daemon.assert_nothing_left()
    assert bench.executed(hung.resource) == ["HANG"]
    assert bench.daemon.audit()[-1]["event"] == "stop"
    assert '"fault"' not in (bench.daemon.run_dir / "daemon.log").read_text()


def test_open_and_query_in_the_last_seconds_are_refused(bench):
    """It says why; what is under way already goes on meanwhile."""
    instrument, other = bench.tcp(), bench.tcp()
    client, late = bench.client(instrument.resource, LONG), bench.client(other.resource)
    client.begin("query", "SLOW? 1500,in time")
    wait_until(lambda: instrument.count("SLOW?"))
    bench.is_good_to_survive = False
    os.kill(bench.daemon.pid, signal.SIGTERM)
    wait_until(lambda: bench.daemon.status()["state"] == "stopping")
    refused = late.ask(f".#.open_resource {bench.stubborn()}")
    assert refused.startswith(".#.error SHUTTING_DOWN effect=none "), refused
    assert client.outcome() == "in time"
    assert bench.daemon.process.wait(ALLOWED) == 0
    bench.daemon.assert_nothing_left()
    assert "opened" not in [record["event"] for record in bench.daemon.audit(resource=bench.stubborn())]
