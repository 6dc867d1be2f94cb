"""One TCP connection: its first bytes choose the language, then the conversation has it.

Runs in the front. Output is bounded: a client that does not read its answers is cut, not waited for.
"""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol, cast

from front_proc.front import Front
from front_proc.sessions import Client
from front_proc.text_commands import Prefix
from front_proc.text_conversation import LINE_TIME, Conversation, error_line
from front_proc.wire_conversation import WireConversation
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Failure

#: Bytes of output waiting for a client: from here on it must read, and this is too much at once.
OUTPUT_HIGH = 2 << 20
OUTPUT_LIMIT = 256 << 20

#: Seconds without any progress after which a client that does not read its output is cut.
STALL_TIME = 10.0

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
        self._sent = 0
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._wait_for_room: list[Callable[[], None]] = []
        self._stall_timer: asyncio.TimerHandle | None = None

    # The transport's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._client = _client_of(self._transport)
        _tune(transport.get_extra_info("socket"))
        self._transport.set_write_buffer_limits(OUTPUT_HIGH)
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
        self.resume_writing()  # whoever was held back for this client waits for nobody now
        for timer in (self._timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        if self._speaker is not None:
            self._speaker.left()
        if self._client in self._front.clients:
            self._front.leave(self._client)

    def pause_writing(self) -> None:
        self._has_room.clear()
        self._watch_output(self._written())

    def resume_writing(self) -> None:
        self._has_room.set()
        waiting, self._wait_for_room = self._wait_for_room, []
        for resume in waiting:
            resume()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _written(self) -> int:
        """Bytes that the kernel has taken so far."""
        return 0 if self._transport is None else self._sent - self._transport.get_write_buffer_size()

    def _watch_output(self, written: int) -> None:
        self._stall_timer = self._loop.call_later(STALL_TIME, self._look_at_output, written)

    def _look_at_output(self, written: int) -> None:
        if self._written() > written:
            self._watch_output(self._written())
        else:
            self._cut()

    def _cut(self) -> None:
        self._front.audit.record("rejected", **self._client.who(), error="does not read its answers")
        if self._transport is not None:
            self._transport.abort()

    # What a conversation does with its connection.

    def send(self, data: bytes) -> None:
        if self._transport is None:
            return
        self._sent += len(data)
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > OUTPUT_LIMIT:
            self._cut()

    async def sent(self) -> None:
        await self._has_room.wait()

    def has_room(self, resume: Callable[[], None]) -> bool:
        if not self._has_room.is_set() and resume not in self._wait_for_room:
            self._wait_for_room.append(resume)
        return self._has_room.is_set()

    def close(self) -> None:
        """Close as soon as all is sent: the client has said that it will send no more."""
        self._is_ending = True
        if self._transport is not None:
            self._transport.close()

    def end(self) -> None:
        """Say no more; close when the client has had its time to read, whatever it still sends."""
        self._is_ending = True
        if self._transport is None:
            return
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timer = self._loop.call_later(LINGER, self.close)

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
    address = ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    return Client(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", is_loopback=address.is_loopback)


def _tune(connected: socket.socket) -> None:
    """No delay for small answers; a peer that is gone without a word is noticed."""
    idle, interval, probes = KEEPALIVE
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
