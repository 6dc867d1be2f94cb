"""A write and a query behind it: `write("SET 1"); query("*IDN?")`.

Directly the query waits for the instrument's kernel to acknowledge the write: pyvisa-py leaves Nagle's algorithm on
for SOCKET resources, and Linux delays an acknowledgement by some 40 ms. In the end each instrument must have had every
command exactly once.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Samples
from benchmarks.loopback import Loopback
from benchmarks.peers import present
from benchmarks.pinning import quietest
from benchmarks.query import connect, latencies, rotated

TITLE = "A write, and a query behind it"

SUBJECTS = ("direct", "daemon @daemon", "daemon client", "daemon text", "rpyc", "Pyro5", "pyvisa-proxy")

#: Rounds, and pairs of each peer in a round; quick runs have the second.
ROUNDS = (12, 2)
PAIRS = 8


def run(bench: Bench) -> Iterator[Figure | Samples]:
    subjects = present(bench, SUBJECTS)
    cpu, rounds = quietest(), ROUNDS[bench.is_quick]
    took: dict[str, list[list[float]]] = {subject: [] for subject in subjects}
    with Loopback(len(subjects), cpu) as loopback, ExitStack() as stack:
        askers = connect(bench, stack, subjects, loopback, cpu)
        for number in range(rounds):
            for subject in rotated(subjects, number):
                answer = loopback.identity(subjects.index(subject))
                told = askers[subject].call(bench, "time_pairs", subject, "SET 1", "*IDN?", answer, PAIRS)
                took[subject].append(told.took)
        for subject in subjects:
            askers[subject].call(bench, "time_queries", subject, "COUNT?", str(2 * PAIRS * rounds), 1)
    yield from latencies("write_query", took)
