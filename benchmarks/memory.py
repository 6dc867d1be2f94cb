"""What an open instrument costs in memory, and whether the others feel how many are open.

Instruments are opened one after the other, as a laboratory's program does it; at some counts all processes of the
daemon are looked at. PSS is what counts (proc(5), smaps_rollup): a page that n processes share is an n-th in each, so
the sum over all processes is what the machine has spent. Everything is in megabytes of 10^6 bytes.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, quantiles

from benchmarks.bench import Bench, DaemonUnderTest
from benchmarks.figures import Figure
from benchmarks.loopback import Loopback
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
            wait_until_quiet(lambda: family(daemon))
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
    rollups = {pid: memory(pid) for pid in family(daemon)}
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


@contextmanager
def on_one_cpu(*pids: int) -> Iterator[None]:
    """The first threads of these processes, 0 being this one, run on the same CPU."""
    before = {pid: os.sched_getaffinity(pid) for pid in pids}
    for pid in pids:
        os.sched_setaffinity(pid, {min(before[pid])})
    try:
        yield
    finally:
        for pid, cpus in before.items():
            os.sched_setaffinity(pid, cpus)


def _use(bench: Bench, client: TextClient, loopback: Loopback, count: int) -> None:
    """Some hundred queries to each instrument."""
    for index, resource in enumerate(loopback.resources[:count]):
        client.ask(f".#.use {resource}")
        identity = loopback.identity(index)
        for _ in range(QUERIES_EACH):
            bench.check(client.ask(".#.query_resource *IDN?") == identity, f"{resource} answers as itself")


# What /proc says of processes.


def memory(pid: int) -> dict[str, int]:
    """The rows of /proc/PID/smaps_rollup, in bytes; all 0 of a process that is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        text = ""
    return {"Pss": 0, "Rss": 0, "Private_Clean": 0, "Private_Dirty": 0, **rows_in_bytes(text)}


def rows_in_bytes(text: str) -> dict[str, int]:
    """The rows `Name:  123 kB` of a file of proc(5), in bytes.

    >>> rows_in_bytes("00400000-ffff r--p 00000000 00:00 0  [rollup]\\nRss:    12 kB\\n")
    {'Rss': 12288}
    """
    rows = (line.split() for line in text.splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def private(rollup: dict[str, int]) -> int:
    """USS: the bytes that would be free if the process ended."""
    return rollup["Private_Clean"] + rollup["Private_Dirty"]


class Peak:
    """How far above where it was the resident memory of a process rises, from here on; in bytes."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): VmHWM is what is resident now
        self._base = self._rows()["VmRSS"]

    def above_base(self) -> int:
        return self._rows()["VmHWM"] - self._base

    def _rows(self) -> dict[str, int]:
        return rows_in_bytes(self._status.read_text("ascii"))


def cpu_seconds(pid: int) -> float:
    """CPU time so far, of all its threads, to the nanosecond; 0 of a process that is gone."""
    try:
        stats = [thread.read_text("ascii") for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(stat.split()[0]) for stat in stats) / 1e9


def wait_until_quiet(look: Callable[[], Sequence[int]], quiet: float = 0.1, limit: float = 20.0) -> None:
    """Return when all that `look` sees has done next to nothing for `quiet` seconds. Raises TimeoutError, after
    `limit` seconds."""
    deadline = time.monotonic() + limit
    spent = -1.0
    while (now := sum(map(cpu_seconds, look()))) - spent > 0.05 * quiet:
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {look()} do not come to rest")
        spent = now
        time.sleep(quiet)


def family(daemon: DaemonUnderTest) -> list[int]:
    """The pids of all of a daemon's processes."""
    return [daemon.pid, *(child.pid for child in daemon.children())]
