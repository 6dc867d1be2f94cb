"""A real child takes what is left on a stream: all that is there, and of what is to come as much as it is told to.

On a socket and on a serial line, whose instruments end their answers with LF, and on a line of pyvisa-sim's, which does
not say how much it has.
"""

import time

import pytest

from tests.instrument_proc.conftest import IDN, TERMCHAR, TERMCHAR_EN, TIMEOUT_VALUE
from tests.support.instrument_process import SerialInstrument
from tests.support.tcp_instrument import TcpInstrument
from tests.support.waiting import DEADLINE, wait_until

LF = 10

#: Milliseconds: no wait, one that is too short for what is late, one that is long enough.
NO_WAIT, SHORT, LONG = 0, 50, 5000

UP_TO_COMMA = [(TERMCHAR, ord(",")), (TERMCHAR_EN, True), (TIMEOUT_VALUE, 3000)]


@pytest.fixture(params=[TcpInstrument, SerialInstrument])
def line(request, child_factory):
    """A child that reads up to a comma."""
    instrument = request.param()
    child = child_factory("@py")
    assert child.open(instrument.resource, UP_TO_COMMA).status == 0
    yield child
    instrument.switch_off()


def rest(child, wait_ms, terminations=1, character=LF):
    """What is there; its session has everything as it was."""
    answer = child.run("read_rest", wait_ms, terminations, character)
    assert (answer.end.status, answer.end.dirty) == (0, False)
    now = [(attribute, child.run("get_attribute", attribute).end.value) for attribute, _ in UP_TO_COMMA]
    assert now == UP_TO_COMMA
    return answer.data


def test_rest_that_is_here_is_taken_and_not_waited_for(line):
    """As soon as it is; then there is none."""
    assert line.run("query", data=b"ECHO? a,b,c\n").data == b"a,"
    seen = []
    wait_until(lambda: seen.append(rest(line, NO_WAIT)) or seen[-1])
    assert seen[-1] == b"b,c\n"
    assert rest(line, NO_WAIT) == b""
    assert line.run("query", data=b"ECHO? d,\n").data == b"d,"


def test_nothing_that_is_here_is_left(line):
    """More terminations than were asked for."""
    line.run("query", data=b"ECHO? a,\n")
    line.run("write", data=b"ECHO? b\nECHO? c\n")
    data, end = b"", time.monotonic() + DEADLINE
    while data != b"\nb\nc\n":
        data += rest(line, NO_WAIT)
        assert time.monotonic() < end, data


def test_rest_that_comes_late_is_waited_for(line):
    """To its termination, and for as long as is said."""
    line.run("write", data=b"SLOW? 300,late\n")
    assert rest(line, SHORT) == b""
    assert rest(line, LONG) == b"late\n"


def test_so_many_terminations_are_waited_for(line):
    """Whether more answers come or not."""
    line.run("write", data=b"SLOW? 100,one\nSLOW? 200,two\n")
    assert rest(line, LONG, 2) == b"one\ntwo\n"


def test_end_of_what_has_begun_is_waited_for_until_it_is_quiet(line):
    """It may be on its way; here it is not."""
    line.run("write", data=b"HALF? abc\n")
    assert rest(line, LONG // 10) == b"abc"


def test_rest_without_a_termination_is_what_comes_until_it_is_quiet(line):
    """There is no character that would end it."""
    line.run("write", data=b"ECHO? a\nECHO? b\n")
    assert rest(line, LONG // 10, 1, -1) == b"a\nb\n"


def test_rest_is_taken_where_nobody_can_tell_how_much_is_here(child_factory, simulation):
    """Byte by byte, with hardly a wait."""
    child = child_factory(simulation)
    assert child.open("ASRL1::INSTR", [(TERMCHAR, ord(",")), (TERMCHAR_EN, True)]).status == 0
    assert child.run("query", data=b"*IDN?\n").data == b"TEST,"
    assert child.run("read_rest", NO_WAIT, 1, LF).data == IDN.removeprefix(b"TEST,")
    assert child.run("read_rest", NO_WAIT, 1, LF).data == b""


def test_rest_without_an_end_is_given_up(socket, instrument):
    """It is told that there may be more."""
    socket.run("write", data=b"BLOCK? 3000000\n")
    assert socket.run("read_rest", LONG, 100_000, LF).end.status > 0
