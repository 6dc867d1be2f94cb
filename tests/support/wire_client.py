"""A client of the wire that does only what a test tells it to: frames out, answers in, and it may stop reading."""

import socket
import struct
from typing import Self

from pyvisa_daemon import wire
from pyvisa_daemon.framing import FrameReader
from tests.support.waiting import DEADLINE


class WireClient:
    """One connection, made welcome."""

    def __init__(self, host: str, port: int, deadline: float = DEADLINE, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(deadline)
        self.socket.connect((host, port))
        self._frames = FrameReader()
        self._answers: list[wire.Answer] = []
        self._last_request = 0
        self.socket.sendall(wire.MAGIC)
        self.send(wire.Hello(wire.VERSION, wire.FEATURES))
        welcome = self.answer()
        assert isinstance(welcome, wire.Welcome), welcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close so that the daemon gets an RST, as from a process that dies with unread input."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, *messages: wire.Hello | wire.Request) -> None:
        self.socket.sendall(b"".join(map(wire.encode, messages)))

    def number(self) -> int:
        """For the next request."""
        self._last_request += 1
        return self._last_request

    def answer(self) -> wire.Answer:
        """The next answer, of any kind."""
        while not self._answers:
            data = self.socket.recv(1 << 20)
            assert data, "the daemon closed the connection"
            self._answers += map(wire.decode_answer, self._frames.feed(data))
        return self._answers.pop(0)

    def open(self, resource: str) -> int:
        """A session's number."""
        self.send(wire.Open(self.number(), resource, 0, 0))
        reply = self.answer()
        assert isinstance(reply, wire.Reply), reply
        assert reply.status >= 0, reply
        assert isinstance(reply.value, list)
        return int(reply.value[0])
