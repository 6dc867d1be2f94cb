"""The safe state among commands: it comes before everybody, once, whatever the process is doing.

The process is played (see `playbook`), and time is the test's.
"""

from itertools import pairwise

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.configuration.resource_settings import read_rows
from front_proc.process.lifecycle import State
from front_proc.serving.hold import PATIENCE
from front_proc.serving.leases import Terms
from front_proc.serving.locks import LockKind
from front_proc.serving.service import SOON
from front_proc.serving.sessions import VI_ATTR_SEND_END_EN, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE
from front_proc.serving.tickets import failed
from pyvisa_daemon.errors import Effect
from tests.front_proc.playbook import NAME, break_it, failure_of, take_offline

MESSAGES = (b"OUTP OFF", b"VOLT 0")
BOTH = [b"OUTP OFF\n", b"VOLT 0\n"]


@pytest.fixture
def stage(stage):
    stage.configure(safe_state=MESSAGES)
    return stage


def locks(stage, session, kind=LockKind.EXCLUSIVE):
    key = "ours" if kind is LockKind.SHARED else None
    return stage.result(stage.resource.lock(session, kind, key, 0.0))


def holder(stage, **options):
    """A session that has the lock."""
    session = stage.opened(**options)
    locks(stage, session)
    return session


def is_lost(stage, session):
    """Its client is gone."""
    session.client.gone = "its connection is gone"
    stage.resource.drop_session(session)
    stage.run()


def does_all(stage):
    while stage.state is State.BUSY:
        stage.child.does()


def told(stage):
    """The messages that children were given, those of the safe state among them."""
    return [run.data for child in stage.children for run in child.runs if run.call in ("write", "query")]


def records(stage):
    return [(each["command"], each["outcome"], each["effect"]) for each in stage.house.audit.of("safe")]


def safe(stage):
    return stage.service.safe.describe()


# Who is lost.


def test_safe_state_is_sent_when_the_holder_of_the_lock_is_lost(stage):
    is_lost(stage, holder(stage))
    does_all(stage)
    assert told(stage) == BOTH
    assert records(stage) == [("OUTP OFF", "ok", "done"), ("VOLT 0", "ok", "done")]
    (record, _) = stage.house.audit.of("safe")
    assert record["resource"] == NAME
    assert "had a lock: its connection is gone" in record["reason"]
    assert safe(stage)["state"] == "sent"
    assert stage.state is State.READY


def test_safe_state_is_sent_when_one_of_those_who_share_a_lock_is_lost(stage):
    ann, bob = stage.opened(), stage.opened()
    locks(stage, ann, LockKind.SHARED)
    locks(stage, bob, LockKind.SHARED)
    is_lost(stage, ann)
    does_all(stage)
    assert told(stage) == BOTH


@pytest.mark.parametrize("how", ["ran out", "forced"])
def test_safe_state_is_sent_when_a_lock_is_taken_away_and_before_the_next_has_its_turn(stage, how):
    owner, other = stage.opened(), stage.opened()
    stage.result(stage.resource.lock(owner, LockKind.EXCLUSIVE, None, 0.0, Terms(10.0, "")))
    waiting = stage.start(stage.resource.lock(other, LockKind.EXCLUSIVE, None, None))
    if how == "ran out":
        stage.pass_time(10.1)
    else:
        stage.service.locks.force(other.client)
        stage.run()
    assert waiting.result().status == 0
    answers = stage.submit(other, "write", data=b"NEXT\n")
    does_all(stage)
    assert told(stage) == [*BOTH, b"NEXT\n"]
    assert answers.said == "ok"
    assert len(records(stage)) == 2


@pytest.mark.parametrize("goes", ["closes", "unlocks first", "never had it", "only waited for it"])
def test_nothing_is_sent_for_who_goes_without_a_loss(stage, goes):
    other = stage.opened()
    if goes == "only waited for it":
        locks(stage, other)
    session = stage.opened()
    if goes in ("closes", "unlocks first"):
        locks(stage, session)
    if goes == "unlocks first":
        stage.service.locks.unlock(session)
    if goes == "only waited for it":
        waiting = stage.start(stage.resource.lock(session, LockKind.EXCLUSIVE, None, 60.0))
    if goes != "closes":
        session.client.gone = "its connection is gone"
    stage.resource.drop_session(session)
    stage.run()
    if goes == "only waited for it":
        assert failure_of(waiting) == "CLIENT_GONE none"
    assert told(stage) == []
    assert safe(stage) is None


def test_nothing_is_sent_where_no_safe_state_is_configured(stage):
    stage.configure()
    is_lost(stage, holder(stage))
    stage.service.make_safe("somebody said so")
    assert told(stage) == []
    assert safe(stage) is None


def test_client_that_is_lost_with_two_sessions_brings_one_safe_state(stage):
    client = stage.client()
    first, second = stage.opened(client), stage.opened(client)
    locks(stage, first, LockKind.SHARED)
    locks(stage, second, LockKind.SHARED)
    for session in (first, second):
        session.client.gone = "its connection is gone"
        stage.resource.drop_session(session)
    stage.run()
    does_all(stage)
    assert told(stage) == BOTH


# Before everybody.


def test_safe_state_comes_before_who_waits_for_the_lock(stage):
    session, other = holder(stage), stage.opened()
    waiting = stage.start(stage.resource.lock(other, LockKind.EXCLUSIVE, None, 60.0))
    is_lost(stage, session)
    assert waiting.done()
    mine = stage.submit(other, "write", data=b"VOLT 5\n")
    assert told(stage) == BOTH[:1]
    stage.child.does()
    assert told(stage) == BOTH
    stage.child.does()
    stage.child.does(value=7)
    assert mine.said == "ok"
    assert told(stage) == [*BOTH, b"VOLT 5\n"]


def test_commands_that_the_lost_one_had_waiting_are_not_executed(stage):
    session = holder(stage)
    running = stage.submit(session, "write", data=b"VOLT 4\n")
    waiting = stage.submit(session, "write", data=b"VOLT 5\n")
    is_lost(stage, session)
    assert waiting.said == "CLIENT_GONE none"
    does_all(stage)
    assert running.said == "ok"
    assert told(stage) == [b"VOLT 4\n", *BOTH]


def test_command_that_ends_soon_is_not_cut_short(stage):
    """To cut one would cost the process, and a bus perhaps its peace."""
    session = holder(stage)
    query = stage.submit(session)
    is_lost(stage, session)
    stage.pass_time(SOON / 2)
    assert stage.state is State.BUSY
    stage.child.does(b"5.0\n")
    assert query.said == "ok"
    does_all(stage)
    stage.pass_time(SOON)
    assert len(stage.children) == 1
    assert told(stage)[1:] == BOTH


def test_long_command_is_cut_short_by_a_device_clear_where_there_is_one(stage):
    session = holder(stage, ends=True, can_abort=True)
    query = stage.submit(session)
    stage.child.starts()
    is_lost(stage, session)
    stage.pass_time(SOON + 0.1)
    assert stage.state is State.ABORTING
    stage.child.fails("VI_ERROR_ABORT")
    assert query.said == "COMMAND_ABORTED done"
    does_all(stage)
    assert told(stage)[1:] == BOTH
    assert len(stage.children) == 1


def test_long_command_is_cut_short_with_its_process_where_there_is_no_device_clear(stage):
    """The new process's first act is the safe state, though nobody has a session."""
    session = holder(stage)
    stage.sets(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    sweep = stage.submit(session, "write", data=b"SWEEP\n")
    stage.child.writes()
    is_lost(stage, session)
    stage.pass_time(SOON + 0.1)
    assert stage.state is State.KILLING
    stage.child.dies()
    assert sweep.said == "COMMAND_ABORTED maybe"
    stage.child.opens()
    assert told(stage) == [b"SWEEP\n", *BOTH[:1]]
    does_all(stage)
    assert told(stage) == [b"SWEEP\n", *BOTH]
    assert stage.child.runs[0].data == b"OUTP OFF\n"


def test_long_command_of_somebody_else_who_shares_the_lock_is_cut_short_too(stage):
    ann, bob = stage.opened(), stage.opened()
    locks(stage, ann, LockKind.SHARED)
    locks(stage, bob, LockKind.SHARED)
    sweep = stage.submit(bob)
    stage.child.starts()
    is_lost(stage, ann)
    stage.pass_time(SOON + 0.1)
    stage.child.dies()
    assert sweep.said == "COMMAND_ABORTED maybe"
    stage.child.opens()
    does_all(stage)
    assert told(stage)[1:] == BOTH


# In order with what was begun or not read.


def test_answer_that_the_lost_one_did_not_read_is_cleared_away_first(stage):
    session = holder(stage)
    stage.asked(session)
    is_lost(stage, session)
    assert stage.state is State.RESYNC
    stage.child.does()
    does_all(stage)
    assert [run.call for run in stage.child.runs] == ["write", "resynchronise", "write", "write"]


def test_answer_that_somebody_else_awaits_is_read_ahead_for_it_first(stage):
    ann, bob = stage.opened(ends=True), stage.opened()
    locks(stage, ann, LockKind.SHARED)
    locks(stage, bob, LockKind.SHARED)
    stage.asked(bob)
    is_lost(stage, ann)
    assert stage.child.running.call == "read_ahead"
    stage.child.does(b"5.0\n")
    does_all(stage)
    assert told(stage)[1:] == BOTH
    assert stage.submit(bob, "read", arguments=[20]).outcome.data == b"5.0\n"


def test_message_that_was_half_written_is_cleared_away_first(stage):
    session = holder(stage)
    stage.submit(session, "write", data=b"VOL")
    stage.child.does(value=3)
    is_lost(stage, session)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    does_all(stage)
    assert told(stage) == [b"VOL", *BOTH]


def test_message_that_brings_an_answer_all_the_same_leaves_none_to_others(stage):
    """`hold` says that everything is answered there."""
    (row,) = read_rows([{"match": NAME, "hold": "always"}], "lab.toml")
    stage.configure(safe_state=MESSAGES, **row.given)
    is_lost(stage, holder(stage))
    other = stage.opened()
    mine = stage.submit(other)
    while mine.is_open:
        stage.child.does(b"mine\n")
    calls = [run.call for run in stage.child.runs]
    assert calls == ["write", "resynchronise", "write", "resynchronise", "query"]
    resynchronise = stage.child.runs[1]
    assert resynchronise.arguments == [1, round(PATIENCE[0] * 1000)]


def test_messages_have_a_timeout_and_an_end_of_their_own(stage):
    """Whatever the lost one has set."""
    session = holder(stage)
    stage.sets(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    stage.sets(session, VI_ATTR_SEND_END_EN, False)
    stage.submit(session, "write", data=b"A\n")
    stage.child.does(value=2)
    is_lost(stage, session)
    while stage.child.running.call == "resynchronise":
        stage.child.does()
    wanted = {VI_ATTR_TMO_VALUE: round(LIMITS.safe_time * 1000), VI_ATTR_SEND_END_EN: True}
    assert dict(stage.child.running.attributes) == wanted


def test_write_termination_of_the_resource_ends_each_message(stage):
    stage.configure(safe_state=MESSAGES, termination=(b"\r\n", b"\r"))
    is_lost(stage, holder(stage))
    does_all(stage)
    assert told(stage) == [b"OUTP OFF\r", b"VOLT 0\r"]


# Failures.


def test_message_that_fails_does_not_keep_back_the_next(stage):
    is_lost(stage, holder(stage))
    stage.child.fails("VI_ERROR_TMO", Effect.MAYBE, dirty=True)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    does_all(stage)
    assert told(stage) == BOTH
    assert records(stage) == [("OUTP OFF", "VI_ERROR_TMO", "maybe"), ("VOLT 0", "ok", "done")]
    assert safe(stage)["state"] == "failed"


def test_message_that_hangs_is_not_sent_again_and_the_next_goes_to_the_new_process(stage):
    is_lost(stage, holder(stage))
    stage.child.starts()
    stage.pass_time(LIMITS.safe_time + stage.house.grace + 0.1)
    assert stage.state is State.KILLING
    stage.child.dies()
    stage.child.opens()
    does_all(stage)
    assert told(stage) == BOTH
    assert records(stage) == [("OUTP OFF", "INSTRUMENT_HUNG", "maybe"), ("VOLT 0", "ok", "done")]


def test_message_that_never_began_is_sent_by_the_new_process(stage):
    """A process died before it was its turn: that is proven, so nothing is sent twice."""
    is_lost(stage, holder(stage))
    stage.child.dies()
    stage.child.opens()
    does_all(stage)
    assert told(stage) == [b"OUTP OFF\n", *BOTH]
    assert records(stage) == [("OUTP OFF", "ok", "done"), ("VOLT 0", "ok", "done")]


def test_message_of_a_process_that_is_out_of_its_mind_is_not_sent_again(stage):
    is_lost(stage, holder(stage))
    stage.child.babbles()
    stage.child.dies()
    stage.child.opens()
    does_all(stage)
    assert told(stage) == BOTH
    assert records(stage)[0] == ("OUTP OFF", "INSTRUMENT_CRASHED", "maybe")


def test_safe_state_of_what_is_offline_is_sent_when_it_is_back(stage):
    """Nobody has it open: the daemon itself tries."""
    session = holder(stage)
    take_offline(stage, session)
    is_lost(stage, session)
    assert safe(stage)["state"] == "due"
    for _ in range(3):
        while stage.state is State.OFFLINE:
            stage.pass_time(1.0)
        stage.child.refuses()
        stage.child.dies()
    assert stage.state is State.OFFLINE
    assert told(stage)[1:] == []
    while stage.state is State.OFFLINE:
        stage.pass_time(1.0)
    stage.child.opens()
    does_all(stage)
    assert told(stage)[1:] == BOTH


def test_what_is_offline_is_tried_less_and_less_often_and_for_ever(stage):
    """As long as the longest back-off says at most: each try takes a process."""
    session = holder(stage)
    take_offline(stage, session)
    is_lost(stage, session)
    began, tries = stage.loop.time(), []
    while stage.loop.time() < began + 3600:
        while stage.state is State.OFFLINE:
            stage.pass_time(1.0)
        tries.append(stage.loop.time())
        stage.child.refuses()
        stage.child.dies()
    waits = [round(later - earlier) for earlier, later in pairwise(tries)]
    assert waits[-1] <= LIMITS.longest_backoff + LIMITS.longest_offline + 1
    assert waits[0] < waits[-1]
    assert 50 < len(tries) < 80


def test_command_that_wakes_what_is_offline_comes_behind_the_safe_state(stage):
    session, other = holder(stage), stage.opened()
    take_offline(stage, session)
    is_lost(stage, session)
    while stage.state is State.OFFLINE:
        stage.pass_time(1.0)
    stage.child.opens()
    mine = stage.submit(other, "write", data=b"VOLT 5\n")
    does_all(stage)
    mine = mine if mine.said == "ok" else stage.submit(other, "write", data=b"VOLT 5\n")
    does_all(stage)
    assert told(stage)[1:] == [*BOTH, b"VOLT 5\n"]


def test_safe_state_of_what_is_broken_waits_for_the_trial_or_a_reset(stage):
    session = holder(stage)
    break_it(stage)
    is_lost(stage, session)
    stage.pass_time(60)
    assert stage.state is State.BROKEN
    stage.resource.reset()
    stage.run()
    stage.child.opens()
    does_all(stage)
    assert told(stage) == BOTH


def test_operator_is_told_of_a_message_that_fails(stage):
    stage.opened()
    asked = stage.start(stage.resource.make_safe("somebody said so"))
    stage.child.fails("VI_ERROR_IO", Effect.MAYBE)
    stage.child.does()
    assert failure_of(asked) == "VI_ERROR_IO maybe"


def test_operator_is_told_when_the_instrument_does_not_come_back(stage):
    """It stays due."""
    stage.opened()
    asked = stage.start(stage.resource.make_safe("somebody said so"))
    stage.child.fails("VI_ERROR_CONN_LOST", Effect.MAYBE)
    stage.child.dies()
    assert failure_of(asked) == "VI_ERROR_CONN_LOST maybe"
    assert safe(stage)["state"] == "due"


def test_what_is_forgotten_is_not_sent(stage):
    session = holder(stage)
    take_offline(stage, session)
    is_lost(stage, session)
    assert stage.resource.forget_safety(failed("COMMAND_ABORTED"))
    assert stage.resource in stage.forgotten
    assert records(stage) == [("OUTP OFF", "COMMAND_ABORTED", "none"), ("VOLT 0", "COMMAND_ABORTED", "none")]
    assert not stage.resource.forget_safety(failed("COMMAND_ABORTED"))


# Without a session, and the end.


def test_resource_that_lingers_is_made_safe_and_lingers_on(stage):
    session = stage.opened()
    stage.resource.drop_session(session)
    stage.pass_time(stage.house.linger - 0.5)
    asked = stage.start(stage.resource.make_safe("somebody said so"))
    stage.pass_time(1.0)
    assert stage.state is State.BUSY
    does_all(stage)
    assert asked.done()
    assert asked.exception() is None
    stage.pass_time(stage.house.linger - 1)
    assert stage.state is State.READY
    stage.pass_time(2)
    assert stage.state is State.CLOSING


def test_resource_without_linger_closes_behind_its_safe_state(stage):
    stage.house.linger = 0.0
    is_lost(stage, holder(stage))
    assert stage.state is State.BUSY
    does_all(stage)
    assert told(stage) == BOTH
    assert stage.state is State.CLOSING


def test_safe_state_that_is_asked_for_while_it_closes_is_sent_by_a_new_process(stage):
    stage.house.linger = 0.0
    stage.resource.drop_session(stage.opened())
    assert stage.state is State.CLOSING
    stage.service.make_safe("somebody said so")
    stage.child.dies()
    stage.child.opens()
    does_all(stage)
    assert told(stage) == BOTH


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_safe_state_at_the_stop_is_sent_where_that_is_asked_for(stage, is_asked_for):
    stage.configure(safe_state=MESSAGES, safe_at_stop=is_asked_for)
    session = stage.opened()
    running, waiting = stage.submit(session), stage.submit(session, "write", data=b"VOLT 5\n")
    stage.resource.end_safely()
    stage.run()
    if is_asked_for:
        assert waiting.said == "SHUTTING_DOWN none"
        stage.pass_time(0.01)
        stage.child.dies()
        assert running.said.startswith("COMMAND_ABORTED")
        stage.child.opens()
        assert stage.resource.is_being_made_safe
        does_all(stage)
    assert not stage.resource.is_being_made_safe
    stage.resource.shut()
    assert told(stage)[1:] == (BOTH if is_asked_for else [])


def test_what_there_was_no_time_for_at_the_stop_is_on_record(stage):
    stage.configure(safe_state=MESSAGES, safe_at_stop=True)
    stage.opened()
    stage.resource.end_safely()
    stage.child.starts()
    stage.resource.shut()
    stage.child.dies()
    assert stage.state is State.CLOSED
    assert records(stage) == [("VOLT 0", "SHUTTING_DOWN", "none"), ("OUTP OFF", "SHUTTING_DOWN", "maybe")]


def test_resource_that_is_to_be_safe_at_the_stop_stays_open_while_the_daemon_drains(stage):
    stage.configure(safe_state=MESSAGES, safe_at_stop=True)
    session = stage.opened()
    stage.house.linger = 0.0
    stage.resource.drain()
    stage.resource.drop_session(session)
    stage.pass_time(1)
    assert stage.state is State.READY
    assert not stage.resource.is_in_use
