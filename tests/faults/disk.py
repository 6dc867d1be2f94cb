"""A disk that is full when a test says so: a small file system of its own, or a limit on the size of files.

The first needs the right to mount one. Without it the daemon may not let a file grow any more, which is another error
number (EFBIG) for the same thing.
"""

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

#: Bytes of the small disk.
SIZE = 2_000_000


class Disk:
    """`folder` is on it. Full until it is freed."""

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self.folder = folder
        self._is_mounted = is_mounted
        self._before: tuple[int, int] | None = None

    def fill(self, pid: int, file: Path) -> None:
        """Not a byte more for `file`, which process `pid` writes."""
        if not self._is_mounted:
            process = psutil.Process(pid)
            self._before = process.rlimit(resource.RLIMIT_FSIZE)
            process.rlimit(resource.RLIMIT_FSIZE, (file.stat().st_size, self._before[1]))
            return
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            for size in (100_000, 1000, 10, 1):
                _write_until_full(ballast.write, size)

    def free(self, pid: int) -> None:
        """Room again."""
        if not self._is_mounted:
            assert self._before is not None
            psutil.Process(pid).rlimit(resource.RLIMIT_FSIZE, self._before)
        else:
            (self.folder / "ballast").unlink()


def _write_until_full(write: Callable[[bytes], int | None], size: int) -> None:
    try:
        while write(b"x" * size) == size:
            pass
    except OSError:
        return


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """At `folder`, which is made."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except OSError:
        is_mounted = False  # no such program
    try:
        yield Disk(folder, is_mounted=is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)
