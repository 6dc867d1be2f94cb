"""Sixteen clients share one instrument: what they get together, against one direct client, and whether each gets its
share.

A share is what one client got, in per cent of a sixteenth of all; least and greatest are over a whole run, as nobody is
owed fairness within a few milliseconds. Everything is on one CPU.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.asker import Asker
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.loopback import Loopback
from benchmarks.peers import peer
from benchmarks.pinning import quietest
from benchmarks.throughput import count_together

TITLE = "Many clients, one instrument"

SUBJECTS = ("daemon @daemon", "daemon text")
CLIENTS = 16

#: Rounds, and seconds of each; quick runs have the second.
ROUNDS = (7, 3)
SECONDS = (1.0, 0.3)


def run(bench: Bench) -> Iterator[Figure]:
    cpu = quietest()
    rates: dict[str, list[float]] = {subject: [] for subject in ("direct", *SUBJECTS)}
    gets = {subject: [0] * CLIENTS for subject in SUBJECTS}
    # Direct has an instrument of its own, as nobody else may have that open.
    with Loopback(2, cpu) as loopback, ExitStack() as stack:
        shared, alone = loopback.resources
        where = stack.enter_context(peer(SUBJECTS[0]).serve(bench, [shared], cpu))
        askers = [stack.enter_context(Asker(cpu)) for _ in range(CLIENTS)]
        askers[0].call(bench, "connect", "direct", "@py", alone)
        for subject in SUBJECTS:
            for asker in askers:
                asker.call(bench, "connect", subject, where, shared)
        seconds = SECONDS[bench.is_quick]
        for _ in range(ROUNDS[bench.is_quick]):
            counts = count_together(bench, askers[:1], "direct", [loopback.identity(1)], seconds)
            rates["direct"].append(sum(counts) / seconds)
            for subject in SUBJECTS:
                counts = count_together(bench, askers, subject, [loopback.identity(0)] * CLIENTS, seconds)
                rates[subject].append(sum(counts) / seconds)
                gets[subject] = [before + count for before, count in zip(gets[subject], counts, strict=True)]
    for subject, rounds in rates.items():
        yield Figure("sharing", subject, "rate", median(rounds), "queries/s")
    for subject in SUBJECTS:
        ratios = [ours / direct for ours, direct in zip(rates[subject], rates["direct"], strict=True)]
        mean = sum(gets[subject]) / CLIENTS
        yield Figure("sharing", subject, "rate / direct", 100 * median(ratios), "%")
        yield Figure("sharing", subject, "least share", 100 * min(gets[subject]) / mean, "%")
        yield Figure("sharing", subject, "greatest share", 100 * max(gets[subject]) / mean, "%")
