"""Answers that are read ahead: others are served, and whoever asked finds its answer as if it had waited for it.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.process.lifecycle import State
from front_proc.serving import errands
from front_proc.serving.errands import READ_AHEAD_MS
from front_proc.serving.sessions import VI_ATTR_TERMCHAR_EN, VI_ATTR_TMO_VALUE
from instrument_proc import pipe
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR, Effect
from tests.front_proc.playbook import GRACE, TIMEOUT


@pytest.fixture(params=[True, False], ids=["with END", "with a character"])
def ends(request):
    """How the end of an answer is told."""
    return request.param


#: Elsewhere a second question takes the place of the first.
ON_A_STREAM = pytest.mark.parametrize("ends", [False], indirect=True)


@pytest.fixture
def asker(stage, ends):
    """Who asks and does not come for the answer."""
    session = stage.opened(ends=ends)
    if not ends:
        stage.sets(session, VI_ATTR_TERMCHAR_EN, True)
    return session


@pytest.fixture
def other(stage, asker):
    """Who waits."""
    return stage.opened()


def calls(stage):
    return [run.call for run in stage.child.runs]


def run_out(stage, asker, other, data=b"MEAS?\n"):
    """`asker` asks; `other` has waited for long enough, and its query is next."""
    stage.asked(asker, data)
    query = stage.submit(other)
    stage.pass_time(TIMEOUT + 0.1)
    assert stage.child.running.call == "read_ahead"
    return query


def test_answer_is_read_ahead_when_its_time_is_up(stage, asker, other):
    """Then others are served, with no need to empty anything; its asker finds it later."""
    stage.asked(asker)
    query = stage.submit(other)
    stage.pass_time(TIMEOUT - 0.1)
    assert calls(stage) == ["write"]
    stage.pass_time(0.2)
    assert stage.state is State.RESYNC
    assert (stage.child.running.call, stage.child.running.arguments) == ("read_ahead", [READ_AHEAD_MS, 0])
    stage.child.does(b"5.0\n")
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"
    read = stage.submit(asker, "read", arguments=[1000])
    assert (read.said, read.outcome.data) == ("ok", b"5.0\n")
    assert calls(stage) == ["write", "read_ahead", "query"]


def test_nothing_is_read_ahead_while_nobody_waits_for_it(stage, asker, other):
    """Who reads the status byte waits for nothing."""
    stage.asked(asker)
    stage.pass_time(100)
    stage.submit(other, "read_stb")
    stage.child.does(value=0)
    stage.pass_time(100)
    assert calls(stage) == ["write", "read_stb"]


def test_answer_is_read_ahead_as_its_asker_would_read_it(stage, asker, other):
    """With that session's attributes, whatever was set for others meanwhile."""
    stage.asked(asker)
    stage.sets(other, VI_ATTR_TMO_VALUE, 100)
    stage.sets(asker, VI_ATTR_TMO_VALUE, 3000)
    stage.submit(other, "read_stb")
    stage.child.does(value=0)
    stage.submit(other)
    stage.pass_time(3.1)
    assert stage.child.running.call == "read_ahead"
    assert dict(stage.child.running.attributes)[VI_ATTR_TMO_VALUE] == 3000


def test_reads_take_what_was_read_ahead_with_the_counts_and_statuses_of_a_read(stage, asker, other, ends):
    """Its program cannot tell the difference."""
    status = 0 if ends else VI_SUCCESS_TERM_CHAR
    run_out(stage, asker, other)
    stage.child.starts()
    stage.child.gives(b"12345")
    stage.child.does(b"678\n", status=status)
    stage.child.does()
    reads = [stage.submit(asker, "read", arguments=[count]).outcome for count in (2, 5, 1, 1000)]
    assert [(read.status, read.data) for read in reads] == [
        (VI_SUCCESS_MAX_CNT, b"12"),
        (VI_SUCCESS_MAX_CNT, b"34567"),
        (VI_SUCCESS_MAX_CNT, b"8"),
        (status, b"\n"),
    ]


def test_message_is_read_whole_from_what_was_read_ahead(stage, asker, other):
    """As the text protocol reads."""
    run_out(stage, asker, other)
    stage.child.does(b"5.0\n")
    stage.child.does()
    assert stage.submit(asker, "read_message").outcome.data == b"5.0\n"
    stage.submit(asker, "read_message")
    assert stage.child.running.call == "read_message", "there is no more ahead"


def test_read_from_what_was_read_ahead_is_on_record(stage, asker, other):
    """As any command, with its bytes."""
    run_out(stage, asker, other)
    stage.child.does(b"5.0\n")
    stage.child.does()
    stage.submit(asker, "read", arguments=[1000])
    [record] = stage.house.audit.of("command", command="read 1000")
    assert (record["outcome"], record["effect"], record["bytes"]) == ("ok", "done", 4)


def test_read_that_comes_while_its_answer_is_read_ahead_waits_for_it(stage, asker, other):
    """And is answered without the child."""
    run_out(stage, asker, other)
    read = stage.submit(asker, "read", arguments=[1000])
    assert read.is_open
    stage.child.does(b"5.0\n")
    stage.child.does()
    assert read.outcome.data == b"5.0\n"
    assert calls(stage) == ["write", "read_ahead", "query"]


def test_read_of_another_session_finds_nothing_ahead(stage, asker, other):
    """The answer is not its own."""
    run_out(stage, asker, other)
    stage.child.does(b"5.0\n")
    stage.child.does()
    stage.submit(other, "read", arguments=[1000])
    assert stage.child.running.call == "read"


def test_read_does_not_overtake_what_its_own_session_has_waiting(stage, asker, other):
    """It may read the answer to that; and what that asks for takes the place of what was read ahead, or comes after."""
    run_out(stage, asker, other)
    stage.child.does(b"5.0\n")
    write = stage.submit(asker, "write", data=b"VOLT 1\n")
    read = stage.submit(asker, "read", arguments=[1000], after=write.ticket)
    assert write.is_open
    assert read.is_open


def test_read_that_depends_on_a_write_which_failed_is_not_served_from_ahead(stage, asker, other):
    """It would be the answer to an earlier question."""
    run_out(stage, asker, other)
    stage.child.does(b"5.0\n")
    write = stage.submit(asker, "write", data=b"CURR?\n")
    stage.service.abandon(write.ticket)
    assert write.said == "CLIENT_GONE none"
    stage.child.does()
    assert stage.submit(asker, "read", arguments=[1000], after=write.ticket).said == "WRITE_FAILED none"
    assert stage.submit(asker, "read", arguments=[1000]).outcome.data == b"5.0\n"


@pytest.mark.parametrize("call", ["get_attribute", "read_stb"])
def test_answer_that_was_read_ahead_outlives_the_failure_of_what_is_no_message(stage, asker, other, call):
    """A status byte that the library cannot read costs nobody an answer."""
    run_out(stage, asker, other)
    stage.child.does(b"5.0\n")
    stage.child.does()
    failing = stage.submit(asker, call, arguments=[0x3FFF0999])
    stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
    assert failing.outcome.failed
    assert stage.submit(asker, "read", arguments=[1000]).outcome.data == b"5.0\n"


# What becomes of it.


def test_new_message_takes_the_place_of_an_answer_that_was_not_read_where_the_end_is_marked(stage, asker, other, ends):
    """IEEE 488.2, 6.3.2.3; on a stream answers line up."""
    run_out(stage, asker, other)
    stage.child.does(b"old\n")
    stage.child.does()
    stage.asked(asker, b"VOLT 1\n")
    read = stage.submit(asker, "read", arguments=[1000])
    if ends:
        assert read.is_open
        assert stage.child.running.call == "read"
    else:
        assert read.outcome.data == b"old\n"


@ON_A_STREAM
def test_answers_on_a_stream_are_read_in_the_order_of_their_questions(stage, asker, other):
    """The first was read ahead, the second comes from the child."""
    run_out(stage, asker, other)
    stage.child.does(b"first\n")
    stage.child.does()
    stage.asked(asker)
    assert stage.submit(asker, "read", arguments=[1000]).outcome.data == b"first\n"
    second = stage.submit(asker, "read", arguments=[1000])
    stage.child.does(b"second\n")
    assert second.outcome.data == b"second\n"


@pytest.mark.parametrize("call", ["query", "query_block", "clear"])
def test_query_and_clear_begin_with_nothing_ahead(stage, asker, other, call):
    """Whatever was unread, this is something new."""
    run_out(stage, asker, other)
    stage.child.does(b"old\n")
    stage.child.does()
    stage.submit(asker, call)
    while stage.state is not State.READY:
        stage.child.does()
    stage.submit(asker, "read", arguments=[1000])
    assert stage.child.running.call == "read"


def test_what_was_read_ahead_is_gone_with_its_process(stage, asker, other):
    """The session is told that all begins anew."""
    run_out(stage, asker, other)
    stage.child.does(b"old\n")
    stage.child.does()
    stage.resource.restart()
    stage.child.dies()
    stage.child.opens()
    assert stage.submit(asker, "read", arguments=[1000]).said == "SESSION_RESET none"
    stage.submit(asker, "read", arguments=[1000])
    assert stage.child.running.call == "read"


@ON_A_STREAM
def test_all_answers_that_are_owed_are_read_ahead(stage, asker, other):
    """On a stream, one after the other; then others are served."""
    query = run_out(stage, asker, other, b"A?\nB?\n")
    stage.child.does(b"a\n")
    stage.child.does(b"b\n")
    stage.child.does(b"mine\n")
    assert calls(stage) == ["write", "read_ahead", "read_ahead", "query"]
    assert query.outcome.data == b"mine\n"
    assert [stage.submit(asker, "read", arguments=[1000]).outcome.data for _ in range(2)] == [b"a\n", b"b\n"]


def test_rest_of_an_answer_is_read_ahead(stage, asker, other):
    """Its session read a part, and lets others wait for it to come for more."""
    stage.asked(asker)
    part = stage.submit(asker, "read", arguments=[2])
    stage.child.does(b"12", status=VI_SUCCESS_MAX_CNT)
    stage.submit(other)
    stage.pass_time(TIMEOUT + 0.1)
    assert stage.child.running.call == "read_ahead"
    stage.child.does(b"34\n")
    stage.child.does()
    assert part.outcome.data + stage.submit(asker, "read", arguments=[1000]).outcome.data == b"1234\n"


# What cannot be had.


def test_answer_that_does_not_come_is_given_up_and_its_instrument_emptied(stage, asker, other):
    """As it was before there was anything to read ahead: nobody gets somebody else's answer."""
    query = run_out(stage, asker, other)
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"
    stage.submit(asker, "read", arguments=[1000])
    assert stage.child.running.call == "read", "nothing is ahead"


def test_attributes_are_set_again_after_reading_ahead_failed(stage, asker, other):
    """Which of them were set is unknown, and the next session may want the same."""
    for session in (asker, other):
        stage.sets(session, VI_ATTR_TMO_VALUE, 3000)
    stage.asked(asker)
    stage.submit(stage.opened(), "read_stb")
    stage.child.does(value=0)
    query = stage.submit(other)
    stage.pass_time(3.1)
    stage.child.say(pipe.Done(0, -1073807330, token="VI_ERROR_NSUP_ATTR_STATE", text="no"))
    stage.child.does()
    assert stage.child.running.call == "query"
    assert (VI_ATTR_TMO_VALUE, 3000) in stage.child.running.attributes
    assert query.is_open


def test_answer_without_a_told_end_is_not_read_ahead(stage):
    """A stream without a termination character: nobody knows when it is whole."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    stage.submit(other)
    stage.pass_time(TIMEOUT + 0.1)
    assert stage.child.running.call == "resynchronise"


def test_reading_ahead_has_a_deadline_and_progress_moves_it(stage, asker, other):
    """Its own time and the grace; then the process hangs."""
    query = run_out(stage, asker, other)
    for _ in range(10):
        stage.child.gives(b"x")
        stage.pass_time(READ_AHEAD_MS / 1000 + GRACE - 0.1)
        assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert query.said == "SESSION_RESET none"
    stage.child.dies()
    stage.child.opens()
    assert stage.events() == ["opened", "hung", "killed", "restarted"]


def test_answer_without_an_end_fills_nobody_s_memory_and_keeps_nobody_waiting_for_ever(
    stage, asker, other, monkeypatch
):
    """An instrument that babbles: what is too long is given up, and the process has no more time by what it says."""
    monkeypatch.setattr(errands, "LIMIT", 1000)
    query = run_out(stage, asker, other)
    for _ in range(20):
        stage.child.gives(bytes(400))
        stage.pass_time(1.0)
        if stage.child.is_being_killed:
            break
    assert stage.child.is_being_killed
    assert not query.is_open


def test_answer_that_is_too_long_is_given_up(stage, asker, other, monkeypatch):
    """Its session does not get half of it; the others are served after a resynchronisation."""
    monkeypatch.setattr(errands, "LIMIT", 1000)
    query = run_out(stage, asker, other)
    stage.child.starts()
    stage.child.gives(bytes(800))
    stage.child.does(bytes(300))
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does()
    assert query.said == "ok"
    stage.submit(asker, "read", arguments=[1000])
    assert stage.child.running.call == "read"


@ON_A_STREAM
def test_answers_of_one_session_are_kept_up_to_a_limit(stage, asker, other, monkeypatch):
    """All together: what is beyond it is given up, what was read before is still there."""
    monkeypatch.setattr(errands, "LIMIT", 1000)
    run_out(stage, asker, other, b"A?\nB?\n")
    stage.child.does(bytes(600))
    stage.child.does(bytes(600))
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does()
    assert stage.submit(asker, "read", arguments=[1000]).outcome.data == bytes(600)
    assert stage.submit(asker, "read", arguments=[1000]).is_open


def test_instrument_that_is_lost_while_it_is_read_ahead_is_offline(stage, asker, other):
    """As with any command."""
    query = run_out(stage, asker, other)
    stage.child.fails("VI_ERROR_CONN_LOST", dirty=True)
    stage.child.dies()
    assert stage.state is State.OFFLINE
    assert query.said == "VI_ERROR_CONN_LOST none"


@pytest.mark.parametrize("how", ["garbage", "restart", "death"])
def test_process_that_ends_while_it_reads_ahead_costs_the_others_one_command(stage, asker, other, how):
    """And nothing that the dead one still says counts."""
    query = run_out(stage, asker, other)
    if how == "garbage":
        stage.child.babbles()
    elif how == "restart":
        stage.resource.restart()
    if how != "death":
        stage.child.does(b"late\n")
    stage.child.dies()
    stage.child.opens()
    assert query.said == "SESSION_RESET none"
    stage.submit(asker)  # is told of the reset
    stage.submit(asker, "read", arguments=[1000])
    assert stage.child.running.call == "read"
    assert not asker.ahead


def test_answer_whose_session_left_while_it_was_read_ahead_is_cleared_away(stage, asker, other):
    """What was read is nobody's, and what may still come as well."""
    query = run_out(stage, asker, other)
    stage.resource.drop_session(asker)
    stage.child.does(b"5.0\n")
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_linger_begins_when_nothing_is_read_ahead_any_more(stage, asker, other):
    """Everybody left meanwhile."""
    stage.house.linger = 0.0
    run_out(stage, asker, other)
    for session in (asker, other):
        stage.resource.drop_session(session)
    assert stage.state is State.RESYNC
    stage.child.does(b"5.0\n")
    assert stage.state is State.CLOSING
