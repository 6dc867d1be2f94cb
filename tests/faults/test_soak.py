"""Random faults for a long time: every answer is right, every error is explained, and afterwards all is as before."""

import random
from collections import Counter

import pytest

from tests.faults.bench import SIM
from tests.faults.gremlin import Gremlin
from tests.faults.held import Held
from tests.faults.soak import SIM_ANSWER, SIM_QUESTION, StockWorker, TextWorker, World
from tests.support.waiting import wait_until

#: Seconds, how long each gremlin waits on average, and the seed; None for one that is new each time.
RUNS = [
    pytest.param(6, 0.4, 1),
    pytest.param(420, 0.7, None, marks=[pytest.mark.full, pytest.mark.timeout(900)]),
]

#: Failures come faster here than anywhere; broken it shall be now and then, not for minutes.
LIMITS = {"failures": 8, "longest-backoff": 0.5, "trial-time": 3, "abort-time": 0.5}


def works(world, resource):
    """Somebody opens it and is answered, perhaps after a while."""
    question, answer = (SIM_QUESTION, SIM_ANSWER) if resource == SIM else (f"ECHO? {resource}", resource)
    with world.bench.daemon.text() as client:
        wait_until(lambda: client.ask(f".#.open_resource {resource}") == resource, what=f"{resource} to open")
        wait_until(lambda: client.ask(f".#.query_resource {question}") == answer, what=f"{resource} to answer")


def note(figures, world, gremlins):
    did = sum((gremlin.did for gremlin in gremlins), Counter())
    figures.note("faults", did.total())
    figures.note("commands", world.told.total())
    figures.note("answers", world.told["ok"])
    figures.note("did", ", ".join(f"{act} {count}" for act, count in sorted(did.items())))
    figures.note("told", ", ".join(f"{token} {count}" for token, count in sorted(world.told.items())))


@pytest.mark.fault(42)
@pytest.mark.parametrize(("seconds", "pause", "seed"), RUNS)
def test_random_faults_cause_no_error_that_they_do_not_explain(make_bench, seconds, pause, seed):
    """And none at all at an instrument that is spared, and at GOOD; afterwards nothing is left of it all."""
    seed = seed or random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")  # shown if it fails
    bench = make_bench(limits=LIMITS, settings={"grace": 1.0, "linger": 0})
    before = Held(bench)
    hurt = [bench.tcp().resource, bench.tcp().resource, bench.stubborn("a"), bench.stubborn("b"), SIM]
    world = World(bench, hurt, [bench.tcp().resource])
    workers = [TextWorker(world, f"text{number}", seed + number) for number in range(5)]
    workers += [StockWorker(world, f"stock{host}", seed + 10, host) for host in ("127.0.0.1", "localhost")]
    gremlins = [Gremlin(world, resource, seed + 20 + number, pause) for number, resource in enumerate(hurt)]
    world.live([*workers, *gremlins], seconds)
    bench.figures.note("seconds", seconds)
    note(bench.figures, world, gremlins)
    assert world.problems == [], "\n".join(world.problems)
    for resource in world.resources:
        works(world, resource)
    assert Held(bench).descriptors == before.descriptors
    log = (bench.daemon.run_dir / "daemon.log").read_text()
    bench.figures.note("front_stalled", log.count('"stall"'))
    assert "Traceback" not in log
    assert '"fault"' not in log
