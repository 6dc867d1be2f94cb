"""What /proc says of processes: memory, CPU time, when they are at rest; and where they run, with what bytecode.

Linux only. Knows nothing of a daemon but its pids.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


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


def writing_bytecode(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for programs that keep their bytecode, as a user's do: else each process compiles it anew."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
