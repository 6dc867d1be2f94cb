"""A long message on its way to an instrument: on disk until all of it is here, so it is never whole in memory.

Runs in the front. The file has no name: it is gone with the process that has it open. An instrument is given nothing
of a message whose client may still fail to send the rest.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyvisa_daemon.framing import PIECE_SIZE


class LongMessage(Protocol):
    """What is too long for one frame: its size in bytes, and all of it, piece by piece. Reading may raise OSError."""

    def __len__(self) -> int: ...

    def pieces(self) -> Iterator[bytes]: ...


class Spool:
    """Bytes, appended once and then read, from their beginning each time. Raises OSError when the disk is full."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it lives as long as its ticket
        self._size = 0
        #: How it begins, for the record.
        self.head = b""

    def __len__(self) -> int:
        return self._size

    def add(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._size += len(data)
        self.head += data[: PIECE_SIZE - len(self.head)]

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(PIECE_SIZE):
            yield piece

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class Overheard:
    """A spool of which each piece is heard as it goes out, and whether it is the last: to hear all of a long message
    beforehand would keep everybody waiting. `before` goes out in front of it."""

    spool: Spool
    hear: Callable[[bytes, bool], None]
    before: bytes = b""

    def __len__(self) -> int:
        return len(self.before) + len(self.spool)

    def pieces(self) -> Iterator[bytes]:
        if self.before:
            self.hear(self.before, False)
            yield self.before
        left = len(self.spool)
        for piece in self.spool.pieces():
            left -= len(piece)
            self.hear(piece, not left)
            yield piece
