"""Instruments that are switched off, unplugged, and back: offline is no failure, and nobody has to do anything."""

import itertools
import time

import pytest

from tests.faults.link import Link
from tests.faults.story import story
from tests.faults.switchable import Attempts, Switchable
from tests.support.waiting import wait_until

#: Seconds between two commands of a script that goes on whatever happens.
PAUSE = 0.02

#: A process on a busy machine is not to be taken for hung here.
PATIENT = {"grace": 2}


def asks_until(client, is_over, deadline=20.0):
    """The replies to a script's commands."""
    replies = []
    numbers = itertools.count()
    end = time.monotonic() + deadline
    while not is_over():
        replies.append(client.query(f"ECHO? {id(replies)}-{next(numbers)}"))
        assert time.monotonic() < end, replies[-1]
        time.sleep(PAUSE)
    return replies


def is_no_failure(bench, resource):
    """Nothing of it counts for the breaker, whose first word would be a back-off."""
    told = story(bench.daemon, resource)
    assert not {"crashed", "hung", "backoff", "broken"} & set(told), told
    return told


@pytest.mark.fault(59)
@pytest.mark.parametrize(
    ("longest", "steps"),
    [(2, [1, 2]), pytest.param(10, [1, 2, 4, 8, 10, 10, 10], marks=[pytest.mark.full])],
)
def test_instrument_switched_off_and_on_works_again_by_itself(make_bench, longest, steps):
    """Commands fail at once and have no effect; it is tried again after 1, 2, 4 ... seconds, each time once."""
    bench = make_bench(limits={"longest-offline": longest}, settings=PATIENT)
    with Switchable() as instrument, Attempts(instrument.port) as attempts:
        instrument.on()
        resource = bench.watch(instrument)
        client, other = bench.client(resource, timeout_ms=300), bench.client(resource)
        assert client.query("ECHO? before") == "before"
        instrument.off()
        with bench.figures.timed("error"):
            assert client.query("ECHO? finds out").startswith(".#.error VI_ERROR_CONN_LOST ")
        since = time.time()
        replies = asks_until(client, lambda: len(attempts.since(since)) > len(steps), deadline=10 + sum(steps))
        assert all(reply.startswith(".#.error VI_ERROR_CONN_LOST effect=none ") for reply in replies)
        bench.figures.note("commands_while_off", len(replies))
        bench.figures.note("attempts_while_off", len(attempts.since(since)))
        for (before, after), step in zip(itertools.pairwise(attempts.since(since)), steps, strict=True):
            assert after - before >= 0.5 * step, "so long it waits, give or take the start of a process"
        instrument.on()
        bench.recovers(client)
        assert other.query("ECHO? told").startswith(".#.error SESSION_RESET effect=none ")
        assert other.query("ECHO? after") == "after"
        assert is_no_failure(bench, resource).count("restarted") == 1


@pytest.mark.fault(59)
def test_port_that_refuses_for_a_while_opens_when_it_does_not(bench):
    """Each open is told, after one attempt at most; so many of them break nothing."""
    opens = 10
    with Switchable() as instrument, Attempts(instrument.port) as attempts:
        resource, client = bench.watch(instrument), bench.client()
        for _ in range(opens):
            with bench.figures.timed("refused"):
                reply = client.ask(f".#.open_resource {resource}")
            assert reply.startswith(".#.error VI_ERROR_RSRC_NFOUND effect=none "), reply
        failed = story(bench.daemon, resource).count("unreachable")
        assert 1 <= failed <= opens
        wait_until(lambda: len(attempts.since(0)) >= failed)
        assert len(attempts.since(0)) == failed
        instrument.on()
        assert client.open(resource).query("ECHO? there") == "there"
        is_no_failure(bench, resource)


@pytest.mark.fault(59)
def test_instrument_that_is_long_to_be_missed_holds_up_one_command_per_attempt(make_bench):
    """Unplugged, it takes the kernel 1.5 s to say so, longer than the step of 1 s; between two attempts commands fail
    at once nevertheless."""
    bench = make_bench(limits={"longest-offline": 1}, settings=PATIENT)
    with Link() as link, Switchable(link.there, prefix=link.prefix) as instrument:
        link.hasten()
        instrument.on()
        resource = bench.watch(instrument)
        client = bench.client(resource, timeout_ms=300)
        assert client.query("ECHO? before") == "before"
        link.cut()
        asks_until(client, lambda: bench.daemon.resource(resource)["state"] == "offline")
        attempts = len(bench.daemon.audit(event="unreachable"))
        replies = asks_until(client, lambda: len(bench.daemon.audit(event="unreachable")) >= attempts + 2)
        assert all(reply.startswith(".#.error VI_ERROR_CONN_LOST effect=none ") for reply in replies)
        assert len(replies) > 2 * 3, "between two attempts there is a second in which they fail at once"
        link.mend()
        bench.recovers(client)
        is_no_failure(bench, resource)


@pytest.mark.fault(59)
@pytest.mark.full
def test_instrument_that_says_nothing_at_all_is_offline_and_its_process_not_hung(make_bench):
    """Switched off behind a router: nothing is refused, each attempt lasts as long as the library waits (10 s)."""
    bench = make_bench(settings=PATIENT)
    with Link() as link, Switchable(link.there, prefix=link.prefix) as instrument:
        instrument.on()
        resource = bench.watch(instrument)
        client = bench.client(resource, timeout_ms=1000)
        client.socket.settimeout(60)
        assert client.query("ECHO? before") == "before"
        link.swallow()
        assert client.query("ECHO? unheard").startswith(".#.error VI_ERROR_TMO ")
        asks_until(client, lambda: len(bench.daemon.audit(event="unreachable")) >= 2, deadline=60)
        replies = asks_until(client, lambda: len(bench.daemon.audit(event="unreachable")) >= 4, deadline=60)
        assert all(reply.startswith(".#.error VI_ERROR_CONN_LOST effect=none ") for reply in replies)
        assert len(replies) > 2 * 3
        is_no_failure(bench, resource)
