"""One connection in the text protocol: a request out, its reply in.

Runs in the user's process. Line mode, and `mode tagged`, so that the first bytes of a reply say what it is. Knows
framing, blocks and errors, and no command but `mode`; the contract is docs/reference/text-protocol.md.
"""

import contextlib
import re
import socket
import threading
from time import monotonic
from typing import NamedTuple

from pyvisa import constants

from pyvisa_daemon.errors import ERRORS, Effect, Failure
from pyvisa_daemon.hosts import CONNECT_LIMIT, Address

_ERROR = re.compile(rb"\.#\.error (?P<token>\S+) effect=(?P<effect>none|maybe|done) ?(?P<text>.*)", re.DOTALL)
_MARKED = re.compile(rb"(?:ok|err) (?P<content>.*)", re.DOTALL)
_BLOCK = re.compile(rb"#(?P<digits>[1-9])")
_TICK = 1.0  # seconds; Windows sees Ctrl-C only in between


class Reply(NamedTuple):
    """A reply's `content` (a block's, if it came as one), and how many bytes it took on the wire."""

    content: bytes
    is_error: bool
    size: int


def first_reply(received: bytearray, is_tagged: bool) -> Reply | None:
    """The reply that `received` begins with; None if it is not whole yet. Raises ConnectionError for anything else."""
    is_error = received.startswith(b"err " if is_tagged else b".#.error ")
    start = received.find(b" ") + 1 if is_tagged else 0
    if is_tagged and not start:
        return None
    if is_tagged and bytes(received[:start]) not in (b"ok ", b"err "):
        raise ConnectionError(f"this is not the text protocol: {bytes(received[:40])!r}")
    block = _BLOCK.match(received, start)
    if block is None and bytes(received[start : start + 2]) in (b"", b"#"):
        return None
    if block is None:
        end = received.find(b"\n", start)
        return Reply(bytes(received[start:end]).removesuffix(b"\r"), is_error, end + 1) if end >= 0 else None
    begin = start + 2 + int(block["digits"])
    if len(received) < begin:
        return None
    end = begin + int(received[start + 2 : begin])
    return Reply(bytes(received[begin:end]), is_error, end + 1) if len(received) > end else None


def failure_in(content: bytes) -> Failure:
    """What an error reply says."""
    error = _ERROR.fullmatch(content)
    if error is None:
        raise ConnectionError(f"this is no error reply of the text protocol: {content[:80]!r}")
    token, text = error["token"].decode(errors="replace"), error["text"].decode(errors="replace")
    # Any VISA completion code may come, more than the daemon gives of its own.
    status = ERRORS[token].status if token in ERRORS else getattr(constants, token, constants.VI_ERROR_SYSTEM_ERROR)
    return Failure(token, text or "the daemon says no more", Effect(error["effect"].decode()), int(status))


class TextConnection:
    """Connected by its constructor, which raises ConnectionError. Threads take turns."""

    def __init__(self, address: Address) -> None:
        self.address = address
        try:
            self._socket = socket.create_connection(address, CONNECT_LIMIT)
        except (OSError, UnicodeError) as error:
            raise ConnectionError(f"no instrument daemon answers at {address} ({error}); start one there") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._turn = threading.Lock()
        self._received = bytearray()
        self._owed = 0  # replies on their way: more than one after Ctrl-C, and the stale ones are skipped
        self._is_tagged = False
        self._is_over = False
        with contextlib.ExitStack() as unless_tagged:
            unless_tagged.callback(self.close)
            self.set_mode("tagged", CONNECT_LIMIT)
            unless_tagged.pop_all()

    def ask(self, request: bytes, limit: float | None) -> bytes:
        """The content of the reply to `request`, a line without its terminator.

        Waits `limit` seconds at most (None: for ever). Raises Failure for an error reply, and ConnectionError when
        the connection is lost or no reply comes; it is then closed.
        """
        with self._turn:
            reply = self._exchange(request, limit)
        if reply.is_error:
            raise failure_in(reply.content)
        return reply.content

    def set_mode(self, mode: str, limit: float | None) -> str:
        """`mode`: how replies are marked from now on. The mode in force."""
        with self._turn:
            self._is_tagged = False
            reply = self._exchange(f".#.mode {mode}".rstrip().encode(), limit)
            marked = _MARKED.fullmatch(reply.content)  # the reply is itself marked as the mode in force says
            self._is_tagged = marked is not None
        content = marked["content"] if marked is not None else reply.content
        if content.startswith(b".#.error "):
            raise failure_in(content)
        return content.decode(errors="replace")

    def close(self) -> None:
        """Ends the connection, and with it what was open on it. Harmless when it has ended."""
        self._is_over = True
        self._socket.close()

    def _exchange(self, request: bytes, limit: float | None) -> Reply:
        deadline = monotonic() + limit if limit is not None else float("inf")
        if self._is_over:
            raise ConnectionError(f"the connection to {self.address} is closed; open another socket")
        try:
            self._socket.settimeout(limit)
            self._is_over = True  # should Ctrl-C leave half a line
            self._socket.sendall(request + b"\n")
            self._is_over = False
            self._owed += 1
            while True:
                reply = self._next_reply(deadline)
                self._owed -= 1
                if not self._owed:
                    return reply
        except OSError as error:
            self.close()
            raise ConnectionError(f"the connection to {self.address} is lost ({error}); open another socket") from error

    def _next_reply(self, deadline: float) -> Reply:
        while (reply := first_reply(self._received, self._is_tagged)) is None:
            if monotonic() > deadline:
                raise TimeoutError("no reply in time")
            self._socket.settimeout(_TICK)
            with contextlib.suppress(TimeoutError):
                data = self._socket.recv(1 << 16)
                if not data:
                    raise ConnectionResetError("the daemon ended it")
                self._received += data
        del self._received[: reply.size]
        return reply
