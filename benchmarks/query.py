"""One client asks one instrument, again and again: how long an answer takes through each peer.

Every peer has its own instrument and its own client process; they ask in turn, some queries at a time, all on one CPU.
A ratio is the median over the rounds of the peer's p50 in a round to direct's in the same round.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median, quantiles

from benchmarks.asker import Asker
from benchmarks.bench import Bench
from benchmarks.figures import Figure, Samples
from benchmarks.loopback import Loopback
from benchmarks.peers import PEERS, peer, present
from benchmarks.pinning import quietest

TITLE = "A query, one client"

#: Rounds, and queries of each peer in a round; quick runs have the second.
ROUNDS = (40, 8)
QUERIES = 100


def run(bench: Bench, subjects: list[str] | None = None) -> Iterator[Figure | Samples]:
    subjects = present(bench, subjects or list(PEERS))
    cpu = quietest()
    took: dict[str, list[list[float]]] = {subject: [] for subject in subjects}
    with Loopback(len(subjects), cpu) as loopback, ExitStack() as stack:
        askers = connect(bench, stack, subjects, loopback, cpu)
        for number in range(-1, ROUNDS[bench.is_quick]):
            for subject in rotated(subjects, number):
                answer = loopback.identity(subjects.index(subject))
                told = askers[subject].call(bench, "time_queries", subject, "*IDN?", answer, QUERIES)
                if number >= 0:  # the first warms everybody up
                    took[subject].append(told.took)
    yield from latencies("query", took)


def connect(
    bench: Bench, stack: ExitStack, subjects: list[str], loopback: Loopback, cpu: int | None
) -> dict[str, Asker]:
    """A client process for each subject, connected to an instrument of its own through it."""
    served = serve_all(bench, stack, subjects, loopback.resources, cpu)
    askers = {subject: stack.enter_context(Asker(cpu)) for subject in subjects}
    for subject, resource in zip(subjects, loopback.resources, strict=True):
        askers[subject].call(bench, "connect", subject, served[subject], resource)
    return askers


def serve_all(
    bench: Bench, stack: ExitStack, subjects: Sequence[str], resources: Sequence[str], cpu: int | None
) -> dict[str, str]:
    """Subject -> where its server is, which serves all `resources`; the daemon's ways in lead to one daemon."""
    served, daemon = dict[str, str](), ""
    for subject in subjects:
        is_ours = subject.startswith("daemon ")
        served[subject] = (
            daemon if is_ours and daemon else stack.enter_context(peer(subject).serve(bench, resources, cpu))
        )
        daemon = served[subject] if is_ours else daemon
    return served


def rotated(subjects: list[str], number: int) -> list[str]:
    """Another one begins in each round."""
    start = number % len(subjects)
    return subjects[start:] + subjects[:start]


def latencies(measure: str, took: dict[str, list[list[float]]]) -> Iterator[Figure | Samples]:
    """Percentiles in microseconds and ratios to direct, of the seconds of all rounds of each subject."""
    for subject, rounds in took.items():
        microseconds = [seconds * 1e6 for one in rounds for seconds in one]
        percentiles = quantiles(microseconds, n=100, method="inclusive")
        for percent in (50, 90, 99):
            yield Figure(measure, subject, f"p{percent}", percentiles[percent - 1], "us")
        ratios = [median(ours) / median(direct) for ours, direct in zip(rounds, took["direct"], strict=True)]
        yield Figure(measure, subject, "p50 / direct", median(ratios), "x")
        yield Samples(measure, subject, "latency", microseconds, "us")
