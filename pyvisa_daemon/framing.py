"""Length-prefixed frames: how a stream of bytes becomes messages, in both of our languages.

A frame is a 4-byte big-endian length and that many bytes: what `multiprocessing.connection.Connection` writes for
short messages, so a child may use plain `send_bytes`/`recv_bytes` on its end while the front never blocks on its own.

Runs in every process. Pure: no socket, no clock.
"""

import struct
from collections.abc import Iterator, Sequence

_LENGTH = struct.Struct("!i")

#: Bytes of a frame before its message.
HEADER_SIZE = _LENGTH.size

#: No frame of ours is longer. Anything big travels as pieces, so nobody ever holds or waits for a giant frame.
FRAME_LIMIT = 1 << 20

#: Bytes of payload in one piece of a long transfer.
PIECE_SIZE = 1 << 18


class FrameError(ValueError):
    """The stream is not made of our frames: its sender cannot be trusted any further.

    `frames` are those that came whole before, with the same bytes: they still say what was done.
    """

    def __init__(self, text: str, frames: Sequence[bytes] = ()) -> None:
        super().__init__(text)
        self.frames = frames


def frame(message: bytes) -> bytes:
    """`message` with its length in front."""
    if len(message) > FRAME_LIMIT:
        raise FrameError(f"a frame of {len(message)} bytes is over the limit of {FRAME_LIMIT}")
    return _LENGTH.pack(len(message)) + message


def frame_length(stream: bytes | bytearray | memoryview, start: int, frames: Sequence[bytes] = ()) -> int:
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


class FrameReader:
    """Bytes in, whole frames out, whatever the chunks they came in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> list[bytes]:
        """The frames that `data` completes.

        Raises FrameError for a negative length or one over the limit: before its bytes are waited for.
        """
        buffer = self._buffer
        if buffer:
            buffer += data
            data = buffer
        frames: list[bytes] = []
        start, size = 0, len(data)
        try:
            while size - start >= HEADER_SIZE:
                end = start + HEADER_SIZE + frame_length(data, start, frames)
                if end > size:
                    break
                # A slice of a bytearray would be a copy more; and a view that lived on would forbid what comes below.
                frames.append(bytes((memoryview(data) if data is buffer else data)[start + HEADER_SIZE : end]))
                start = end
        except FrameError:
            self._buffer = bytearray(data[start:])  # whatever comes, it raises again
            raise
        if data is buffer:
            del buffer[:start]
        elif start < size:
            buffer += data[start:]
        return frames
