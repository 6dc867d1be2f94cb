"""One request: its frames, its pieces, its bell."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvisa_daemon import wire
from pyvisa_daemon.exchange import Pending, Waiter
from pyvisa_daemon.framing import PIECE_SIZE, FrameReader


def arrived(message: wire.Answer) -> wire.Answer:
    """As it comes out of the wire."""
    (data,) = FrameReader().feed(wire.encode(message))
    return wire.decode_answer(data)


@given(st.lists(st.binary(max_size=2), max_size=6), st.binary(max_size=2))
def test_data_is_whole_when_pieces_are_alike(pieces: list[bytes], last: bytes) -> None:
    """Pieces that hold the same bytes are different pieces; one that is handed out again is not."""
    pending = Pending(wire.Read(7, 1, 100))
    for data in pieces:
        piece = arrived(wire.Piece(7, data))
        assert isinstance(piece, wire.Piece)
        pending.add(piece)
        pending.add(piece)
    pending.reply = wire.Reply(7, 3, data=last)
    assert pending.whole() == wire.Reply(7, 3, data=b"".join([*pieces, last]))


def test_pending_is_done_when_its_reply_is_there() -> None:
    pending = Pending(wire.Read(1, 1, 100))
    assert not pending.is_done
    pending.reply = wire.Reply(1, 0)
    assert pending.is_done


@pytest.mark.parametrize("size", [0, 1, PIECE_SIZE, PIECE_SIZE + 1, 2 * PIECE_SIZE + 3])
def test_write_is_whole_when_its_frames_are_joined(size: int) -> None:
    """However long, it goes out as Parts before one Write, all with the same number."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    outgoing = Pending(wire.Write(9, 4, data))
    frames = [outgoing.frame]
    while outgoing.advance():
        assert not outgoing.sent
        frames.append(outgoing.frame)
    assert not outgoing.advance()
    *parts, write = [wire.decode_request(message) for message in FrameReader().feed(b"".join(frames))]
    assert isinstance(write, wire.Write)
    assert (write.id, write.session) == (9, 4)
    assert all(isinstance(part, wire.Part) and part.id == 9 and len(part.data) == PIECE_SIZE for part in parts)
    assert b"".join(part.data for part in [*parts, write]) == data


def test_request_raises_when_it_cannot_be_sent() -> None:
    """Before anything of it goes out."""
    with pytest.raises(OverflowError):
        Pending(wire.Read(1, 1, 2**64))


def test_bell_is_silent_when_hushed() -> None:
    """A waiter that rings often and is seldom slept for does not grow."""
    waiter = Waiter()
    for _ in range(1000):
        waiter.bell.put(None)
    waiter.hush()
    assert waiter.bell.empty()
    waiter.hush()
