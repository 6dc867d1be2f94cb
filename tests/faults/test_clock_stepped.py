"""The wall clock is set forward by an hour, and back: nothing ends sooner or later for that."""

import time
from datetime import datetime

import pytest

from tests.faults.bench import SIM
from tests.faults.processes import pid_of
from tests.faults.story import story
from tests.faults.wall_clock import COMPILER, WallClock
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.fault(40),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler: the clock of one process cannot be set"),
]

HOUR = 3600

#: Seconds that a command may take longer on a busy machine; far from an hour.
PATIENCE = 15


@pytest.fixture
def clock(tmp_path, monkeypatch):
    clock = WallClock(tmp_path)
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    return clock


@pytest.fixture
def bench(clock, make_bench):
    """All of it by that clock: daemon, children, instruments and GOOD."""
    return make_bench(limits={"failures": 3})


def moment(record):
    """When an audit record says that it was, in seconds since 1970."""
    return datetime.fromisoformat(record["time"]).timestamp()


def end_of(bench, message):
    """When the command ended, by the clock that the audit follows."""
    records = wait_until(lambda: [one for one in bench.daemon.audit(event="command") if message in one["command"]])
    return moment(records[0])


@pytest.mark.parametrize("hours", [1, -1])
def test_nothing_is_killed_and_nothing_times_out_when_the_clock_is_stepped(bench, clock, hours):
    """What runs, what waits and what is idle goes on; what is due in a second is due in a second."""
    idle, running = bench.client(bench.tcp().resource), bench.client(bench.stubborn(), 2000)
    idle.query("ECHO? idle")
    holder, waiter = bench.client(bench.stubborn("locked")), bench.client(bench.stubborn("locked"))
    silent = bench.client(SIM, 700)
    pids = {client.resource: pid_of(bench, client.resource) for client in (idle, running, holder, silent)}
    assert holder.ask(".#.lock") == "ok"
    waiter.send(b".#.lock 60000\n")
    running.begin("query", "SLEEP? 1")
    silent.begin("query", "*RST")
    before = time.time()
    wait_until(lambda: bench.executed(running.resource))
    clock.step(hours * HOUR)
    with bench.figures.timed("timeout_of_700_ms"):
        assert silent.outcome().startswith(".#.error VI_ERROR_TMO effect=done ")
    assert running.outcome() == "1"
    assert waiter.silence(0.1)
    assert holder.ask(".#.unlock") == "ok"
    assert waiter.line() == b"ok"
    assert idle.query("ECHO? stepped") == "stepped"
    assert time.time() - before < PATIENCE
    assert {name: pid_of(bench, name) for name in pids} == pids
    assert [story(bench.daemon, name) for name in pids] == [["opened"]] * len(pids)
    assert bench.daemon.status()["uptime_s"] < 10 * PATIENCE
    assert end_of(bench, "ECHO? stepped") == pytest.approx(time.time() + hours * HOUR, abs=PATIENCE)
    assert end_of(bench, "ECHO? idle") == pytest.approx(time.time(), abs=2 * PATIENCE)


@pytest.mark.parametrize("hours", [1, -1])
def test_read_that_is_under_way_on_a_socket_has_its_time(bench, clock, hours):
    """pyvisa-py's own timeouts, too."""
    instrument, other = bench.tcp(), bench.tcp()
    answered, silent = bench.client(instrument.resource, 3000), bench.client(other.resource, 1000)
    pids = {client.resource: pid_of(bench, client.resource) for client in (answered, silent)}
    answered.begin("query", "SLOW? 2000,answer")
    silent.begin("query", "SLOW? 60000,never")
    wait_until(lambda: instrument.count("SLOW?") and other.count("SLOW?"))
    clock.step(hours * HOUR)
    assert silent.outcome().startswith(".#.error VI_ERROR_TMO effect=done ")
    assert answered.outcome() == "answer"
    assert {name: pid_of(bench, name) for name in pids} == pids


def test_what_waits_for_its_next_start_waits_neither_less_nor_more(bench, clock):
    """A back-off of a second is over in a second, whatever the clock says."""
    client = bench.client(bench.stubborn())
    for number in range(2):
        wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "ready")
        assert client.query(f"EXIT {number}").startswith(".#.error INSTRUMENT_CRASHED ")
    wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "backoff")
    clock.step(-HOUR)
    bench.recovers(client)
    (waited,) = bench.daemon.audit(event="backoff", resource=client.resource)
    (again,) = wait_until(lambda: bench.daemon.audit(event="restarted", resource=client.resource)[1:])
    assert moment(again) - moment(waited) == pytest.approx(waited["wait_s"] - HOUR, abs=PATIENCE)
