"""The calls as functions: what the front is told between VISA calls, and what a block's bytes are.

The session is a list of what viRead gives; processes are in test_child.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa.constants import ResourceAttribute, StatusCode

from instrument_proc.calls import CALLS, CHUNK, Exchange, Result
from instrument_proc.failures import CallError
from instrument_proc.visa_session import VisaSession
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import FRAME_LIMIT, PIECE_SIZE
from pyvisa_daemon.functions import FUNCTIONS

TERMCHAR_EN, TIMEOUT = ResourceAttribute.termchar_enabled, ResourceAttribute.timeout_value

MORE, TERMINATED, END = (
    StatusCode.success_max_count_read,
    StatusCode.success_termination_character_read,
    StatusCode.success,
)


class FakeSession:
    """An instrument whose answer is known: on an interface that marks END, or one where LF ends a message."""

    is_serial = False
    having = VisaSession.having

    def __init__(self, message, log, *, marks_end):
        self.marks_end = marks_end
        self._left = message
        self._log = log
        self.attributes = {TERMCHAR_EN: not marks_end, TIMEOUT: 2000}
        self.written = []
        self.called = []

    def raise_if_closed(self):
        """It never is."""

    @property
    def _is_terminated(self):
        return self.attributes[TERMCHAR_EN]

    def write(self, data):
        self._log.append("write")
        self.written.append(data)
        return len(data)

    def read(self, count):
        self._log.append("read")
        assert count <= PIECE_SIZE
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
        return self.attributes[attribute]

    def set_attribute(self, attribute, state):
        self._log.append(f"{attribute.name}={state}")
        self.attributes[attribute] = state

    def call(self, function, arguments):
        self.called.append((function.name, arguments))
        return VALUES[function.gives], StatusCode.success_queue_already_empty

    @property
    def unread(self):
        return self._left


#: What the functions give here, by the kind of their value.
VALUES = {"": None, "int": 7, "bytes": b"\x00\xff", "ints": [1, 2]}


class FakeTeller:
    """The front, which only has to be told something."""

    def __init__(self, log):
        self.pieces = []
        self._log = log

    def progress(self):
        self._log.append("told")

    written = progress

    def piece(self, data):
        self._log.append("told")
        assert len(data) <= FRAME_LIMIT - 100
        self.pieces.append(data)

    def happened(self, event, attributes):
        raise AssertionError("nothing happens here")


def carry_out(call, message, *, marks_end):
    """The data, and the log of VISA calls and of what the front was told."""
    log = []
    session, teller = FakeSession(message, log, marks_end=marks_end), FakeTeller(log)
    exchange = Exchange(session, [b"X?\n"], teller)
    result = CALLS[call](exchange)
    assert not exchange.dirty
    assert session.unread == b""
    assert session._is_terminated != marks_end, "the termination is as it was"
    return b"".join([*teller.pieces, result.data]), log


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
@given(length=lengths, beginning=st.sampled_from([b"", b"#H20", b"#a", b"##", b"1#15", b'"#15"', b"#5x"]))
def test_answer_that_is_no_block_comes_as_it_is(marks_end, length, beginning):
    """To its end, in its order, however long it is."""
    message = beginning + b"0123456789"[: length % 10] + b"x" * length + b"\n"
    assert carry_out("query_block", message, marks_end=marks_end)[0] == message


@interfaces
@given(data=st.data())
def test_answer_with_blocks_in_it_comes_whole(marks_end, data):
    """Wherever in it they are, whatever bytes they hold."""
    blocks = lengths.map(lambda length: block((b"a\n#15" * length)[:length]))
    elements = st.lists(st.one_of(blocks, st.sampled_from([b"1.5", b'"a"', b"x" * CHUNK])), max_size=4)
    message = b"1," + b",".join(data.draw(elements)) + b"\n"
    for call in ("query", "query_block"):
        assert carry_out(call, message, marks_end=marks_end)[0] == message


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
    exchange = Exchange(session, [b"X?\n"], FakeTeller(log))
    with pytest.raises(CallError):
        CALLS["query_block"](exchange)
    assert exchange.dirty


# Counts and pieces.


@given(length=lengths, count=st.one_of(lengths, st.integers(0, 3 * PIECE_SIZE)))
def test_read_gives_as_many_bytes_as_were_asked_for_and_the_status_says_how_it_ended(length, count):
    """In pieces, each a VISA call of its own; what is not asked for stays where it is."""
    log = []
    message = (b"0123456789" * (length // 10 + 1))[:length] + b"!"
    session, teller = FakeSession(message, log, marks_end=True), FakeTeller(log)
    result = CALLS["read"](Exchange(session, [], teller), count)
    assert b"".join([*teller.pieces, result.data]) + session.unread == message
    assert len(message) - len(session.unread) == min(count, len(message))
    assert result.status == (MORE if session.unread else END)
    assert [pair for pair in pairwise(log) if pair == ("read", "read")] == []


def test_read_ends_where_the_interface_says_so():
    """At a termination character, whatever the count."""
    log = []
    session = FakeSession(b"one\ntwo\n", log, marks_end=False)
    result = CALLS["read"](Exchange(session, [], FakeTeller(log)), 100)
    assert (result.data, result.status) == (b"one\n", TERMINATED)


def test_read_message_tells_how_the_message_ended():
    """A session whose answer is read ahead hears it later."""
    for marks_end, status in ((True, END), (False, TERMINATED)):
        session = FakeSession(b"one\n", [], marks_end=marks_end)
        assert CALLS["read_message"](Exchange(session, [], FakeTeller([]))).status == status


def test_read_ahead_leaves_the_termination_alone_outside_of_blocks():
    """Each switch is a call of the library's, and on a serial line two."""
    log = []
    session = FakeSession(b"1.0\n", log, marks_end=False)
    CALLS["read_ahead"](Exchange(session, [], FakeTeller(log)), 500)
    assert not [entry for entry in log if entry.startswith(TERMCHAR_EN.name)]


def test_read_ahead_of_a_block_ends_where_a_library_gives_nothing_more():
    """Its signs of life would prolong it for ever."""
    log = []
    session = FakeSession(b"", log, marks_end=False)
    counts = []
    session.read = lambda count: counts.append(count) or (b"", END)
    teller = FakeTeller(log)
    assert CALLS["read_ahead"](Exchange(session, [], teller), 500, 100).data == b""
    assert counts == [100, CHUNK]
    assert teller.pieces == []


def test_message_is_one_write_where_its_last_byte_carries_end():
    """Two writes would be two messages."""
    session = FakeSession(b"", [], marks_end=True)
    result = CALLS["write"](Exchange(session, [b"one ", b"two ", b"three\n"], FakeTeller([])))
    assert (session.written, result.value) == ([b"one two three\n"], 14)


def test_message_is_written_piece_by_piece_where_nothing_marks_end():
    """Each with its own deadline: the front is told between any two."""
    log = []
    session = FakeSession(b"", log, marks_end=False)
    result = CALLS["write"](Exchange(session, [b"one ", b"two ", b"three\n"], FakeTeller(log)))
    assert (session.written, result.value) == ([b"one ", b"two ", b"three\n"], 14)
    assert log == ["write", "told", "write", "told", "write", "told"]


def test_poll_of_the_status_byte_has_a_timeout_of_its_own():
    """It is the daemon's; then the session's is set again."""
    log = []
    session = FakeSession(b"", log, marks_end=True)
    exchange = Exchange(session, [], FakeTeller(log))
    assert CALLS["poll"](exchange, 500).value == VALUES["int"]
    assert log == ["timeout_value=500", "timeout_value=2000"]
    assert (session.called, exchange.effect, exchange.dirty) == ([("read_stb", ())], Effect.NONE, False)


@interfaces
def test_read_ahead_has_a_timeout_of_its_own(marks_end):
    """Then the session's is set again, whether there was an answer or not."""
    log = []
    session = FakeSession(b"one\n", log, marks_end=marks_end)
    result = CALLS["read_ahead"](Exchange(session, [], FakeTeller(log)), 500)
    assert (result.data, log[0], log[-1]) == (b"one\n", "timeout_value=500", "timeout_value=2000")
    exchange = Exchange(session, [], FakeTeller(log))
    with pytest.raises(CallError):
        CALLS["read_ahead"](exchange, 500)
    assert session.attributes[TIMEOUT] == 2000
    assert exchange.dirty


# What only passes through.


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "clear"])
def test_function_of_the_table_goes_to_the_library_and_its_value_and_status_come_back(name):
    """All but clear, which is mended."""
    function = FUNCTIONS[name]
    session = FakeSession(b"", [], marks_end=True)
    exchange = Exchange(session, [], FakeTeller([]))
    result = CALLS[name](exchange, *range(len(function.parameters)))
    assert session.called == [(name, tuple(range(len(function.parameters))))]
    value = VALUES[function.gives]
    data = value if isinstance(value, bytes) else b""
    assert result == Result(StatusCode.success_queue_already_empty, None if data else value, data)
    assert (exchange.effect, exchange.dirty) == (Effect.NONE if name == "read_stb" else Effect.DONE, False)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("clear", "flush")])
@pytest.mark.parametrize(
    ("status", "effect"),
    [
        (StatusCode.error_nonsupported_operation, Effect.NONE),
        (StatusCode.error_nonimplemented_operation, Effect.NONE),
        (StatusCode.error_timeout, Effect.MAYBE),
    ],
)
def test_function_that_fails_has_an_effect_unless_the_library_has_no_such_thing(name, status, effect):
    """What began may have acted; on being asked for its status byte an instrument does nothing."""
    session = FakeSession(b"", [], marks_end=True)

    def fail(function, arguments):
        raise CallError(status)

    session.call = fail
    exchange = Exchange(session, [], FakeTeller([]))
    with pytest.raises(CallError) as raised:
        CALLS[name](exchange, *range(len(FUNCTIONS[name].parameters)))
    assert exchange.effect_of(raised.value) is (Effect.NONE if name == "read_stb" else effect)


def test_flush_of_a_library_without_buffers_is_done():
    """There is nothing in them. Any other failure is one."""
    for status in (StatusCode.error_nonsupported_operation, StatusCode.error_io):
        session = FakeSession(b"", [], marks_end=True)

        def fail(function, arguments, status=status):
            raise CallError(status)

        session.call = fail
        exchange = Exchange(session, [], FakeTeller([]))
        if status == StatusCode.error_io:
            with pytest.raises(CallError):
                CALLS["flush"](exchange, 1)
        else:
            assert CALLS["flush"](exchange, 1) == Result()
