"""How long an instrument that failed is left alone, who may try it before that, and what ends the wait.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.process.keeper import RETRY_TIME
from front_proc.process.lifecycle import State
from tests.front_proc.playbook import NAME, break_it, failure_of, take_offline


def fails_again(stage):
    """A second failure within a minute."""
    stage.child.dies()
    stage.child.opens()
    stage.child.dies()
    assert stage.state is State.BACKOFF


def is_closed_and_opened(stage, session):
    """The last session closes, and somebody opens it again."""
    stage.resource.drop_session(session)
    assert stage.forgotten[-1] is stage.resource
    stage.resource = stage.new_resource()
    return stage.asks_to_open()


# Offline.


def waits_for(stage, session):
    """Seconds until a command to what is offline is tried again, to a tenth."""
    before = len(stage.children)
    began = stage.loop.time()
    while len(stage.children) == before:
        stage.pass_time(0.05)
        answers = stage.submit(session)
        assert answers.said in ("", "VI_ERROR_CONN_LOST none")
    stage.child.refuses()
    stage.child.dies()
    assert answers.said == "VI_ERROR_CONN_LOST none"
    return stage.loop.time() - began


def test_wait_of_what_is_offline_doubles_up_to_a_limit(stage):
    """Somebody may ask for it all night, and it is not worn out by attempts; in the morning it is there soon."""
    session = stage.opened()
    take_offline(stage, session)
    waits = [waits_for(stage, session) for _ in range(6)]
    assert waits == pytest.approx([1, 2, 4, 8, 10, 10], abs=0.11)
    assert LIMITS.longest_offline == 10


def test_wait_begins_anew_once_it_was_reached(stage):
    """What it was switched off for yesterday does not matter today."""
    session = stage.opened()
    take_offline(stage, session)
    for _ in range(3):
        waits_for(stage, session)
    stage.pass_time(LIMITS.longest_offline)
    stage.submit(session)
    stage.child.opens()
    stage.child.does()
    take_offline(stage, session)
    assert waits_for(stage, session) == pytest.approx(RETRY_TIME, abs=0.11)


def test_reset_and_open_do_not_wait_for_what_is_offline(stage):
    """Somebody has switched it on and says so, or starts a program."""
    session = stage.opened()
    take_offline(stage, session)
    stage.resource.reset()
    stage.run()
    assert stage.state is State.OPENING
    stage.child.refuses()
    stage.child.dies()
    opening = stage.asks_to_open()
    assert stage.state is State.OPENING
    stage.child.opens()
    assert opening.result()
    answers = stage.submit(session)
    stage.child.does()
    assert answers.said == "ok"


# In back-off, and broken.


def test_closing_and_opening_again_does_not_get_around_the_back_off(stage):
    """The process would fail as often as somebody opens it."""
    session = stage.opened()
    fails_again(stage)
    opening = is_closed_and_opened(stage, session)
    assert failure_of(opening) == "INSTRUMENT_BACKOFF none"
    assert "the next start is in 1" in str(opening.exception())
    assert len(stage.children) == 2
    assert stage.forgotten[-1] is stage.resource
    stage.resource = stage.new_resource()
    stage.pass_time(1.1)
    opening = stage.asks_to_open()
    stage.child.opens()
    assert opening.result()


def test_closing_and_opening_again_does_not_mend_what_is_broken(stage):
    """Until the trial time is over; `reset` is said to help."""
    session = stage.opened()
    break_it(stage)
    children = len(stage.children)
    opening = is_closed_and_opened(stage, session)
    assert failure_of(opening) == "INSTRUMENT_BROKEN none"
    assert f"reset {NAME}" in str(opening.exception())
    stage.pass_time(LIMITS.trial_time - 1)
    stage.resource = stage.new_resource()
    assert failure_of(stage.asks_to_open()) == "INSTRUMENT_BROKEN none"
    assert len(stage.children) == children
    stage.pass_time(1.1)
    stage.resource = stage.new_resource()
    opening = stage.asks_to_open()
    stage.child.opens()
    assert opening.result()


def test_one_command_tries_what_is_broken_after_the_trial_time(stage):
    """It works: all is forgotten, and the next failure is a first one."""
    session = stage.opened()
    break_it(stage)
    stage.pass_time(LIMITS.trial_time - 1)
    assert stage.submit(session).said == "INSTRUMENT_BROKEN none"
    stage.pass_time(1.1)
    answers = stage.submit(session)
    stage.child.opens()
    stage.child.does()
    assert answers.said == "ok"
    stage.child.dies()
    assert stage.state is State.OPENING, "at once"


@pytest.mark.parametrize("moment", ["in the open", "after it"])
def test_trial_that_fails_breaks_it_again(stage, moment):
    """At the first failure, and for the whole trial time."""
    session = stage.opened()
    break_it(stage)
    stage.pass_time(LIMITS.trial_time + 0.1)
    answers = stage.submit(session)
    if moment == "after it":
        stage.child.opens()
    stage.child.dies()
    assert answers.said.endswith(" none"), "it was not begun"
    assert stage.state is State.BROKEN
    children = len(stage.children)
    stage.pass_time(LIMITS.trial_time - 1)
    assert stage.submit(session).said == "INSTRUMENT_BROKEN none"
    assert len(stage.children) == children
    stage.pass_time(1.1)
    stage.submit(session)
    assert stage.state is State.OPENING


# Closing.


def test_process_that_takes_neither_close_nor_sigterm_is_killed(stage):
    """A stopped one, or one that hangs in viClose. Whoever opens it meanwhile gets a new process, after that one."""
    stage.house.linger = 0.0
    stage.resource.drop_session(stage.opened())
    opening = stage.asks_to_open()
    old = stage.child
    stage.pass_time(LIMITS.close_time - 0.1)
    assert not old.is_being_terminated
    stage.pass_time(0.2)
    assert stage.state is State.TERMINATING
    stage.pass_time(LIMITS.terminate_time - 0.2)
    assert not old.is_being_killed
    stage.pass_time(0.3)
    assert old.is_being_killed
    assert len(stage.children) == 1
    old.dies()
    assert stage.events() == ["opened", "killed"]
    stage.child.opens()
    assert opening.result()


def test_process_that_ends_of_its_sigterm_is_recorded_as_killed(stage):
    """It was not closed in good order, and the record does not say so; nor is it a failure."""
    stage.house.linger = 0.0
    stage.resource.drop_session(stage.opened())
    stage.pass_time(LIMITS.close_time + 0.1)
    stage.child.dies()
    assert stage.events() == ["opened", "killed"]
    assert stage.state is State.CLOSED
