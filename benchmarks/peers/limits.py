"""What no daemon of this kind can beat: a bare socket to the instrument, and a front and a child without any VISA.

The front is asyncio with one buffer; the child is a process behind a multiprocessing Pipe that answers by itself. So
two hops cost at least this, before anything is looked up, recorded, timed or asked of an instrument.
"""

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from benchmarks.peers import Client, Peer
from benchmarks.peers.served import serve_until_input_ends, serving

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def _bare(where: str, resource: str) -> Client:
    return _plain(int(resource.split("::")[2]), "\n")


def _two_hops(where: str, resource: str) -> Client:
    return _plain(int(where), f" {resource}\n")  # so that the child knows who it is


def _plain(port: int, end: str) -> Client:
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def query(message: str) -> str:
        connection.sendall((message + end).encode())
        answer = connection.recv(65536)
        while not answer.endswith(b"\n"):
            answer += connection.recv(65536)
        return answer[:-1].decode()

    return Client(query, lambda message: connection.sendall((message + end).encode()), connection.close)


class _Front(asyncio.BufferedProtocol):
    """One client and its child; whole messages only, as there is one query at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._buffer = memoryview(bytearray(65536))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._answer)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._pipe.send_bytes(self._buffer[:nbytes])

    def connection_lost(self, error: Exception | None) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def _answer(self) -> None:
        self._transport.write(self._pipe.recv_bytes())


def _child(pipe: Connection) -> None:
    while True:
        try:
            port = pipe.recv_bytes().split(b"::")[2]
        except EOFError:
            return
        pipe.send_bytes(b"BENCH,LOOPBACK,%b,1.0\n" % port)


async def _serve() -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=_child, args=(theirs,), daemon=True).start()
    theirs.close()
    server = await asyncio.get_running_loop().create_server(lambda: _Front(ours), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    serve_until_input_ends(str(port), lambda: None)
    await server.serve_forever()


@contextmanager
def _nothing(bench: "Bench", resources: Sequence[str], cpu: int | None) -> Iterator[str]:
    yield ""


@contextmanager
def _front_and_child(bench: "Bench", resources: Sequence[str], cpu: int | None) -> Iterator[str]:
    with serving(__name__, [], cpu) as where:
        yield where


ROWS = {
    "limit: bare socket": Peer(_nothing, _bare),
    "limit: two hops": Peer(_front_and_child, _two_hops),
}

if __name__ == "__main__":
    asyncio.run(_serve())
