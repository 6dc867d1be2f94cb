"""A client of the text protocol that knows nothing of our code: a socket, bytes, and a deadline on everything."""

import json
import socket
from typing import Any, Self

from tests.support.waiting import DEADLINE


class TextClient:
    """One connection. `send` bytes and read a `line`, a `block` or a `reply` (either); `ask` does both."""

    def __init__(self, host: str, port: int, deadline: float = DEADLINE) -> None:
        self.socket = socket.create_connection((host, port), deadline)
        self.socket.settimeout(deadline)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Exactly these bytes."""
        self.socket.sendall(data)

    def end_sending(self) -> None:
        """Half-close: no more requests, replies are still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def ask(self, request: str) -> str:
        """Send `request` and LF; its reply as text: a line, or a block's content."""
        self.send(request.encode() + b"\n")
        return self.reply().decode()

    def ask_json(self, request: str) -> Any:
        return json.loads(self.ask(request))

    def reply(self) -> bytes:
        """One reply that ends with LF, which is taken off: a line, or the content of a definite-length block."""
        if self._peek(2)[:1] == b"#" and self._peek(2)[1:].isdigit():
            content = self.block()
            assert self.exactly(1) == b"\n", "a block's reply ends as every reply does"
            return content
        return self.line()

    def line(self) -> bytes:
        """Up to LF, which is taken off. A reply that CR LF ends keeps its CR here."""
        while b"\n" not in self._received:
            self._receive()
        line, _, self._received = self._received.partition(b"\n")
        return line

    def block(self) -> bytes:
        """The content of a definite-length block; what follows it stays unread."""
        assert self.exactly(1) == b"#", "not a block"
        return self.exactly(int(self.exactly(int(self.exactly(1)))))

    def exactly(self, count: int) -> bytes:
        self._peek(count)
        data, self._received = self._received[:count], self._received[count:]
        return data

    def everything(self) -> bytes:
        """All that comes until the daemon closes the connection."""
        while True:
            try:
                self._receive()
            except (AssertionError, ConnectionResetError):
                data, self._received = self._received, b""
                return data

    def silence(self, seconds: float) -> bool:
        """Does nothing come for `seconds`?"""
        deadline = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._receive()
        except TimeoutError:
            return not self._received
        finally:
            self.socket.settimeout(deadline)
        return False

    def _peek(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        return self._received[:count]

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        assert data, f"the connection was closed after {self._received!r}"
        self._received += data
