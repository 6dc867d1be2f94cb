"""One TCP connection: its first bytes choose the language, then the conversation has it.

Runs in the front. Output is bounded: a client that does not read its answers is cut, not waited for.
"""

import asyncio
import socket
from ipaddress import ip_address
from typing import Protocol, cast

from front_proc.front import Front
from front_proc.sessions import Client
from front_proc.text_commands import Prefix
from front_proc.text_conversation import LINE_TIME, Conversation, error_line
from front_proc.wire_conversation import WireConversation
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Failure

#: Output waiting for a client that does not read: so much is too much at once.
OUTPUT_LIMIT = 32 << 20

#: Seconds that a closed conversation's connection may stay to be read out: closing with unread input would reset it,
#: and take the last reply with it.
LINGER = 1.0

#: Seconds of idleness, between probes, and probes (keepalive), and milliseconds of unacknowledged data.
KEEPALIVE = (15, 5, 3)
USER_TIMEOUT_MS = 30_000

#: One buffer for all connections: what `recv_into` filled is used up before anything else runs.
_buffer = memoryview(bytearray(1 << 18))

_TEXT_BEGINNINGS = tuple(prefix.encode() for prefix in Prefix)


class Speaker(Protocol):
    """A conversation, in either language."""

    def received(self, data: bytes) -> None: ...

    def at_end(self) -> None: ...

    def left(self) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """The protocol of an accepted connection."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._loop = asyncio.get_running_loop()
        self._client = Client("")
        self._transport: asyncio.Transport | None = None
        self._speaker: Speaker | None = None
        self._beginning = b""
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False

    # The transport's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client = _client_of(self._transport)
        _tune(transport.get_extra_info("socket"))
        if not self._front.admit(self._client):
            self._refuse(Failure("TOO_MANY_CLIENTS", "too many clients; close some, or try again later"))
            return
        self._front.audit.record("connect", **self._client.who())

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_ending:
            return
        data = bytes(_buffer[:nbytes])
        if self._speaker is not None:
            self._speaker.received(data)
        else:
            self._choose(data)

    def eof_received(self) -> bool:
        if self._speaker is not None and not self._is_ending:
            self._speaker.at_end()
        elif self._transport is not None:
            self._transport.close()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if self._speaker is not None:
            self._speaker.left()
        if self._client in self._front.clients:
            self._front.leave(self._client)
            self._front.audit.record("disconnect", **self._client.who())

    # What a conversation does with its connection.

    def send(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > OUTPUT_LIMIT:
            self._front.audit.record("rejected", **self._client.who(), error="does not read its answers")
            self._transport.abort()

    def end(self) -> None:
        """Close when all is sent, and when the client has had its time to read it."""
        self._is_ending = True
        if self._transport is None:
            return
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timer = self._loop.call_later(LINGER, self._close)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    # The first bytes.

    def _choose(self, data: bytes) -> None:
        self._beginning += data
        if self._timer is None:
            self._timer = self._loop.call_later(LINE_TIME, self._begins_too_slowly)
        known = (wire.MAGIC, *_TEXT_BEGINNINGS)
        if not any(self._beginning.startswith(start) or start.startswith(self._beginning) for start in known):
            self._refuse(Failure("BAD_PROTOCOL", "neither .#. nor ... nor .!. nor the PyVISA backend's hello"))
        elif self._beginning.startswith(wire.MAGIC):
            self._speak("wire", WireConversation(self._front, self._client, self), self._beginning[len(wire.MAGIC) :])
        elif len(self._beginning) >= len(_TEXT_BEGINNINGS[0]):
            self._speak("text", Conversation(self._front, self._client, self), self._beginning)

    def _speak(self, language: str, speaker: Speaker, data: bytes) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        self._beginning = b""
        self._client.language = language
        self._speaker = speaker
        speaker.received(data)

    def _begins_too_slowly(self) -> None:
        self._refuse(Failure("LINE_TIMEOUT", f"no whole prefix within {LINE_TIME:g} s"))

    def _refuse(self, failure: Failure) -> None:
        self._front.audit.record("rejected", **self._client.who(), outcome=failure.token, error=failure.text)
        if self._timer is not None:
            self._timer.cancel()
        self.send(error_line(failure) + b"\n")
        self.end()


def _client_of(transport: asyncio.Transport) -> Client:
    host, port = transport.get_extra_info("peername")[:2]
    return Client(f"{host}:{port}", is_loopback=ip_address(host.partition("%")[0]).is_loopback)


def _tune(connected: socket.socket) -> None:
    """No delay for small answers; a peer that is gone without a word is noticed."""
    idle, interval, probes = KEEPALIVE
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
