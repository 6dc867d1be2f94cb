"""A real child reads on in an answer: what has come of it, exactly, and everything else as it was.

`conftest` has the instruments: LF ends the answers of the one on a socket, END those on GPIB.
"""

import time

import pytest

from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR
from pyvisa_daemon.framing import PIECE_SIZE
from tests.instrument_proc.conftest import IDN, SUPPRESS_END_EN, TERMCHAR, TERMCHAR_EN, TIMEOUT_VALUE
from tests.instrument_proc.spawned import error_of
from tests.support.waiting import DEADLINE

#: Without its header: what `BLOCK? N` sends.
COUNTING = bytes(range(256))


def begins(child, question, count):
    """A question, and the first read of its answer."""
    child.run("write", data=question)
    return child.run("read", count)


def read_all(child, count):
    """`read_on_block` until there are so many: it ends early where no more is here."""
    data, end = b"", time.monotonic() + DEADLINE
    while len(data) < count:
        answer = child.run("read_on_block", count - len(data))
        assert answer.end.status == VI_SUCCESS_MAX_CNT, answer.end
        assert not answer.end.dirty
        assert time.monotonic() < end, "it gets no further"
        data += answer.data
    return data


def termination(child):
    return [child.run("get_attribute", attribute).end.value for attribute in (TERMCHAR_EN, TERMCHAR)]


@pytest.mark.parametrize("length", [300, 5000, 600_000])
def test_block_with_line_feeds_comes_to_its_last_byte(socket, length):
    """Nothing of what is behind it, which the next read has, as it has the termination character again."""
    first = begins(socket, b"BLOCK? %d\n" % length, 20)
    assert first.end.status in (VI_SUCCESS_TERM_CHAR, VI_SUCCESS_MAX_CNT)
    whole = b"#%d%d" % (len(str(length)), length) + (COUNTING * (length // 256 + 1))[:length]
    missing = len(whole) - len(first.data)
    assert first.data + read_all(socket, missing) == whole
    assert socket.run("read", 100).data == b"\n"
    assert termination(socket) == [True, 10]
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"


def test_text_is_read_on_to_its_termination_and_no_further(socket):
    """What is behind it belongs to another answer."""
    begins(socket, b"ECHO? 0123456789\n", 4)
    socket.run("write", data=b"ECHO? next\n")
    answers = [socket.run("read_on", 100)]
    while answers[-1].end.status == VI_SUCCESS_MAX_CNT:
        answers.append(socket.run("read_on", 100))
    assert b"".join(answer.data for answer in answers) == b"456789\n"
    assert answers[-1].end.status == VI_SUCCESS_TERM_CHAR
    assert socket.run("read", 100).data == b"next\n"


def test_whatever_was_asked_for_is_all_that_is_read(socket):
    """The rest of the block, its line feeds and what is behind it are where they were."""
    begins(socket, b"BLOCK? 300\n", 6)
    assert read_all(socket, 5) == bytes(range(1, 6))
    assert socket.run("read", 100).data == bytes(range(6, 11))
    assert read_all(socket, 200) == bytes(range(11, 211))


def test_termination_that_is_another_or_off_is_so_afterwards(socket):
    """The session has it as its owner set it."""
    begins(socket, b"BLOCK? 300\n", 8)
    for state, character in ((True, 77), (False, 10), (True, 0)):
        socket.run("set_attribute", TERMCHAR, character)
        socket.run("set_attribute", TERMCHAR_EN, state)
        read_all(socket, 50)
        assert termination(socket) == [state, character]


def test_nothing_is_waited_for_on_a_stream(socket):
    """Its client does that, with the timeout that it chose; what is here it gets."""
    begins(socket, b"HALF? abcdefghij\n", 3)
    answers = [socket.run("read_on_block", 100) for _ in range(5)]
    assert b"".join(answer.data for answer in answers) == b"defghij"
    assert {answer.end.status for answer in answers} == {VI_SUCCESS_MAX_CNT}
    assert termination(socket) == [True, 10]


def test_stream_that_has_ended_is_found_out_by_the_next_read(socket):
    """As without reading on."""
    begins(socket, b"HALF? abcdefghij\n", 3)
    socket.run("write", data=b"DROP\n")
    assert socket.run("read_on_block", 100).end.status == VI_SUCCESS_MAX_CNT
    socket.run("read_on_block", 100)
    assert error_of(socket.run("read", 100, attributes=[(TIMEOUT_VALUE, 300)]))[0] == "VI_ERROR_CONN_LOST"


def test_slow_instrument_is_left_to_its_client(socket):
    """A byte every 10 ms: who would read it, abort it or close it waits for none of them."""
    begins(socket, b"BABBLE?\n", 1)
    answer = socket.run("read_on_block", 1_000_000)
    assert answer.end.status == VI_SUCCESS_MAX_CNT
    assert set(answer.data) <= {ord("b")}
    assert len(answer.data) < 100


def test_long_rest_comes_in_pieces(socket):
    """The front need not keep it."""
    begins(socket, b"BLOCK? 900000\n", 9)
    sizes = []
    while sum(sizes) < 899_999:
        answer = socket.run("read_on_block", 899_999 - sum(sizes))
        sizes += [len(report.data) for report in answer.reports]
    assert max(sizes) < 2 * PIECE_SIZE


def test_silence_that_ends_a_read_is_left_to_who_reads(socket):
    """With VI_ATTR_SUPPRESS_END_EN off pyvisa-py gives what there is when nothing more comes: one who has bytes of it
    already would wait for others in vain."""
    begins(socket, b"ECHO? 0123456789\n", 4)
    socket.run("set_attribute", SUPPRESS_END_EN, False)
    for call in ("read_on", "read_on_block"):
        assert socket.run(call, 100).data == b""
    assert socket.run("read", 100).data == b"456789\n"


def test_bus_is_not_read_on(gpib):
    """Nobody can tell what has arrived there."""
    begins(gpib, b"*IDN?\n", 3)
    assert gpib.run("read_on", 100).data == b""
    assert gpib.run("read", 100).data == IDN[3:]


def test_rest_of_a_block_is_read_ahead_whatever_it_is_made_of(socket):
    """For its holder, while others wait: to the termination character behind it, and no further."""
    first = begins(socket, b"BLOCK? 300\n", 20)
    socket.run("write", data=b"ECHO? next\n")
    whole = b"#3300" + (COUNTING * 2)[:300] + b"\n"
    missing = len(whole) - 1 - len(first.data)
    answer = socket.run("read_ahead", 1000, missing)
    assert first.data + answer.data == whole
    assert answer.end.status == VI_SUCCESS_TERM_CHAR
    assert socket.run("read", 100).data == b"next\n"
