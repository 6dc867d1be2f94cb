"""One request on a channel: what goes out, and what comes back.

Runs in the user's process, under `channel`. Pure: no socket, no clock.
"""

import contextlib
from collections.abc import Callable
from queue import Empty, SimpleQueue

import msgspec

from pyvisa_daemon import wire
from pyvisa_daemon.framing import PIECE_SIZE


class Waiter:
    """Something that a thread may sleep for until whoever reads the connection has it."""

    __slots__ = ("bell",)

    def __init__(self) -> None:
        # Rung when it is there or the reading is free. SimpleQueue.put may be called anywhere, finalisers too.
        self.bell: SimpleQueue[None] = SimpleQueue()

    @property
    def is_done(self) -> bool:
        raise NotImplementedError

    def hush(self) -> None:
        """Whatever it was rung for so far is looked at now."""
        while not self.bell.empty():
            with contextlib.suppress(Empty):
                self.bell.get_nowait()


class Pending(Waiter):
    """A request that was sent and whose reply may still be on its way. `on_reply` is told of it by who reads it."""

    __slots__ = ("id", "on_reply", "pieces", "reply")

    def __init__(self, number: int, on_reply: Callable[["Pending"], None] | None = None) -> None:
        super().__init__()
        self.id = number
        self.on_reply = on_reply
        self.pieces: list[wire.Piece] = []
        self.reply: wire.Reply | None = None

    @property
    def is_done(self) -> bool:
        return self.reply is not None

    def add(self, piece: wire.Piece) -> None:
        """Done again for the same piece, it does no more than once."""
        if not self.pieces or self.pieces[-1] is not piece:  # not by its data: Python has one object for all b"0"
            self.pieces.append(piece)

    def whole(self) -> wire.Reply:
        """The reply, its data whole."""
        assert self.reply is not None, "it has not come"
        if not self.pieces:
            return self.reply
        data = [piece.data for piece in self.pieces]
        return msgspec.structs.replace(self.reply, data=b"".join([*data, self.reply.data]))


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
