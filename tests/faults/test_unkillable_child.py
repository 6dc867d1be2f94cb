"""A child that the kernel holds: its instrument is wedged, everybody else is served, and it recovers by itself."""

import re

import pytest

from tests.faults.others import Others
from tests.faults.processes import is_gone, pid_of
from tests.faults.unkillable import WAYS
from tests.support.waiting import wait_until

TIMEOUT_MS = 200

#: Seconds from SIGKILL until a process is called wedged.
KILL_TIME = {"kill-time": 0.3}


@pytest.mark.fault(20)
@pytest.mark.parametrize("way", [*WAYS[:1], *(pytest.param(way, marks=pytest.mark.full) for way in WAYS[1:])])
def test_child_that_cannot_be_killed_wedges_its_instrument_only(make_bench, way, tmp_path):
    """Whoever wants it is told at once who holds it and where; with the death of that process it is served again."""
    bench = make_bench(limits=KILL_TIME)
    with way(tmp_path) as unkillable:
        client = bench.client(bench.stubborn(), TIMEOUT_MS)
        others = Others(bench, client.resource)
        pid = pid_of(bench, client.resource)
        with bench.figures.timed("error"):
            client.begin("query", unkillable.message)
            wait_until(lambda: bench.executed(client.resource))
            unkillable.hold(pid)
            others.queue()
            reply = client.outcome()
        assert reply.startswith(".#.error INSTRUMENT_HUNG effect=maybe "), reply
        row = bench.daemon.resource(client.resource)
        assert (row["state"], row["pid"]) == ("wedged", pid)
        assert not is_gone(pid)
        with bench.figures.timed("refusal"):
            refusal = client.query("ECHO? refused")
        assert refusal.startswith(".#.error INSTRUMENT_WEDGED effect=none "), refusal
        held = re.search(r"process (\d+) .* \((\S+)(?: in (\w+))?\)", refusal)
        assert held, refusal
        assert (int(held[1]), held[2]) == (pid, row["process"])
        bench.figures.note("held", " in ".join(filter(None, held.groups()[1:])))
        refusal = bench.client().ask(f".#.open_resource {client.resource}")
        assert refusal.startswith(".#.error INSTRUMENT_WEDGED effect=none "), refusal
        assert bench.client(bench.stubborn("other")).query("ECHO? meanwhile") == "meanwhile"
        unkillable.release()
        with bench.figures.timed("started_anew"):
            wait_until(lambda: bench.daemon.resource(client.resource)["state"] == "ready")
    assert is_gone(pid)
    assert bench.daemon.resource(client.resource)["generation"] == 2
    bench.recovers(client)
    others.are_told()
    told = [record["event"] for record in bench.daemon.audit(resource=client.resource, pid=pid)]
    assert told == ["opened", "hung", "wedged", "killed"]
