"""The daemon, three ways in: PyVISA's `@daemon`, `client.open_resource`, and a plain socket with the text protocol."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Client, Peer
from benchmarks.peers.direct import open_with

if TYPE_CHECKING:
    from benchmarks.bench import Bench


@contextmanager
def _serve(bench: "Bench", resources: Sequence[str], cpu: int | None) -> Iterator[str]:
    with bench.daemon(cpu=cpu) as daemon:
        yield daemon.address


def _pyvisa(where: str, resource: str) -> Client:
    return open_with(f"{where}@daemon", resource)


def _client(where: str, resource: str) -> Client:
    import client

    client.tryIps = [where]
    opened: Any = client.open_resource(resource, read_termination="\n", write_termination="\n")
    return Client(opened.query, opened.write, opened.close)


def _text(where: str, resource: str) -> Client:
    host, _, port = where.rpartition(":")
    connection = socket.create_connection((host, int(port)), 20)

    def ask(line: str) -> str:
        connection.sendall(line.encode() + b"\n")
        reply = connection.recv(65536)
        while not reply.endswith(b"\n"):
            reply += connection.recv(65536)
        return reply[:-1].decode()

    if ask(f".#.open_resource {resource}") != resource:
        raise ConnectionError(f"{resource} does not open")
    return Client(
        lambda message: ask(".#.query_resource " + message),
        lambda message: ask(".#.write_resource " + message),
        connection.close,
    )


ROWS = {
    "daemon @daemon": Peer(_serve, _pyvisa),
    "daemon client": Peer(_serve, _client),
    "daemon text": Peer(_serve, _text),
}
