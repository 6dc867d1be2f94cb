"""One connection in the text protocol: a request out, its reply in.

Runs in the user's process. Line mode, and `mode tagged`, so that the first bytes of a reply say what it is. Knows
framing, blocks and errors, and no command but `mode`; the contract is docs/reference/text-protocol.md.
"""

import contextlib
import io
import re
import threading
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple, NoReturn

from pyvisa import constants

from pyvisa_daemon.credentials import Credential, credential_for
from pyvisa_daemon.errors import ERRORS, Effect, Failure
from pyvisa_daemon.hosts import CONNECT_LIMIT, NOT_KNOWN, Address, dial, refusal

_ERROR = re.compile(rb"\.#\.error (?P<token>\S+) effect=(?P<effect>none|maybe|done) ?(?P<text>.*)", re.DOTALL)
_MARKED = re.compile(rb"(?:ok|err) (?P<content>.*)", re.DOTALL)
_BLOCK = re.compile(rb"#(?P<digits>[1-9])")
_HEAD_SIZE = 16  # bytes, enough for mark and block header: `err #9123456789`
_TICK = 1.0  # seconds; Windows sees Ctrl-C only in between


class Reply(NamedTuple):
    """A reply's `content` (a block's, if it came as one), and how many bytes it took on the wire."""

    content: bytes
    is_error: bool
    size: int


def first_reply(received: bytes | memoryview, is_tagged: bool) -> Reply | None:
    """The reply that `received` begins with; None if it is not whole yet. Raises ConnectionError for anything else."""
    head = bytes(received[:_HEAD_SIZE])
    start = head.find(b" ") + 1 if is_tagged else 0
    if is_tagged and head[:start] not in (b"ok ", b"err "):
        if start or len(head) > len(b"err "):
            _unreadable(head)
        return None
    is_error = head.startswith(b"err " if is_tagged else b".#.error ")
    block = _BLOCK.match(head, start)
    if block is not None:
        begin = start + 2 + int(block["digits"])
        if not head[start + 2 : begin].isdigit():
            return None if len(head) == start + 2 else _unreadable(head)
        end = begin + int(head[start + 2 : begin])
        is_whole = min(len(head), len(received) - 1) >= begin and len(received) > end
        return Reply(bytes(received[begin:end]), is_error, end + 1) if is_whole else None
    line, newline, _ = bytes(received).partition(b"\n")
    return Reply(line[start:].removesuffix(b"\r"), is_error, len(line) + 1) if newline else None


def _unreadable(head: bytes) -> NoReturn:
    raise ConnectionError(f"this is not the text protocol: {head!r}")


def refusal_in(content: bytes) -> Failure:
    """What an error reply says. Raises ConnectionError if it is none."""
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
        credential = credential_for(address.options)
        self._socket = dial(address, CONNECT_LIMIT)
        self._turn = threading.Lock()
        # Ctrl-C loses nothing: see `pyvisa_daemon.channel`, whose way with it this is.
        self._line, self._sent = memoryview(b""), list[int]()  # the request under way, and how much of it is gone
        self._received = io.BytesIO()
        self._owed = 0  # replies to come: more than one after Ctrl-C, and the stale ones are skipped
        self._is_tagged = False
        self._is_over = False
        with contextlib.ExitStack() as unless_tagged:
            unless_tagged.callback(self.close)
            try:
                self._show(credential)
                self.set_mode("tagged", CONNECT_LIMIT)
            except Failure as failure:
                if failure.token not in NOT_KNOWN:
                    raise
                raise refusal(address, failure.token, failure.text, credential) from failure
            unless_tagged.pop_all()

    def _show(self, credential: Credential | None) -> None:
        """The token, if there is one. Raises Failure."""
        if credential is None:
            return
        reply = self._exchange(b".#.auth " + credential.token.encode(), CONNECT_LIMIT)
        failure = refusal_in(reply.content) if reply.is_error else None
        if failure is not None and failure.token != "UNKNOWN_COMMAND":  # noqa: S105 - of a daemon without tokens
            raise failure

    def ask(self, request: bytes, limit: float | None) -> bytes:
        """The content of the reply to `request`, a line without its terminator.

        Waits `limit` seconds at most (None: for ever). Raises Failure for an error reply, and ConnectionError when
        the connection is lost or no reply comes; it is then closed.
        """
        with self._turn:
            reply = self._exchange(request, limit)
        if reply.is_error:
            raise refusal_in(reply.content)
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
            raise refusal_in(content)
        return content.decode(errors="replace")

    @property
    def is_taken(self) -> bool:
        """Does a thread wait for a reply?"""
        return self._turn.locked()

    def interrupt(self) -> None:
        """An empty line, which has no reply of its own: `await_loss` ends by it. From any thread."""
        with contextlib.suppress(OSError):
            self._socket.send(b"\n")

    def close(self) -> None:
        """Ends the connection, and with it what was open on it. Harmless when it has ended."""
        self._is_over = True
        self._socket.close()

    def _exchange(self, request: bytes, limit: float | None) -> Reply:
        deadline = monotonic() + limit if limit is not None else float("inf")
        if self._is_over:
            raise ConnectionError(f"the connection to {self.address} is closed; open another socket")
        try:
            self._send_line(deadline)
            line = memoryview(request + b"\n")
            self._line, self._sent, self._owed = line, [], self._owed + 1
            self._send_line(deadline)
            while True:
                reply = self._next_reply(deadline)
                if not self._owed:
                    return reply
        except OSError as error:
            self.close()
            raise ConnectionError(f"the connection to {self.address} is lost ({error}); open another socket") from error

    def _send_line(self, deadline: float) -> None:
        """Sends what is left of the request under way."""
        while sum(self._sent) < len(self._line):
            self._until(deadline, self._send_some)

    def _send_some(self) -> None:
        self._sent.extend(map(self._socket.send, (self._line[sum(self._sent) :],)))

    def _receive_some(self) -> None:
        size = self._received.tell()
        self._received.writelines(map(self._socket.recv, (1 << 16,)))
        if self._received.tell() == size:
            raise ConnectionResetError("the daemon ended it")

    def _next_reply(self, deadline: float) -> Reply:
        while True:
            with self._received.getbuffer() as received:
                reply = first_reply(received, self._is_tagged)
                rest = bytes(received[reply.size :]) if reply is not None else b""
            if reply is not None:
                fresh = io.BytesIO()
                fresh.write(rest)
                self._received, self._owed = fresh, self._owed - 1
                return reply
            self._until(deadline, self._receive_some)

    def _until(self, deadline: float, transfer: Callable[[], None]) -> None:
        """Does `transfer` once the socket can, which raises TimeoutError at `deadline`."""
        while True:
            self._socket.settimeout(min(_TICK, max(0.001, deadline - monotonic())))
            try:
                return transfer()
            except TimeoutError:
                if monotonic() > deadline:
                    raise TimeoutError("no reply in time") from None
