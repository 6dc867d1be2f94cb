"""One request on a channel: what goes out, and what comes back.

Runs in the user's process, under `channel`. Pure: no socket, no clock.
"""

from queue import SimpleQueue

from pyvisa_daemon import wire
from pyvisa_daemon.framing import PIECE_SIZE


class Pending:
    """A request that was sent and whose reply may still be on its way."""

    __slots__ = ("bell", "id", "pieces", "reply")

    def __init__(self, number: int) -> None:
        self.id = number
        self.pieces: list[bytes] = []
        self.reply: wire.Reply | None = None
        # Rung when the reply is there or the reading is free. SimpleQueue.put may be called anywhere, finalisers too.
        self.bell: SimpleQueue[None] = SimpleQueue()

    @property
    def last_piece(self) -> bytes | None:
        return self.pieces[-1] if self.pieces else None


class Outgoing:
    """A request as frames, of which `taken` are sent or under way.

    A long write's are made one by one, so its data is in memory once; any other is encoded at once, so that what
    cannot be sent raises before anything is.
    """

    __slots__ = ("_frame", "_request", "taken")

    def __init__(self, request: wire.Request) -> None:
        self.taken = 0
        self._request = request
        self._frame = wire.encode(request) if len(self) == 1 else b""

    def __len__(self) -> int:
        return max(1, -(-len(self._request.data) // PIECE_SIZE)) if isinstance(self._request, wire.Write) else 1

    def __getitem__(self, index: int) -> bytes:
        request = self._request
        if self._frame or not isinstance(request, wire.Write):
            return self._frame
        piece = request.data[index * PIECE_SIZE : (index + 1) * PIECE_SIZE]
        is_last = index == len(self) - 1
        return wire.encode(wire.Write(request.id, request.session, piece) if is_last else wire.Part(request.id, piece))
