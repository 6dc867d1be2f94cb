"""Many clients, each with an instrument of its own: queries per second of all of them together.

Each client is a process. First all that takes part is on one CPU, so the figure says what a query costs in all; then,
in the full form, nobody is kept anywhere, which is what users see, and depends on how many cores the machine has. The
peers take turns, and a ratio is the median over the rounds of a peer's rate to direct's in the same round.
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

#: Numbers of clients; quick runs have the second.
CLIENTS = ((1, 4, 16), (1, 16))

#: Rounds at each number of clients, and seconds that each peer has in one; quick runs have the second.
ROUNDS = (7, 2)
SECONDS = (1.0, 0.3)

#: Rounds on all cores, in the full form.
ROUNDS_ON_ALL = 3

#: What is behind the names of their figures.
ON_ALL = ", on all cores"

#: Seconds from telling the clients to their common start: all of them have heard it by then.
LEAD = 0.05


def run(bench: Bench) -> Iterator[Figure]:
    yield from _all_rates(bench, quietest(), ROUNDS[bench.is_quick], "")
    if not bench.is_quick:
        yield from _all_rates(bench, None, ROUNDS_ON_ALL, ON_ALL)


def _all_rates(bench: Bench, cpu: int | None, rounds: int, where: str) -> Iterator[Figure]:
    subjects, counts = present(bench, SUBJECTS), CLIENTS[bench.is_quick]
    with Loopback(counts[-1], cpu) as loopback, ExitStack() as stack:
        served = serve_all(bench, stack, subjects, loopback.resources, cpu)
        askers = [stack.enter_context(Asker(cpu)) for _ in loopback.ports]  # after the servers: they leave first
        for asker, resource in zip(askers, loopback.resources, strict=True):
            for subject in subjects:
                asker.call(bench, "connect", subject, served[subject], resource)
        for clients in counts:
            bench.say(f"throughput{where}: {clients} clients")
            rates = _rates(bench, subjects, askers[:clients], loopback, rounds)
            yield from _figures(rates, clients, where)


def _rates(
    bench: Bench, subjects: list[str], askers: Sequence[Asker], loopback: Loopback, rounds: int
) -> dict[str, list[float]]:
    """Subject -> queries/s in each round."""
    answers = [loopback.identity(index) for index in range(len(askers))]
    rates: dict[str, list[float]] = {subject: [] for subject in subjects}
    for number in range(rounds):
        for subject in rotated(subjects, number):
            counts = count_together(bench, askers, subject, answers, SECONDS[bench.is_quick])
            rates[subject].append(sum(counts) / SECONDS[bench.is_quick])
    return rates


def _figures(rates: dict[str, list[float]], clients: int, where: str) -> Iterator[Figure]:
    for subject, rounds in rates.items():
        ratios = [ours / direct for ours, direct in zip(rounds, rates["direct"], strict=True)]
        yield Figure("throughput", subject, "rate" + where, median(rounds), "queries/s", clients)
        yield Figure("throughput", subject, "rate / direct" + where, 100 * median(ratios), "%", clients)


def count_together(
    bench: Bench, askers: Sequence[Asker], subject: str, answers: Sequence[str], seconds: float
) -> list[int]:
    """How many queries each of them gets answered, all of them asking for the same `seconds`."""
    start = time.monotonic() + LEAD
    for asker, answer in zip(askers, answers, strict=True):
        asker.tell("count_queries", subject, "*IDN?", answer, start, start + seconds)
    return [asker.heard(bench).count for asker in askers]
