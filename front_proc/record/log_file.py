"""A log's file on the disk: lines go into it whole or not at all, its end is found again, and it is rotated.

Called from the writer's thread, and before there is one. Every function here may wait for the disk and raise OSError.

Two ways of rotation: somebody renames the file and asks for a new one, or the daemon does both by itself (Rotation).
"""

import contextlib
import errno
import fcntl
import io
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from pyvisa_daemon.audit_chain import Chain, rotated, rotated_name

#: Bytes at the end of a file in which the last line of a chain is looked for: first so many, and at most.
_TAIL = 1 << 16
_LONGEST_TAIL = 1 << 22

#: Endings of rotated files whose last line cannot be read as it stands.
_PACKED = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Rotation:
    """When a file is rotated by the daemon itself, and how many are kept. 0 is never, and all."""

    #: Bytes.
    size: int = 0
    #: Seconds since its first record.
    age: float = 0.0
    #: Rotated files.
    keep: int = 0

    def is_due(self, size: int, begun: float, coming: int, now: float) -> bool:
        """Shall it be rotated before `coming` bytes are written? Never an empty file."""
        is_too_big = 0 < self.size < size + coming
        is_too_old = 0 < self.age <= now - begun
        return size > 0 and (is_too_big or is_too_old)


class LogFile(io.FileIO):
    """A file that takes lines whole or not at all: a full disk leaves none torn, and none for later."""

    def __init__(self, path: Path) -> None:
        """Open it for appending; made, for its owner only, if it is missing. A pipe that nobody reads cannot be."""
        path.touch(mode=0o600, exist_ok=True)
        super().__init__(path, "ab", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK, 0o600))
        os.set_blocking(self.fileno(), True)
        #: When its first record was made, in seconds of the epoch.
        self.begun = _first_moment(path) if self.is_regular else time.time()

    @property
    def is_regular(self) -> bool:
        return stat.S_ISREG(os.fstat(self.fileno()).st_mode)

    @property
    def size(self) -> int:
        return os.fstat(self.fileno()).st_size

    def claim(self) -> bool:
        """Let no other daemon write it as long as it is open here. False if one does."""
        try:
            if self.is_regular:
                fcntl.flock(self, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # not every file system knows locks
        return True

    def write(self, lines: Any) -> int:
        """All of `lines`. Raises FileNotFoundError if somebody has removed the file: nobody would ever read them."""
        state = os.fstat(self.fileno())
        if not state.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "it was removed")
        begin = state.st_size
        left = memoryview(lines)
        try:
            while left:
                left = left[super().write(left) or 0 :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fileno(), begin)
            raise
        return len(lines)

    def is_at(self, path: Path) -> bool:
        """Is this the file of that name, or has somebody renamed it?"""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self.fileno()))
        except FileNotFoundError:
            return False


def _first_moment(path: Path) -> float:
    """When the first record of a file was made; now, if that cannot be seen."""
    with path.open("rb") as file:
        first = file.readline(_TAIL)
    with contextlib.suppress(msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return datetime.fromisoformat(msgspec.json.decode(first)["time"]).timestamp()
    return time.time()


def is_torn(path: Path) -> bool:
    """Does the file of that name, if there is one, end within a line, as after a crash?"""
    return path.is_file() and _tail(path, 1) not in (b"", b"\n")


def resumed(chain: Chain, path: Path) -> Chain:
    """The chain as it goes on in the log `path`: behind its last line, else behind that of the newest rotated file.

    A log that has lines, but no chain as yet, has one from now on.
    """
    if path.exists() and not path.is_file():
        return chain
    for file in (path, *reversed(_others(path))):
        found = _behind(chain, file) if file.exists() else None
        if found is not None:
            return found
        if file.exists() and file == path and (tail := _tail(path, _LONGEST_TAIL)):
            return replace(chain, head=chain.digest(tail.removesuffix(b"\n").rpartition(b"\n")[2]))
    return chain


def _others(path: Path) -> list[Path]:
    """Rotated files of a log, whoever rotated them, as far as they can be read: the newest last."""
    found = [
        file
        for separator in ".-"
        for file in path.parent.glob(f"{_escaped(path.name)}{separator}*")
        if file.suffix not in _PACKED and file.is_file()
    ]
    return sorted(found, key=lambda file: (file.stat().st_mtime_ns, file.name))


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _behind(chain: Chain, path: Path) -> Chain | None:
    """The chain behind the last line of a file; None if it has none."""
    for length in (_TAIL, _LONGEST_TAIL):
        tail = _tail(path, length)
        found = chain.behind(tail, is_whole=len(tail) < length)
        if found is not None:
            return found
    return None


def _tail(path: Path, length: int) -> bytes:
    """The last `length` bytes of a file, or all that it has."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - length))
        return file.read(length)


def rotate(path: Path, rotation: Rotation) -> Path:
    """Rename the log at `path`, and delete what is more than is kept; its new name."""
    folder = path.parent
    now = folder / rotated_name(path.name, time.time(), os.listdir(folder))
    path.rename(now)
    if rotation.keep:
        _delete(folder, rotated(path.name, os.listdir(folder))[: -rotation.keep])
    return now


def _delete(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
