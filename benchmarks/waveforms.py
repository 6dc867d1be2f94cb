"""How fast long blocks come through, and what memory that takes in each process on the way.

Stock PyVISA objects, on pyvisa-py directly and on the daemon, as programs read blocks from a socket: with
`query_binary_values` (which needs the read termination on), and with `write` and `read_bytes` (which counts), in
PyVISA's own chunks and in large ones. `read_raw` gets a text of the same length, as instruments send numbers in ASCII:
pyvisa-py ends no read on a socket but by count, termination character or timeout, so of a binary block it would get a
part or wait in vain. Beside them the text protocol's `query_binary`. All ways take turns, so that a slow moment of the
machine hits them alike. Conversion to numbers is not measured. Every byte is compared.

Memory is looked at in processes that have not seen a long block before, for an allocator keeps what it had: the
client is this file as a program, which `delays` has at work too. To add a way: its row in WAYS.
"""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Self

import pyvisa
from pyvisa.resources import MessageBasedResource

from benchmarks.bench import Bench, DaemonUnderTest
from benchmarks.figures import Figure
from benchmarks.loopback import Loopback, curve, letters
from benchmarks.processes import Peak
from tests.support.text_client import TextClient

TITLE = "Long blocks"

#: Bytes of a block -> how often each way reads one; for the whole and for the quick form.
ROUNDS = (
    {100_000: 15, 1_000_000: 9, 4_000_000: 7, 16_000_000: 7, 64_000_000: 5},
    {1_000_000: 5, 16_000_000: 3},
)

#: Bytes of the block during which memory is looked at.
LOOKED_AT = ((16_000_000, 64_000_000), (16_000_000,))

#: Seconds that a block may take: a way that would need more for the next size, at its rate so far, is not asked for it.
LONGEST = (10.0, 2.5)

#: Bytes of a large chunk, for programs that set one.
LARGE_CHUNK = 1 << 20

#: Bytes in front of a block of the loopback instrument.
HEADER = 11

#: Milliseconds that a read may take.
TIMEOUT_MS = 60_000

#: The way that gets a text in the place of a block.
OF_TEXT = "read_raw, of text"

#: Gets a block of so many bytes, with or without what is around it.
Read = Callable[[int], bytes | bytearray]


def run(bench: Bench) -> Iterator[Figure]:
    # An instrument for each way. After a read that ended by count the daemon keeps an instrument for its reader until
    # the timeout, for there may be more of the answer: ways that took turns at one would wait for each other.
    with Loopback(len(WAYS)) as loopback:
        with bench.daemon() as daemon, ExitStack() as ours:
            ways = {
                way: WAYS[way](place(way, daemon), resource, ours)
                for way, resource in zip(WAYS, loopback.resources, strict=True)
            }
            for read in ways.values():
                read(1000)  # whatever comes with the first time
            figures: list[Figure] = []
            for size, rounds in ROUNDS[bench.is_quick].items():
                _drop_slow(bench, ways, figures, size)
                figures = list(_rates(bench, ways, size, rounds))
                yield from figures
        for size in LOOKED_AT[bench.is_quick]:
            for way in (way for way in WAYS if way in ways):
                with bench.daemon() as daemon, Client(way, place(way, daemon), loopback.resources[0], size) as client:
                    yield from _peaks(bench, way, size, daemon, client)


def _rates(bench: Bench, ways: dict[tuple[str, str], Read], size: int, rounds: int) -> Iterator[Figure]:
    """The rate of each way."""
    took: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, read in ways.items():
            began = time.perf_counter()
            block = read(size)
            took[way].append(time.perf_counter() - began)
            bench.check(content(block, size) == expected(way, size), f"{way}: every one of {size} bytes")
    for (subject, name), times in took.items():
        yield Figure("waveforms", subject, name, size / median(times) / 1e6, "MB/s", size)


def _drop_slow(bench: Bench, ways: dict[tuple[str, str], Read], figures: Sequence[Figure], size: int) -> None:
    """Take out of `ways` what, by the `figures` of the size before, would take too long for this one."""
    for figure in figures:
        seconds = size / (figure.value * 1e6)
        if seconds > LONGEST[bench.is_quick]:
            del ways[figure.subject, figure.name]
            text = f"no block of {size / 1e6:g} MB, which would take {seconds:.0f} s at {figure.value:.2g} MB/s"
            bench.note(f"{figure.subject}, {figure.name}: {text}")


def _peaks(
    bench: Bench, way: tuple[str, str], size: int, daemon: DaemonUnderTest, client: "Client"
) -> Iterator[Figure]:
    """Resident memory above what it was, while the client's first long block comes: of all three processes."""
    processes = {}
    if way[0] != "direct":
        with TextClient(daemon.host, daemon.port) as looker:
            (row,) = looker.ask_json(".#.status")["resources"]
        processes = {"front": daemon.pid, "child": int(row["pid"])}
    peaks = {name: Peak(pid) for name, pid in processes.items()}
    client.begin()
    grown = client.finish()
    bench.check(grown is not None, f"{way}: every one of {size} bytes, in a process of its own")
    above = {"client": grown or 0} | {name: peak.above_base() for name, peak in peaks.items()}
    for name, value in above.items():
        yield Figure("waveforms", way[0], f"{way[1]}: memory of the {name}", value / 1e6, "MB", size)


def content(block: bytes | bytearray, size: int) -> bytes | bytearray:
    """`size` bytes of an answer, without the header that it may have (IEEE 488.2, 8.7.9), and the termination.

    >>> content(b"#15hello\\n", 5)
    b'hello'
    """
    has_header = len(block) > size and block[:1] == b"#"
    begin = 2 + int(block[1:2]) if has_header else 0
    return block if len(block) == size else block[begin : begin + size]


# The ways.


def _instrument(library: str, resource: str, opened: ExitStack, termination: str | None) -> MessageBasedResource:
    manager = pyvisa.ResourceManager(library)
    instrument = manager.open_resource(
        resource, read_termination=termination, write_termination="\n", timeout=TIMEOUT_MS
    )
    assert isinstance(instrument, MessageBasedResource)
    opened.callback(instrument.close)
    return instrument


def _values(library: str, resource: str, opened: ExitStack) -> Read:
    instrument = _instrument(library, resource, opened, "\n")

    def read(size: int) -> bytes:
        # "s" and bytes: one copy, and no Python object for each byte.
        return instrument.query_binary_values(f"CURV? {size}", datatype="s", container=bytes)  # type: ignore[return-value]

    return read


def _counted(library: str, resource: str, opened: ExitStack, chunk_size: int | None = None) -> Read:
    instrument = _instrument(library, resource, opened, None)

    def read(size: int) -> bytes:
        instrument.write(f"CURV? {size}")
        return instrument.read_bytes(HEADER + size + 1, chunk_size)

    return read


def _raw(library: str, resource: str, opened: ExitStack) -> Read:
    instrument = _instrument(library, resource, opened, "\n")

    def read(size: int) -> bytes:
        instrument.write(f"TEXT? {size}")
        return instrument.read_raw()

    return read


def _text(address: str, resource: str, opened: ExitStack) -> Read:
    host, _, port = address.rpartition(":")
    connected = opened.enter_context(socket.create_connection((host, int(port))))
    for request in (f"open_resource {resource}", f"timeout {TIMEOUT_MS}"):
        connected.sendall(f".#.{request}\n".encode())
        connected.recv(4096)

    def read(size: int) -> bytearray:
        connected.sendall(f".#.query_binary CURV? {size}\n".encode())
        reply = bytearray(2 + len(str(size)) + size + 1)
        view = memoryview(reply)
        while view:
            view = view[connected.recv_into(view) or len(view) :]
        return reply

    return read


Make = Callable[[str, str, ExitStack], Read]

_WITH_PYVISA: dict[str, Make] = {
    "query_binary_values": _values,
    "read_bytes": _counted,
    "read_bytes, chunks of 1 MiB": partial(_counted, chunk_size=LARGE_CHUNK),
    OF_TEXT: _raw,
}

#: Subject and name -> what opens a resource at a place for such reads.
WAYS: dict[tuple[str, str], Make] = {
    **{("direct", name): make for name, make in _WITH_PYVISA.items()},
    **{("daemon @daemon", name): make for name, make in _WITH_PYVISA.items()},
    ("daemon text", "query_binary"): _text,
}


def expected(way: tuple[str, str], size: int) -> bytes:
    """The `content` of what this way reads."""
    return letters(size) if way[1] == OF_TEXT else curve(size)


def place(way: tuple[str, str], daemon: DaemonUnderTest) -> str:
    """Where this way looks for the instrument."""
    return {"direct": "@py", "daemon @daemon": f"{daemon.address}@daemon", "daemon text": daemon.address}[way[0]]


# A client in a process of its own.


class Client:
    """Reads a block of `size` bytes whenever it is told to."""

    def __init__(self, way: tuple[str, str], place: str, resource: str, size: int) -> None:
        command = [sys.executable, "-m", "benchmarks.waveforms", *way, place, resource, str(size)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._said = self._process.stdin, self._process.stdout
        if self._said.readline() != b"open\n":
            raise RuntimeError(f"{way}: {resource} does not open")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._orders.close()
        self._process.wait(30)
        self._said.close()

    def begin(self) -> None:
        self._orders.write(b"\n")
        self._orders.flush()

    @property
    def is_done(self) -> bool:
        """Has it the block?"""
        return bool(select.select([self._said], [], [], 0)[0])

    def finish(self) -> int | None:
        """Wait until it has the block: bytes by which its memory grew meanwhile; None if the block is wrong."""
        verdict, above_base = self._said.readline().split()
        return int(above_base) if verdict == b"right" else None


def main(subject: str, name: str, place: str, resource: str, size: str) -> None:
    """Read a block for each line of stdin, and say whether it was right."""
    wanted = expected((subject, name), int(size))
    with ExitStack() as opened:
        read = WAYS[subject, name](place, resource, opened)
        read(1000)
        print("open", flush=True)
        for _ in sys.stdin:
            peak = Peak(os.getpid())
            block = read(int(size))
            above_base = peak.above_base()
            print("right" if content(block, int(size)) == wanted else "wrong", above_base, flush=True)
            del block


if __name__ == "__main__":
    main(*sys.argv[1:])
