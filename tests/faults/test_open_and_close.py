"""Open and close, a thousand times: the front has afterwards what it had before, and leaves nobody unburied."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.bench import SIM
from tests.faults.held import Held

#: Each of three resources is opened and closed this often, all of them at once; and one that stays open, this often.
CYCLES = [(8, 1000), pytest.param(350, 20_000, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]

#: Before the first look: caches fill, and memory is taken that is kept.
WARM_UP = (3, 100)

#: Bytes by which the front may be larger afterwards, and for each cycle with a process of its own.
GROWTH, GROWTH_EACH = 3_000_000, 8_000


def opens_and_closes(bench, resource, cycles, message="ECHO? {}"):
    with bench.daemon.text() as client:
        for number in range(cycles):
            assert client.ask(f".#.open_resource {resource}") == resource
            if message:
                assert client.ask(".#.query_resource " + message.format(number)) == str(number)
            assert client.ask(".#.close_resource") == "ok"


@pytest.mark.fault(41)
@pytest.mark.parametrize(("processes", "sessions"), CYCLES)
def test_front_is_as_large_after_many_openings_as_before(make_bench, processes, sessions):
    """Descriptors, threads and memory stay, and no zombie is left."""
    bench = make_bench(settings={"linger": 0})
    resources = {bench.tcp().resource: "ECHO? {}", bench.stubborn(): "ECHO? {}", SIM: ""}
    stays = bench.stubborn("stays")

    def all_at_once(processes, sessions):
        with ThreadPoolExecutor(len(resources)) as pool:
            list(pool.map(lambda row: opens_and_closes(bench, row[0], processes, row[1]), resources.items()))
        with bench.daemon.text() as client:
            assert client.ask(f".#.open_resource {stays}") == stays
            opens_and_closes(bench, stays, sessions, "")

    all_at_once(*WARM_UP)
    before = Held(bench)
    with bench.figures.timed("all_cycles"):
        all_at_once(processes, sessions)
    after = Held(bench)
    openings = processes * len(resources)
    bench.figures.note("openings", openings)
    bench.figures.note("sessions", sessions)
    for name in ("descriptors", "threads", "memory"):
        bench.figures.note(f"{name}_before", getattr(before, name))
        bench.figures.note(f"{name}_after", getattr(after, name))
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    assert after.memory - before.memory < GROWTH + openings * GROWTH_EACH
    opened = sum(len(bench.daemon.audit(event="opened", resource=resource)) for resource in resources)
    assert opened == (WARM_UP[0] + processes) * len(resources), "each was a process of its own"
