"""The pipe: what is said on one side is heard on the other, and nothing else gets through."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instrument_proc import pipe
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import FRAME_LIMIT, FrameError, FrameReader

#: msgpack's integers: 64 bits.
integers = st.integers(-(2**63), 2**64 - 1)
texts = st.text(max_size=20)
states = st.one_of(st.booleans(), integers, st.floats(allow_nan=False), texts)
attributes = st.lists(st.tuples(integers, states), max_size=4)
datas = st.binary(max_size=100)
numbers = st.lists(integers, max_size=4)
arguments = st.one_of(st.none(), st.booleans(), integers, st.floats(allow_nan=False), datas, numbers)

orders = st.one_of(
    st.builds(pipe.Name, texts),
    st.builds(pipe.List, texts),
    st.builds(pipe.Open, texts, texts, texts, attributes, numbers),
    st.builds(pipe.Part, datas),
    st.builds(pipe.Run, integers, texts, st.lists(arguments, max_size=4), attributes, datas, integers),
    st.builds(pipe.Close),
)
reports = st.one_of(
    st.builds(pipe.Warm, texts),
    st.builds(pipe.Named, st.one_of(st.none(), texts), texts),
    st.builds(pipe.Listed, st.lists(texts, max_size=4), integers, texts, texts),
    st.builds(pipe.Opened, integers, texts, texts, st.booleans(), attributes),
    st.builds(pipe.Piece, integers, datas),
    st.builds(
        pipe.Done,
        integers,
        integers,
        st.one_of(st.none(), states, numbers),
        datas,
        texts,
        st.sampled_from(Effect),
        st.booleans(),
        texts,
    ),
    st.builds(pipe.Happened, integers, attributes),
    st.builds(pipe.Closed),
)


@given(orders)
def test_order_arrives_as_it_was_given(order):
    """Types and all: True is not 1."""
    heard = pipe.decode_order(pipe.encode(order))
    assert heard == order
    assert repr(heard) == repr(order)


@given(reports)
def test_report_arrives_as_it_was_made(report):
    """The same the other way."""
    heard = pipe.decode_report(pipe.encode(report))
    assert heard == report
    assert repr(heard) == repr(report)


@given(st.lists(reports), st.lists(st.integers(1, 50), min_size=1))
def test_reports_are_put_together_from_any_pieces(said, lengths):
    """The front reads without blocking, so a frame may come in any number of pieces."""
    stream = b"".join(pipe.encode_framed(report) for report in said)
    frames, heard, start = FrameReader(), [], 0
    for number in range(len(stream)):
        length = lengths[number % len(lengths)]
        heard += [pipe.decode_report(frame) for frame in frames.feed(stream[start : start + length])]
        start += length
    assert heard == said


@given(st.lists(st.one_of(reports, st.builds(pipe.Piece, integers, st.just(bytes(5000))))))
def test_frame_is_made_in_the_place_of_the_one_before(said):
    """Long or short: the same as any other frame, which nobody sees again in the messages made of it."""
    framed, heard = bytearray(), []
    for report in said:
        pipe.encode_into(framed, report)
        assert framed == pipe.encode_framed(report)
        heard += [pipe.decode_report(frame) for frame in FrameReader().feed(memoryview(framed))]
        framed[:] = bytes([255]) * len(framed)
    assert heard == said


@given(st.binary(max_size=60))
@example(b"\x91\xa1\xff")
def test_garbage_raises_decode_error_only(data):
    """Whatever a sick child sends, the front catches one kind of error."""
    for decode in (pipe.decode_order, pipe.decode_report):
        try:
            decode(data)
        except pipe.DecodeError:
            continue


@given(st.lists(st.one_of(st.none(), states, datas, st.lists(states, max_size=2)), max_size=8), st.data())
def test_message_of_wrong_shape_is_refused(fields, data):
    """Right tag, wrong fields: refused, or a message whose fields have their types."""
    tag = data.draw(
        st.sampled_from(["warm", "named", "listed", "opened", "started", "piece", "done", "happened", "open", "run"])
    )
    for decode in (pipe.decode_order, pipe.decode_report):
        try:
            message = decode(msgspec.msgpack.encode([tag, *fields]))
        except pipe.DecodeError:
            continue
        assert msgspec.msgpack.decode(pipe.encode(message))[0] == tag


@given(reports)
def test_report_is_no_order(report):
    """A child cannot command the front, nor the front take its own orders for answers."""
    with pytest.raises(pipe.DecodeError):
        pipe.decode_order(pipe.encode(report))


def test_message_over_the_limit_is_not_made():
    """Anything big travels in pieces."""
    with pytest.raises(FrameError):
        pipe.encode_framed(pipe.Part(bytes(FRAME_LIMIT)))
    with pytest.raises(FrameError):
        pipe.encode_into(bytearray(), pipe.Part(bytes(FRAME_LIMIT)))
