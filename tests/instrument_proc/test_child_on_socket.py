"""A real child on a serial line and on a socket, where a termination character ends messages."""

import os
import signal

import pytest

from instrument_proc.signs import Step
from pyvisa_daemon.errors import Effect
from tests.instrument_proc.conftest import IDN, TERMCHAR, TERMCHAR_EN, TIMEOUT_VALUE
from tests.instrument_proc.spawned import error_of
from tests.support.instrument import ramp
from tests.support.waiting import wait_until


def test_query_block_reads_a_block_with_line_feeds_from_a_serial_line(child_factory, simulation):
    """The termination character is off while the block goes by, and on again after."""
    child = child_factory(simulation)
    child.open("ASRL1::INSTR")
    attributes = [(TERMCHAR, 10), (TERMCHAR_EN, True)]
    assert child.run("query_block", data=b"BLOCK?\n", attributes=attributes).data == b"ab\ncd\n#15\n\n\n"
    assert child.run("query", data=b"*IDN?\n").data == IDN


@pytest.mark.parametrize("length", [0, 1, 10, 11, 12, 300, 4096, 70_000, 600_000])
def test_query_block_reads_a_block_with_line_feeds_from_a_socket(socket, length):
    """Any length: its header counts, line feeds in it end nothing, and the next answer is the next."""
    answer = socket.run("query_block", data=b"BLOCK? %d\n" % length)
    assert answer.data == ramp(length)
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"


@pytest.mark.parametrize("text", ["1.5", "#", "##", "#H20", "#a", "#5x", "x#15hello", "x" * 65536, "y" * 200_000])
def test_query_block_gives_an_answer_that_is_no_block_as_it_is(socket, text):
    """In its order, however long."""
    assert socket.run("query_block", data=f"ECHO? {text}\n".encode()).data == text.encode() + b"\n"
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"


def test_long_data_is_written_in_one_piece(socket, instrument):
    """It came in parts, of which the front hears; the instrument sees one message."""
    data = ramp(1_000_000)
    answer = socket.run("write", data=b"LOAD #7%07d" % len(data) + data + b"\n")
    assert answer.end.value == len(data) + 15
    assert answer.steps == ["WRITTEN", "Done"]
    assert socket.run("query", data=b"LOAD?\n").data == b"1000000\n"
    assert [message[:5] for message in instrument.history()] == ["LOAD ", "LOAD?"]


def test_data_of_an_order_that_failed_is_not_taken_for_the_next_order(socket, instrument):
    """All of it comes, wanted or not."""
    answer = socket.run("write", data=b"SET " + b"x" * 1_000_000 + b"\n", attributes=[(1, 1)])
    assert error_of(answer) == ("VI_ERROR_NSUP_ATTR", Effect.NONE, False)
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"
    assert instrument.history() == ["ECHO? next"]


def test_half_an_answer_times_out(socket):
    """The effect is done: the question was sent."""
    answer = socket.run("query", data=b"HALF? abc\n", attributes=[(TIMEOUT_VALUE, 200)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.DONE, True)


def test_late_answer_does_not_answer_the_next_question_after_a_resynchronisation(socket, instrument):
    """A raw socket would do so for ever."""
    answer = socket.run("query", data=b"SLOW? 400,late\n", attributes=[(TIMEOUT_VALUE, 100)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.DONE, True)
    assert socket.run("resynchronise", attributes=[(TIMEOUT_VALUE, 5000)]).end.status == 0
    wait_until(lambda: instrument.count("SLOW?") == 1)
    for number in range(3):
        assert socket.run("query", data=b"ECHO? %d\n" % number).data == b"%d\n" % number


def test_late_answer_does_not_answer_the_next_question_after_a_clear(socket):
    """The answer is on its way when the clear comes: emptying what is there already does not cure it."""
    socket.run("write", data=b"SLOW? 600,late\n", attributes=[(TIMEOUT_VALUE, 5000)])
    assert socket.run("clear").end.status == 0
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"


def test_resynchronisation_of_a_socket_keeps_the_attributes(socket):
    """It is another connection, and the same session."""
    socket.run("write", data=b"SET\n", attributes=[(TIMEOUT_VALUE, 1717)])
    socket.run("resynchronise")
    assert socket.run("get_attribute", TIMEOUT_VALUE).end.value == 1717
    assert socket.run("get_attribute", TERMCHAR_EN).end.value


def test_instrument_that_drops_the_connection_is_lost_not_late(socket):
    """pyvisa-py would wait on a dead peer until the timeout, and say timeout."""
    answer = socket.run("query", data=b"DROP\n", attributes=[(TIMEOUT_VALUE, 500)])
    assert error_of(answer) == ("VI_ERROR_CONN_LOST", Effect.DONE, True)


def test_command_to_an_instrument_that_has_hung_up_is_not_sent_at_all(socket, instrument):
    """The kernel would take the bytes and throw them away, and the error say that they had arrived."""
    socket.run("query", data=b"DROP\n", attributes=[(TIMEOUT_VALUE, 500)])
    for call in ("write", "query", "query_block"):
        answer = socket.run(call, data=b"SET never\n")
        assert error_of(answer) == ("VI_ERROR_CONN_LOST", Effect.NONE, False)
    assert instrument.count("SET") == 0


def test_instrument_that_is_switched_off_is_lost(socket, instrument):
    """At the next command, whichever of its steps notices."""
    instrument.switch_off()
    answer = socket.run("query", data=b"ECHO? x\n", attributes=[(TIMEOUT_VALUE, 500)])
    assert answer.end.token == "VI_ERROR_CONN_LOST"


@pytest.mark.parametrize("call", ["write", "query", "clear", "resynchronise", "read_stb"])
def test_connection_that_is_reset_costs_one_error(socket, call, instrument):
    """The child lives on and answers, whatever its library raises or does."""
    instrument.switch_off()
    answer = socket.run(call, data=b"SET\n", attributes=[(TIMEOUT_VALUE, 300)])
    answer = socket.run(call, data=b"SET\n")
    assert answer.end.status < 0 or call in ("write", "clear")


def test_write_to_an_instrument_that_stops_reading_says_maybe_or_hangs_with_stacks(socket):
    """pyvisa-py's write may never return: then the front asks for the stacks and kills."""
    socket.run("write", data=b"STALL\n")
    ticket = socket.begin("write", data=b"SET " + b"x" * 5_000_000 + b"\n", attributes=[(TIMEOUT_VALUE, 300)])
    socket.wait_until(Step.STARTED, ticket)
    if socket.has_said_something(2):
        assert socket.report().effect is Effect.MAYBE
        return
    os.kill(socket.pid, signal.SIGUSR1)
    wait_until(lambda: "write" in socket.log_file.read_text(), what="the stacks of the hung child")
    socket.process.kill()
    assert socket.exit_code() == -signal.SIGKILL
