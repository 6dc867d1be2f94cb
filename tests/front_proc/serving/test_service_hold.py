"""Answers and whom they belong to: who waits for whom, and what is cleared away before the next one is served.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.configuration.resource_settings import read_rows
from front_proc.process.lifecycle import State
from front_proc.serving.events import SERVICE_REQUEST
from front_proc.serving.hold import LONGEST_POLLING
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_SEND_END_EN, VI_ATTR_TMO_VALUE
from front_proc.serving.spool import Spool
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR, Effect
from tests.front_proc.playbook import BAUD_RATE, NAME, TIMEOUT

# Holds.


def test_answer_belongs_to_the_session_that_asked(stage):
    """Somebody else's query waits until it was read."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    query = stage.submit(other)
    assert len(stage.child.runs) == 1
    stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    assert stage.child.running.call == "query"
    stage.child.does()
    assert query.said == "ok"


def test_hold_ends_only_while_somebody_waits(stage):
    """`write("MEAS?"); sleep(30); read()` works as it does locally."""
    asker = stage.opened()
    stage.asked(asker)
    stage.pass_time(30)
    read = stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    assert read.outcome.data == b"5.0\n"
    assert [run.call for run in stage.child.runs] == ["write", "read"]


def test_instrument_is_emptied_before_others_are_served_after_a_hold_ran_out(stage):
    """Releasing without that would give them somebody else's answer."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    query = stage.submit(other)
    stage.pass_time(TIMEOUT - 0.1)
    assert [run.call for run in stage.child.runs] == ["write"]
    stage.pass_time(0.2)
    assert stage.state is State.RESYNC
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_client_that_reads_exactly_what_is_there_takes_turns(stage):
    """Its reads end at their count, so nothing says that its answer was over; its next query does."""
    exact, other = stage.opened(), stage.opened()
    stage.submit(exact, "write", data=b"A?\n")
    stage.child.does()
    query = stage.submit(other)
    stage.submit(exact, "read")
    stage.child.does(b"12345\n", status=VI_SUCCESS_MAX_CNT)
    assert query.is_open
    again = stage.submit(exact, "write", data=b"B?\n")
    assert stage.state is State.RESYNC
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"
    assert stage.child.running.data == b"B?\n"
    stage.child.does()
    assert again.said == "ok"


def test_client_that_reads_exactly_what_is_there_goes_on_when_nobody_waits(stage):
    """Nothing is emptied for itself."""
    exact = stage.opened()
    for _ in range(3):
        stage.asked(exact)
        stage.submit(exact, "read")
        stage.child.does(b"12345\n", status=VI_SUCCESS_MAX_CNT)
    assert [run.call for run in stage.child.runs] == ["write", "read"] * 3


def test_holder_that_polls_is_there_for_a_minute(stage):
    """`write("MEAS?")`, the status byte until it is ready, `read()`: somebody else waits, but not for ever."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    query = stage.submit(other)
    began = stage.loop.time()
    while stage.child.running.call != "resynchronise":
        stage.submit(asker, "read_stb")
        stage.child.does(value=0)
        stage.pass_time(1.0)
        assert stage.loop.time() < began + LONGEST_POLLING + 2
    assert stage.loop.time() >= began + LONGEST_POLLING - 2
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_holder_that_polled_reads_its_answer(stage):
    """Longer than its timeout after it asked."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    stage.submit(other)
    for _ in range(20):
        stage.submit(asker, "read_stb")
        stage.child.does(value=0)
        stage.pass_time(1.0)
    read = stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    assert read.outcome.data == b"5.0\n"
    assert stage.child.running.call == "query"


@pytest.mark.parametrize("ends", [True, False])
def test_what_a_query_replaced_is_cleared_away_for_others_only_where_it_was_replaced(stage, ends):
    """On a bus that marks the END the second query takes the place of the first answer; on a stream they line up."""
    opening = stage.asks_to_open()
    stage.child.opens(ends)
    asker, other = opening.result(), stage.opened()
    for _ in range(2):
        stage.asked(asker)
    query = stage.submit(other)
    stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    if not ends:
        stage.submit(asker, "read")
    assert stage.child.running.call == ("resynchronise" if ends else "read")
    stage.child.does()
    assert stage.child.running.call == "query"
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_block_that_contains_its_termination_character_is_read_to_its_end(stage):
    """In pieces or not: nobody comes between."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    query = stage.submit(other)
    stage.submit(asker, "read")
    stage.child.starts()
    stage.child.gives(b"#19ab")
    stage.child.does(b"cd\n", status=VI_SUCCESS_TERM_CHAR)
    assert query.is_open
    stage.submit(asker, "read")
    stage.child.does(b"efgh\n", status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "query"


@pytest.mark.parametrize("how", ["read", "closes before", "closes while it runs"])
def test_hold_of_a_session_that_is_gone_delays_nobody(stage, how):
    """Its answer is emptied at once, not when its time is up."""
    asker, other = stage.opened(), stage.opened()
    stage.sets(asker, VI_ATTR_TMO_VALUE, 60_000)
    stage.submit(asker, "write", data=b"MEAS?\n")
    if how == "closes while it runs":
        stage.resource.drop_session(asker)
    stage.child.does()
    query = stage.submit(other)
    if how == "closes before":
        stage.resource.drop_session(asker)
    if how == "read":
        stage.submit(asker, "read")
        stage.child.does()
    else:
        assert stage.state is State.RESYNC
        stage.child.does()
    stage.child.does()
    assert query.said == "ok"


def test_late_answer_may_be_read_by_the_session_that_it_belongs_to(stage):
    """A read that timed out is repeated with more patience; whatever is asked next begins with an empty instrument."""
    session = stage.opened()
    stage.asked(session)
    read = stage.submit(session, "read")
    stage.child.fails("VI_ERROR_TMO", Effect.NONE, dirty=True)
    assert read.said == "VI_ERROR_TMO none"
    for late in (b"late\n", b"and what else was owed\n"):
        again = stage.submit(session, "read")
        stage.child.does(late)
        assert again.outcome.data == late
    stage.submit(session)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    assert stage.child.running.call == "query"


def test_session_is_resynchronised_before_the_next_command_after_a_timeout(stage):
    """The instrument would answer every later query with the one before."""
    session = stage.opened()
    assert stage.submit(session).is_open
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    query = stage.submit(session)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_resynchronisation_has_a_deadline(stage):
    """Its own, that of the open which a SOCKET needs for it, and as long again as the session had waited for the
    answer; an instrument that babbles is hung."""
    session = stage.opened()
    stage.submit(session)
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    query = stage.submit(session)
    stage.child.starts()
    stage.pass_time(LIMITS.resync_time + LIMITS.open_time + TIMEOUT - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert query.said == "SESSION_RESET none"


@pytest.mark.parametrize("ends", [True, False])
def test_resynchronisation_knows_what_may_come_late(stage, ends):
    """How many answers, and for how many milliseconds they are worth to be waited for."""
    asker, other = stage.opened(ends=ends), stage.opened()
    stage.sets(asker, VI_ATTR_TMO_VALUE, 5000)
    stage.asked(asker, b"A?\nB?\n")
    stage.submit(asker, "read")
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    stage.submit(other)
    assert stage.child.running.call == "resynchronise"
    assert stage.child.running.arguments == [1 if ends else 2, 5000]
    stage.child.does()
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    stage.submit(other)
    assert stage.child.running.arguments == [1, 2000], "what is past does not count any more"


@pytest.mark.parametrize("ends", [True, False])
def test_clear_empties_the_instrument_first_where_that_is_all_there_is(stage, ends):
    """Without a device clear it would answer all the same, in the middle of somebody's exchange."""
    asker = stage.opened(ends=ends)
    stage.asked(asker)
    clear = stage.submit(asker, "clear")
    assert stage.child.running.call == ("clear" if ends else "resynchronise")
    while clear.is_open:
        stage.child.does()
    stage.submit(stage.opened())
    assert stage.child.running.call == "query"


def test_buffered_messages_are_messages(stage):
    """viBufWrite asks and viBufRead reads: others wait as for the plain ones, and what is ahead is read by either."""
    asker, other = stage.opened(ends=True), stage.opened()
    for _ in range(2):
        stage.submit(asker, "buffer_write", arguments=[b"MEAS?"])
        stage.child.does(value=5)
        query = stage.submit(other)
        assert query.is_open
        assert stage.state is State.READY
        stage.submit(asker, "buffer_read", arguments=[100])
        stage.child.does(b"5.0\n")
        stage.child.does()
        assert query.said == "ok"
    stage.submit(asker, "buffer_write", arguments=[b"MEAS?"])
    stage.child.does(value=5)
    stage.submit(other)
    stage.pass_time(TIMEOUT + 0.1)
    stage.child.does(b"6.0\n")
    assert stage.submit(asker, "buffer_read", arguments=[100]).outcome.data == b"6.0\n"


# Messages in parts, and what the resource's settings take for a question.


def test_message_in_parts_is_not_mixed_with_another_s(stage):
    """Its first part holds, though it asks for nothing yet."""
    writer, other = stage.opened(), stage.opened()
    stage.asked(writer, b"VOLT ")
    waiting = stage.submit(other, "write", data=b"OUTP ON\n")
    stage.asked(writer, b"1\n")
    assert stage.child.running.data == b"OUTP ON\n"
    stage.child.does()
    assert waiting.said == "ok"
    assert [run.data for run in stage.child.runs] == [b"VOLT ", b"1\n", b"OUTP ON\n"]


def test_message_without_its_end_holds_where_the_end_is_marked(stage):
    """VI_ATTR_SEND_END_EN is off. The number that C has for false is as good as Python's."""
    writer, other = stage.opened(ends=True), stage.opened()
    for off in (False, 0):
        stage.sets(writer, VI_ATTR_SEND_END_EN, off)
        stage.asked(writer, b"VOLT ")
        waiting = stage.submit(other, "write", data=b"OUTP ON")
        assert stage.state is State.READY
        stage.sets(writer, VI_ATTR_SEND_END_EN, True)
        stage.asked(writer, b"1")
        stage.child.does()
        assert waiting.said == "ok"


def test_half_a_message_is_cleared_away_when_its_time_is_up(stage):
    """Nothing can be read ahead: nobody has asked for anything."""
    writer, other = stage.opened(ends=True), stage.opened()
    stage.sets(writer, VI_ATTR_SEND_END_EN, False)
    stage.asked(writer, b"VOLT ")
    waiting = stage.submit(other)
    stage.pass_time(TIMEOUT + 0.1)
    assert (stage.child.running.call, stage.child.running.arguments[0]) == ("resynchronise", 0)
    stage.child.does()
    stage.child.does()
    assert waiting.said == "ok"


def test_question_mark_in_a_string_is_no_question(stage):
    """Others need not wait."""
    writer, other = stage.opened(), stage.opened()
    stage.asked(writer, b'DISP:TEXT "ready?"\n')
    stage.submit(other, data=b"B?\n")
    assert stage.child.running.data == b"B?\n"


def test_long_message_is_judged_by_all_of_it(stage, tmp_path):
    """It is on disk: a question far behind its beginning holds as well."""
    asker, other = stage.opened(), stage.opened()
    message = Spool(tmp_path)
    message.add(b"DATA #6600000" + bytes(600_000))
    message.add(b";MEAS?\n")
    stage.submit(asker, "write", data=message)
    assert stage.child.running.data.endswith(b"\0;MEAS?\n")
    stage.child.does()
    waiting = stage.submit(other)
    assert stage.state is State.READY
    stage.submit(asker, "read")
    stage.child.does()
    stage.child.does()
    assert waiting.said == "ok"


@pytest.mark.parametrize(
    ("rule", "message", "holds"),
    [
        ("query", b"print(1)\n", False),
        ("query", b"MEAS?\n", True),
        ("always", b"print(1)\n", True),
        (r"^print\(", b"print(1)\n", True),
        (r"^print\(", b"x = 'ok?'\n", False),
    ],
)
def test_resource_s_own_rule_says_what_is_answered(stage, rule, message, holds):
    """Not every language has a question mark for it."""
    [row] = read_rows([{"match": NAME, "hold": rule}], "lab.toml")
    stage.configure(hold=row.given["hold"])
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker, message)
    stage.submit(other)
    assert (stage.state is State.READY) == holds


def test_client_that_reads_exactly_what_is_there_takes_turns_by_whatever_rule(stage):
    """A message that is answered without a question mark begins something new as well."""
    [row] = read_rows([{"match": NAME, "hold": "always"}], "lab.toml")
    stage.configure(hold=row.given["hold"])
    exact, other = stage.opened(), stage.opened()
    stage.asked(exact, b"print(1)\n")
    query = stage.submit(other)
    stage.submit(exact, "read")
    stage.child.does(b"1\n", status=VI_SUCCESS_MAX_CNT)
    stage.submit(exact, "write", data=b"print(2)\n")
    assert stage.state is State.RESYNC
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


# What passes those who wait.


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("read_stb", []),
        ("get_attribute", [BAUD_RATE]),
        ("set_attribute", [VI_ATTR_TMO_VALUE, 5000]),
        ("enable_event", [SERVICE_REQUEST]),
        ("in_16", [1, 0, False]),
    ],
)
@pytest.mark.parametrize("is_dirty", [False, True])
def test_what_is_no_message_waits_for_nobody_s_answer(stage, call, arguments, is_dirty):
    """It passes the hold of others, and messages that wait for that; an answer that may come late is not in its way."""
    asker, other, waiting = stage.opened(), stage.opened(), stage.opened()
    stage.asked(asker)
    if is_dirty:
        stage.submit(asker, "read")
        stage.child.fails("VI_ERROR_TMO", dirty=True)
    else:
        stage.submit(waiting)
    answers = stage.submit(other, call, arguments=arguments)
    assert stage.child.running.call == call
    stage.child.does(value=0)
    assert answers.said == "ok"
    read = stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    assert read.outcome.data == b"5.0\n"


@pytest.mark.parametrize("call", ["write", "query", "read", "clear", "assert_trigger", "set_attribute"])
def test_messages_wait_for_the_answer_of_another(stage, call):
    """So does what changes the resource for everybody."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    arguments = [BAUD_RATE, 9600] if call == "set_attribute" else []
    assert stage.submit(other, call, arguments=arguments).is_open
    assert stage.state is State.READY


def test_what_is_no_message_does_not_overtake_its_own_session(stage):
    """Its write would go out with what was set behind it, and the status byte would be one from before."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    write = stage.submit(other, "write", data=b"*CLS\n")
    stage.submit(other, "read_stb")
    stage.submit(other, "set_attribute", arguments=[VI_ATTR_TMO_VALUE, 100])
    assert stage.state is State.READY
    stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    assert [run.call for run in stage.child.runs] == ["write", "read", "write"]
    stage.child.does()
    assert write.said == "ok"
    assert stage.child.running.call == "read_stb"


def test_waiting_costs_nothing(stage):
    """Nobody looks again and again whether the time is up of a hold that nobody may end."""
    asker, other = stage.opened(), stage.opened()
    stage.asked(asker)
    waiting = stage.submit(other)
    stage.service.locks.lock(asker, LockKind.EXCLUSIVE, None, 0, lambda _: None)
    looks = 0
    dispatch = stage.service.dispatch

    def look():
        nonlocal looks
        looks += 1
        dispatch()

    stage.service.dispatch = look
    stage.pass_time(TIMEOUT + 10)
    assert waiting.is_open
    assert looks < 10
