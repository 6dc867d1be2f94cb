"""A long message on its way to an instrument: on disk until all of it is here, so it is never whole in memory.

Runs in the front. The file has no name: it is gone with the process that has it open. An instrument is given nothing
of a message whose client may still fail to send the rest.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyvisa_daemon.framing import PIECE_SIZE


class Spool:
    """Bytes, appended once and read once. Raises OSError when the disk is full."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it lives as long as its ticket
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._size += len(data)

    @property
    def head(self) -> bytes:
        """How it begins, for the record."""
        self._file.seek(0)
        return self._file.read(PIECE_SIZE)

    def pieces(self) -> Iterator[bytes]:
        """All of it, piece by piece."""
        self._file.seek(0)
        while piece := self._file.read(PIECE_SIZE):
            yield piece

    def close(self) -> None:
        self._file.close()
