"""What becomes of commands when their process hangs, dies, is killed or cannot reach its instrument.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.process.keeper import RETRY_TIME
from front_proc.process.lifecycle import State
from front_proc.serving.sessions import VI_ATTR_TMO_VALUE, VI_TMO_INFINITE
from instrument_proc import pipe
from pyvisa_daemon.errors import Effect
from tests.front_proc.playbook import GRACE, NAME, TIMEOUT, break_it, failure_of, take_offline


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
        stage.pass_time(LIMITS.begin_time + 0.1)
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
    stage.sets(session, VI_ATTR_TMO_VALUE, timeout_ms)
    answers = stage.submit(session)
    kill_it(stage, how)
    stage.pass_time(LIMITS.kill_time / 2)
    stage.child.starts()
    stage.child.writes()
    stage.child.gives(b"part")
    stage.resource.drop_session(session)
    stage.pass_time(LIMITS.kill_time / 2 + 0.1)
    assert stage.state is State.WEDGED
    assert answers.said.endswith(" maybe")


def test_open_that_crossed_a_kill_is_no_restart(stage):
    """The child answers its open in the moment when it is killed for not answering: it never served anybody."""
    session = stage.opened()
    stage.child.dies()
    stage.pass_time(LIMITS.open_time + 0.1)
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
    stage.asked(asker)
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
    stage.pass_time(LIMITS.kill_time + 0.1)
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
    stage.pass_time(RETRY_TIME + 0.1)
    answers = stage.submit(session)
    stage.child.opens()
    stage.child.does(b"back\n")
    assert answers.outcome.data == b"back\n"


def test_nights_offline_never_break_it(stage):
    """Attempts that fail are no failures of the process."""
    session = stage.opened()
    take_offline(stage, session)
    for _ in range(20):
        stage.pass_time(LIMITS.longest_offline + 0.1)
        stage.submit(session)
        stage.child.refuses()
        stage.child.dies()
    assert stage.state is State.OFFLINE


def test_crash_at_open_counts_though_nobody_has_it_open(stage):
    """Opening it again and again is no way around the breaker."""
    for _ in range(LIMITS.failures + 1):
        stage.pass_time(stage.house.breaker_of(NAME).wait(stage.loop.time()))
        opening = stage.asks_to_open()
        stage.child.dies()
        assert failure_of(opening) == "INSTRUMENT_CRASHED none"
        stage.resource = stage.new_resource()
    assert failure_of(stage.asks_to_open()) == "INSTRUMENT_BROKEN none"


def test_wait_for_the_next_attempt_begins_with_the_end_of_the_last(stage):
    """An attempt may take longer than the wait; else every command would make one."""
    session = stage.opened()
    take_offline(stage, session)
    stage.pass_time(RETRY_TIME + 0.1)
    stage.submit(session)
    stage.pass_time(LIMITS.open_time - 1)
    stage.child.refuses()
    stage.child.dies()
    assert stage.submit(session).said == "VI_ERROR_CONN_LOST none"
    assert stage.state is State.OFFLINE


def test_open_makes_an_attempt_of_its_own_though_another_has_just_failed(stage):
    """It may have been switched on in between."""
    first = stage.asks_to_open()
    stage.child.refuses()
    second = stage.asks_to_open()
    stage.child.dies()
    assert failure_of(first) == "VI_ERROR_RSRC_NFOUND none"
    stage.child.opens()
    assert second.result()
