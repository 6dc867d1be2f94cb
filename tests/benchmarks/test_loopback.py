"""The instrument, in C where that can be built, and in Python."""

import select
import socket
import time
from collections.abc import Iterator

import pytest

from benchmarks import loopback
from benchmarks.loopback import Loopback, curve, curve_answer, letters
from tests.support.waiting import DEADLINE


@pytest.fixture(params=["C", "Python"])
def instruments(request: pytest.FixtureRequest) -> Iterator[Loopback]:
    if request.param == "C" and not loopback.is_built():
        pytest.skip("there is no C compiler")
    with Loopback(2, is_in_c=request.param == "C") as both:
        yield both


class Line:
    """A connection to one of them."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self._received = self.socket.makefile("rb")

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *raised: object) -> None:
        self._received.close()
        self.socket.close()

    def send(self, commands: bytes) -> None:
        self.socket.sendall(commands)

    def answer(self) -> bytes:
        return self._received.readline()

    def exactly(self, count: int) -> bytes:
        return self._received.read(count)

    def ask(self, command: bytes) -> bytes:
        self.send(command + b"\n")
        return self.answer()


def test_instrument_answers_in_the_order_of_the_commands(instruments):
    with Line(instruments.ports[1]) as line:
        line.send(b"*IDN?\r\nECHO? what? now\nWAIT? 20\nFOO? 1\nECHO? \n")
        said = [line.answer() for _ in range(5)]
    identity = instruments.identity(1).encode()
    assert said == [identity + b"\n", b"what? now\n", b"done\n", b"ERROR\n", b"\n"]


def test_instrument_is_named_by_its_port(instruments):
    assert instruments.resources[0] == f"TCPIP0::127.0.0.1::{instruments.ports[0]}::SOCKET"
    assert instruments.identity(0) == f"BENCH,LOOPBACK,{instruments.ports[0]},1.0"
    assert instruments.identity(0) != instruments.identity(1)


@pytest.mark.parametrize("size", [0, 1, loopback.PERIOD, 3_000_000])
def test_instrument_sends_a_curve_that_is_known(instruments, size):
    """In between other answers."""
    with Line(instruments.ports[0]) as line:
        line.send(b"ECHO? 1\nCURV? %d\nECHO? 2\n" % size)
        assert line.answer() == b"1\n"
        assert line.exactly(11 + size + 1) == curve_answer(size) == b"#9%09d%b\n" % (size, curve(size))
        assert line.answer() == b"2\n"


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_instrument_sends_a_text_that_is_known(instruments, size):
    """One line of printable characters, in between other answers."""
    with Line(instruments.ports[0]) as line:
        line.send(b"TEXT? %d\nECHO? 2\n" % size)
        assert line.answer() == letters(size) + b"\n"
        assert line.answer() == b"2\n"
    assert len(letters(size)) == size
    assert letters(size).decode().isprintable()


def test_instrument_counts_what_it_was_told_on_each_port(instruments):
    """Also what it does not answer, and what is too long to be looked at; not COUNT? itself."""
    with Line(instruments.ports[0]) as line, Line(instruments.ports[1]) as other:
        line.send(b"SET 1\n*IDN?\n" + b"x" * 200_000 + b"?\n")
        line.answer()
        assert line.ask(b"COUNT?") == b"3\n"
        assert line.ask(b"COUNT?") == b"3\n"
        assert other.ask(b"COUNT?") == b"0\n"


def test_instrument_does_not_let_one_connection_wait_for_another(instruments):
    """For an answer that is late, or for one that nobody reads."""
    with Line(instruments.ports[0]) as late, Line(instruments.ports[0]) as deaf, Line(instruments.ports[0]) as good:
        late.send(b"WAIT? 60000\n")
        deaf.send(b"CURV? 100000000\n")
        assert good.ask(b"COUNT?") in (b"0\n", b"1\n", b"2\n")  # whose command came first is not said
        assert [good.ask(b"ECHO? %d" % number) for number in range(50)] == [b"%d\n" % number for number in range(50)]
        assert select.select([late.socket], [], [], 0)[0] == []


def test_instrument_is_late_by_as_long_as_it_was_told(instruments):
    with Line(instruments.ports[0]) as line:
        began = time.monotonic()
        assert line.ask(b"WAIT? 50") == b"done\n"
        assert time.monotonic() - began >= 0.05


def test_instrument_goes_on_when_somebody_leaves_in_the_middle(instruments):
    for command in (b"WAIT? 60000\n", b"CURV? 100000000\n", b"ECHO? unfinished"):
        with Line(instruments.ports[0]) as leaver:
            leaver.send(command)
    with Line(instruments.ports[0]) as line:
        assert line.ask(b"*IDN?") == instruments.identity(0).encode() + b"\n"


def test_loopback_ends_with_its_context():
    with Loopback() as one:
        process = one.process
    assert process.poll() == 0


def test_curve_holds_every_byte_and_repeats_after_its_period():
    assert set(curve(loopback.PERIOD)) == set(range(256))
    assert curve(2 * loopback.PERIOD + 5) == 2 * curve(loopback.PERIOD) + curve(5)
