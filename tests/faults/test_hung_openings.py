"""Opens and searches that never return: each has a deadline of its own, and nobody else waits for it."""

import threading

import pytest

from tests.faults.bench import BACKENDS
from tests.faults.processes import is_gone
from tests.support.waiting import wait_until

GOOD = "TCPIP0::good::inst0::INSTR"


def opens(bench, resource):
    """The daemon's reply to an open; the longest of a test is a figure."""
    client = bench.client()
    with bench.figures.timed("error"):
        return client.ask(f".#.open_resource {resource}")


@pytest.mark.fault(5)
@pytest.mark.parametrize(
    ("name", "process"),
    [("hangs-in-open", ""), pytest.param("stops-in-open", "stopped", marks=pytest.mark.full)],
)
def test_open_that_never_returns_is_a_bounded_error(make_bench, name, process):
    """For all who wait for it; meanwhile others open, and afterwards nothing is left of it."""
    bench = make_bench(limits={"open-time": 1})
    resource = bench.stubborn(name)
    replies = []
    asking = [threading.Thread(target=lambda: replies.append(opens(bench, resource))) for _ in range(2)]
    for thread in asking:
        thread.start()
    wait_until(lambda: bench.daemon.resource(resource).get("state") == "opening")
    assert bench.client(bench.stubborn()).query("ECHO? meanwhile") == "meanwhile"
    for thread in asking:
        thread.join()
    assert [reply.startswith(".#.error INSTRUMENT_HUNG effect=none ") for reply in replies] == [True, True], replies
    wait_until(lambda: bench.daemon.resource(resource) == {})
    told = bench.daemon.wait_for_audit(event="hung", resource=resource)
    assert told["process"].startswith(process)
    assert is_gone(told["pid"])


@pytest.mark.fault(19)
def test_open_that_kills_its_process_names_its_end_and_is_not_tried_again(bench):
    """Whoever asked is told once; there is one process for one open."""
    resource = bench.stubborn("dies-in-open")
    reply = opens(bench, resource)
    assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=none "), reply
    assert "exited with code 3" in reply
    wait_until(lambda: bench.daemon.resource(resource) == {})
    bench.daemon.wait_for_audit(event="crashed", resource=resource)
    assert opens(bench, bench.stubborn()) == bench.stubborn()
    assert len(bench.daemon.audit(event="crashed", resource=resource)) == 1


@pytest.mark.fault(5)
def test_search_that_hangs_has_a_deadline_and_holds_nobody_up(daemon_factory, tmp_path):
    """list_resources runs in a process of its own, which is killed."""
    config = tmp_path / "search.toml"
    config.write_text("[limits]\nsearch-time = 1\n")
    options = ("--visa-library", "hangs-in-list@stubborn", "--config", str(config))
    daemon = daemon_factory(*options, environment={"PYTHONPATH": str(BACKENDS)})
    with daemon.text() as client, daemon.text() as good:
        client.socket.settimeout(60)
        assert good.ask(f".#.open_resource {GOOD}") == GOOD
        before = wait_until(lambda: with_a_spare(daemon), what="a spare")
        client.send(b".#.list_resources\n")
        assert good.ask(".#.query_resource fine") == "fine"
        reply = client.line().decode()
        assert reply.startswith(".#.error VI_ERROR_TMO effect=none "), reply
        assert good.ask(".#.query_resource still fine") == "still fine"
        wait_until(lambda: len(before - children(daemon)) == 1, what="one of them dead")
        assert daemon.resource(GOOD)["generation"] == 1


def children(daemon):
    return {process.pid for process in daemon.children()}


def with_a_spare(daemon):
    """GOOD's, multiprocessing's own, and at least one more."""
    living = children(daemon)
    return living if len(living) > 2 else None
