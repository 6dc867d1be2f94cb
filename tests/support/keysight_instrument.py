"""The instrument that PyVISA's own suite is written for: `python -m tests.support.keysight_instrument`.

Stands in for what Keysight's Virtual Instrument IO Test software plays, for
`pyvisa.testsuite.keysight_assisted_tests`, on the addresses that are fixed there: VXI-11 on 127.0.0.1 with a port
mapper at port 111, and a raw socket at port 5025. Prints "ready" when it serves, or why it cannot, and ends with its
standard input.

    *IDN?            who it is
    RECEIVE          the next line, its LF included, is data and kept
    SEND             sends the data
    RCVSLOWSRQ       as RECEIVE
    SENDSLOWSRQ      sends the data a little later and requests service, which a serial poll takes back (VXI-11 only)

A line ends with LF alone, whatever END says: the suite writes data without termination and its LF in a message of its
own, and data with CR in it. Empty lines mean nothing. A new message throws away what was not read of the last answer
(IEEE 488.2, INTERRUPTED), on which the suite relies; a raw socket has no way to do so, and its tests may fail there.
"""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable

from demo_bench.instrument import listen
from tests.support.onc_rpc import converse, port_mapper, serve
from tests.support.vxi11 import CORE, Server
from tests.support.vxi11_link import REQUEST_SERVICE, Link

PORT_MAPPER_PORT, SOCKET_PORT = 111, 5025

#: Seconds: long enough for a poller to find nothing first.
SLOWLY = 0.05


class Conversation:
    """One opening of the instrument: bytes in, answers to `send`."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.requests_service = False
        self._send = send
        self._received = b""
        self._data = b""
        self._expects_data = False

    async def receive(self, received: bytes) -> None:
        self._received += received
        while b"\n" in self._received:
            line, _, self._received = self._received.partition(b"\n")
            await self._line(line + b"\n")

    async def _line(self, line: bytes) -> None:
        if self._expects_data:
            self._data = line
            self._expects_data = False
            return
        match line.strip():
            case b"*IDN?":
                self._send(b"TEST,KEYSIGHT VIRTUAL INSTRUMENT,0,1.0\n")
            case b"RECEIVE" | b"RCVSLOWSRQ":
                self._expects_data = True
            case b"SEND":
                self._send(self._data)
            case b"SENDSLOWSRQ":
                await asyncio.sleep(SLOWLY)
                self._send(self._data)
                self.requests_service = True


class GliderDevice:
    """A conversation on VXI-11."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.clear()

    async def execute(self, message: bytes) -> None:
        self._link.discard_output()
        await self._conversation.receive(message)

    def serial_poll(self) -> int:
        status = REQUEST_SERVICE if self._conversation.requests_service else 0
        self._conversation.requests_service = False
        return status

    def trigger(self) -> None:
        pass

    def clear(self) -> None:
        self._conversation = Conversation(self._link.respond)


async def converse_on_socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    conversation = Conversation(writer.write)
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            await conversation.receive(data)
    writer.close()


def fixed(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port))
    listener.setblocking(False)
    return listener


async def main() -> None:
    try:
        mapper, raw = fixed(PORT_MAPPER_PORT), fixed(SOCKET_PORT)
    except OSError as error:
        print(f"cannot listen on ports {PORT_MAPPER_PORT} and {SOCKET_PORT}: {error}", flush=True)
        return
    core, abort = listen(0), listen(0)
    ports = port_mapper({CORE: core.getsockname()[1]})
    async with asyncio.TaskGroup() as serving:
        tasks = [
            serving.create_task(serve(mapper, lambda reader, writer: converse(ports, reader, writer))),
            serving.create_task(serve(raw, converse_on_socket)),
            serving.create_task(Server(GliderDevice).serve(core, abort)),
        ]
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(main())
