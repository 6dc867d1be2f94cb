"""The door of the TLS port: what comes from the network is opened, and what a connection says is sealed.

Runs in the front, between the event loop's transport and `connection`: to the loop it is the protocol of the TCP
connection, to the connection it is the transport, and each sees what it would see on the plain port. So all limits
hold from the first byte on, a half-close is one here too, and a client is counted before it has shaken hands.

(asyncio's own TLS has no half-close: whoever says that he will send no more loses the answers that he waits for. And it
makes a connection known only when the handshake is done.)
"""

import asyncio
import ssl
from enum import Enum
from typing import Any, cast

from front_proc.doors.connection import Connection
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.tls_stream import TlsStream

#: What a TLS client begins with: the type of a record with a handshake in it.
HANDSHAKE = 0x16

#: Bytes sealed at once.
PIECE = 1 << 18

#: One buffer for all connections: what `recv_into` filled is taken before anything else runs.
_buffer = memoryview(bytearray(PIECE))


class DoorState(Enum):
    """What becomes of what the client sends, and of what the connection says."""

    NEW = "its first byte says whether it speaks TLS; what is said is kept"
    SHAKING_HANDS = "taken for the handshake; what is said is kept until that is done"
    OPEN = "opened; sealed"
    PLAIN = "dropped, for it is no TLS; said as it is, for else nobody would understand it"
    OVER = "dropped; so is what is said"


class TlsDoor(asyncio.BufferedProtocol, asyncio.Transport):
    """The protocol of an accepted connection, and the transport of `connection`, which becomes one in TLS.

    `handshake_time`: seconds from the connect until the handshake is done.
    """

    def __init__(self, connection: Connection, context: ssl.SSLContext, handshake_time: float) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._stream = TlsStream(context)
        self._state = DoorState.NEW
        self._handshake_time = handshake_time
        self._timer: asyncio.TimerHandle | None = None
        self._outside: asyncio.Transport | None = None
        self._is_paused = False
        self._is_end_told = False
        self._kept = b""
        self._is_end_kept = False

    # To the network: the transport's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._outside = cast(asyncio.Transport, transport)
        self._timer = self._loop.call_later(self._handshake_time, self._took_too_long)
        self._connection.connection_made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._state is DoorState.NEW:
            self._begin(_buffer[0])
        if self._state in (DoorState.SHAKING_HANDS, DoorState.OPEN) and not self._stream.is_at_end:
            self._stream.receive(_buffer[:nbytes])
            self._go_on()

    def eof_received(self) -> bool:
        """An end that was not said in TLS may be somebody else's work: then it is the end of everything."""
        return self._stream.is_at_end

    def connection_lost(self, error: Exception | None) -> None:
        self._outside = None
        self._stop_timer()
        self._connection.connection_lost(error)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    # What has come.

    def _begin(self, first: int) -> None:
        if first == HANDSHAKE:
            self._state = DoorState.SHAKING_HANDS
        else:
            text = "this port speaks TLS only; PyVISA and client do with ?tls=1, others through stunnel"
            self._refuse(DoorState.PLAIN, Failure("BAD_PROTOCOL", text))

    def _go_on(self) -> None:
        try:
            if self._state is DoorState.SHAKING_HANDS and self._stream.shake_hands():
                self._open()
            if self._state is DoorState.OPEN:
                self._deliver()
        except ssl.SSLError as error:
            self._flush()  # an alert, which says why
            self._refuse(DoorState.OVER, Failure("BAD_PROTOCOL", f"TLS: {error.reason or error}"))
        self._flush()

    def _open(self) -> None:
        self._state = DoorState.OPEN
        self._stop_timer()
        self._flush()
        if self._kept:
            self.write(self._kept)
        if self._is_end_kept:
            self.write_eof()

    def _deliver(self) -> None:
        while not self._is_paused and not self._is_end_told and self._outside is not None:
            count = self._stream.read_into(self._connection.get_buffer(-1))
            if count:
                self._connection.buffer_updated(count)
            elif self._stream.is_at_end:
                self._is_end_told = True
                self._connection.eof_received()
            else:
                return

    def _took_too_long(self) -> None:
        self._refuse(DoorState.OVER, Failure("LINE_TIMEOUT", f"no TLS handshake within {self._handshake_time:g} s"))

    def _refuse(self, state: DoorState, failure: Failure) -> None:
        self._state = state
        self._stop_timer()
        self._connection.refuse(failure)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # To the connection: its transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._outside is None else self._outside.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._outside is not None:
            self._outside.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return len(self._kept) + (0 if self._outside is None else self._outside.get_write_buffer_size())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._state is DoorState.OPEN:
            with memoryview(data) as whole:
                for start in range(0, len(whole), PIECE):
                    self._stream.write(whole[start : start + PIECE])
                    self._flush()
        elif self._state is DoorState.PLAIN and self._outside is not None:
            self._outside.write(data)
        elif self._state is not DoorState.OVER:
            self._kept += data

    def _flush(self) -> None:
        data = self._stream.to_send()
        if data and self._outside is not None:
            self._outside.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._state in (DoorState.NEW, DoorState.SHAKING_HANDS):
            self._is_end_kept = True
        elif self._outside is not None:
            self._say_end()
            self._outside.write_eof()

    def _say_end(self) -> None:
        if self._state is DoorState.OPEN:
            self._stream.end()
            self._flush()
            self._state = DoorState.OVER

    def is_reading(self) -> bool:
        return not self._is_paused

    def pause_reading(self) -> None:
        self._is_paused = True
        if self._outside is not None:
            self._outside.pause_reading()

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        """First what has come already: only then is there more to read, or an end."""
        if not self._is_paused:
            self._go_on()
        if not self._is_paused and self._outside is not None:
            self._outside.resume_reading()

    def close(self) -> None:
        if self._outside is not None:
            self._say_end()
            self._outside.close()

    def abort(self) -> None:
        if self._outside is not None:
            self._outside.abort()
