"""What a session has left on a stream is taken out of it before another one is served, and kept for who left it.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.process.lifecycle import State
from front_proc.serving.rest import AWAITED_MS, CERTAIN_MS
from front_proc.serving.sessions import VI_ATTR_TERMCHAR, VI_ATTR_TERMCHAR_EN
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR, Effect
from tests.front_proc.playbook import GRACE

LF, COMMA = 10, ord(",")


@pytest.fixture
def reader(stage):
    """Who reads up to a comma."""
    return opened(stage, COMMA)


@pytest.fixture
def other(stage, reader):
    return opened(stage, LF)


def opened(stage, character):
    session = stage.opened()
    stage.sets(session, VI_ATTR_TERMCHAR, character)
    stage.sets(session, VI_ATTR_TERMCHAR_EN, True)
    return session


def calls(stage):
    return [run.call for run in stage.child.runs]


def reads(stage, session, data, call="query"):
    """An answer up to its character."""
    if call == "query":
        answers = stage.submit(session)
    else:
        stage.asked(session)
        answers = stage.submit(session, "read", arguments=[1000])
    stage.child.does(data, status=VI_SUCCESS_TERM_CHAR)
    assert answers.outcome.data == data


@pytest.mark.parametrize("call", ["query", "write and read"])
def test_rest_is_looked_for_before_another_session_is_served(stage, reader, other, call):
    """However it was asked for."""
    reads(stage, reader, b"a,", call)
    query = stage.submit(other)
    assert stage.child.running.call == "read_rest"
    assert stage.child.running.arguments == [AWAITED_MS, 1, LF]
    stage.child.does(b"b\n")
    assert stage.child.running.call == "query"
    stage.child.does(b"1\n")
    assert query.outcome.data == b"1\n"


def test_rest_is_kept_for_who_left_it(stage, reader, other):
    """Its next read has it, without the instrument."""
    reads(stage, reader, b"a,")
    stage.submit(other)
    stage.child.does(b"b\n")
    stage.child.does(b"1\n")
    assert stage.submit(reader, "read", arguments=[1000]).outcome.data == b"b\n"


@pytest.mark.parametrize("data", [b"\n", b"\r\n", b""])
def test_end_of_a_line_is_not_kept(stage, reader, other, data):
    """It would be taken for the next answer."""
    reads(stage, reader, b"a\r,")
    stage.submit(other)
    stage.child.does(data)
    stage.child.does(b"1\n")
    reads(stage, reader, b"c,", "write and read")


def test_rest_of_who_has_closed_is_dropped(stage, reader, other):
    """Before, and while it is looked for."""
    reads(stage, reader, b"a,")
    stage.submit(other)
    stage.resource.drop_session(reader)
    stage.child.does(b"b\n")
    assert not reader.ahead
    assert stage.child.running.call == "query"


def test_session_that_reads_on_is_not_looked_after(stage, reader, other):
    """The rest is where it is without a daemon."""
    reads(stage, reader, b"a,")
    stage.submit(reader, "read", arguments=[1000])
    stage.child.does(b"b,", status=VI_SUCCESS_TERM_CHAR)
    stage.sets(reader, VI_ATTR_TERMCHAR, LF)
    stage.submit(reader, "read", arguments=[1000])
    stage.child.does(b"c\n", status=VI_SUCCESS_TERM_CHAR)
    stage.submit(other)
    assert calls(stage) == ["query", "read", "read", "query"]


def test_answers_up_to_the_own_termination_are_never_looked_behind(stage, reader, other):
    """So it costs nothing where nothing is special."""
    reads(stage, other, b"1\n")
    reads(stage, opened(stage, LF), b"2\n")
    stage.submit(reader)
    assert calls(stage) == ["query"] * 3


@pytest.mark.parametrize("termination", [b",", b"\r,"])
def test_termination_of_the_settings_is_the_own_one(stage, termination):
    """Then who reads up to it leaves nothing, and who reads up to LF may."""
    stage.configure(termination=(termination, b"\n"))
    reader, other = opened(stage, COMMA), opened(stage, LF)
    reads(stage, reader, b"a,")
    reads(stage, other, b"1\n")
    stage.submit(reader)
    assert stage.child.running.arguments == [AWAITED_MS, 1, COMMA]


def test_rest_that_does_not_come_to_its_end_has_the_instrument_emptied(stage, reader, other):
    """There may be more of it."""
    reads(stage, reader, b"a,")
    stage.submit(other)
    stage.child.does(b"b")
    assert stage.child.running.call == "resynchronise"
    assert not reader.ahead
    stage.child.does()
    assert stage.child.running.call == "query"


def test_rest_that_is_too_much_has_the_instrument_emptied(stage, reader, other):
    """An instrument that babbles."""
    reads(stage, reader, b"a,")
    stage.submit(other)
    stage.child.does(b"b\n" * 1000, status=VI_SUCCESS_MAX_CNT)
    assert stage.child.running.call == "resynchronise"


def test_answer_that_is_still_owed_behind_a_rest_is_not_let_to_another(stage, reader, other):
    """Its session asked anew and was given the rest; of the second answer nothing has come yet."""
    reads(stage, reader, b"a,")
    reads(stage, reader, b"b\n", "write and read")
    stage.submit(other)
    assert stage.child.running.arguments == [CERTAIN_MS, 1, LF]
    stage.child.does()
    assert stage.child.running.call == "resynchronise"
    late_answers, _ = stage.child.running.arguments
    assert late_answers == 1


def test_rest_is_looked_for_behind_what_was_read_ahead(stage, reader, other):
    """That is read as its session reads."""
    stage.asked(reader)
    stage.submit(other)
    stage.pass_time(2.1)
    stage.child.does(b"a,", status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "read_rest"
    stage.child.does(b"b\n")
    stage.child.does(b"1\n")
    read = [stage.submit(reader, "read", arguments=[1000]).outcome.data for _ in range(2)]
    assert read == [b"a,", b"b\n"]


def test_nothing_is_looked_for_by_what_passes_messages(stage, reader, other):
    """It reads nothing."""
    reads(stage, reader, b"a,")
    stage.submit(other, "get_attribute", arguments=[VI_ATTR_TERMCHAR])
    assert stage.child.running.call == "get_attribute"


def test_clear_leaves_nothing_to_look_for(stage, reader, other):
    """The connection is a new one."""
    reads(stage, reader, b"a,")
    stage.submit(reader, "clear")
    stage.child.does()
    stage.submit(other)
    assert stage.child.running.call == "query"


def test_rest_on_a_new_connection_is_none(stage, reader, other):
    """Another process has opened it."""
    reads(stage, reader, b"a,")
    stage.resource.restart()
    stage.child.dies()
    stage.child.opens()
    stage.submit(other)
    stage.submit(other)
    assert calls(stage) == ["query"]


def test_instrument_that_is_lost_while_it_is_looked_at_is_offline(stage, reader, other):
    """As with any command."""
    reads(stage, reader, b"a,")
    query = stage.submit(other)
    stage.child.fails("VI_ERROR_CONN_LOST", dirty=True)
    stage.child.dies()
    assert (stage.state, query.said) == (State.OFFLINE, "VI_ERROR_CONN_LOST none")


def test_look_that_fails_has_the_instrument_emptied(stage, reader, other):
    """Nobody knows what it has taken."""
    reads(stage, reader, b"a,")
    stage.submit(other)
    stage.child.fails("VI_ERROR_IO", Effect.NONE, dirty=True)
    assert stage.child.running.call == "resynchronise"


def test_look_has_a_deadline(stage, reader, other):
    """As any call of a library."""
    reads(stage, reader, b"a,")
    stage.submit(other)
    stage.pass_time(GRACE + 2 * AWAITED_MS / 1000 + 0.1)
    assert stage.child.is_being_killed
