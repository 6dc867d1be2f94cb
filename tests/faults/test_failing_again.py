"""Processes that die again and again: back-off, then broken; who asks is told at once, and the log stays short."""

import re

import pytest

from tests.faults.story import story
from tests.support.waiting import wait_until

#: After the first failure it starts anew at once, after the second in 0.3 s or so; the third is one too many.
SHORT = {"failures": 2, "longest-backoff": 0.3}


def state(bench, resource):
    return bench.daemon.resource(resource).get("state", "closed")


def attempt(client, resource):
    """The error token that an open of it gets; "" if it is open then."""
    reply = client.ask(f".#.open_resource {resource}")
    if reply == resource:
        return ""
    failure = re.match(r"\.#\.error (\w+) effect=none ", reply)
    assert failure, reply
    return failure[1]


def dies(bench, client, times=1):
    """Its process ends in mid-command, and again as soon as there is another."""
    for number in range(times):
        wait_until(lambda: state(bench, client.resource) == "ready", what="a process to end")
        reply = client.query(f"EXIT {number}")
        assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=maybe "), reply


def breaks(bench, client):
    """It dies until it is broken."""
    dies(bench, client, 1 + SHORT["failures"])
    wait_until(lambda: state(bench, client.resource) == "broken")


@pytest.mark.fault(19)
def test_crash_at_every_open_is_told_a_few_times_and_then_refused_until_reset(make_bench, tmp_path):
    """A loop of opens makes no loop of processes; an operator's `reset` is heard though nobody has it open."""
    bench = make_bench(limits=SHORT)
    resource, client = bench.stubborn("dies-once"), bench.client()
    tokens = []
    with bench.figures.timed("broken_after"):
        wait_until(lambda: tokens.append(attempt(client, resource)) or tokens[-1] == "INSTRUMENT_BROKEN")
    with bench.figures.timed("error"):
        tokens.append(attempt(client, resource))
    tokens += [attempt(client, resource) for _ in range(99)]
    bench.figures.note("opens", len(tokens))
    bench.figures.note("audit_lines", len(story(bench.daemon, resource)))
    assert tokens.count("INSTRUMENT_CRASHED") == 1 + SHORT["failures"]
    assert tokens.count("INSTRUMENT_BACKOFF") > 0
    assert tokens[-100:] == ["INSTRUMENT_BROKEN"] * 100
    assert story(bench.daemon, resource).count("crashed") == 1 + SHORT["failures"]
    assert (bench.daemon.run_dir / "daemon.log").read_text().count(resource) <= len(story(bench.daemon, resource))
    (tmp_path / "executed.jsonl.once").touch()
    assert attempt(client, resource) == "INSTRUMENT_BROKEN", "nobody has told the daemon that it is mended"
    assert client.ask(f".#.reset {resource}") == "ok"
    assert client.open(resource).query("ECHO? mended") == "mended"


@pytest.mark.fault(19)
def test_process_that_dies_in_use_is_started_ever_later_then_not_until_reset(make_bench):
    """Whoever has it open is told at once, with the seconds; nothing is executed, and nothing written per refusal."""
    bench = make_bench(limits={**SHORT, "longest-backoff": 1.0})
    client = bench.client(bench.stubborn())
    dies(bench, client, 2)
    wait_until(lambda: state(bench, client.resource) == "backoff")
    refusal = client.query("ECHO? in back-off")
    assert refusal.startswith(".#.error INSTRUMENT_BACKOFF effect=none ")
    assert re.search(r"the next start is in [\d.]+ s", refusal)
    dies(bench, client)
    wait_until(lambda: state(bench, client.resource) == "broken")
    so_far = story(bench.daemon, client.resource)
    assert so_far.count("crashed") == 1 + SHORT["failures"]
    with bench.figures.timed("error"):
        assert client.query("ECHO? broken").startswith(".#.error INSTRUMENT_BROKEN effect=none ")
    for number in range(50):
        assert client.query(f"ECHO? broken {number}").startswith(".#.error INSTRUMENT_BROKEN effect=none ")
    assert story(bench.daemon, client.resource) == so_far
    (waited,) = bench.daemon.audit(resource=client.resource, event="backoff")
    assert 0.8 <= waited["wait_s"] <= 1.2
    assert client.ask(f".#.reset {client.resource}") == "ok"
    bench.recovers(client)
    dies(bench, client)
    bench.recovers(client)
    assert story(bench.daemon, client.resource)[len(so_far) :] == ["restarted", "crashed", "restarted"], "no back-off"


@pytest.mark.fault(19)
def test_close_ends_the_back_off_and_forgets_no_failure(make_bench):
    """What nobody wants is not started. Who opens it again is told the seconds, or that it is broken, as before:
    the count is the resource's, over all openings, whatever else is opened meanwhile, and after a `reset` too."""
    bench = make_bench(limits={**SHORT, "longest-backoff": 1.0}, settings={"linger": 0})
    resource = bench.stubborn()
    client = bench.client(resource)
    bench.client(bench.stubborn("other"))
    dies(bench, client, 2)
    wait_until(lambda: state(bench, resource) == "backoff")
    closes(bench, client)
    client, tokens = bench.client(), []
    wait_until(lambda: tokens.append(attempt(client, resource)) or tokens[-1] == "")
    assert set(tokens) == {"INSTRUMENT_BACKOFF", ""}
    assert story(bench.daemon, resource) == ["opened", "crashed", "restarted", "crashed", "backoff", "opened"]
    dies(bench, client.open(resource))
    client = is_broken_for_the_next(bench, client)
    assert client.ask(f".#.reset {resource}") == "ok"
    breaks(bench, client.open(resource))
    is_broken_for_the_next(bench, client)


def closes(bench, client):
    client.close()
    wait_until(lambda: state(bench, client.resource) == "closed")


def is_broken_for_the_next(bench, client):
    """Its last session closes; another client, which is returned, opens it in vain."""
    wait_until(lambda: state(bench, client.resource) == "broken")
    closes(bench, client)
    other = bench.client()
    assert attempt(other, client.resource) == "INSTRUMENT_BROKEN"
    return other


@pytest.mark.fault(19)
def test_what_is_broken_is_tried_once_after_the_trial_time(make_bench):
    """By the next command. If that fails it is broken at once and the time begins anew; else all is forgiven."""
    bench = make_bench(limits={**SHORT, "trial-time": 1})
    client = bench.client(bench.stubborn())
    breaks(bench, client)
    assert client.query("ECHO? too early").startswith(".#.error INSTRUMENT_BROKEN effect=none ")
    assert trial(client, "EXIT 100").startswith(".#.error INSTRUMENT_CRASHED effect=maybe ")
    wait_until(lambda: state(bench, client.resource) == "broken")
    assert client.query("ECHO? too early again").startswith(".#.error INSTRUMENT_BROKEN effect=none ")
    assert trial(client, "ECHO? good again") == "good again"
    so_far = story(bench.daemon, client.resource)
    assert so_far[-3:] == ["crashed", "broken", "restarted"]
    dies(bench, client)
    bench.recovers(client)
    assert story(bench.daemon, client.resource)[len(so_far) :] == ["crashed", "restarted"], "all was forgiven"


def trial(client, message):
    """Say it until it is no longer refused for what was."""
    replies = []
    wait_until(lambda: replies.append(client.query(message)) or " INSTRUMENT_BROKEN " not in replies[-1])
    return replies[-1]
