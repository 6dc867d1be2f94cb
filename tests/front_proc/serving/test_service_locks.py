"""Locks among the commands: who is kept out of what, and what that means for answers that are awaited.

The rules of the locks themselves are `test_locks`'s. The process is played (see `playbook`), and time is the test's.
"""

import asyncio

import pytest

from front_proc.process.lifecycle import State
from front_proc.serving.events import SERVICE_REQUEST
from front_proc.serving.hold import LONGEST_POLLING
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_TERMCHAR_EN, VI_ATTR_TMO_VALUE
from tests.front_proc.playbook import BAUD_RATE, NAME, TIMEOUT, failure_of

EXCLUSIVE, SHARED = LockKind.EXCLUSIVE, LockKind.SHARED

LOCKED = "VI_ERROR_RSRC_LOCKED none"


def locks(stage, session, kind=EXCLUSIVE, key=None, timeout_s=0.0):
    """viLock, as a task."""
    return stage.start(stage.resource.lock(session, kind, key, timeout_s))


def unlocks(stage, session):
    outcome = stage.service.locks.unlock(session)
    stage.run()
    return outcome


@pytest.mark.parametrize("call", ["write", "read", "query", "clear", "read_stb", "in_8", "assert_trigger"])
def test_command_of_a_session_that_is_locked_out_is_refused_at_once(stage, call):
    """The instrument hears nothing of it, and the refusal names who has the lock."""
    owner, other = stage.opened(stage.client("Ann")), stage.opened()
    assert locks(stage, owner).result().status == 0
    refused = stage.submit(other, call)
    assert refused.said == LOCKED
    assert f"{NAME} is locked by {owner.client.address} Ann" in refused.outcome.text
    assert stage.child.runs == []
    assert stage.submit(owner, call).is_open
    assert stage.child.running.call == call


@pytest.mark.parametrize(
    ("call", "argument", "is_free"),
    [
        ("get_attribute", BAUD_RATE, True),
        ("set_attribute", VI_ATTR_TMO_VALUE, True),
        ("enable_event", SERVICE_REQUEST, True),
        ("disable_event", SERVICE_REQUEST, True),
        ("set_attribute", BAUD_RATE, False),
    ],
)
def test_attributes_of_its_own_are_not_locked(stage, call, argument, is_free):
    """Nor getting any, nor events; setting one that is everybody's is (VPP-4.3, 3.6.1.3)."""
    owner, other = stage.opened(), stage.opened()
    locks(stage, owner)
    answers = stage.submit(other, call, arguments=[argument, 5000] if call == "set_attribute" else [argument])
    assert answers.said == ("" if is_free else LOCKED)
    if is_free:
        stage.child.does(value=1)
        assert answers.said == "ok"


def test_who_shares_is_served_until_one_of_them_locks_exclusively(stage):
    """The others are out then, though they share."""
    first, second, stranger = stage.opened(), stage.opened(), stage.opened()
    key = locks(stage, first, SHARED).result().value
    assert locks(stage, second, SHARED, key).result().value == key
    for session in (first, second):
        assert stage.submit(session).is_open
        stage.child.does()
    assert stage.submit(stranger).said == LOCKED
    locks(stage, second)
    assert stage.submit(first).said == LOCKED
    unlocks(stage, second)
    assert stage.submit(first).is_open


def test_command_that_waited_when_the_lock_was_taken_is_refused_in_its_turn(stage):
    """It was accepted, and is not carried out all the same."""
    owner, other = stage.opened(), stage.opened()
    running, waiting = stage.submit(owner), stage.submit(other)
    locks(stage, owner)
    assert waiting.is_open
    stage.child.does()
    assert running.said == "ok"
    assert waiting.said == LOCKED
    assert len(stage.child.runs) == 1


def test_command_that_waited_is_served_if_the_lock_is_given_back_before_its_turn(stage):
    """Its turn is what counts."""
    owner, other = stage.opened(), stage.opened()
    stage.submit(owner)
    waiting = stage.submit(other)
    locks(stage, owner)
    unlocks(stage, owner)
    stage.child.does()
    stage.child.does(b"mine\n")
    assert waiting.outcome.data == b"mine\n"


def test_command_that_runs_when_another_takes_the_lock_goes_on_to_its_end(stage):
    """It has begun."""
    owner, other = stage.opened(), stage.opened()
    running = stage.submit(other)
    assert locks(stage, owner).done()
    stage.child.does(b"mine\n")
    assert running.outcome.data == b"mine\n"
    assert stage.submit(other).said == LOCKED


def test_read_behind_a_write_that_was_locked_out_is_refused_as_well(stage):
    """A posted write: both were sent at once."""
    owner, other = stage.opened(), stage.opened()
    running = stage.submit(owner)
    write = stage.submit(other, "write", data=b"MEAS?\n")
    read = stage.submit(other, "read", after=write.ticket)
    locks(stage, owner)
    stage.child.does()
    assert running.said == "ok"
    assert (write.said, read.said) == (LOCKED, "WRITE_FAILED none")


# Waiting for a lock.


def test_lock_is_waited_for_until_it_is_given_back(stage):
    """Nothing else of the session waits for that."""
    owner, other = stage.opened(), stage.opened()
    locks(stage, owner)
    waiting = locks(stage, other, timeout_s=10.0)
    attribute = stage.submit(other, "get_attribute", arguments=[BAUD_RATE])
    stage.child.does(value=9600)
    assert attribute.said == "ok"
    stage.pass_time(9)
    assert not waiting.done()
    unlocks(stage, owner)
    assert waiting.result().status == 0
    assert stage.submit(owner).said == LOCKED


@pytest.mark.parametrize(("timeout_s", "token"), [(0.0, "VI_ERROR_RSRC_LOCKED"), (10.0, "VI_ERROR_TMO")])
def test_lock_that_is_not_to_be_had_in_time_is_refused(stage, timeout_s, token):
    """To the moment; no wait at all for a timeout of 0."""
    owner, other = stage.opened(), stage.opened()
    locks(stage, owner)
    waiting = locks(stage, other, timeout_s=timeout_s)
    stage.pass_time(max(0.0, timeout_s - 0.1))
    assert waiting.done() == (timeout_s == 0)
    stage.pass_time(0.2)
    assert failure_of(waiting) == f"{token} none"


def test_each_wait_for_a_lock_has_its_own_end(stage):
    """The timer is one for all of them."""
    owner = stage.opened()
    locks(stage, owner)
    waits = [locks(stage, stage.opened(), timeout_s=seconds) for seconds in (30.0, 10.0, 20.0)]
    for moment, is_over in ((9.9, 0), (10.1, 1), (20.1, 2), (30.1, 3)):
        stage.pass_time(moment - (stage.loop.time() - 1000))
        assert sum(wait.done() for wait in waits) == is_over
    assert all(failure_of(wait) == "VI_ERROR_TMO none" for wait in waits)


@pytest.mark.parametrize("how", ["session", "client"])
def test_lock_is_given_back_when_its_session_closes(stage, how):
    """Or its client is gone; and what waits for it, and for a turn, goes on."""
    owner, other, third = stage.opened(), stage.opened(), stage.opened()
    locks(stage, owner)
    waiting = locks(stage, other, timeout_s=None)
    if how == "session":
        stage.resource.drop_session(owner)
    else:
        for session in tuple(owner.client.sessions):
            session.resource.drop_session(session)
    stage.run()
    assert waiting.result().status == 0
    stage.resource.drop_session(other)
    assert stage.submit(third).is_open


def test_session_that_closes_waits_for_no_lock_any_more(stage):
    """It is told so, and never gets it."""
    owner, other = stage.opened(), stage.opened()
    locks(stage, owner)
    waiting = locks(stage, other, timeout_s=None)
    stage.resource.drop_session(other)
    stage.run()
    assert failure_of(waiting) == "CLIENT_GONE none"
    unlocks(stage, owner)
    assert stage.service.locks.describe() is None
    assert failure_of(locks(stage, other)) == "NO_RESOURCE none"


@pytest.mark.parametrize("moment", ["before", "with"])
def test_lock_that_nobody_waits_for_any_more_is_nobody_s(stage, moment):
    """Its wait was abandoned, perhaps in the moment in which it was granted."""
    owner, other, third = stage.opened(), stage.opened(), stage.opened()
    locks(stage, owner)
    waiting = locks(stage, other, timeout_s=None)
    last = locks(stage, third, timeout_s=None)
    if moment == "before":
        waiting.cancel()
        stage.run()
        unlocks(stage, owner)
    else:
        stage.service.locks.unlock(owner)
        waiting.cancel()
        stage.run()
    with pytest.raises(asyncio.CancelledError):
        waiting.result()
    assert last.result().status == 0, "and who waits behind gets it"
    assert stage.submit(other).said == LOCKED


def test_locks_are_on_record(stage):
    """With how long they were waited for."""
    owner, other = stage.opened(stage.client("Ann")), stage.opened(stage.client("Bob"))
    locks(stage, owner)
    locks(stage, other, timeout_s=5.0)
    stage.pass_time(3.0)
    unlocks(stage, owner)
    unlocks(stage, owner)
    records = [
        (record["command"], record["outcome"], record["effect"])
        for record in stage.house.audit.of("command", resource=NAME, name="Ann")
    ]
    assert records == [
        ("lock 1", "ok", "none"),
        ("unlock", "ok", "none"),
        ("unlock", "VI_ERROR_SESN_NLOCKED", "none"),
    ]
    [waited] = stage.house.audit.of("command", name="Bob")
    assert (waited["command"], waited["outcome"]) == ("lock 1", "ok")
    assert waited["waited_ms"] == pytest.approx(3000)


def test_lock_outlives_the_process(stage):
    """It is the session's, and that is still there."""
    owner, other = stage.opened(), stage.opened()
    locks(stage, owner)
    stage.child.dies()
    stage.child.opens()
    assert stage.submit(other).said == LOCKED
    assert stage.submit(owner).said == "SESSION_RESET none"
    assert stage.submit(owner).is_open


def test_who_waits_for_a_lock_is_told_when_the_daemon_stops(stage):
    """Nobody waits for ever, and nobody gets it from one who was there before in the end."""
    owner, other = stage.opened(), stage.opened()
    locks(stage, owner)
    waiting = locks(stage, other, timeout_s=None)
    stage.resource.shut()
    stage.run()
    assert failure_of(waiting) == "SHUTTING_DOWN none"
    stage.child.dies()
    assert stage.forgotten == [stage.resource]


# Locks and answers that are awaited.


@pytest.fixture
def asker(stage):
    """Who asks and is then locked out; the end of its answers is told."""
    return stage.opened(ends=True)


def test_holder_that_is_locked_out_loses_its_hold_at_once(stage, asker):
    """Whoever has the lock need not wait for the other's patience: its answer is read ahead."""
    owner = stage.opened()
    stage.asked(asker)
    locks(stage, owner)
    query = stage.submit(owner)
    assert stage.child.running.call == "read_ahead"
    stage.child.does(b"5.0\n")
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"
    assert stage.submit(asker, "read", arguments=[1000]).said == LOCKED
    unlocks(stage, owner)
    assert stage.submit(asker, "read", arguments=[1000]).outcome.data == b"5.0\n"


def test_holder_that_is_locked_out_before_anybody_waits_loses_nothing(stage, asker):
    """The lock alone does not touch the instrument."""
    owner = stage.opened()
    stage.asked(asker)
    locks(stage, owner)
    stage.pass_time(100)
    unlocks(stage, owner)
    read = stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    assert read.outcome.data == b"5.0\n"


def test_instrument_is_emptied_when_a_holder_that_is_locked_out_cannot_be_read_ahead(stage):
    """At once as well."""
    asker, owner = stage.opened(), stage.opened()
    assert not asker.attribute(VI_ATTR_TERMCHAR_EN)
    stage.asked(asker)
    locks(stage, owner)
    query = stage.submit(owner)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does()
    assert query.said == "ok"


def test_lock_that_is_granted_while_its_owner_waits_ends_the_hold(stage, asker):
    """Its command came first, then the lock: nobody else has to come for that."""
    owner = stage.opened()
    stage.asked(asker)
    stage.submit(owner)
    assert stage.state is State.READY
    locks(stage, owner)
    assert stage.child.running.call == "read_ahead"


def test_hold_of_the_lock_s_owner_does_not_end_for_those_who_are_locked_out(stage, asker):
    """They wait for nothing that could be had by that."""
    other = stage.opened()
    stage.asked(asker)
    waiting = stage.submit(other)
    locks(stage, asker)
    stage.pass_time(LONGEST_POLLING + 1)
    assert waiting.is_open
    read = stage.submit(asker, "read")
    stage.child.does(b"5.0\n")
    assert read.outcome.data == b"5.0\n"
    assert waiting.said == LOCKED


def test_hold_that_ran_out_under_a_lock_ends_with_the_lock(stage, asker):
    """Then those who wait may have their turn, at once."""
    other = stage.opened()
    stage.asked(asker)
    waiting = stage.submit(other)
    locks(stage, asker)
    stage.pass_time(TIMEOUT + 1)
    assert stage.state is State.READY
    unlocks(stage, asker)
    assert stage.child.running.call == "read_ahead"
    stage.child.does(b"5.0\n")
    stage.child.does()
    assert waiting.said == "ok"
