"""The files of an audit log, as lines: read in a stream, packed ones too, followed over rotations.

Runs in the user's process, where the files are. Knows lines, and not what is in them.
"""

import errno
import gzip
import os
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from pyvisa_daemon.audit_chain import rotated

#: Bytes of a line at most; no record is so long, and what is longer is read as several.
LINE_LIMIT = 1 << 24

#: Seconds between looks at a file that is followed, and for which the rest of a line may be on its way.
LOOK_TIME = 0.25
REST_TIME = 0.5


class Line(NamedTuple):
    """One line without its newline; `is_whole` if it had one. `number` is from 1."""

    file: Path
    number: int
    content: bytes
    is_whole: bool


def opened(file: Path) -> BinaryIO:
    """A file for reading; one that ends with .gz is unpacked on the way. Raises OSError."""
    return cast(BinaryIO, gzip.open(file, "rb")) if file.suffix == ".gz" else file.open("rb")


def lines(file: Path) -> Iterator[Line]:
    """All lines of a file. Raises OSError, also for one that is packed and damaged."""
    with opened(file) as stream:
        for number, content in enumerate(iter(partial(_next, stream, file), b""), 1):
            whole = content
            if not whole.endswith(b"\n"):
                whole += _rest(stream, len(whole), time.monotonic() + REST_TIME)
            yield Line(file, number, whole.removesuffix(b"\n"), whole.endswith(b"\n"))


def _next(stream: BinaryIO, file: Path) -> bytes:
    try:
        return stream.readline(LINE_LIMIT)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise OSError(errno.EIO, f"it is damaged: {error}", str(file)) from error


def _rest(stream: BinaryIO, length: int, deadline: float) -> bytes:
    """What is still to come of the last line, if the daemon is just writing it."""
    rest = b""
    while length + len(rest) < LINE_LIMIT and not rest.endswith(b"\n"):
        more = stream.readline(LINE_LIMIT - length - len(rest))
        rest += more
        if not more:
            if time.monotonic() > deadline:
                break
            time.sleep(REST_TIME / 10)
    return rest


def with_rotated(file: Path) -> list[Path]:
    """A log's rotated files that stand beside it, oldest first, and the log itself. Raises OSError."""
    return [*(file.parent / name for name in rotated(file.name, os.listdir(file.parent))), file]


class Followed:
    """A log that is being written: what comes after what was there, from file to file."""

    def __init__(self, file: Path) -> None:
        """Raises OSError."""
        self.file = file
        self._stream: BinaryIO = file.open("rb")
        self._part = b""
        self._number = 0

    def close(self) -> None:
        self._stream.close()

    def is_at(self, file: Path) -> bool:
        """Is the file that is read, or was at first, called so by now?"""
        return os.path.samestat(file.stat(), os.fstat(self._stream.fileno()))

    def news(self) -> Iterator[Line]:
        """The whole lines that have come since. Raises OSError."""
        yield from self._read()
        for stream in self._later_streams():
            yield from self._read()  # what came between the look at the names and the one before
            self._stream.close()
            self._stream, self._part, self._number = stream, b"", 0
            yield from self._read()

    def _read(self) -> Iterator[Line]:
        while chunk := self._stream.readline(LINE_LIMIT):
            self._part += chunk
            if self._part.endswith(b"\n") or len(self._part) >= LINE_LIMIT:
                self._number += 1
                line, self._part = self._part, b""
                yield Line(self.file, self._number, line.removesuffix(b"\n"), line.endswith(b"\n"))

    def _later_streams(self) -> list[BinaryIO]:
        """The files behind the one that is read, if that has been rotated: all of them, for there may be several."""
        own = os.fstat(self._stream.fileno())
        try:
            if os.path.samestat(os.stat(self.file), own):
                return []
        except FileNotFoundError:
            return []  # it is being rotated, and there will be one in a moment
        streams: list[BinaryIO] = []
        for name in reversed(with_rotated(self.file)):
            try:
                stream: BinaryIO = name.open("rb")
            except FileNotFoundError:
                continue  # the daemon has just renamed it, or deleted it as one too many
            if os.path.samestat(os.fstat(stream.fileno()), own):
                stream.close()
                return streams[::-1]
            streams.append(stream)
        for stream in streams[1:]:  # somebody else has renamed it: nothing is known of what was between
            stream.close()
        return streams[:1]
