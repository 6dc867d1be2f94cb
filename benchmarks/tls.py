"""What TLS costs: the same daemon, its plain port and its TLS port, asked in turn in one run.

A query, a block of 16 MB, and a connection until the daemon has said welcome or pong; by a PyVISA program, whose bytes
pass another thread there, and by text over Python's own TLS. A ratio is the median over the rounds of TLS to plain in
the same round.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from statistics import median
from typing import Any

from benchmarks.bench import Bench, DaemonUnderTest
from benchmarks.figures import Figure
from benchmarks.loopback import Loopback, curve
from benchmarks.peers.direct import open_with
from pyvisa_daemon import hosts

TITLE = "TLS next to plain"

#: Rounds; quick runs have the second number.
ROUNDS = (15, 5)

QUERIES = 100
CONNECTS = 10
BLOCK = 16_000_000


class PyVisa:
    """A program with `@daemon`."""

    def __init__(self, where: str, resource: str) -> None:
        self.where, self._client = where, open_with(f"{where}@daemon", resource)
        self._instrument: Any = self._client.query.__self__  # type: ignore[attr-defined]

    def query(self) -> str:
        return self._client.query("*IDN?")

    def block(self) -> bytes:
        data: bytes = self._instrument.query_binary_values(f"CURV? {BLOCK}", datatype="s", container=bytes)
        return data

    def connect(self) -> None:
        hosts.connect(hosts.parse(self.where)).close()

    def close(self) -> None:
        self._client.close()


class Text:
    """A socket, in Python's own TLS where that is wanted."""

    def __init__(self, where: str, resource: str) -> None:
        self._address = hosts.parse(where)
        self._context = ssl.create_default_context(cafile=self._address.ca_file) if self._address.is_tls else None
        self._connection = self._connected()
        self._ask(f"open_resource {resource}")
        self._ask("timeout 60000")

    def _connected(self) -> socket.socket:
        connection = socket.create_connection((self._address.host, self._address.port), 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return connection
        return self._context.wrap_socket(connection, server_hostname=self._address.host)

    def _ask(self, line: str, size: int = 1) -> bytes:
        self._connection.sendall(f".#.{line}\n".encode())
        reply = bytearray()
        while len(reply) < size or not reply.endswith(b"\n"):
            reply += self._connection.recv(1 << 18)
        return bytes(reply[:-1])

    def query(self) -> str:
        return self._ask("query_resource *IDN?").decode()

    def block(self) -> bytes:
        header = 2 + len(str(BLOCK))
        return self._ask(f"query_binary CURV? {BLOCK}", header + BLOCK + 1)[header:]

    def connect(self) -> None:
        with self._connected() as connection:
            connection.sendall(b".#.ping\n")
            connection.recv(99)

    def close(self) -> None:
        self._connection.close()


KINDS: dict[str, type[PyVisa] | type[Text]] = {"daemon @daemon": PyVisa, "daemon text": Text}


def run(bench: Bench) -> Iterator[Figure]:
    if not find_spec("cryptography"):
        bench.note("cryptography is not installed: there is no certificate, and nothing is measured in TLS.")
        return
    with Loopback(2 * len(KINDS)) as loopback, bench.daemon("--tls-port", "0") as daemon:
        for number, subject in enumerate(KINDS):
            resources = loopback.resources[2 * number : 2 * number + 2]
            expected = loopback.identity(2 * number), loopback.identity(2 * number + 1)
            yield from _measured(bench, subject, daemon, resources, expected)


def _measured(
    bench: Bench, subject: str, daemon: DaemonUnderTest, resources: list[str], expected: tuple[str, str]
) -> Iterator[Figure]:
    with contextlib.ExitStack() as stack:
        sides = [KINDS[subject](*place) for place in zip((daemon.address, daemon.tls), resources, strict=True)]
        for side in sides:
            stack.callback(side.close)
        took: dict[str, list[tuple[float, float]]] = {"query": [], "16 MB": [], "connect": []}
        for number in range(-1, ROUNDS[bench.is_quick]):
            for side, answer in zip(sides, expected, strict=True):
                bench.check(side.query() == answer, f"{subject}: *IDN?")
                bench.check(side.block() == curve(BLOCK), f"{subject}: every one of {BLOCK} bytes")
            found = {
                "query": _both(sides, lambda side: side.query(), QUERIES),
                "16 MB": _both(sides, lambda side: side.block(), 1),
                "connect": _both(sides, lambda side: side.connect(), CONNECTS),
            }
            if number >= 0:  # the first warms everybody up
                for what, both in found.items():
                    took[what].append(both)
    for what, rounds in took.items():
        for port, seconds in zip(("plain", "TLS"), zip(*rounds, strict=True), strict=True):
            yield Figure("tls", subject, f"{what}, {port}", median(seconds) * 1e6, "us")
        yield Figure("tls", subject, f"{what}, TLS / plain", median(tls / plain for plain, tls in rounds), "x")


def _both(sides: list[Any], work: Callable[[Any], object], times: int) -> tuple[float, float]:
    """The median of its seconds, on the plain port and on the TLS port."""
    medians = []
    for side in sides:
        took = []
        for _ in range(times):
            began = time.perf_counter()
            work(side)
            took.append(time.perf_counter() - began)
        medians.append(median(took))
    return medians[0], medians[1]
