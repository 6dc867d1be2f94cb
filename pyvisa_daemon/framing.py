"""Length-prefixed frames: how a stream of bytes becomes messages, in both of our languages.

A frame is a 4-byte big-endian length and that many bytes: what `multiprocessing.connection.Connection` writes for
short messages, so a child may use plain `send_bytes`/`recv_bytes` on its end while the front never blocks on its own.

Runs in every process. Pure: no socket, no clock.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import TypeVar

_LENGTH = struct.Struct("!i")

#: Bytes of a frame before its message.
HEADER_SIZE = _LENGTH.size

#: No frame of ours is longer. Anything big travels as pieces, so nobody ever holds or waits for a giant frame.
FRAME_LIMIT = 1 << 20

#: Bytes of payload in one piece of a long transfer.
PIECE_SIZE = 1 << 18

#: What frames are cut from.
_Stream = TypeVar("_Stream", bytes, memoryview)


class FrameError(ValueError):
    """The stream is not made of our frames: its sender cannot be trusted any further.

    `frames` are those that came whole before, with the same bytes: they still say what was done.
    """

    def __init__(self, text: str, frames: Sequence[bytes | memoryview] = ()) -> None:
        super().__init__(text)
        self.frames = frames


def frame(message: bytes) -> bytes:
    """`message` with its length in front."""
    if len(message) > FRAME_LIMIT:
        raise FrameError(f"a frame of {len(message)} bytes is over the limit of {FRAME_LIMIT}")
    return _LENGTH.pack(len(message)) + message


def put_length(framed: bytearray) -> None:
    """Write the length of the message that follows its HEADER_SIZE bytes in `framed`: `frame` without a copy."""
    size = len(framed) - HEADER_SIZE
    if size > FRAME_LIMIT:
        raise FrameError(f"a frame of {size} bytes is over the limit of {FRAME_LIMIT}")
    _LENGTH.pack_into(framed, 0, size)


def frame_length(stream: bytes | memoryview, start: int, frames: Sequence[bytes | memoryview] = ()) -> int:
    """Bytes of the message whose frame begins there. Raises FrameError, with the `frames` before, for a negative
    length or one over the limit: before its bytes are waited for."""
    length: int = _LENGTH.unpack_from(stream, start)[0]
    if not 0 <= length <= FRAME_LIMIT:
        raise FrameError(f"a frame length of {length} bytes is not between 0 and {FRAME_LIMIT}", frames)
    return length


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` cut for transport, each piece at most `PIECE_SIZE` bytes; nothing for no data."""
    for start in range(0, len(data), PIECE_SIZE):
        yield data[start : start + PIECE_SIZE]


def keep_freed_memory() -> None:
    """Have this process use the memory of a piece that has gone for the next. glibc gives the kernel back what is freed
    at the heap's end, and gets it anew page by page: a third of what a long answer costs. The first big block that is
    freed raises its limit to twice that block (mallopt(3), M_MMAP_THRESHOLD); elsewhere this does nothing."""
    bytearray(4 * PIECE_SIZE)


class FrameReader:
    """Bytes in, whole frames out, whatever the chunks they came in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: _Stream) -> list[_Stream]:
        """The frames that `data` completes. Those of a memoryview are memoryviews, for which nothing was copied if they
        lie in it as a whole: good until it is filled anew.

        Raises FrameError for a negative length or one over the limit: before its bytes are waited for.
        """
        stream: bytes | memoryview = data
        if self._buffer:
            self._buffer += data
            stream = memoryview(self._buffer)
        frames: list[_Stream] = []
        start, size = 0, len(stream)
        try:
            while size - start >= HEADER_SIZE:
                begin = start + HEADER_SIZE
                end = begin + frame_length(stream, start, frames)
                if end > size:
                    break
                frames.append(type(data)(stream[begin:end]))
                start = end
        except FrameError:
            self._buffer = bytearray(stream[start:])  # whatever comes, it raises again
            raise
        if start < size if stream is data else start:
            self._buffer = bytearray(stream[start:])  # another one: what is in the old one may be looked at
        return frames
