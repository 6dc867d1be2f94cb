"""Keeps this process, and what it starts meanwhile, on one CPU; does nothing on a machine that has only one.

On one CPU the ratios of latencies repeat to some per cent; on several they depend on where the kernel puts whom.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def cpus() -> list[int]:
    """The CPUs that this process may run on."""
    return sorted(os.sched_getaffinity(0))


def pin(cpu: int | None, pid: int = 0) -> None:
    """Keep `pid` (this process) on `cpu` from now on; None, or a CPU that there is not, changes nothing."""
    if cpu is not None and cpu in cpus():
        os.sched_setaffinity(pid, {cpu})


def quietest() -> int:
    """The CPU that others have used least in the last half second."""
    busy = psutil.cpu_percent(interval=0.5, percpu=True)
    return min(cpus(), key=lambda cpu: busy[cpu])


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """This thread, and every process that it starts meanwhile, on `cpu`."""
    before = os.sched_getaffinity(0)
    pin(cpu)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
