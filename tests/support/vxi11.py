"""A VXI-11 server: the device core channel and its abort channel, in front of whatever executes the messages.

VXI-11 (TCP/IP Instrument Protocol) revision 1.0. Interrupt channel, service requests and docmd are refused.

    Server        one device that answers to any name (`inst0`), with one lock, on the sockets that it is given
    Connection    a client's; it makes links, and its calls are answered one after another

To add a procedure: a row in `Connection.program` and a method.
"""

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable

from tests.support.onc_rpc import Arguments, Program, converse, opaque, serve, word
from tests.support.vxi11_link import INVALID_LINK, MESSAGE_AVAILABLE, NOT_SUPPORTED, Device, DeviceError, Link, Lock

CORE = (0x0607AF, 1)  # program and version, for the port mapper
ABORT = (0x0607B0, 1)

#: Device_Flags.
WAIT_LOCK, END, TERM_CHAR_SET = 1, 8, 128

#: So many bytes at most come in one device_write; small, so that long messages come in several.
MAX_RECEIVE_SIZE = 16 * 1024


class Connection:
    """One client's core channel."""

    def __init__(self, server: "Server", tasks: asyncio.TaskGroup, writer: asyncio.StreamWriter) -> None:
        self.tasks = tasks
        self._server = server
        self._writer = writer
        self._is_silent = False

    def drop(self) -> None:
        self._writer.transport.abort()

    def fall_silent(self) -> None:
        """Answer no further call, for as long as this connection lives."""
        self._is_silent = True

    def end(self) -> None:
        for link in [link for link in self._server.links.values() if link.client is self]:
            self._server.destroy(link)

    def program(self) -> Program:
        """Procedure number -> method, and how many words of its result follow the error code (all 0 if it fails)."""
        table: dict[int, tuple[Callable[[Arguments], Awaitable[bytes]], int]] = {
            10: (self._create_link, 3),
            11: (self._device_write, 1),
            12: (self._device_read, 2),
            13: (self._device_readstb, 1),
            14: (self._device_trigger, 0),
            15: (self._device_clear, 0),
            16: (self._device_remote_or_local, 0),
            17: (self._device_remote_or_local, 0),
            18: (self._device_lock, 0),
            19: (self._device_unlock, 0),
            20: (_unsupported, 0),  # device_enable_srq
            22: (_unsupported, 1),  # device_docmd
            23: (self._destroy_link, 0),
            25: (_unsupported, 0),  # create_intr_chan
            26: (_unsupported, 0),  # destroy_intr_chan
        }
        return Program(*CORE, {number: self._procedure(*row) for number, row in table.items()})

    def _procedure(
        self, method: Callable[[Arguments], Awaitable[bytes]], words: int
    ) -> Callable[[Arguments], Awaitable[bytes]]:
        async def procedure(arguments: Arguments) -> bytes:
            if self._is_silent:
                await asyncio.Event().wait()
            try:
                return word(0) + await method(arguments)
            except DeviceError as error:
                return word(error.code) + bytes(4 * words)

        return procedure

    async def _create_link(self, arguments: Arguments) -> bytes:
        _client_id, wants_lock, lock_timeout_ms = arguments.word(), arguments.word(), arguments.word()
        arguments.opaque()  # any name is this device's
        link = self._server.create(self)
        if wants_lock:
            try:
                await self._server.lock.acquire(link.number, lock_timeout_ms / 1000)
            except DeviceError:
                self._server.destroy(link)
                raise
        return word(link.number) + word(self._server.abort_port) + word(MAX_RECEIVE_SIZE)

    async def _destroy_link(self, arguments: Arguments) -> bytes:
        self._server.destroy(self._server.link(arguments.word()))
        return b""

    async def _device_write(self, arguments: Arguments) -> bytes:
        link = self._server.link(arguments.word())
        _io_timeout_ms, lock_timeout_ms, flags = arguments.word(), arguments.word(), arguments.word()
        data = arguments.opaque()
        await self._admit(link, flags, lock_timeout_ms)
        link.write(data, is_end=bool(flags & END))
        return word(len(data))

    async def _device_read(self, arguments: Arguments) -> bytes:
        link = self._server.link(arguments.word())
        count, io_timeout_ms, lock_timeout_ms = arguments.word(), arguments.word(), arguments.word()
        flags, term_char = arguments.word(), arguments.word()
        await self._admit(link, flags, lock_timeout_ms)
        stops_at = term_char & 0xFF if flags & TERM_CHAR_SET else None
        reason, data = await link.read(count, stops_at, io_timeout_ms / 1000)
        return word(reason) + opaque(data)

    async def _device_readstb(self, arguments: Arguments) -> bytes:
        link = await self._generic(arguments)
        return word(link.device.serial_poll() | (MESSAGE_AVAILABLE if link.has_output else 0))

    async def _device_trigger(self, arguments: Arguments) -> bytes:
        (await self._generic(arguments)).device.trigger()
        return b""

    async def _device_clear(self, arguments: Arguments) -> bytes:
        (await self._generic(arguments)).clear()
        return b""

    async def _device_remote_or_local(self, arguments: Arguments) -> bytes:
        await self._generic(arguments)
        return b""

    async def _device_lock(self, arguments: Arguments) -> bytes:
        link = self._server.link(arguments.word())
        flags, lock_timeout_ms = arguments.word(), arguments.word()
        await self._server.lock.acquire(link.number, lock_timeout_ms / 1000 if flags & WAIT_LOCK else 0)
        return b""

    async def _device_unlock(self, arguments: Arguments) -> bytes:
        self._server.lock.release(self._server.link(arguments.word()).number)
        return b""

    async def _generic(self, arguments: Arguments) -> Link:
        """Device_GenericParms."""
        link = self._server.link(arguments.word())
        flags, lock_timeout_ms, _io_timeout_ms = arguments.word(), arguments.word(), arguments.word()
        await self._admit(link, flags, lock_timeout_ms)
        return link

    async def _admit(self, link: Link, flags: int, lock_timeout_ms: int) -> None:
        await self._server.lock.until_free_for(link.number, lock_timeout_ms / 1000 if flags & WAIT_LOCK else 0)


async def _unsupported(arguments: Arguments) -> bytes:
    raise DeviceError(NOT_SUPPORTED)


class Server:
    """Made inside a running loop."""

    def __init__(self, make_device: Callable[[Link], Device]) -> None:
        self.links: dict[int, Link] = {}
        self.lock = Lock()
        self.abort_port = 0
        self._make_device = make_device
        self._numbers = itertools.count(1)

    async def serve(self, core: socket.socket, abort: socket.socket) -> None:
        """On two listening sockets, for ever."""
        self.abort_port = abort.getsockname()[1]
        async with asyncio.TaskGroup() as channels:
            channels.create_task(serve(core, self._core_channel))
            channels.create_task(serve(abort, self._abort_channel))

    def link(self, number: int) -> Link:
        try:
            return self.links[number]
        except KeyError:
            raise DeviceError(INVALID_LINK) from None

    def create(self, connection: Connection) -> Link:
        link = Link(next(self._numbers), connection, self._make_device)
        self.links[link.number] = link
        return link

    def destroy(self, link: Link) -> None:
        link.end()
        self.lock.forget(link.number)
        del self.links[link.number]

    async def _core_channel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as tasks:
            connection = Connection(self, tasks, writer)
            try:
                await converse(connection.program(), reader, writer)
            finally:
                connection.end()

    async def _abort_channel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await converse(Program(*ABORT, {1: self._device_abort}), reader, writer)

    async def _device_abort(self, arguments: Arguments) -> bytes:
        try:
            self.link(arguments.word()).abort()
        except DeviceError as error:
            return word(error.code)
        return word(0)
