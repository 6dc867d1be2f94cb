"""What the client of a good instrument notices of what happens at others.

It asks every millisecond, at a fixed pace, in the text protocol on a plain socket, and the longest it waits is what
matters: alone; while another instrument's process is stopped in the middle of a long answer, and goes on; while long
blocks stream from another instrument to another client, which is a process of its own. The periods take turns. The
same client asks its instrument without the daemon as well: what it waits for then is the machine's affair, not ours.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median, quantiles
from typing import Self

from benchmarks.bench import Bench, DaemonUnderTest
from benchmarks.figures import Figure, Samples
from benchmarks.loopback import Loopback
from benchmarks.waveforms import Client, place
from tests.support.text_client import TextClient

TITLE = "Delays by others"

#: Seconds between two queries.
PACE = 0.001

#: Seconds of one period; quick runs have the second number.
PERIODS = (0.8, 0.3)

#: Rounds of all periods; quick runs have the second number.
ROUNDS = (7, 3)

ALONE = "alone"

#: Bytes of the long answers, and seconds after whose beginning a process is stopped in the middle of one.
LONG, MIDDLE = 64_000_000, 0.05

#: How the other client reads, and what it is called here.
WAYS = {
    ("daemon @daemon", "read_bytes, chunks of 1 MiB"): f"{LONG // 10**6} MB to a PyVISA program",
    ("daemon text", "query_binary"): f"{LONG // 10**6} MB in the text protocol",
}


def run(bench: Bench) -> Iterator[Figure | Samples]:
    # An instrument process each: one that sends a long block is deaf for others meanwhile.
    with Loopback() as good, Loopback(len(WAYS)) as wide, bench.daemon() as daemon, ExitStack() as opened:
        asker = opened.enter_context(_Asker.through(daemon, good.resources[0], good.identity(0)))
        direct = opened.enter_context(_Asker.direct(good.ports[0], good.identity(0)))
        streams = {
            name: opened.enter_context(Client(way, place(way, daemon), resource, LONG))
            for (way, name), resource in zip(WAYS.items(), wide.resources, strict=True)
        }
        seconds = PERIODS[bench.is_quick]
        first = next(iter(streams.values()))
        others = {
            ALONE: _nothing(seconds),
            "a process stopped in mid-answer": _stopped(bench, daemon, wide.resources[0], first, seconds),
        }
        others |= {name: _streaming(bench, stream, seconds) for name, stream in streams.items()}
        waits: dict[tuple[str, str], list[list[float]]] = {}
        for _ in range(ROUNDS[bench.is_quick]):
            for name, other in others.items():
                for subject, client in (("daemon text", asker), ("direct", direct)):
                    waits.setdefault((subject, name), []).append(other(client))
                    bench.check(client.is_right, f"{subject}: every answer while {name}")
    for (subject, name), periods in waits.items():
        alone = statistics(waits[subject, ALONE])
        found = statistics(periods)
        for statistic, value in found.items():
            yield Figure("delays", subject, f"{name}: {statistic}", value * 1e3, "ms")
        if name != ALONE:
            above = found["median of the worst"] - alone["median of the worst"]
            yield Figure("delays", subject, f"{name}: median of the worst, above alone", above * 1e3, "ms")
        yield Samples("delays", subject, name, [wait * 1e3 for period in periods for wait in period], "ms")


def statistics(periods: list[list[float]]) -> dict[str, float]:
    """Of the waits in some periods, each of which has its worst: one of those alone is a matter of luck."""
    together = quantiles([wait for period in periods for wait in period], n=100)
    worsts = [max(period) for period in periods]
    return {"p50": together[49], "p99": together[98], "median of the worst": median(worsts), "worst": max(worsts)}


class _Asker:
    """Asks, at its pace, and keeps what it waited, in seconds."""

    def __init__(self, connected: socket.socket, query: bytes, answer: bytes) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._query, self._answer = query, answer
        self.is_right = True

    @classmethod
    def through(cls, daemon: DaemonUnderTest, resource: str, identity: str) -> Self:
        connected = socket.create_connection((daemon.host, daemon.port))
        connected.sendall(f".#.open_resource {resource}\n".encode())
        connected.recv(4096)
        return cls(connected, b".#.query_resource *IDN?\n", identity.encode() + b"\n")

    @classmethod
    def direct(cls, port: int, identity: str) -> Self:
        return cls(socket.create_connection(("127.0.0.1", port)), b"*IDN?\n", identity.encode() + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._socket.close()

    def ask(self, goes_on: Callable[[], bool]) -> list[float]:
        """As long as it `goes_on`. What is due while it waits is left out: a program has one query at a time."""
        waits = []
        due = time.perf_counter()
        while goes_on():
            time.sleep(max(0.0, due - time.perf_counter()))
            asked = time.perf_counter()
            self._socket.sendall(self._query)
            self.is_right &= self._socket.recv(4096) == self._answer
            answered = time.perf_counter()
            waits.append(answered - asked)
            due = max(due + PACE, answered)
        return waits


# What others do meanwhile.


Period = Callable[[_Asker], list[float]]


def _nothing(seconds: float) -> Period:
    def period(client: _Asker) -> list[float]:
        end = time.perf_counter() + seconds
        return client.ask(lambda: time.perf_counter() < end)

    return period


def _streaming(bench: Bench, stream: Client, seconds: float) -> Period:
    """Blocks follow each other for the whole period."""

    def period(client: _Asker) -> list[float]:
        end = time.perf_counter() + seconds
        waits = list[float]()
        while time.perf_counter() < end:
            stream.begin()
            waits += client.ask(lambda: not stream.is_done)
            bench.check(stream.finish() is not None, "the long block is right")
        return waits

    return period


def _stopped(bench: Bench, daemon: DaemonUnderTest, resource: str, stream: Client, seconds: float) -> Period:
    """A process is stopped for the whole period, which lasts until it has gone on to the end of its answer."""
    with TextClient(daemon.host, daemon.port) as looker:
        rows = looker.ask_json(".#.status")["resources"]
    pid = next(int(row["pid"]) for row in rows if row["resource"] == resource)

    def period(client: _Asker) -> list[float]:
        stream.begin()
        time.sleep(MIDDLE)
        os.kill(pid, signal.SIGSTOP)
        try:
            waits = _nothing(seconds)(client)
            bench.check(not stream.is_done, "the process was stopped in the middle of its answer")
        finally:
            os.kill(pid, signal.SIGCONT)
        waits += client.ask(lambda: not stream.is_done)
        bench.check(stream.finish() is not None, "the long block is right, though its process was stopped")
        return waits

    return period
