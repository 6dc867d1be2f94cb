"""One TCP connection: its first bytes choose the language, then the conversation has it.

Runs in the front. Output is bounded: a client that does not read its answers is cut, not waited for.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol, cast

from front_proc.access.gate import COMES_FIRST
from front_proc.access.rights import numeric
from front_proc.doors import peer
from front_proc.front import Front
from front_proc.languages.text_commands import Prefix
from front_proc.languages.text_conversation import Conversation, error_line
from front_proc.languages.wire_conversation import WireConversation
from front_proc.serving.sessions import Client
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Failure

#: Seconds that a closed conversation's connection may stay to be read out: closing with unread input would reset it,
#: and take the last reply with it.
LINGER = 1.0

#: Seconds between looks at the peer of a connection that is not being read, which would tell that it is gone; and until
#: the second look: its FIN can be here an instant before its socket is closed.
LOOK_TIME = 0.5
SECOND_LOOK = 0.02

#: Seconds between looks whether the audit log's writer has caught up, and for which its client rests at most: the
#: writer may be stuck.
REST_LOOK = 0.02
LONGEST_REST = 1.0

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
        #: When the beginning at hand has to be whole, and the line that it belongs to.
        self._beginning_due = 0.0
        self._is_at_end = False
        self._is_ending = False
        self._sent = 0
        self._is_full = False
        self._wait_for_room: list[Callable[[], None]] = []
        self._stranger_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        #: The conversation has enough to do.
        self._is_paused = False

    # The transport's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        address = transport.get_extra_info("peername")
        if address is None:  # it was reset before it was accepted
            self._transport.abort()
            return
        self._client = _client_at(*address[:2])
        self._client.rights = self._front.access.rights_at(address[0])
        self._client.cut = self._cut
        self._client.rest = self._rest
        connected = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small answers go at once
        peer.limit_silence(connected, self._front.limits.silent_peer_time)
        self._transport.set_write_buffer_limits(self._front.limits.output_pause)
        if not self._front.admit(self._client, connected.fileno()):
            self._refuse_for_want_of_room()
            if self._front.is_short_of(connected.fileno()):
                self.close()
            return
        self._front.audit.record("connect", **self._client.who())
        if not self._front.may_work(self._client):
            self._limit_beginning()  # who says nothing must not keep others from looking
        if self._client.is_stranger:
            self._stranger_timer = self._loop.call_later(self._front.limits.line_time, self._remains_a_stranger)

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
        self._is_at_end = True
        if self._speaker is not None and not self._is_ending:
            self._speaker.at_end()
            self._watch_peer(0.0)
        elif self._transport is not None:
            self._transport.close()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._client.cut = _cut_already
        self.resume_writing()  # whoever was held back for this client waits for nobody now
        for timer in (self._timer, self._stranger_timer, self._stall_timer, self._look_timer, self._rest_timer):
            if timer is not None:
                timer.cancel()
        if self._speaker is not None:
            self._speaker.left()
        if self._client in self._front.clients:
            self._front.leave(self._client)

    def pause_writing(self) -> None:
        self._is_full = True
        self._watch_output(self._written(), self._loop.time())

    def resume_writing(self) -> None:
        self._is_full = False
        waiting, self._wait_for_room = self._wait_for_room, []
        for resume in waiting:
            resume()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _written(self) -> int:
        """Bytes that the kernel has taken so far."""
        return 0 if self._transport is None else self._sent - self._transport.get_write_buffer_size()

    def _watch_output(self, written: int, since: float) -> None:
        look_time = self._front.limits.slow_reader_time / 10
        self._stall_timer = self._loop.call_later(look_time, self._look_at_output, written, since)

    def _look_at_output(self, written: int, since: float) -> None:
        now = self._loop.time()
        if self._written() > written:
            self._watch_output(self._written(), now)
        elif now - since < self._front.limits.slow_reader_time:
            self._watch_output(written, since)
        else:
            self._cut("does not read its answers")

    def _cut(self, error: str) -> None:
        """Say no more, read no more: the other side notices at once. `error` is put on record; it is empty where
        whoever cuts has done that."""
        self._is_ending = True
        if error:
            self._front.audit.record("rejected", **self._client.who(), error=error)
        if self._transport is not None:
            self._transport.abort()

    # Whether there still is a client, while nothing is read that would tell.

    def _watch_peer(self, delay: float) -> None:
        """What it has waiting is to be carried out only while there is somebody to answer to."""
        self._ignore_peer()
        if not self._is_ending:
            self._look_timer = self._loop.call_later(delay, self._look_at_peer, delay)

    def _look_at_peer(self, waited: float) -> None:
        if self._transport is None or self._is_ending:
            return
        if peer.is_gone(self._transport.get_extra_info("socket")):
            self._transport.abort()
        else:
            self._watch_peer(LOOK_TIME if waited else SECOND_LOOK)

    def _ignore_peer(self) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None

    # What a conversation does with its connection.

    def send(self, data: bytes) -> None:
        if self._transport is None or self._is_ending:  # what was under way when it was refused may still answer
            return
        if self._transport.get_write_buffer_size() > self._front.limits.output_length:
            self._cut("does not read its answers")
            return
        self._sent += len(data)
        self._transport.write(data)

    async def sent(self) -> None:
        if self._is_full:
            has_room = self._loop.create_future()

            def resume() -> None:
                if not has_room.done():
                    has_room.set_result(None)

            self._wait_for_room.append(resume)
            await has_room

    def has_room(self, resume: Callable[[], None]) -> bool:
        if self._is_full and resume not in self._wait_for_room:
            self._wait_for_room.append(resume)
        return not self._is_full

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
        self._is_paused = True
        if self._transport is not None:
            self._transport.pause_reading()
            self._watch_peer(LOOK_TIME)

    def resume(self) -> None:
        self._is_paused = False
        if self._rest_timer is not None:
            return
        if self._transport is not None and not self._is_at_end and not self._transport.is_reading():
            self._ignore_peer()
            self._transport.resume_reading()

    # While the audit log's writer is far behind.

    def _rest(self) -> None:
        if self._rest_timer is None and self._transport is not None and not self._is_ending:
            self._transport.pause_reading()
            self._rest_until(self._loop.time() + LONGEST_REST)

    def _rest_until(self, end: float) -> None:
        self._rest_timer = self._loop.call_later(REST_LOOK, self._look_at_writer, end)

    def _look_at_writer(self, end: float) -> None:
        if self._front.audit.is_far_behind and self._loop.time() < end:
            self._rest_until(end)
            return
        self._rest_timer = None
        if not self._is_paused and not self._is_ending:
            self.resume()

    # The first bytes.

    def refuse(self, failure: Failure) -> None:
        """The door that it came through has heard enough."""
        self._refuse(failure)

    def _choose(self, data: bytes) -> None:
        self._beginning += data
        self._limit_beginning()
        known = (wire.MAGIC, *_TEXT_BEGINNINGS)
        if not any(self._beginning.startswith(start) or start.startswith(self._beginning) for start in known):
            self._refuse(Failure("BAD_PROTOCOL", "neither .#. nor ... nor .!. nor the PyVISA backend's hello"))
        elif self._beginning.startswith(wire.MAGIC):
            if not self._front.may_work(self._client):
                self._refuse_for_want_of_room()
                return
            self._speak("wire", WireConversation(self._front, self._client, self), self._beginning[len(wire.MAGIC) :])
        elif self._beginning.startswith(_TEXT_BEGINNINGS):
            conversation = Conversation(self._front, self._client, self, self._beginning_due)
            self._speak("text", conversation, self._beginning)

    def _limit_beginning(self) -> None:
        if self._timer is None:
            self._beginning_due = self._loop.time() + self._front.limits.line_time
            self._timer = self._loop.call_at(self._beginning_due, self._begins_too_slowly)

    def _speak(self, language: str, speaker: Speaker, data: bytes) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        self._beginning = b""
        self._client.language = language
        self._speaker = speaker
        speaker.received(data)

    def _begins_too_slowly(self) -> None:
        self._refuse(Failure("LINE_TIMEOUT", f"no whole prefix within {self._front.limits.line_time:g} s"))

    def _remains_a_stranger(self) -> None:
        if self._is_ending or not self._client.is_stranger:
            return
        seconds = f"{self._front.limits.line_time:g} s"
        if self._client.language == "wire":
            self._cut(f"no hello within {seconds}")
        else:
            self._refuse(Failure("LINE_TIMEOUT", f"{COMES_FIRST}, within {seconds}"))

    def _refuse_for_want_of_room(self) -> None:
        self._refuse(Failure("TOO_MANY_CLIENTS", "too many clients; close some, or try again later"))

    def _refuse(self, failure: Failure) -> None:
        self._front.audit.record("rejected", **self._client.who(), outcome=failure.token, error=failure.text)
        if self._timer is not None:
            self._timer.cancel()
        self.send(error_line(failure) + b"\n")
        self.end()


def _cut_already(_: str) -> None:
    """There is no connection any more."""


def _client_at(host: str, port: int) -> Client:
    return Client(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", is_loopback=numeric(host).is_loopback)
