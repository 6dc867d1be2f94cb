"""A query's two requests go out as one, and nothing else waits for anything."""

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import wire
from pyvisa_daemon.asking import reads_at_once
from pyvisa_daemon.framing import FrameReader
from tests.pyvisa_daemon.conftest import Connect
from tests.pyvisa_daemon.peer import Conversation
from tests.support.waiting import DEADLINE


class Resource(MessageBasedResource):
    """PyVISA's own, on a library that notes what it sees of who writes."""

    def __init__(self) -> None:
        self.seen: list[bool] = []
        self.visalib: Any = SimpleNamespace(write=self._write)
        self._session: Any = 1

    def _write(self, _: int, message: bytes) -> tuple[int, int]:
        self.seen.append(reads_at_once(sys._getframe(1)))
        return len(message), 0

    def read(self, *_: Any, **__: Any) -> str:
        return "1,2,3"

    def read_binary_values(self, *_: Any, **__: Any) -> list[int]:
        return []

    def _read_raw(self, *_: Any, **__: Any) -> bytearray:
        return bytearray(b"#13\x01\x02\x03\n")

    def ask_by_hand(self) -> str:
        """A program's own query."""
        self.write("A?")
        return self.read()


class Derived(Resource):
    """A driver's own class."""

    def query(self, message: str, delay: float | None = None) -> str:
        return super().query(message.upper(), delay)


@pytest.mark.parametrize("kind", [Resource, Derived])
@pytest.mark.parametrize("name", ["query", "query_ascii_values", "query_binary_values"])
@pytest.mark.parametrize(
    ("own", "delay", "expected"),
    [(0, None, True), (0, 0.0, True), (0, 0.01, False), (0.01, None, False), (0.01, 0.0, True)],
)
def test_query_of_pyvisa_s_reads_at_once_unless_it_has_a_delay(
    kind: Any, name: str, own: float, delay: float | None, expected: bool
) -> None:
    """During a delay the instrument works: the question must be there when that begins."""
    resource = kind()
    resource.query_delay = own
    options = {"datatype": "B"} if name == "query_binary_values" else {}
    getattr(resource, name)("A?", delay=delay, **options)
    assert resource.seen == [expected]


@pytest.mark.parametrize("name", ["write", "write_raw", "write_ascii_values", "ask_by_hand"])
def test_anything_else_that_writes_is_sent_at_once(name: str) -> None:
    """Nobody knows what it does next."""
    resource = Resource()
    arguments: dict[str, tuple[Any, ...]] = {
        "write_raw": (b"A?",),
        "write_ascii_values": ("A?", [1]),
        "ask_by_hand": (),
    }
    getattr(resource, name)(*arguments.get(name, ("A?",)))
    assert resource.seen == [False]


def frames_of(peer: Conversation, waits: float) -> int:
    """How many requests come in one piece."""
    peer.connection.settimeout(waits)
    return len(FrameReader().feed(peer.connection.recv(1 << 16)))


@pytest.mark.skipif(not hasattr(socket, "MSG_MORE"), reason="this system sends everything at once")
def test_first_of_two_requests_goes_out_with_the_second(connect: Connect) -> None:
    """So the daemon meets them together."""
    found = []

    def script(peer: Conversation) -> None:
        peer.greet()
        found.append(frames_of(peer, DEADLINE))
        peer.send(wire.Reply(2, 0))

    channel = connect(script)
    channel.start_first(wire.Write, 1, b"A?")
    channel.ask(DEADLINE, wire.Read, 1, 100, 1)
    assert found == [2]


def test_first_of_two_requests_goes_out_though_no_second_comes(connect: Connect) -> None:
    """A program that is interrupted in between has sent its question."""
    found = []

    def script(peer: Conversation) -> None:
        peer.greet()
        found.append(frames_of(peer, DEADLINE))
        peer.send(wire.Reply(1, 0))

    channel = connect(script)
    channel.wait(channel.start_first(wire.Write, 1, b"A?"), DEADLINE)
    assert found == [1]
