"""Makes a machine short of something for one process and what it starts from then on: each a context manager.

no_descriptors   EMFILE: it may open only so many more
no_processes     EAGAIN: it may start no process or thread, by a control group of its own (either version) or, where
                 it is not root, by RLIMIT_NPROC, which does not bind root
no_memory        ENOMEM: it gets no more address space, and what it starts too little to begin with
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

_PIDS_V1, _V2 = Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")

#: Bytes in which no Python can begin.
_TOO_LITTLE = 20 << 20


def descriptors(pid: int) -> int:
    """How many it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextmanager
def no_descriptors(pid: int, free: int = 0) -> Iterator[None]:
    """It may open `free` more. What it has stays open, whatever its number."""
    taken = {int(number) for number in os.listdir(f"/proc/{pid}/fd")}
    unused = [number for number in range(len(taken) + free + 1) if number not in taken]
    with _limited(pid, resource.RLIMIT_NOFILE, unused[free]):
        yield


@contextmanager
def no_memory(pid: int) -> Iterator[None]:
    with _limited(pid, resource.RLIMIT_AS, _TOO_LITTLE):
        yield


@contextmanager
def no_processes(pid: int) -> Iterator[None]:
    if os.getuid():
        with _limited(pid, resource.RLIMIT_NPROC, 1):
            yield
    else:
        yield from _in_a_full_group(pid)


def _in_a_full_group(pid: int) -> Iterator[None]:
    root = _PIDS_V1 if _PIDS_V1.is_dir() else _V2
    home, group = _group_of(pid, root), root / f"full-{os.getpid()}"
    try:
        if root is _V2:
            (root / "cgroup.subtree_control").write_text("+pids")
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group for processes can be made here: {error}")
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text("1")
        yield
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            (home / "cgroup.procs").write_text(member)
        group.rmdir()


def _group_of(pid: int, root: Path) -> Path:
    """Where a process is now; the root itself where a container does not see that."""
    controller = ":pids:" if root is _PIDS_V1 else "0::"
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    names = [line.partition(controller)[2] for line in lines if controller in line]
    group = root / names[0].lstrip("/") if names else root
    return group if group.is_dir() else root


@contextmanager
def _limited(pid: int, kind: int, limit: int) -> Iterator[None]:
    process = psutil.Process(pid)
    before = process.rlimit(kind)
    process.rlimit(kind, (limit, before[1]))
    try:
        yield
    finally:
        process.rlimit(kind, before)
