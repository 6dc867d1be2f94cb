"""An instrument on a TCP socket: a table of commands, and the loop that reads messages and answers them.

Runs in the bench's own process, one task for each connection; all connections share one instrument and its settings,
as on a real front panel. Touches sockets and nothing else.

    Link         one connection: read a message, send bytes
    Instrument   `table()` says what it understands: header -> handler(link, command) -> answer or None
    serve        accepts connections and lets an instrument answer

A handler that wants to misbehave does so on the link: send half, send slowly, stop reading, or raise OSError to drop
the connection. Headers are written as in SCPI manuals (`FREQuency?` is `FREQ?` and `FREQUENCY?`), in any case.

To add a command: a row in the instrument's `table()` and a method; a setting with its query: a row in `settings`.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable

from demo_bench.scpi import Command, ScpiError, Setting, commands, end_of_message, spellings

#: A longer message than this is no message: the connection is dropped.
MESSAGE_LIMIT = 16 * 1024 * 1024


class Link:
    """One connection to the instrument. It reads only when it is asked to; what nobody reads stays in the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending = bytearray()

    async def message(self) -> bytes:
        """The next message without its terminator. ConnectionError when the other side is gone."""
        while not (end := end_of_message(self._pending)):
            if len(self._pending) > MESSAGE_LIMIT:
                raise ConnectionAbortedError("a message without end")
            data = await asyncio.get_running_loop().sock_recv(self._connection, 65536)
            if not data:
                raise ConnectionResetError("the other side closed the connection")
            self._pending += data
        message = bytes(self._pending[:end])
        del self._pending[:end]
        return message.removesuffix(b"\n").removesuffix(b"\r")

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._connection, data)

    async def stop_reading(self) -> None:
        """Read nothing more and answer nothing, for as long as this connection and this process live."""
        await asyncio.Event().wait()


Handler = Callable[[Link, Command], Awaitable[bytes | None]]


class Instrument:
    """The commands every instrument knows, and the way from a message to its answer."""

    identity = "DEMO BENCH,INSTRUMENT,0,1.0"
    settings: dict[str, Setting] = {}

    def __init__(self) -> None:
        self.values = {header: setting.default for header, setting in self.settings.items()}
        self._errors: deque[ScpiError] = deque(maxlen=20)
        self._events = 0
        self._table: dict[str, Handler] = {}
        for header, setting in self.settings.items():
            self._add(header, self._setter(header, setting))
            self._add(header + "?", self._getter(header))
        for header, handler in self.table().items():
            self._add(header, handler)

    def table(self) -> dict[str, Handler]:
        """header -> handler. An instrument adds its own rows to these."""
        return {
            "*IDN?": _constant(self.identity),
            "*TST?": _constant("0"),
            "*OPC?": _constant("1"),
            "*OPC": _nothing,
            "*WAI": _nothing,
            "*RST": self._reset,
            "*CLS": self._clear_status,
            "*ESR?": self._event_status,
            "*STB?": self._status_byte,
            "SYSTem:ERRor?": self._next_error,
        }

    async def answer(self, link: Link, message: bytes) -> bytes | None:
        """Execute a message; its answers in one line without the terminator, or None if it asked nothing."""
        answers = []
        for command in commands(message):
            try:
                handler = self._table.get(command.header)
                if handler is None:
                    raise ScpiError(-113, "Undefined header")
                answers.append(await handler(link, command))
            except ScpiError as error:
                self._errors.append(error)
                self._events |= error.event
        said = [answer for answer in answers if answer is not None]
        return b";".join(said) if said else None

    def _add(self, header: str, handler: Handler) -> None:
        for spelling in spellings(header):
            self._table[spelling] = handler

    def _setter(self, header: str, setting: Setting) -> Handler:
        async def handler(link: Link, command: Command) -> None:
            if not command.argument:
                raise ScpiError(-109, "Missing parameter")
            self.values[header] = setting.parse(command.argument)

        return handler

    def _getter(self, header: str) -> Handler:
        async def handler(link: Link, command: Command) -> bytes:
            return self.values[header].encode()

        return handler

    async def _reset(self, link: Link, command: Command) -> None:
        self.values = {header: setting.default for header, setting in self.settings.items()}

    async def _clear_status(self, link: Link, command: Command) -> None:
        self._errors.clear()
        self._events = 0

    async def _event_status(self, link: Link, command: Command) -> bytes:
        events, self._events = self._events, 0
        return str(events).encode()

    async def _status_byte(self, link: Link, command: Command) -> bytes:
        return b"4" if self._errors else b"0"  # bit 2: the error queue is not empty, SCPI-99 9

    async def _next_error(self, link: Link, command: Command) -> bytes:
        return str(self._errors.popleft() if self._errors else '+0,"No error"').encode()


def _constant(text: str) -> Handler:
    async def handler(link: Link, command: Command) -> bytes:
        return text.encode()

    return handler


async def _nothing(link: Link, command: Command) -> None:
    """For commands that wait for what is done already."""


def listen(port: int, receive_buffer: int | None = None, segment: int | None = None) -> socket.socket:
    """A socket that listens on loopback at `port`, or at a free one if that is taken.

    Its connections inherit `receive_buffer` and `segment`, in bytes. With both small, whoever writes soon finds no
    room: the segment size is what keeps the *sender's* buffer small, since Linux lets that grow in proportion.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if segment is not None:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    return listener


async def serve(instrument: Instrument, listener: socket.socket) -> None:
    """Accept connections for ever; each may come and go without the others' noticing."""
    async with asyncio.TaskGroup() as links:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            links.create_task(_converse(instrument, connection))


async def _converse(instrument: Instrument, connection: socket.socket) -> None:
    link = Link(connection)
    with connection:
        try:
            while True:
                answer = await instrument.answer(link, await link.message())
                if answer is not None:
                    await link.send(answer + b"\n")
        except OSError:
            return  # the other side left, or a handler dropped it
