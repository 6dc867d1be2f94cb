"""Remote procedure calls as LAN instruments take them: ONC RPC version 2 over TCP, its XDR, and the port mapper.

RFC 5531 (calls, replies, records), RFC 4506 (XDR), RFC 1833 (port mapper version 2, GETPORT only). No credentials.

    Arguments     reads a call's arguments; `word` and `opaque` write results
    Program       number, version and procedures: procedure number -> coroutine from Arguments to result bytes
    serve         accepts connections; `converse` answers the calls of one, one after another
    port_mapper   the program that tells the ports of others
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass

TCP = 6  # the protocol's number in a mapping

_CALL, _REPLY = 0, 1
_ACCEPTED, _DENIED, _RPC_MISMATCH = 0, 1, 0
_SUCCESS, _NO_PROGRAM, _OTHER_VERSION, _NO_PROCEDURE, _GARBAGE = range(5)
_NO_VERIFIER = bytes(8)
_LAST_FRAGMENT = 0x8000_0000


class Arguments:
    """What is left of a call, read from its front. Raises ValueError when there is less than is asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def word(self) -> int:
        """An unsigned integer, an enum or a bool."""
        return int.from_bytes(self._take(4))

    def opaque(self) -> bytes:
        """Bytes of variable length; a string is the same."""
        length = self.word()
        return self._take(length + -length % 4)[:length]

    def _take(self, count: int) -> bytes:
        if len(self._data) < count:
            raise ValueError("the arguments end too soon")
        taken, self._data = self._data[:count], self._data[count:]
        return taken


def word(value: int) -> bytes:
    return (value & 0xFFFF_FFFF).to_bytes(4)


def opaque(data: bytes) -> bytes:
    return word(len(data)) + data + bytes(-len(data) % 4)


Procedure = Callable[[Arguments], Awaitable[bytes]]
Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Program:
    number: int
    version: int
    procedures: Mapping[int, Procedure]

    async def reply(self, call: bytes) -> bytes | None:
        """The reply to one call, procedure 0 included; None for what is no call."""
        arguments = Arguments(call)
        try:
            transaction, kind, rpc_version = arguments.word(), arguments.word(), arguments.word()
            if kind != _CALL:
                return None
            if rpc_version != 2:
                return struct.pack(">6I", transaction, _REPLY, _DENIED, _RPC_MISMATCH, 2, 2)
            accepted = struct.pack(">3I", transaction, _REPLY, _ACCEPTED) + _NO_VERIFIER
            number, version, procedure = arguments.word(), arguments.word(), arguments.word()
            for _ in ("credentials", "verifier"):
                arguments.word(), arguments.opaque()
        except ValueError:
            return None
        return accepted + await self._result(number, version, procedure, arguments)

    async def _result(self, number: int, version: int, procedure: int, arguments: Arguments) -> bytes:
        if number != self.number:
            return word(_NO_PROGRAM)
        if version != self.version:
            return word(_OTHER_VERSION) + word(self.version) + word(self.version)
        if procedure == 0:
            return word(_SUCCESS)
        if procedure not in self.procedures:
            return word(_NO_PROCEDURE)
        try:
            return word(_SUCCESS) + await self.procedures[procedure](arguments)
        except ValueError:
            return word(_GARBAGE)


def port_mapper(ports: Mapping[tuple[int, int], int]) -> Program:
    """`ports` says (program, version) -> TCP port; anything else is at port 0, which is nowhere."""

    async def get_port(arguments: Arguments) -> bytes:
        program, version, protocol = arguments.word(), arguments.word(), arguments.word()
        return word(ports.get((program, version), 0) if protocol == TCP else 0)

    return Program(100000, 2, {3: get_port})


async def serve(listener: socket.socket, conversation: Conversation) -> None:
    """Accept connections for ever; each has a conversation of its own."""
    async with asyncio.TaskGroup() as conversations:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            reader, writer = await asyncio.open_connection(sock=connection)
            conversations.create_task(conversation(reader, writer))


async def converse(program: Program, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the other side leaves; that cuts short the call being answered."""
    calls: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer() -> None:
        while True:
            reply = await program.reply(await calls.get())
            if reply is not None:
                writer.write(word(_LAST_FRAGMENT | len(reply)) + reply)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()

    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer())
        try:
            while True:
                calls.put_nowait(await _record(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            answering.cancel()
        finally:
            writer.close()


async def _record(reader: asyncio.StreamReader) -> bytes:
    """A call, of one fragment or several (RFC 5531, 11)."""
    record = bytearray()
    while True:
        header = int.from_bytes(await reader.readexactly(4))
        record += await reader.readexactly(header & ~_LAST_FRAGMENT)
        if header & _LAST_FRAGMENT:
            return bytes(record)
