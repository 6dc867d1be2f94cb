"""Wire and framing: whatever the chunks, the same messages; whatever the garbage, only documented errors."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvisa_daemon import wire
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import FRAME_LIMIT, PIECE_SIZE, FrameError, FrameReader, frame, pieces
from pyvisa_daemon.functions import Argument

integers = st.integers(-(2**63), 2**63 - 1)
states = st.booleans() | integers | st.floats(allow_nan=False) | st.text(max_size=9)
arguments = st.none() | st.booleans() | integers | st.binary(max_size=30) | st.lists(integers, max_size=3)
values = {
    int: integers,
    bool: st.booleans(),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=300),
    Effect: st.sampled_from(Effect),
    int | None: st.none() | integers,
    tuple[str, ...]: st.lists(st.text(max_size=5), max_size=3).map(tuple),
    dict[str, str]: st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    bool | int | float | str: states,
    str | None: st.none() | st.text(max_size=20),
    float | None: st.none() | st.floats(allow_nan=False),
    list[Argument]: st.lists(arguments, max_size=4),
    wire.Value: st.none() | states | st.lists(st.text(max_size=9) | integers, max_size=3),
    wire.Attributes: st.lists(st.tuples(integers, states), max_size=3),
}


def messages(*kinds: Any) -> st.SearchStrategy[Any]:
    """Any message of these kinds, made from the types of its fields."""
    return st.one_of(
        st.builds(kind, **{name: values[kind.__annotations__[name]] for name in kind.__struct_fields__})
        for kind in kinds
    )


requests = messages(wire.Hello, *wire.Request.__args__)
answers = messages(*wire.Answer.__args__)


@given(requests)
def test_request_comes_back_whole_when_decoded(message: Any) -> None:
    """Every request survives its way over the wire, whatever its fields hold."""
    (data,) = FrameReader().feed(wire.encode(message))
    assert wire.decode_request(data) == message


@given(answers)
def test_answer_comes_back_whole_when_decoded(message: Any) -> None:
    """Every answer survives its way over the wire."""
    (data,) = FrameReader().feed(wire.encode(message))
    assert wire.decode_answer(data) == message


@given(requests | answers)
def test_message_is_refused_when_it_has_a_field_too_many(message: Any) -> None:
    """What an old peer would misunderstand needs a new VERSION: nothing is quietly dropped."""
    (data,) = FrameReader().feed(wire.encode(message))
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(data), "more"])
    for decode in (wire.decode_request, wire.decode_answer):
        with pytest.raises(wire.DecodeError):
            decode(longer)


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_frames_come_back_whole_when_cut_anywhere(contents: list[bytes], data: st.DataObject) -> None:
    """How TCP chops the stream makes no difference."""
    stream = b"".join(map(frame, contents))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader = FrameReader()
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [whole for chunk in chunks for whole in reader.feed(chunk)] == contents


@given(st.binary(max_size=200))
def test_garbage_raises_documented_errors_only_when_decoded(noise: bytes) -> None:
    """Bytes of somebody else give frames, FrameError or DecodeError: nothing that a front would die of."""
    for decode in (wire.decode_request, wire.decode_answer):
        with contextlib.suppress(FrameError, wire.DecodeError):
            for data in FrameReader().feed(noise):
                decode(data)
        with contextlib.suppress(wire.DecodeError):
            decode(noise)


@pytest.mark.parametrize("length", [-1, FRAME_LIMIT + 1, 2**31 - 1, -(2**31)])
def test_reader_refuses_length_when_out_of_bounds(length: int) -> None:
    """A length that cannot be is refused at once, not waited for."""
    reader, garbage = FrameReader(), length.to_bytes(4, "big", signed=True)
    with pytest.raises(FrameError) as refused:
        reader.feed(frame(b"whole") + garbage)
    assert refused.value.frames == [b"whole"]
    with pytest.raises(FrameError):
        reader.feed(frame(b"behind it"))


def test_frame_refuses_message_when_over_the_limit() -> None:
    """Nobody can send what nobody would take."""
    assert FrameReader().feed(frame(bytes(FRAME_LIMIT))) == [bytes(FRAME_LIMIT)]
    with pytest.raises(FrameError):
        frame(bytes(FRAME_LIMIT + 1))


@pytest.mark.parametrize("size", [0, 1, PIECE_SIZE, PIECE_SIZE + 1, 3 * PIECE_SIZE])
def test_pieces_make_the_data_again_when_joined(size: int) -> None:
    """Cutting loses nothing, and no piece is too long."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    cut = list(pieces(data))
    assert b"".join(cut) == data
    assert all(0 < len(piece) <= PIECE_SIZE for piece in cut)
