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
    """A request that goes out, and whose reply may still be on its way.

    On its way out it is frames: `frame` is under way, `sent` how many bytes of it are gone, send by send. A long
    write's are made one by one, so its data is in memory once; any other is encoded at once, so that what cannot be
    sent raises before anything is. `on_reply` is told of the reply by whoever reads it.
    """

    __slots__ = ("_long", "_taken", "frame", "id", "on_reply", "pieces", "reply", "sent")

    def __init__(self, request: wire.Request, on_reply: Callable[["Pending"], None] | None = None) -> None:
        self.bell = SimpleQueue()  # as super().__init__() would, in a quarter of the time
        self.id = request.id
        self.on_reply = on_reply
        self.pieces: list[wire.Piece] = []
        self.reply: wire.Reply | None = None
        self.sent: list[int] = []
        self._long: wire.Write | None = None
        if isinstance(request, wire.Write) and len(request.data) > PIECE_SIZE:
            self._long, self._taken = request, 0
            self.advance()
        else:
            self.frame = wire.encode(request)

    @property
    def is_done(self) -> bool:
        return self.reply is not None

    def advance(self) -> bool:
        """Goes on to the next frame, once one is gone; False if that was the last."""
        if self._long is None:
            return False
        write, start, end = self._long, self._taken, self._taken + PIECE_SIZE
        if start >= len(write.data):
            return False
        data = write.data[start:end]
        is_last = end >= len(write.data)
        frame = wire.encode(wire.Write(write.id, write.session, data) if is_last else wire.Part(write.id, data))
        self.frame, self.sent, self._taken = frame, [], end
        return True

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
