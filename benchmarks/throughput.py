"""Many clients, each with an instrument of its own: queries per second of all of them together.

Each client is a process. All that takes part in a round is on one CPU, so the figure says what a query costs in all;
the peers take turns, and a ratio is the median over the rounds of a peer's rate to direct's in the same round.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.asker import Asker
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.loopback import Loopback
from benchmarks.peers import present
from benchmarks.pinning import quietest
from benchmarks.query import rotated, serve_all

TITLE = "Many clients, each with its own instrument"

SUBJECTS = ("direct", "daemon @daemon", "daemon text", "rpyc", "Pyro5", "pyvisa-proxy")
CLIENTS = (1, 4, 16)

#: Rounds at each number of clients, and seconds that each peer has in one; quick runs have the second.
ROUNDS = (7, 3)
SECONDS = (1.0, 0.3)

#: Seconds from telling the clients to their common start: all of them have heard it by then.
LEAD = 0.05


def run(bench: Bench) -> Iterator[Figure]:
    subjects = present(bench, SUBJECTS)
    cpu = quietest()
    with Loopback(CLIENTS[-1], cpu) as loopback, ExitStack() as stack:
        served = serve_all(bench, stack, subjects, loopback.resources, cpu)
        askers = [stack.enter_context(Asker(cpu)) for _ in loopback.ports]  # after the servers: they leave first
        for asker, resource in zip(askers, loopback.resources, strict=True):
            for subject in subjects:
                asker.call(bench, "connect", subject, served[subject], resource)
        for clients in CLIENTS:
            bench.say(f"throughput: {clients} clients")
            yield from _rates(bench, subjects, askers[:clients], loopback)


def _rates(bench: Bench, subjects: list[str], askers: Sequence[Asker], loopback: Loopback) -> Iterator[Figure]:
    answers = [loopback.identity(index) for index in range(len(askers))]
    rates: dict[str, list[float]] = {subject: [] for subject in subjects}
    for number in range(ROUNDS[bench.is_quick]):
        for subject in rotated(subjects, number):
            counts = count_together(bench, askers, subject, answers, SECONDS[bench.is_quick])
            rates[subject].append(sum(counts) / SECONDS[bench.is_quick])
    for subject, rounds in rates.items():
        ratios = [ours / direct for ours, direct in zip(rounds, rates["direct"], strict=True)]
        yield Figure("throughput", subject, "rate", median(rounds), "queries/s", len(askers))
        yield Figure("throughput", subject, "rate / direct", 100 * median(ratios), "%", len(askers))


def count_together(
    bench: Bench, askers: Sequence[Asker], subject: str, answers: Sequence[str], seconds: float
) -> list[int]:
    """How many queries each of them gets answered, all of them asking for the same `seconds`."""
    start = time.monotonic() + LEAD
    for asker, answer in zip(askers, answers, strict=True):
        asker.tell("count_queries", subject, "*IDN?", answer, start, start + seconds)
    return [asker.heard(bench).count for asker in askers]
