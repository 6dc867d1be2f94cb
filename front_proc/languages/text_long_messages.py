"""Long messages in the text protocol: they come and go by the piece, for others have turns as well.

Runs in the front, for `text_conversation`.
"""

import asyncio
from collections import deque
from pathlib import Path

from front_proc.languages.text_framing import BLOCK_LIMIT
from front_proc.serving.spool import Spool
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.framing import PIECE_SIZE, pieces


class Answer:
    """An answer, put together from its pieces."""

    __slots__ = ("_size", "pieces")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self._size = 0

    def add(self, piece: bytes) -> None:
        """One more; what would be too long is counted and dropped."""
        self._size += len(piece)
        if self._size <= BLOCK_LIMIT:
            self.pieces.append(piece)
        else:
            self.pieces.clear()

    def whole(self, last: bytes) -> bytes | None:
        """All of it, `last` being the last piece; None if that is much: then it stays in `pieces`. Raises Failure if it
        is too long."""
        if not self.pieces and len(last) <= PIECE_SIZE:
            return last
        for piece in pieces(last):
            self.add(piece)
        if self._size > BLOCK_LIMIT:
            text = f"an answer of {self._size} bytes: here one has at most {BLOCK_LIMIT}; PyVISA programs take any"
            raise Failure("VI_ERROR_ALLOC", text, Effect.DONE)
        return b"".join(self.pieces) if self._size <= PIECE_SIZE else None


async def spooled(folder: Path, command: bytes, block: bytearray, termination: bytes) -> Spool:
    """A message with a long block, which is empty then, on disk. Raises OSError, with nothing written."""
    try:
        spool = Spool(folder)
        try:
            spool.add(command)
            with memoryview(block) as view:
                for start in range(0, len(view), PIECE_SIZE):
                    spool.add(bytes(view[start : start + PIECE_SIZE]))
                    await asyncio.sleep(0)
            spool.add(termination)
        except BaseException:
            spool.close()
            raise
    finally:
        block.clear()
    return spool
