"""What arrives: whatever the chunks, the same answers; and nothing is lost or doubled where Ctrl-C falls into it."""

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvisa_daemon import inbox as inbox_module
from pyvisa_daemon import wire
from pyvisa_daemon.framing import FrameError
from pyvisa_daemon.inbox import RECEIVE_SIZE, Inbox
from tests.pyvisa_daemon.threads import interrupted_everywhere

Pair = tuple[socket.socket, socket.socket]

#: Short ones, some that several receives bring, and one as long as any of ours.
SIZES = st.sampled_from([0, 1, 30, 20_480, RECEIVE_SIZE - 30, RECEIVE_SIZE, 3 * RECEIVE_SIZE, (1 << 20) - 30])


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The daemon's end and ours."""
    theirs, ours = socket.socketpair()
    ours.setblocking(False)
    with theirs, ours:
        yield theirs, ours


def taken(inbox: Inbox) -> list[wire.Answer]:
    """What there is to take, and it is gone."""
    inbox.decode()
    answers = list(inbox.answers)
    inbox.answers.clear()
    return answers


def pieces_of(sizes: list[int]) -> list[wire.Answer]:
    return [wire.Piece(number, bytes([number % 256]) * size) for number, size in enumerate(sizes)]


@settings(deadline=None)  # megabytes are copied
@given(st.lists(SIZES, max_size=6), st.lists(st.integers(1, 3 * RECEIVE_SIZE), min_size=1, max_size=5))
def test_answers_are_the_same_when_they_come_in_any_chunks(sizes: list[int], chunks: list[int]) -> None:
    answers = pieces_of(sizes)
    stream = memoryview(b"".join(map(wire.encode, answers)))
    least = len(stream) // 100  # a chunk of single bytes only where there are few
    inbox, got, turn = Inbox(), list[wire.Answer](), 0

    class Chunks:
        """A socket as far as an inbox knows one."""

        def recv_into(self, room: memoryview) -> int:
            nonlocal stream
            size = min(len(room), max(least, chunks[turn % len(chunks)]), len(stream))
            room[:size], stream = stream[:size], stream[size:]
            return size

    while inbox.receive(Chunks()):  # type: ignore[arg-type]
        got += taken(inbox)
        turn += 1
    assert got == answers


def test_end_is_told_when_the_other_side_has_left(pair: Pair) -> None:
    """Each time it is looked for, and after what came before it."""
    theirs, ours = pair
    inbox = Inbox()
    theirs.sendall(wire.encode(wire.Reply(1, 0)))
    assert inbox.receive(ours)
    assert taken(inbox) == [wire.Reply(1, 0)]
    theirs.close()
    for _ in range(2):
        assert not inbox.receive(ours)
        assert not taken(inbox)


def test_nothing_changes_when_nothing_has_come(pair: Pair) -> None:
    _, ours = pair
    inbox = Inbox()
    with pytest.raises(BlockingIOError):
        inbox.receive(ours)
    assert not inbox.decode()


@pytest.mark.parametrize("garbage", [b"\xff" * 8, b"\x00\x00\x00\x01\xc1"])
def test_garbage_is_refused_when_it_is_decoded(pair: Pair, garbage: bytes) -> None:
    theirs, ours = pair
    inbox = Inbox()
    theirs.sendall(garbage)
    inbox.receive(ours)
    with pytest.raises((FrameError, wire.DecodeError)):
        inbox.decode()


def test_answers_are_whole_when_ctrl_c_falls_before_any_line(pair: Pair) -> None:
    """A frame and a half, then the rest: what an interrupted step left is taken up by whoever comes next."""
    theirs, ours = pair
    inbox = Inbox()
    answers = [wire.Reply(number, 0, data=bytes([number]) * 50) for number in range(3)]
    stream = b"".join(map(wire.encode, answers))
    half = len(stream) // 2

    def begin() -> None:
        inbox.receive(ours)
        inbox.decode()

    theirs.sendall(stream[:half])
    count = 0
    for count in interrupted_everywhere(begin, inbox_module):
        inbox.decode()  # of what an interrupted receive took
        theirs.sendall(stream[half:])
        got: list[wire.Answer] = []
        while len(got) < len(answers):
            got += taken(inbox)
            if len(got) < len(answers):
                inbox.receive(ours)
        assert got == answers, f"at place {count}"
        theirs.sendall(stream[:half])
    assert count > 10
