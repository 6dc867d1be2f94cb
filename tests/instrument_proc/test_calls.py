"""The calls as functions: what the front is told between VISA calls, and what a block's bytes are.

The session is a list of what viRead gives; processes are in test_child.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa.constants import StatusCode

from instrument_proc.calls import CALLS, CHUNK, Exchange
from instrument_proc.libraries import CallError
from pyvisa_daemon.framing import FRAME_LIMIT, PIECE_SIZE

MORE, TERMINATED, END = (
    StatusCode.success_max_count_read,
    StatusCode.success_termination_character_read,
    StatusCode.success,
)


class FakeSession:
    """An instrument whose answer is known: on an interface that marks END, or one where LF ends a message."""

    is_serial = False

    def __init__(self, message, log, *, marks_end):
        self.marks_end = marks_end
        self._left = message
        self._log = log
        self._is_terminated = not marks_end

    def write(self, data):
        self._log.append("write")
        return len(data)

    def read(self, count):
        self._log.append("read")
        if not self._left:
            raise CallError(StatusCode.error_timeout)
        data = self._left[:count]
        status = MORE if len(data) == count and len(self._left) > count else END
        if self._is_terminated:
            line_end = data.find(b"\n") + 1
            data = data[:line_end] if line_end else data
            status = TERMINATED if line_end else MORE
            if not line_end and len(data) < count:
                raise CallError(StatusCode.error_timeout)
        elif not self.marks_end:
            status = MORE
        self._left = self._left[len(data) :]
        return data, status

    def get_attribute(self, attribute):
        return self._is_terminated

    def set_attribute(self, attribute, state):
        self._is_terminated = bool(state)

    @property
    def unread(self):
        return self._left


def carry_out(call, message, *, marks_end):
    """The data, and the log of VISA calls and of what the front was told."""
    log, pieces = [], []

    def piece(data):
        log.append("told")
        assert len(data) <= FRAME_LIMIT - 100
        pieces.append(data)

    session = FakeSession(message, log, marks_end=marks_end)
    exchange = Exchange(session, b"X?\n", lambda: log.append("told"), piece)
    result = CALLS[call](exchange)
    assert not exchange.dirty
    assert session.unread == b""
    assert session._is_terminated != marks_end, "the termination is as it was"
    return b"".join([*pieces, result.data]), log


interfaces = pytest.mark.parametrize("marks_end", [True, False], ids=["END", "LF"])
lengths = st.sampled_from([0, 1, 9, 10, 1000, CHUNK - 9, CHUNK, CHUNK + 1, PIECE_SIZE + 3, 600_000])


def block(data):
    length = b"%d" % len(data)
    return b"#%d" % len(length) + length + data


@interfaces
@given(length=lengths, fill=st.sampled_from([b"a", b"\n", b"ab\n", b"\n\nx", b"#15"]))
def test_block_answer_gives_its_content_whatever_bytes_it_holds(marks_end, length, fill):
    """Line feeds in it end nothing; the LF behind it is none of it."""
    content = (fill * length)[:length]
    assert carry_out("query_block", block(content) + b"\n", marks_end=marks_end)[0] == content


@interfaces
@given(length=lengths, beginning=st.sampled_from([b"", b"#H20", b"#a", b"##", b"1,#15", b"#5x", b" #15"]))
def test_answer_that_is_no_block_comes_as_it_is(marks_end, length, beginning):
    """To its end, in its order, however long it is."""
    message = beginning + b"0123456789"[: length % 10] + b"x" * length + b"\n"
    assert carry_out("query_block", message, marks_end=marks_end)[0] == message


@interfaces
@given(length=lengths)
def test_query_gives_the_message_as_it_is(marks_end, length):
    """In its order, in pieces that fit the pipe."""
    message = (b"0123456789" * (length // 10 + 1))[:length] + b"\n"
    assert carry_out("query", message, marks_end=marks_end)[0] == message


def test_block_of_indefinite_length_ends_with_the_message():
    """`#0`, to END; the LF before END is none of it."""
    assert carry_out("query_block", b"#0ab\ncd\n", marks_end=True)[0] == b"ab\ncd"


@pytest.mark.parametrize("call", ["query", "query_block"])
@interfaces
@pytest.mark.parametrize("kind", [b"", b"block"], ids=["text", "block"])
def test_front_is_told_something_between_any_two_reads(call, marks_end, kind):
    """Its deadline is for one VISA call: a long answer from a slow instrument must not pass for a hang."""
    content = b"x" * (5 * CHUNK)
    _, log = carry_out(call, (block(content) if kind else content) + b"\n", marks_end=marks_end)
    silent = [pair for pair in pairwise(log) if pair == ("read", "read")]
    assert silent == []


@interfaces
@pytest.mark.parametrize("message", [b"#19abc\n", b"#219abcdefghi\n"])
def test_block_that_is_cut_short_is_an_error(marks_end, message):
    """Never a shorter answer that looks whole."""
    log = []
    session = FakeSession(message, log, marks_end=marks_end)
    exchange = Exchange(session, b"X?\n", lambda: None, lambda _: None)
    with pytest.raises(CallError):
        CALLS["query_block"](exchange)
    assert exchange.dirty
