"""What an open instrument costs in memory, and whether the others feel how many are open.

Instruments are opened one after the other, as a laboratory's program does it; at some counts all processes of the
daemon are looked at. PSS is what counts (proc(5), smaps_rollup): a page that n processes share is an n-th in each, so
the sum over all processes is what the machine has spent. Everything is in megabytes of 10^6 bytes.
"""

import time
from collections.abc import Iterator
from itertools import pairwise
from statistics import mean, median, quantiles

from benchmarks.bench import Bench, DaemonUnderTest
from benchmarks.figures import Figure
from benchmarks.loopback import Loopback
from benchmarks.processes import memory, on_one_cpu, private, wait_until_quiet
from tests.support.text_client import TextClient

TITLE = "Memory of open instruments"

#: How many are open when it is looked; quick runs have the second.
COUNTS = ((1, 10, 50, 100, 200), (1, 10, 25))

#: Up to this many open instruments, each is asked some hundred times, and then it is looked again.
USED, QUERIES_EACH = 100, 200

#: Queries whose latency is measured at each count.
QUERIES = 1000


def run(bench: Bench) -> Iterator[Figure]:
    counts = COUNTS[bench.is_quick]
    with Loopback(counts[-1]) as loopback, bench.daemon() as daemon, TextClient(daemon.host, daemon.port) as client:
        for before, count in pairwise((0, *counts)):
            took = [_opened(bench, client, resource) for resource in loopback.resources[before:count]]
            yield Figure("memory", "daemon", "open, back to back, p50", median(took) * 1e3, "ms", count)
            wait_until_quiet(daemon.pids)
            yield from _memory(client, daemon, count, "")
            yield from _latencies(bench, client, daemon, loopback, count)
            if count <= USED:
                _use(bench, client, loopback, count)
                yield from _memory(client, daemon, count, ", used")


def _opened(bench: Bench, client: TextClient, resource: str) -> float:
    """Seconds until it is open."""
    began = time.perf_counter()
    reply = client.ask(f".#.open_resource {resource}")
    took = time.perf_counter() - began
    bench.check(reply == resource, f"{resource} opens: {reply}")
    return took


def _memory(client: TextClient, daemon: DaemonUnderTest, count: int, when: str) -> Iterator[Figure]:
    holders = {row["pid"] for row in client.ask_json(".#.status")["resources"]}
    assert len(holders) == count, "one process for each open instrument"
    rollups = {pid: memory(pid) for pid in daemon.pids()}
    everything = sum(rollup["Pss"] for rollup in rollups.values())
    ours = [rollups[pid] for pid in holders if pid in rollups]
    figures = {
        "PSS of everything / instrument": everything / count,
        "PSS of an instrument's process": mean(rollup["Pss"] for rollup in ours),
        "USS of an instrument's process": mean(private(rollup) for rollup in ours),
        "RSS of an instrument's process": mean(rollup["Rss"] for rollup in ours),
        "PSS of the front": rollups[daemon.pid]["Pss"],
        "RSS of the front": rollups[daemon.pid]["Rss"],
    }
    for name, value in figures.items():
        yield Figure("memory", "daemon", name + when, value / 1e6, "MB", count)


def _latencies(
    bench: Bench, client: TextClient, daemon: DaemonUnderTest, loopback: Loopback, count: int
) -> Iterator[Figure]:
    """Queries to the first instrument. All who take part are on one CPU, or the kernel's choice would be measured."""
    first = loopback.resources[0]
    child = next(row["pid"] for row in client.ask_json(".#.status")["resources"] if row["resource"] == first)
    client.ask(f".#.use {first}")
    took = []
    with on_one_cpu(0, daemon.pid, child, loopback.pid):
        for _ in range(QUERIES):
            began = time.perf_counter()
            answer = client.ask(".#.query_resource *IDN?")
            took.append(time.perf_counter() - began)
            bench.check(answer == loopback.identity(0), f"the first of {count} instruments answers")
    percentiles = quantiles(took, n=100)
    yield Figure("memory", "daemon", "query p50", percentiles[49] * 1e6, "us", count)
    yield Figure("memory", "daemon", "query p99", percentiles[98] * 1e6, "us", count)


def _use(bench: Bench, client: TextClient, loopback: Loopback, count: int) -> None:
    """Some hundred queries to each instrument."""
    for index, resource in enumerate(loopback.resources[:count]):
        client.ask(f".#.use {resource}")
        identity = loopback.identity(index)
        for _ in range(QUERIES_EACH):
            bench.check(client.ask(".#.query_resource *IDN?") == identity, f"{resource} answers as itself")
