"""What arrives on a channel: bytes, then answers.

Runs in the user's process, under `channel`, whose turn to read makes one thread its only user. Bytes are received into
one buffer and decoded where they lie. A long frame's rest is received up to its end and no further, so hardly a byte
is ever moved. Each step can be done again where Ctrl-C fell into it: see `channel`.
"""

import socket
from collections import deque

from pyvisa_daemon import wire
from pyvisa_daemon.framing import FRAME_LIMIT, HEADER_SIZE, frame_length

#: Bytes taken from the socket at once, unless a frame is longer.
RECEIVE_SIZE = 1 << 16


class Inbox:
    """`receive`, then `decode`, then take the `answers`; and each to its end before the next."""

    def __init__(self) -> None:
        self.answers: deque[wire.Answer] = deque()
        self._room = memoryview(bytearray(HEADER_SIZE + FRAME_LIMIT))
        self._counts: list[int] = []  # how much came each time: what the room is filled with, from its beginning
        self._end = RECEIVE_SIZE  # as far as the room may be filled

    def receive(self, connection: socket.socket) -> bool:
        """One recv: False if the other side has ended it. Raises OSError."""
        room = self._room[sum(self._counts) : self._end]
        self._counts.extend(map(connection.recv_into, (room,)))
        return self._counts[-1] > 0

    def decode(self) -> bool:
        """Makes answers of the frames that are whole: are there any? Raises FrameError and wire.DecodeError."""
        if not self._counts:
            return False
        room, filled, start, end = self._room, sum(self._counts), 0, RECEIVE_SIZE
        answers: deque[wire.Answer] = deque()
        while filled - start >= HEADER_SIZE:
            stop = start + HEADER_SIZE + frame_length(room, start)
            if stop > filled:
                end = max(stop - start, RECEIVE_SIZE)
                break
            answers.append(wire.decode_answer(room[start + HEADER_SIZE : stop]))
            start = stop
        left = filled - start
        if not left:
            self._counts, self._end, self.answers = [], end, answers
        elif start:
            room[:left], self._counts, self._end, self.answers = room[start:filled], [left], end, answers
        else:
            self._end = end
        return bool(answers)
