"""What an abort does: to the command that runs, to its process, and to everybody else.

The process is played (see `playbook`), and time is the test's. Of a library either `can_abort`, so that the running
command is cut short by a device clear, or it cannot, and the process is all that can be ended.
"""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.process.lifecycle import State
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_TMO_VALUE, VI_TMO_INFINITE
from instrument_proc import pipe
from pyvisa_daemon.errors import Effect
from tests.front_proc.playbook import GRACE, NAME, TIMEOUT

#: Who aborts, in the words of a reply.
REASON = "aborted by an operator"


@pytest.fixture
def sweep(stage):
    """A query that takes long, whose library can clear the device meanwhile."""
    answers = stage.submit(stage.opened(can_abort=True))
    stage.child.starts()
    stage.child.writes()
    return answers


@pytest.fixture
def stuck(stage):
    """One whose library cannot."""
    answers = stage.submit(stage.opened(can_abort=False))
    stage.child.starts()
    return answers


def aborted(stage):
    """Somebody aborts, and waits for the end of that."""
    return stage.start(stage.resource.abort(REASON))


def is_cut_short(stage, effect=Effect.DONE, *, dirty=False):
    """The child's word for it."""
    child = stage.child
    child.say(pipe.Done(child.running.ticket, -1073807312, token="VI_ERROR_ABORT", effect=effect, dirty=dirty))


# A library that can clear the device while it waits.


@pytest.mark.parametrize("effect", Effect)
def test_abort_cuts_the_running_command_short_and_nothing_else(stage, sweep, effect):
    """With the child's own word for what was executed; everybody else goes on as if nothing had been."""
    other = stage.opened()
    waiting = [stage.submit(sweep.ticket.session), stage.submit(other)]
    asked = aborted(stage)
    assert stage.child.aborts == [sweep.ticket.number]
    assert not asked.done()
    is_cut_short(stage, effect)
    assert asked.done()
    assert sweep.said == f"COMMAND_ABORTED {effect.value}"
    assert sweep.outcome.text == f"{NAME}: {REASON}"
    for _ in waiting:
        stage.child.does()
    assert [answers.said for answers in waiting] == ["ok", "ok"]
    assert stage.events() == ["opened"]
    assert stage.resource.keeper.generation == 1


def test_command_that_ends_well_in_the_moment_of_its_abort_has_succeeded(stage, sweep):
    """Whoever asked for the abort is told that it is over, all the same."""
    asked = aborted(stage)
    stage.child.does(b"in time\n")
    assert sweep.outcome.data == b"in time\n"
    assert asked.done()
    assert stage.state is State.READY


def test_failure_that_crosses_the_abort_is_no_abort(stage):
    """The device was not cleared: an answer that another command had asked for is still to come, and not for others."""
    asker, other = stage.opened(can_abort=True), stage.opened()
    stage.asked(asker)
    failing = stage.submit(asker, "get_attribute", arguments=[1])
    query = stage.submit(other)
    asked = aborted(stage)
    stage.child.fails("VI_ERROR_NSUP_ATTR")
    assert asked.done()
    assert failing.said == "VI_ERROR_NSUP_ATTR done"
    assert query.is_open
    assert stage.state is State.READY, "the answer is awaited by whoever asked for it"


def test_timeout_that_crosses_the_abort_leaves_the_late_answer_to_nobody(stage, sweep):
    """The clear came too late for this command, or failed: it ended by itself, and its answer may still come."""
    aborted(stage)
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    assert sweep.said == "VI_ERROR_TMO done"
    stage.submit(stage.opened())
    assert stage.child.running.call == "resynchronise"


def test_device_clear_that_cut_a_command_short_empties_the_instrument(stage, sweep):
    """No resynchronisation is needed: the next command is served at once."""
    aborted(stage)
    is_cut_short(stage)
    stage.submit(stage.opened())
    assert stage.child.running.call == "query"


def test_answer_that_may_still_come_after_an_abort_is_given_to_nobody(stage, sweep):
    """The line has no device clear, only a way to end the wait: the child says so."""
    aborted(stage)
    is_cut_short(stage, dirty=True)
    assert sweep.said == "COMMAND_ABORTED done"
    stage.submit(stage.opened())
    assert stage.child.running.call == "resynchronise"


def test_process_that_does_not_end_its_command_in_time_is_killed(stage, sweep):
    """It was told to stop what it did; that this is the other way is no hang, and no failure."""
    other = stage.opened()
    waiting = stage.submit(other)
    asked = aborted(stage)
    stage.pass_time(LIMITS.abort_time - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert not asked.done()
    stage.child.dies()
    assert asked.done()
    assert sweep.said == "COMMAND_ABORTED maybe"
    assert REASON in sweep.outcome.text
    assert waiting.said == "SESSION_RESET none"
    assert "hung" not in stage.events()


@pytest.mark.parametrize("report", ["starts", "writes", "gives"])
def test_report_does_not_put_the_end_of_an_abort_off(stage, sweep, report):
    """A command that talks and talks is to end as well."""
    aborted(stage)
    for _ in range(3):
        stage.pass_time(LIMITS.abort_time / 3 + 0.05)
        getattr(stage.child, report)(*([b"x"] if report == "gives" else []))
    assert stage.child.is_being_killed


def test_connection_lost_in_an_abort_is_lost(stage, sweep):
    """The device clear found nobody: the session is worth nothing, and the next command opens anew."""
    aborted(stage)
    stage.child.fails("VI_ERROR_CONN_LOST", dirty=True)
    assert sweep.outcome.failed
    assert stage.child.is_being_killed
    assert "unreachable" in stage.events()


# One that cannot.


def test_abort_ends_the_process_where_nothing_else_ends_the_command(stage, stuck):
    """At once. The others' commands are not executed, and say so."""
    other = stage.opened()
    waiting = stage.submit(other)
    asked = aborted(stage)
    assert stage.child.is_being_killed
    assert stage.child.aborts == []
    assert not asked.done()
    assert waiting.said == "SESSION_RESET none"
    stage.child.dies()
    assert asked.done()
    assert stuck.said == "COMMAND_ABORTED maybe"
    assert stuck.outcome.text == f"{NAME}: {REASON}; it starts anew"
    stage.child.opens()
    assert stage.events() == ["opened", "killed", "restarted"]


def test_command_that_had_not_begun_when_it_was_aborted_had_no_effect(stage):
    """The child had not said that its VISA call begins."""
    answers = stage.submit(stage.opened())
    aborted(stage)
    stage.child.dies()
    assert answers.said == "COMMAND_ABORTED none"


@pytest.mark.parametrize("can_abort", [False, True])
def test_aborts_are_no_failures_of_the_process(stage, can_abort):
    """However often somebody aborts: there is no back-off, and nothing breaks."""
    session = stage.opened(can_abort=can_abort)
    for _ in range(LIMITS.failures + 2):
        answers = stage.submit(session)
        stage.child.starts()
        asked = aborted(stage)
        stage.pass_time(LIMITS.abort_time + 0.1)
        stage.child.dies()
        assert asked.done()
        assert answers.said == "COMMAND_ABORTED maybe"
        assert stage.state is State.OPENING
        stage.child.opens(can_abort=can_abort)
    assert stage.state is State.READY


# Whatever else goes on.


def test_abort_with_nothing_running_returns_at_once(stage):
    """Also while it opens, and while the daemon does something of its own."""
    opening = stage.asks_to_open()
    assert aborted(stage).done()
    stage.child.opens(can_abort=True)
    session = opening.result()
    assert aborted(stage).done()
    stage.submit(session)
    stage.child.fails("VI_ERROR_TMO", dirty=True)
    stage.submit(session)
    assert stage.state is State.RESYNC
    assert aborted(stage).done()
    assert stage.state is State.RESYNC
    assert stage.child.aborts == []


@pytest.mark.parametrize("can_abort", [False, True])
def test_abort_that_is_asked_twice_is_one(stage, can_abort):
    """Both are told of the end; the second gives the command no more time."""
    answers = stage.submit(stage.opened(can_abort=can_abort))
    stage.child.starts()
    asked = [aborted(stage)]
    stage.pass_time(LIMITS.abort_time * 0.9)
    asked.append(stage.start(stage.resource.abort("again")))
    stage.pass_time(LIMITS.abort_time * 0.2)
    assert stage.child.is_being_killed
    assert len(stage.child.aborts) == (1 if can_abort else 0)
    stage.child.dies()
    assert [one.done() for one in asked] == [True, True]
    assert answers.said == "COMMAND_ABORTED maybe"
    assert REASON in answers.outcome.text


def test_abort_does_not_stop_at_a_lock(stage, sweep):
    """A lock keeps others from the instrument; it does not keep anybody from stopping what it does."""
    holder = sweep.ticket.session
    stage.result(stage.resource.lock(holder, LockKind.EXCLUSIVE, None, 0.0))
    asked = aborted(stage)
    is_cut_short(stage)
    assert asked.done()
    assert sweep.said == "COMMAND_ABORTED done"
    assert stage.service.locks.excludes(stage.opened()), "and the lock stays"


@pytest.mark.parametrize("is_slow_again", [False, True])
@pytest.mark.parametrize("can_abort", [False, True])
def test_abort_does_not_wait_for_a_client_that_does_not_read(stage, can_abort, is_slow_again):
    """It held the child up, and might do so for ever, also with what the child says from then on."""
    answers = stage.submit(stage.opened(can_abort=can_abort))
    stage.child.starts()
    stage.service.pause()
    asked = aborted(stage)
    assert not stage.child.is_paused
    if is_slow_again:
        stage.child.gives(b"more")
        stage.service.pause()
    stage.pass_time(LIMITS.abort_time + 0.1)
    assert stage.child.is_being_killed
    stage.child.dies()
    assert asked.done()
    assert answers.said == "COMMAND_ABORTED maybe"


def test_process_that_is_killed_for_an_abort_is_called_wedged_though_its_client_does_not_read(stage, stuck):
    """Nobody waits for a client with what the kernel holds."""
    asked = aborted(stage)
    stage.service.pause()
    stage.pass_time(LIMITS.kill_time + 0.1)
    assert stage.state is State.WEDGED
    assert asked.done()
    assert stuck.said == "COMMAND_ABORTED maybe"


def test_abort_goes_on_when_whoever_asked_for_it_has_left(stage, sweep):
    """It was meant, and nobody is answered twice."""
    asked = aborted(stage)
    asked.cancel()
    stage.run()
    is_cut_short(stage)
    assert sweep.said == "COMMAND_ABORTED done"
    assert stage.state is State.READY


def test_command_whose_client_left_can_be_aborted(stage, sweep):
    """What it had begun would go on to its end."""
    stage.resource.drop_session(sweep.ticket.session)
    asked = aborted(stage)
    assert stage.child.aborts == [sweep.ticket.number]
    is_cut_short(stage)
    assert asked.done()


def test_abort_of_a_command_that_hangs_waits_for_its_end(stage, sweep):
    """It is being killed already; the blame stays where it is."""
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    assert stage.state is State.KILLING
    asked = aborted(stage)
    assert not asked.done()
    stage.child.dies()
    assert asked.done()
    assert sweep.said == "INSTRUMENT_HUNG maybe"


def test_crash_in_an_abort_counts_as_one(stage, sweep):
    """A device clear that its library does not survive."""
    asked = aborted(stage)
    stage.child.dies()
    assert asked.done()
    assert sweep.said == "COMMAND_ABORTED maybe"
    assert "crashed" in stage.events()
    stage.child.opens()
    stage.child.dies()
    assert stage.state is State.BACKOFF


@pytest.mark.parametrize("how", ["crash", "restart"])
def test_abort_does_not_name_the_end_of_the_next_command(stage, sweep, how):
    """It is over; whatever happens to the process from then on happens for a reason of its own."""
    aborted(stage)
    is_cut_short(stage)
    answers = stage.submit(sweep.ticket.session)
    stage.child.starts()
    if how == "restart":
        stage.resource.restart()
    stage.child.dies()
    assert answers.said == "INSTRUMENT_CRASHED maybe"


def test_daemon_can_stop_in_an_abort(stage, sweep):
    """Everybody is told."""
    asked = aborted(stage)
    stage.resource.shut()
    stage.run()
    assert stage.child.is_being_killed
    stage.child.dies()
    assert asked.done()
    assert sweep.said == "SHUTTING_DOWN maybe"


# Commands that nobody else could end.


@pytest.mark.parametrize("can_abort", [False, True])
def test_command_without_a_timeout_ends_with_its_process_when_its_client_has_left(stage, can_abort):
    """After the grace; it is no hang, and does not count as one."""
    session, other = stage.opened(can_abort=can_abort), stage.opened()
    stage.sets(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    answers = stage.submit(session)
    waiting = stage.submit(other)
    stage.child.starts()
    stage.resource.drop_session(session)
    stage.pass_time(GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert waiting.said == "SESSION_RESET none"
    stage.child.dies()
    assert answers.said == "CLIENT_GONE maybe"
    assert "hung" not in stage.events()
    stage.child.opens()
    stage.child.dies()
    assert stage.state is State.OPENING, "the first failure: the end before was none"


def test_command_without_a_timeout_that_ends_by_itself_within_the_grace_costs_nothing(stage):
    """Nor does the one after it, which is somebody else's."""
    session, other = stage.opened(), stage.opened()
    stage.sets(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    stage.submit(session, "write", data=b"VOLT 1\n")
    stage.child.starts()
    stage.resource.drop_session(session)
    stage.child.does()
    stage.sets(other, VI_ATTR_TMO_VALUE, 60_000)
    next_one = stage.submit(other)
    stage.child.starts()
    stage.pass_time(GRACE + 1)
    assert next_one.is_open
    assert not stage.child.is_being_killed
