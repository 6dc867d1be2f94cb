"""A link that goes down without a word: its clients are given up in time, whether or not something was under way."""

import subprocess
import sys
import time

import pytest

from front_proc.configuration.limits import DEFAULTS
from tests.faults.leaver import Leaver
from tests.faults.link import Link
from tests.support.waiting import wait_until

#: Seconds of silence: short here, and what everybody has in the long form.
LONG = [pytest.mark.full, pytest.mark.timeout(300)]
SILENCES = [1.0, pytest.param(DEFAULTS.silent_peer_time, marks=LONG, id="as-everybody-has-it")]

#: Ends its input, as `nc -N` does, and waits for the rest of its replies.
WAITER = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(sys.argv[3].encode())
connection.shutdown(socket.SHUT_WR)
while connection.recv(65536):
    pass
"""


@pytest.fixture
def link():
    with Link() as link:
        yield link


@pytest.fixture(params=SILENCES)
def silence(request):
    return request.param


@pytest.fixture
def bench(make_bench, silence, link):
    return make_bench(limits={"silent-peer-time": silence}, settings={"host": "0.0.0.0", "allow": link.network})


def is_given_up(bench, link, what, silence, cut_at):
    """It is as if it had closed; and that is not before its time."""
    record = wait_until(lambda: disconnects(bench, link), deadline=3 * silence + 20, what="a disconnect")
    assert len(record) == 1
    took = time.monotonic() - cut_at
    bench.figures.note(what if silence < 10 else f"{what}_as_everybody_has_it", took)
    assert took > 0.6 * silence


def disconnects(bench, link):
    return [row for row in bench.daemon.audit(event="disconnect") if row["client"].startswith(link.there)]


@pytest.mark.fault(49)
@pytest.mark.parametrize("language", [pytest.param("text", marks=pytest.mark.full), "pyvisa"])
def test_idle_client_behind_a_link_that_went_down_is_given_up(bench, link, silence, language):
    """By keepalive: it does not answer. What it had open and locked is free then."""
    instrument = bench.tcp()
    with Leaver(language, link.here, bench.daemon.port, instrument.resource, "lock", prefix=link.prefix) as idle:
        idle.hears("begins")
        idle.hears("done")
        link.cut()
        is_given_up(bench, link, "idle", silence, time.monotonic())
    assert bench.client(instrument.resource).query("ECHO? next") == "next"


@pytest.mark.fault(49)
@pytest.mark.parametrize("language", ["text", pytest.param("pyvisa", marks=pytest.mark.full)])
def test_client_that_is_answered_over_a_link_that_went_down_is_given_up(bench, link, silence, language):
    """By TCP_USER_TIMEOUT: what it was sent is not acknowledged, and keepalive does not run meanwhile."""
    instrument = bench.tcp()
    arguments = (language, link.here, bench.daemon.port, instrument.resource, "query", "SLOW? 700,lost")
    with Leaver(*arguments, prefix=link.prefix) as client:
        client.hears("begins")
        wait_until(lambda: instrument.count("SLOW?") == 1)
        link.cut()
        cut_at = time.monotonic()
        assert bench.client(instrument.resource, timeout_ms=10_000).query("ECHO? next") == "next"
        is_given_up(bench, link, "answered", silence, cut_at)
    assert instrument.history() == ["SLOW? 700,lost", "ECHO? next"]


@pytest.mark.fault(49)
def test_client_that_had_ended_its_input_is_given_up(bench, link, silence):
    """Its connection is not read from any more, which would tell; it waits for a lock without a limit."""
    resource = bench.tcp().resource
    holder = bench.client(resource)
    assert holder.ask(".#.lock") == "ok"
    script = f".#.open_resource {resource}\n.#.lock inf\n"
    command = [*link.prefix, sys.executable, "-c", WAITER, link.here, str(bench.daemon.port), script]
    with subprocess.Popen(command) as waiter:
        wait_until(lambda: bench.daemon.resource(resource)["lock"]["waiting"] == 1)
        link.cut()
        is_given_up(bench, link, "waiting", silence, time.monotonic())
        waiter.kill()
    assert bench.daemon.resource(resource)["lock"]["waiting"] == 0


@pytest.mark.fault(49)
def test_link_that_comes_back_in_time_costs_nothing(make_bench, link):
    """What was on its way arrives."""
    bench = make_bench(settings={"host": "0.0.0.0", "allow": link.network})
    instrument = bench.tcp()
    arguments = ("text", link.here, bench.daemon.port, instrument.resource, "query", "SLOW? 200,late")
    with Leaver(*arguments, prefix=link.prefix) as client:
        client.hears("begins")
        wait_until(lambda: instrument.count("SLOW?") == 1)
        link.cut()
        time.sleep(0.5)
        with bench.figures.timed("answer_after_mending"):
            link.mend()
            client.hears("done")
        assert disconnects(bench, link) == []
