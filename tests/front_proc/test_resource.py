"""Histories of one instrument: who is served when, and how each command ends, whatever the process does.

The resource and its keeper are the real ones; the process is played (see `playbook`), and time is the test's.
"""

import asyncio

import pytest

from front_proc.hold import LONGEST_POLLING, VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR
from front_proc.keeper import CLOSE_TIME, KILL_TIME, LATE, OPEN_TIME
from front_proc.lifecycle import Event, State
from front_proc.resource import OFFLINE_TIME, QUEUE_LIMIT, QUEUE_TIME, RESYNC_TIME, STARTED_TIME
from front_proc.sessions import VI_ATTR_TMO_VALUE, VI_TMO_INFINITE
from instrument_proc import pipe
from pyvisa_daemon.errors import Effect, Failure
from tests.front_proc.playbook import NAME

GRACE = 2.0
TIMEOUT = 2.0
BAUD_RATE = 0x3FFF0021


def failure_of(task):
    """The Failure that a task ended with, as `TOKEN effect`."""
    assert task.done(), "it still waits"
    error = task.exception()
    assert isinstance(error, Failure)
    return f"{error.token} {error.effect.value}"


# Opening.


def test_open_gives_a_session_when_the_child_has_it_open(stage):
    """Spare, order, report, session."""
    opening = stage.asks_to_open()
    assert stage.child.order == pipe.Open(NAME, "@py", "locks/TCPIP0%3A%3A10.0.0.1%3A%3A5025%3A%3ASOCKET.lock", [])
    assert not opening.done()
    stage.child.opens()
    assert opening.result() in stage.resource.sessions
    assert stage.state is State.READY
    assert stage.events() == ["opened"]


def test_open_joins_the_session_that_is_open(stage):
    """One process for all; a session each."""
    first, second = stage.opened(), stage.opened()
    assert first is not second
    assert len(stage.children) == 1


def test_opens_at_the_same_time_share_one_process(stage):
    """Both wait for the same viOpen."""
    stage.is_warm = False
    openings = [stage.asks_to_open(), stage.asks_to_open()]
    stage.warm()
    stage.child.opens()
    assert all(opening.done() for opening in openings)
    assert len(stage.children) == 1


def test_refused_open_fails_with_the_library_s_status_and_ends_the_process(stage):
    """Nothing is left of it, and nothing was done to the instrument."""
    opening = stage.asks_to_open()
    stage.child.refuses()
    assert failure_of(opening) == "VI_ERROR_RSRC_NFOUND none"
    assert stage.child.is_being_killed
    stage.child.dies()
    assert stage.state is State.CLOSED
    assert stage.forgotten == [stage.resource]


def test_open_fails_as_hung_when_there_is_no_answer_by_its_deadline(stage):
    """The daemon's own deadline: `open_timeout` does not bound an open."""
    opening = stage.asks_to_open()
    stage.pass_time(OPEN_TIME - 0.1)
    assert not opening.done()
    stage.pass_time(0.2)
    assert failure_of(opening) == "INSTRUMENT_HUNG none"
    assert stage.child.is_being_killed
    assert stage.events() == ["hung"]
    stage.child.dies()
    assert stage.state is State.CLOSED


def test_open_fails_when_the_process_crashes_in_it(stage):
    """It is not tried again for those who asked."""
    opening = stage.asks_to_open()
    stage.child.dies()
    assert failure_of(opening) == "INSTRUMENT_CRASHED none"
    assert stage.state is State.CLOSED


def test_open_fails_when_no_process_can_be_started(stage):
    """The machine has none left."""
    stage.no_child = Failure("START_FAILED", "no process could be started")
    opening = stage.asks_to_open()
    assert failure_of(opening) == "START_FAILED none"
    assert stage.forgotten


def test_open_that_arrives_while_a_refused_process_dies_is_answered_and_leaves_nothing(stage):
    """Two programs ask for an instrument that is switched off, the second a moment later."""
    first = stage.asks_to_open()
    stage.child.refuses()
    second = stage.asks_to_open()
    stage.child.dies()
    if stage.state is State.OPENING:  # it is tried anew for the second
        stage.child.refuses()
        stage.child.dies()
    assert failure_of(first) == "VI_ERROR_RSRC_NFOUND none"
    assert failure_of(second) == "VI_ERROR_RSRC_NFOUND none"
    assert stage.forgotten, f"nobody has it open, and it is {stage.state}"


def test_resource_is_closed_after_the_linger_when_whoever_asked_for_it_is_gone(stage):
    """The opening that nobody awaits any more ends as a close does."""
    client = stage.client()
    opening = stage.asks_to_open(client)
    stage.resource.abandon_opens(client)
    stage.child.opens()
    assert opening.cancelled()
    stage.pass_time(stage.house.linger + 1)
    assert stage.child.order == pipe.Close()


def test_restart_while_opening_opens_again_for_those_who_wait(stage):
    """An operator's word costs nobody the open."""
    opening = stage.asks_to_open()
    stage.resource.restart()
    stage.child.dies()
    stage.child.opens()
    assert opening.result()
    assert len(stage.children) == 2


# Serving.


def test_one_command_is_with_the_child_at_a_time(stage):
    """The next goes when the one before is answered."""
    session = stage.opened()
    first, second = stage.submit(session, data=b"A?\n"), stage.submit(session, data=b"B?\n")
    assert [run.data for run in stage.child.runs] == [b"A?\n"]
    stage.child.does(b"a\n")
    assert [run.data for run in stage.child.runs] == [b"A?\n", b"B?\n"]
    stage.child.does(b"b\n")
    assert (first.outcome.data, second.outcome.data) == (b"a\n", b"b\n")


def test_clients_take_turns(stage):
    """One that asks much does not keep out one that asks little."""
    busy, modest = stage.opened(), stage.opened()
    for number in range(3):
        stage.submit(busy, data=b"%d" % number)
    stage.submit(modest, data=b"x")
    for _ in range(4):
        stage.child.does()
    assert [run.data for run in stage.child.runs] == [b"0", b"1", b"x", b"2"]


def test_pieces_of_an_answer_go_ahead_of_its_outcome(stage):
    """And count as its bytes."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    stage.child.gives(b"12345")
    assert answers.pieces == [b"12345"]
    assert answers.is_open
    stage.child.does(b"678")
    [record] = stage.house.audit.of("command")
    assert record["bytes"] == 8


def test_every_command_is_recorded_once_with_how_it_went(stage):
    """When, who, which, what, outcome, effect, how long waited and run, bytes."""
    session = stage.opened(stage.client("Ann"))
    stage.submit(session, command="query *IDN?")
    stage.pass_time(0.5)
    stage.child.does(b"me\n")
    [record] = stage.house.audit.of("command")
    assert record["name"] == "Ann"
    assert record["command"] == "query *IDN?"
    assert (record["outcome"], record["effect"], record["bytes"]) == ("ok", "done", 3)
    assert record["ran_ms"] == pytest.approx(500)


def test_queue_of_one_client_is_limited(stage):
    """What is too much is refused; what waits is not touched, and other clients may still come."""
    session, other = stage.opened(), stage.opened()
    waiting = [stage.submit(session) for _ in range(QUEUE_LIMIT + 1)]  # one of them runs
    assert stage.submit(session).said == "QUEUE_FULL none"
    assert stage.submit(other).is_open
    assert all(answers.is_open for answers in waiting)


def test_command_fails_when_it_waited_too_long_for_its_turn(stage):
    """It was not executed; what runs goes on."""
    endless, session = stage.opened(), stage.opened()
    stage.resource.attributes.set_local(endless, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    running = stage.submit(endless)
    stage.child.starts()
    waiting = stage.submit(session)
    stage.pass_time(QUEUE_TIME - 1)
    assert waiting.is_open
    stage.pass_time(2)
    assert waiting.said == "QUEUE_TIMEOUT none"
    assert running.is_open


def test_command_on_a_closed_session_is_refused(stage):
    """The instrument hears nothing of it."""
    session = stage.opened()
    stage.resource.drop_session(session)
    assert stage.submit(session).said == "NO_RESOURCE none"


def test_commands_that_wait_are_withdrawn_when_their_session_closes(stage):
    """What runs goes on to its end; nothing else of that client is executed."""
    session = stage.opened()
    running, waiting = stage.submit(session), stage.submit(session)
    stage.resource.drop_session(session)
    assert waiting.said == "CLIENT_GONE none"
    stage.child.does()
    assert running.said == "ok"
    assert len(stage.child.runs) == 1


def test_read_is_not_carried_out_when_the_write_that_it_follows_failed(stage):
    """A posted write: its read must not read somebody else's answer."""
    session = stage.opened()
    write = stage.submit(session, "write", holds=True)
    read = stage.submit(session, "read", continues=True, after=write.ticket)
    stage.child.fails("VI_ERROR_IO", Effect.MAYBE, dirty=True)
    assert read.said == "WRITE_FAILED none"


# Attributes: to each session its own.


def test_child_gets_the_attributes_of_the_session_it_serves(stage):
    """Only what differs from what is set."""
    slow, plain = stage.opened(), stage.opened()
    stage.resource.attributes.set_local(slow, VI_ATTR_TMO_VALUE, 30000)
    for session in (slow, plain, plain, slow):
        stage.submit(session)
        stage.child.does()
    assert [run.attributes for run in stage.child.runs] == [
        [(VI_ATTR_TMO_VALUE, 30000)],
        [(VI_ATTR_TMO_VALUE, 2000)],
        [],
        [(VI_ATTR_TMO_VALUE, 30000)],
    ]


def test_attribute_that_the_library_does_not_know_is_not_set(stage):
    """It would fail every command."""
    session = stage.opened()
    stage.resource.attributes.set_local(session, 0x3FFF0999, 1)
    stage.submit(session)
    assert stage.child.running.attributes == []


def test_attributes_that_were_ever_set_are_set_again_when_setting_them_failed(stage):
    """Which of them were set is unknown; the others are as viOpen left them."""
    session = stage.opened()
    stage.resource.attributes.set_local(session, VI_ATTR_TMO_VALUE, 5)
    answers = stage.submit(session)
    stage.child.say(pipe.Done(stage.child.running.ticket, -1073807330, token="VI_ERROR_NSUP_ATTR_STATE", text="no"))
    assert answers.outcome.failed
    stage.submit(session)
    assert stage.child.running.attributes == [(VI_ATTR_TMO_VALUE, 5)]


def test_attributes_of_a_session_are_restored_on_a_new_process(stage):
    """And those of the resource are set when it opens."""
    session = stage.opened()
    stage.submit(session, "set_attribute", arguments=[VI_ATTR_TMO_VALUE, 9000])
    stage.child.does()
    stage.submit(session, "set_attribute", arguments=[BAUD_RATE, 19200])
    stage.child.does()
    stage.resource.restart()
    stage.child.dies()
    assert stage.child.order.attributes == [(BAUD_RATE, 19200)]
    stage.child.opens()
    assert stage.submit(session).said == "SESSION_RESET none"
    stage.submit(session)
    assert stage.child.running.attributes == [(VI_ATTR_TMO_VALUE, 9000)]


# Holds.


def test_answer_belongs_to_the_session_that_asked(stage):
    """Somebody else's query waits until it was read."""
    asker, other = stage.opened(), stage.opened()
    stage.submit(asker, "write", data=b"MEAS?\n", holds=True)
    stage.child.does()
    query = stage.submit(other)
    assert len(stage.child.runs) == 1
    stage.submit(asker, "read", continues=True)
    stage.child.does(b"5.0\n")
    assert stage.child.running.call == "query"
    stage.child.does()
    assert query.said == "ok"


def test_hold_ends_only_while_somebody_waits(stage):
    """`write("MEAS?"); sleep(30); read()` works as it does locally."""
    asker = stage.opened()
    stage.submit(asker, "write", holds=True)
    stage.child.does()
    stage.pass_time(30)
    read = stage.submit(asker, "read", continues=True)
    stage.child.does(b"5.0\n")
    assert read.outcome.data == b"5.0\n"
    assert [run.call for run in stage.child.runs] == ["write", "read"]


def test_instrument_is_emptied_before_others_are_served_after_a_hold_ran_out(stage):
    """Releasing without that would give them somebody else's answer."""
    asker, other = stage.opened(), stage.opened()
    stage.submit(asker, "write", holds=True)
    stage.child.does()
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
    stage.submit(exact, "write", data=b"A?\n", holds=True)
    stage.child.does()
    query = stage.submit(other)
    stage.submit(exact, "read", continues=True)
    stage.child.does(b"12345\n", status=VI_SUCCESS_MAX_CNT)
    assert query.is_open
    again = stage.submit(exact, "write", data=b"B?\n", holds=True)
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
        stage.submit(exact, "write", holds=True)
        stage.child.does()
        stage.submit(exact, "read", continues=True)
        stage.child.does(b"12345\n", status=VI_SUCCESS_MAX_CNT)
    assert [run.call for run in stage.child.runs] == ["write", "read"] * 3


def test_holder_that_polls_is_there_for_a_minute(stage):
    """`write("MEAS?")`, the status byte until it is ready, `read()`: somebody else waits, but not for ever."""
    asker, other = stage.opened(), stage.opened()
    stage.submit(asker, "write", holds=True)
    stage.child.does()
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
    stage.submit(asker, "write", holds=True)
    stage.child.does()
    stage.submit(other)
    for _ in range(20):
        stage.submit(asker, "read_stb")
        stage.child.does(value=0)
        stage.pass_time(1.0)
    read = stage.submit(asker, "read", continues=True)
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
        stage.submit(asker, "write", holds=True)
        stage.child.does()
    query = stage.submit(other)
    stage.submit(asker, "read", continues=True)
    stage.child.does(b"5.0\n")
    if not ends:
        stage.submit(asker, "read", continues=True)
    assert stage.child.running.call == ("resynchronise" if ends else "read")
    stage.child.does()
    assert stage.child.running.call == "query"
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_block_that_contains_its_termination_character_is_read_to_its_end(stage):
    """In pieces or not: nobody comes between."""
    asker, other = stage.opened(), stage.opened()
    stage.submit(asker, "write", holds=True)
    stage.child.does()
    query = stage.submit(other)
    stage.submit(asker, "read", continues=True)
    stage.child.starts()
    stage.child.gives(b"#19ab")
    stage.child.does(b"cd\n", status=VI_SUCCESS_TERM_CHAR)
    assert query.is_open
    stage.submit(asker, "read", continues=True)
    stage.child.does(b"efgh\n", status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "query"


@pytest.mark.parametrize("how", ["read", "closes before", "closes while it runs"])
def test_hold_of_a_session_that_is_gone_delays_nobody(stage, how):
    """Its answer is emptied at once, not when its time is up."""
    asker, other = stage.opened(), stage.opened()
    stage.resource.attributes.set_local(asker, VI_ATTR_TMO_VALUE, 60_000)
    stage.submit(asker, "write", holds=True)
    if how == "closes while it runs":
        stage.resource.drop_session(asker)
    stage.child.does()
    query = stage.submit(other)
    if how == "closes before":
        stage.resource.drop_session(asker)
    if how == "read":
        stage.submit(asker, "read", continues=True)
        stage.child.does()
    else:
        assert stage.state is State.RESYNC
        stage.child.does()
    stage.child.does()
    assert query.said == "ok"


def test_late_answer_may_be_read_by_the_session_that_it_belongs_to(stage):
    """A read that timed out is repeated with more patience; whatever is asked next begins with an empty instrument."""
    session = stage.opened()
    stage.submit(session, "write", holds=True)
    stage.child.does()
    read = stage.submit(session, "read", continues=True)
    stage.child.fails("VI_ERROR_TMO", Effect.NONE, dirty=True)
    assert read.said == "VI_ERROR_TMO none"
    for late in (b"late\n", b"and what else was owed\n"):
        again = stage.submit(session, "read", continues=True)
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
    """An instrument that babbles is hung."""
    session = stage.opened()
    stage.submit(session)
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    query = stage.submit(session)
    stage.child.starts()
    stage.pass_time(RESYNC_TIME + 0.1)
    assert stage.child.is_being_killed
    assert query.said == "SESSION_RESET none"


# Four failures kept apart.


def test_timeout_of_the_instrument_leaves_the_process_alone(stage):
    """It is healthy; it said so itself."""
    answers = stage.submit(stage.opened())
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    assert answers.said == "VI_ERROR_TMO done"
    assert stage.state is State.READY
    assert stage.events() == ["opened"]


@pytest.mark.parametrize(
    ("steps", "effect", "deadline"),
    [
        ((), "none", STARTED_TIME),
        (("starts",), "maybe", TIMEOUT + GRACE),
        (("starts", "writes"), "maybe", TIMEOUT + GRACE),
    ],
    ids=["before it started", "in the write", "in the read"],
)
def test_child_that_says_nothing_by_its_deadline_is_killed(stage, steps, effect, deadline):
    """Each step has a deadline of its own; the command says whether the instrument may have acted."""
    answers = stage.submit(stage.opened())
    for step in steps:
        stage.pass_time(1.9)
        getattr(stage.child, step)()
    stage.pass_time(deadline - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert answers.is_open, "it is judged when all is read that its process said"
    stage.child.dies()
    assert answers.said == f"INSTRUMENT_HUNG {effect}"
    pid = stage.children[0].pid
    assert f"no answer by its deadline: process {pid} hung and is killed; it starts anew" in answers.outcome.text
    assert stage.events() == ["opened", "hung", "killed"]


def test_pieces_keep_a_long_transfer_alive(stage):
    """Progress is a sign of life."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    for _ in range(20):
        stage.pass_time(TIMEOUT + GRACE - 0.5)
        stage.child.gives(b"x")
    stage.child.does()
    assert answers.said == "ok"


def test_infinite_timeout_has_no_deadline(stage):
    """Until the call has begun it has one."""
    session = stage.opened()
    stage.resource.attributes.set_local(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    answers = stage.submit(session)
    stage.child.starts()
    stage.pass_time(100_000)
    assert answers.is_open
    stage.resource.restart()
    assert answers.is_open
    stage.child.dies()
    assert answers.said == "INSTRUMENT_CRASHED maybe"
    assert "an operator restarted it; it starts anew" in answers.outcome.text


@pytest.mark.parametrize("later", [(), ("starts",), ("starts", "writes")], ids=["at once", "started", "written"])
def test_command_with_infinite_timeout_ends_when_its_client_is_gone(stage, later):
    """Nobody else could end it, and everybody else would wait for it; whatever the child reports after that."""
    session, other = stage.opened(), stage.opened()
    stage.resource.attributes.set_local(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    stage.submit(session, "read", continues=True)
    if not later:
        stage.child.starts()
    stage.submit(other)
    stage.resource.drop_session(session)
    for step in later:
        getattr(stage.child, step)()
    stage.pass_time(TIMEOUT + GRACE + 1)
    assert stage.child.is_being_killed


def test_hang_costs_the_others_one_failed_command_each(stage):
    """Queued ones fail with effect none; then each session's first command, once, if it was not told already."""
    hung, queued, idle = stage.opened(), stage.opened(), stage.opened()
    one, two = stage.submit(hung), stage.submit(queued)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    assert one.is_open
    assert two.said == "SESSION_RESET none"
    stage.child.dies()
    assert one.said == "INSTRUMENT_HUNG maybe"
    stage.child.opens()
    for session in (hung, queued):
        answers = stage.submit(session)
        stage.child.does()
        assert answers.said == "ok"
    assert stage.submit(idle).said == "SESSION_RESET none"
    answers = stage.submit(idle)
    stage.child.does()
    assert answers.said == "ok"
    assert stage.resource.keeper.restarts == 1


def test_restart_asked_while_a_hung_process_is_killed_does_not_take_the_blame(stage):
    """The command that hung is told that it hung."""
    hung = stage.submit(stage.opened())
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    stage.resource.restart()
    stage.child.dies()
    assert hung.said == "INSTRUMENT_HUNG maybe"
    assert "no answer by its deadline" in hung.outcome.text
    assert "operator" not in hung.outcome.text


def test_command_that_waits_for_the_new_process_is_served_by_it(stage):
    """It came after the failure was told, from one who knew."""
    hung, queued = stage.opened(), stage.opened()
    stage.submit(hung)
    told = stage.submit(queued)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    assert told.said == "SESSION_RESET none"
    waiting = [stage.submit(queued)]
    stage.child.dies()
    waiting.append(stage.submit(hung))
    assert all(answers.is_open for answers in waiting)
    stage.child.opens()
    stage.child.does()
    stage.child.does()
    assert [answers.said for answers in waiting] == ["ok", "ok"]


def test_command_that_was_sent_before_its_session_was_told_is_not_carried_out_afterwards(stage):
    """The one before it hangs and is being killed: its client knows nothing of that yet."""
    session = stage.opened()
    hung = stage.submit(session)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    waiting = [stage.submit(session, data=b"VOLT 1"), stage.submit(session, data=b"VOLT 2")]
    stage.child.dies()
    assert hung.said == "INSTRUMENT_HUNG maybe"
    stage.child.opens()
    assert [answers.said for answers in waiting] == ["SESSION_RESET none"] * 2
    assert stage.child.runs == []


@pytest.mark.parametrize("is_started", [False, True])
def test_crash_fails_the_running_command_and_restarts_at_once(stage, is_started):
    """The effect follows from what the child had said."""
    answers = stage.submit(stage.opened())
    if is_started:
        stage.child.starts()
    stage.child.dies()
    assert answers.said == f"INSTRUMENT_CRASHED {'maybe' if is_started else 'none'}"
    assert stage.state is State.OPENING
    assert stage.events() == ["opened", "crashed"]
    stage.child.opens()
    assert stage.events() == ["opened", "crashed", "restarted"]


def test_garbage_costs_the_process_its_life(stage):
    """Whoever sends what is no message cannot be trusted any further."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    stage.child.babbles()
    assert stage.child.is_being_killed
    assert answers.is_open
    stage.child.dies()
    assert answers.said == "INSTRUMENT_CRASHED maybe"


def kill_it(stage, how):
    """The process has a command and is told to die."""
    if how == "hung":
        stage.pass_time(STARTED_TIME + 0.1)
    elif how == "garbage":
        stage.child.babbles()
    else:
        stage.resource.restart()
        stage.run()
    assert stage.state is State.KILLING
    return "INSTRUMENT_HUNG" if how == "hung" else "INSTRUMENT_CRASHED"


KILLS = pytest.mark.parametrize("how", ["hung", "garbage", "restart"])


@KILLS
def test_start_that_crossed_a_kill_counts(stage, how):
    """The instrument may have acted: nobody is told that it certainly did not."""
    answers = stage.submit(stage.opened())
    token = kill_it(stage, how)
    stage.child.starts()
    stage.child.dies()
    assert answers.said == f"{token} maybe"


@KILLS
def test_outcome_that_crossed_a_kill_counts(stage, how):
    """The answer is there, if late; the process dies all the same."""
    answers = stage.submit(stage.opened())
    kill_it(stage, how)
    stage.child.does(b"late\n")
    assert answers.said == "ok"
    assert answers.outcome.data == b"late\n"
    assert stage.state is State.KILLING
    stage.child.dies()
    assert stage.state is State.OPENING


@KILLS
def test_failure_that_crossed_a_kill_counts(stage, how):
    """With the child's own word for what the instrument had heard."""
    answers = stage.submit(stage.opened())
    kill_it(stage, how)
    stage.child.fails("VI_ERROR_IO", Effect.DONE, dirty=True)
    assert answers.said == "VI_ERROR_IO done"
    stage.child.dies()
    assert stage.state is State.OPENING


@KILLS
@pytest.mark.parametrize("timeout_ms", [2000, 60_000, VI_TMO_INFINITE])
def test_report_that_crossed_a_kill_does_not_put_off_the_end(stage, how, timeout_ms):
    """A process that says something while it cannot die is wedged as soon as one that does not."""
    session = stage.opened()
    stage.resource.attributes.set_local(session, VI_ATTR_TMO_VALUE, timeout_ms)
    answers = stage.submit(session)
    kill_it(stage, how)
    stage.pass_time(KILL_TIME / 2)
    stage.child.starts()
    stage.child.writes()
    stage.child.gives(b"part")
    stage.resource.drop_session(session)
    stage.pass_time(KILL_TIME / 2 + 0.1)
    assert stage.state is State.WEDGED
    assert answers.said.endswith(" maybe")


def test_front_that_was_stopped_reads_first_what_was_said_meanwhile(stage):
    """SIGSTOP, a suspended machine: a deadline that passed in its sleep is nobody's fault."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    stage.stop_front(3600)
    stage.pass_time(LATE - 0.01)
    assert not stage.child.is_being_killed
    stage.child.does(b"in time\n")
    assert answers.outcome.data == b"in time\n"
    stage.pass_time(100)
    assert stage.events() == ["opened"]


def test_process_that_says_nothing_after_the_front_was_stopped_is_killed(stage):
    """It has a moment more, not for ever."""
    stage.submit(stage.opened())
    stage.child.starts()
    stage.stop_front(3600)
    stage.pass_time(LATE + 0.01)
    assert stage.child.is_being_killed
    assert stage.events() == ["opened", "hung"]


def test_open_that_crossed_a_kill_is_no_restart(stage):
    """The child answers its open in the moment when it is killed for not answering: it never served anybody."""
    session = stage.opened()
    stage.child.dies()
    stage.pass_time(OPEN_TIME + 0.1)
    assert stage.state is State.KILLING
    stage.child.opens()
    assert stage.resource.keeper.restarts == 0
    assert "restarted" not in stage.events()
    assert session in stage.resource.sessions


def test_answer_to_no_command_does_not_end_the_one_that_runs(stage):
    """A child that says that a resynchronisation ended, which it was not asked for, is out of order."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    stage.child.say(pipe.Done(0, 0))
    assert stage.state is not State.READY, "the command is still with the child"
    stage.child.dies()
    assert not answers.is_open


def test_second_failure_in_a_minute_waits_before_the_next_start(stage):
    """Commands meanwhile fail at once and say how long."""
    session = stage.opened()
    stage.child.dies()
    stage.child.opens()
    stage.child.dies()
    assert stage.state is State.BACKOFF
    assert stage.submit(session).said == "INSTRUMENT_BACKOFF none"
    assert failure_of(stage.asks_to_open()) == "INSTRUMENT_BACKOFF none"
    stage.pass_time(0.9)
    assert stage.state is State.BACKOFF
    stage.pass_time(0.2)
    assert stage.state is State.OPENING
    stage.child.opens()
    answers = stage.submit(session)
    stage.child.does()
    assert answers.said == "ok"


def break_it(stage):
    """Six crashes in a minute."""
    for _ in range(6):
        if stage.state is State.BACKOFF:
            stage.pass_time(stage.house.breakers[NAME].wait)
        if stage.state is State.OPENING:
            stage.child.opens()
        stage.child.dies()


def test_instrument_is_left_alone_after_too_many_failures_until_reset(stage):
    """It would fill the disk with error logs."""
    session = stage.opened()
    break_it(stage)
    assert stage.state is State.BROKEN
    assert stage.submit(session).said == "INSTRUMENT_BROKEN none"
    assert failure_of(stage.asks_to_open()) == "INSTRUMENT_BROKEN none"
    stage.pass_time(200)
    assert stage.state is State.BROKEN
    stage.resource.reset()
    assert stage.state is State.STARTING
    stage.run()
    stage.child.opens()
    answers = stage.submit(session)
    stage.child.does()
    assert answers.said == "ok"


def test_reset_in_back_off_starts_at_once_and_leaves_no_timer_behind(stage):
    """A later back-off lasts its full time."""
    session = stage.opened()
    stage.child.dies()
    stage.child.opens()
    stage.child.dies()
    assert stage.state is State.BACKOFF  # for 1 s
    stage.pass_time(0.5)
    stage.resource.reset()
    stage.run()
    stage.child.opens()
    stage.child.dies()  # the first after the reset: at once
    stage.child.opens()
    stage.child.dies()
    assert stage.state is State.BACKOFF  # for 1 s from now
    stage.pass_time(0.7)
    assert stage.state is State.BACKOFF
    assert session in stage.resource.sessions


def test_commanded_restart_is_no_failure(stage):
    """However often an operator says it."""
    session = stage.opened()
    for _ in range(10):
        stage.resource.restart()
        stage.child.dies()
        stage.child.opens()
    assert stage.state is State.READY
    assert session in stage.resource.sessions


def test_restart_fails_what_waits_for_a_hold(stage):
    """What was sent before the restart is not carried out after it."""
    asker, other = stage.opened(), stage.opened()
    stage.submit(asker, "write", holds=True)
    stage.child.does()
    waiting = [stage.submit(other, data=b"VOLT 1"), stage.submit(other, data=b"VOLT 2")]
    stage.resource.restart()
    stage.child.dies()
    stage.child.opens()
    assert [answers.said for answers in waiting] == ["SESSION_RESET none"] * 2
    assert stage.child.runs == []


def test_process_that_cannot_be_killed_makes_commands_fail_at_once(stage):
    """Wedged is a state: it says so, and nobody waits."""
    session = stage.opened()
    running = stage.submit(session)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    waiting, opening = stage.submit(session), stage.asks_to_open()
    assert running.is_open
    stage.pass_time(KILL_TIME + 0.1)
    assert stage.state is State.WEDGED
    assert running.said == "INSTRUMENT_HUNG maybe"
    assert waiting.said == "SESSION_RESET none"
    assert failure_of(opening) == "INSTRUMENT_WEDGED none"
    assert stage.submit(session).said == "INSTRUMENT_WEDGED none"
    stage.child.dies()
    stage.child.opens()
    assert stage.state is State.READY


def test_no_second_process_is_started_while_the_first_lives(stage):
    """Two processes on one instrument would be worse than none."""
    session = stage.opened()
    stage.submit(session)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    stage.resource.restart()
    stage.resource.reset()
    stage.asks_to_open().cancel()
    stage.pass_time(1000)
    assert len(stage.children) == 1


# Offline.


def test_lost_instrument_is_offline_and_commands_fail_at_once(stage):
    """No failure of the child: it does not count, and the next command tries again."""
    session = stage.opened()
    answers = stage.submit(session)
    stage.child.fails("VI_ERROR_CONN_LOST", dirty=True)
    assert answers.said == "VI_ERROR_CONN_LOST done"
    stage.child.dies()
    assert stage.state is State.OFFLINE
    assert stage.events() == ["opened", "unreachable", "killed"]


def take_offline(stage, session):
    """The connection is lost, and it cannot be opened again."""
    stage.submit(session)
    stage.child.fails("VI_ERROR_CONN_LOST", dirty=True)
    stage.child.dies()
    answers = stage.submit(session)
    stage.child.refuses()
    stage.child.dies()
    assert stage.state is State.OFFLINE
    return answers


def test_command_to_an_instrument_that_is_offline_fails_as_connection_lost(stage):
    """Also the one that made the daemon try, and whoever asks within the next moment."""
    session = stage.opened()
    tried = take_offline(stage, session)
    assert tried.outcome.status == -1073807194
    assert tried.said == "VI_ERROR_CONN_LOST none"
    assert stage.submit(session).said == "VI_ERROR_CONN_LOST none"
    assert len(stage.children) == 2


def test_instrument_that_is_switched_on_again_works_by_itself(stage):
    """In the morning, at the first command."""
    session = stage.opened()
    take_offline(stage, session)
    stage.pass_time(OFFLINE_TIME + 0.1)
    answers = stage.submit(session)
    stage.child.opens()
    stage.child.does(b"back\n")
    assert answers.outcome.data == b"back\n"


def test_nights_offline_never_break_it(stage):
    """Attempts that fail are no failures of the process."""
    session = stage.opened()
    take_offline(stage, session)
    for _ in range(20):
        stage.pass_time(OFFLINE_TIME + 0.1)
        stage.submit(session)
        stage.child.refuses()
        stage.child.dies()
    assert stage.state is State.OFFLINE


# Closing.


def test_resource_is_closed_after_the_linger(stage):
    """Not before: the next program finds it warm."""
    session = stage.opened()
    stage.resource.drop_session(session)
    stage.pass_time(stage.house.linger - 1)
    assert stage.state is State.READY
    stage.pass_time(2)
    assert stage.child.order == pipe.Close()
    stage.child.say(pipe.Closed())
    stage.child.dies()
    assert stage.state is State.CLOSED
    assert stage.forgotten == [stage.resource]
    assert stage.events() == ["opened", "closed"]


def test_resource_that_is_opened_again_within_the_linger_stays(stage):
    """The clock starts anew at the last close."""
    stage.resource.drop_session(stage.opened())
    stage.pass_time(stage.house.linger - 1)
    session = stage.opened()
    stage.pass_time(1000)
    assert stage.state is State.READY
    stage.resource.drop_session(session)
    stage.pass_time(stage.house.linger - 1)
    assert stage.state is State.READY


def test_resource_is_closed_at_the_last_close_without_linger(stage):
    """State of a simulated instrument is fresh at the next open."""
    stage.house.linger = 0.0
    first, second = stage.opened(), stage.opened()
    stage.resource.drop_session(first)
    assert stage.state is State.READY
    stage.resource.drop_session(second)
    assert stage.child.order == pipe.Close()


def test_resource_closes_when_its_running_command_ends_after_the_last_close(stage):
    """What runs goes on to its end."""
    stage.house.linger = 0.0
    session = stage.opened()
    running = stage.submit(session)
    stage.resource.drop_session(session)
    assert stage.state is State.BUSY
    stage.child.does()
    assert running.said == "ok"
    assert stage.child.order == pipe.Close()


def test_open_while_it_closes_is_served_by_a_new_process(stage):
    """The old one ends first."""
    stage.house.linger = 0.0
    stage.resource.drop_session(stage.opened())
    opening = stage.asks_to_open()
    assert len(stage.children) == 1
    stage.child.dies()
    stage.child.opens()
    assert opening.result()
    assert len(stage.children) == 2


def test_close_has_a_deadline(stage):
    """Then it is killed."""
    stage.house.linger = 0.0
    stage.resource.drop_session(stage.opened())
    stage.pass_time(CLOSE_TIME + 0.1)
    assert stage.child.is_being_killed
    stage.child.dies()
    assert stage.state is State.CLOSED


@pytest.mark.parametrize("state", [State.OFFLINE, State.BACKOFF, State.BROKEN])
def test_resource_without_a_process_is_forgotten_at_the_last_close(stage, state):
    """There is nothing to keep warm."""
    session = stage.opened()
    if state is State.OFFLINE:
        take_offline(stage, session)
    elif state is State.BACKOFF:
        stage.child.dies()
        stage.child.opens()
        stage.child.dies()
    else:
        break_it(stage)
    assert stage.state is state
    stage.resource.drop_session(session)
    assert stage.forgotten == [stage.resource]


def test_closed_returns_when_the_process_has_ended(stage):
    """Who closes with no linger can rely on it."""
    stage.house.linger = 0.0
    session = stage.opened()
    closing = stage.start(stage.resource.closed())
    stage.resource.drop_session(session)
    assert not closing.done()
    stage.child.dies()
    assert closing.done()


# The daemon's end.


@pytest.mark.parametrize("moment", ["starting", "opening", "killing", "ready", "busy", "closing"])
def test_shut_answers_everybody_and_ends_the_process(stage, moment):
    """Opens and commands alike; nothing is started anew."""
    stage.is_warm = moment != "starting"
    opening = stage.asks_to_open()
    answers = []
    if moment == "killing":
        stage.child.babbles()
        assert failure_of(opening) == "INSTRUMENT_CRASHED none"
        opening = stage.asks_to_open()
    if moment in ("ready", "busy", "closing"):
        stage.child.opens()
    if moment == "busy":
        answers = [stage.submit(opening.result()), stage.submit(opening.result())]
    if moment == "closing":
        stage.resource.drop_session(opening.result())
        stage.resource.keeper.fire(Event.CLOSE)
        opening = stage.asks_to_open()
    stage.resource.shut()
    stage.run()
    stage.warm()
    for child in stage.children:
        if child.is_alive:
            child.dies()
    stage.pass_time(100)
    if moment not in ("ready", "busy"):
        assert failure_of(opening) == "SHUTTING_DOWN none"
    assert all(answer.outcome.failed for answer in answers)
    assert stage.forgotten == [stage.resource]
    assert not any(child.is_alive for child in stage.children)


def test_commands_that_wait_when_the_daemon_stops_are_told_so(stage):
    """They were not carried out; that their client was gone would be no answer to one who is there."""
    session, other = stage.opened(), stage.opened()
    running = stage.submit(session)
    stage.child.starts()
    waiting = [stage.submit(session), stage.submit(other)]
    stage.resource.shut()
    assert [answers.said for answers in waiting] == ["SHUTTING_DOWN none"] * 2
    assert running.is_open
    stage.child.dies()
    assert running.said == "SHUTTING_DOWN maybe"
    assert running.outcome.text == f"{NAME}: the daemon is stopping"
    assert len(stage.child.runs) == 1


def test_garbage_of_a_process_that_is_closing_is_ignored(stage):
    """Its end is awaited anyway; it is no failure of the instrument, which somebody else may want at once."""
    stage.house.linger = 0.0
    stage.resource.drop_session(stage.opened())
    opening = stage.asks_to_open()
    assert stage.state is State.CLOSING
    stage.child.babbles()
    assert stage.state is State.CLOSING
    assert not stage.child.is_being_killed
    stage.child.dies()
    stage.child.opens()
    assert opening.result()
    assert stage.events() == ["opened", "closed", "restarted"]
    assert stage.house.breakers[NAME].is_forgotten(stage.loop.time())
    assert stage.resource.keeper.last_error is None


def test_outcome_that_nobody_can_take_is_a_fault_of_ours_and_the_others_go_on(stage):
    """Whoever asked may be in any state; the record is written, and the next one is served."""
    session, other = stage.opened(), stage.opened()
    error = ZeroDivisionError("a fault of ours")

    def fail(_):
        raise error

    stage.submit(session, on_outcome=fail, command="query A?")
    waiting = stage.submit(other)
    stage.child.does()
    assert stage.house.faults == [error]
    assert len(stage.house.audit.of("command", command="query A?", outcome="ok")) == 1
    stage.child.does(b"mine\n")
    assert waiting.outcome.data == b"mine\n"


def test_cancelled_open_costs_nobody_anything(stage):
    """Its client left; the other one gets its session."""
    opening, other = stage.asks_to_open(), stage.asks_to_open()
    opening.cancel()
    stage.run()
    stage.child.opens()
    assert other.result() in stage.resource.sessions
    assert isinstance(stage.resource.sessions, set)
    assert len(stage.resource.sessions) == 1
    with pytest.raises(asyncio.CancelledError):
        opening.result()
