"""How long a command may take: its process's deadlines, progress, and clients that are slower than their instrument.

The process is played (see `playbook`), and time is the test's.
"""

from dataclasses import replace

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.process.child import LATE
from front_proc.process.lifecycle import State
from front_proc.serving.sessions import VI_ATTR_TMO_VALUE, VI_TMO_INFINITE
from instrument_proc.signs import Step
from tests.front_proc.playbook import GRACE, TIMEOUT


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
        ((), "none", LIMITS.begin_time),
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


@pytest.mark.parametrize("late", [0.1, 0.9, 1.1, 4.0])
def test_hang_of_a_call_that_began_late_is_found_by_the_time_of_the_call(stage, late):
    """Though the process had more time to begin than it has for the call."""
    stage.house.limits = replace(LIMITS, begin_time=10.0)
    stage.house.grace = 0.2
    stage.resource = stage.new_resource()
    session = stage.opened()
    stage.sets(session, VI_ATTR_TMO_VALUE, 300)
    answers = stage.submit(session)
    stage.pass_time(late)
    stage.child.starts()
    stage.pass_time(0.49)
    assert not stage.child.is_being_killed
    stage.pass_time(0.02)
    assert stage.child.is_being_killed
    stage.child.dies()
    assert answers.said == "INSTRUMENT_HUNG maybe"


@pytest.mark.parametrize("timeout_ms", [0, 300, 9_999])
def test_call_that_does_not_begin_has_the_time_to_begin(stage, timeout_ms):
    """Not the shorter one of the call, however often that is over."""
    stage.house.limits = replace(LIMITS, begin_time=10.0)
    stage.house.grace = 0.2
    stage.resource = stage.new_resource()
    session = stage.opened()
    stage.sets(session, VI_ATTR_TMO_VALUE, timeout_ms)
    answers = stage.submit(session)
    stage.pass_time(9.9)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    stage.child.dies()
    assert answers.said == "INSTRUMENT_HUNG none"


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
    stage.sets(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
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
    stage.sets(session, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    stage.submit(session, "read")
    if not later:
        stage.child.starts()
    stage.submit(other)
    stage.resource.drop_session(session)
    for step in later:
        getattr(stage.child, step)()
    stage.pass_time(TIMEOUT + GRACE + 1)
    assert stage.child.is_being_killed


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


def test_every_sign_of_progress_gives_a_command_its_time_anew(stage):
    """A long message that goes out in pieces, then its end, then the answer."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    for step in (Step.STARTED, Step.STARTED, Step.WRITTEN):
        stage.pass_time(TIMEOUT + GRACE - 0.1)
        stage.child.shows(step)
    stage.pass_time(TIMEOUT + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert answers.is_open


@pytest.mark.parametrize(("deadline", "limit"), [(0.0, TIMEOUT + GRACE), (3.0, TIMEOUT + GRACE), (30.0, 30.0)])
def test_resource_s_own_deadline_counts_where_it_is_longer(stage, deadline, limit):
    """For an instrument whose library ignores its timeout for a while."""
    stage.configure(deadline=deadline)
    stage.submit(stage.opened())
    stage.child.starts()
    stage.pass_time(limit - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed


@pytest.mark.parametrize(("timeout_ms", "limit"), [(None, TIMEOUT), (500, 0.5), (60_000, 60.0)])
def test_new_session_has_the_timeout_of_its_resource_s_settings(stage, timeout_ms, limit):
    """Until it sets its own; the library's, if none is configured."""
    stage.configure(timeout=timeout_ms)
    session = stage.opened()
    assert session.timeout_ms == limit * 1000
    stage.submit(session)
    expected = [] if timeout_ms is None else [(VI_ATTR_TMO_VALUE, timeout_ms)]
    assert stage.child.running.attributes == expected
    stage.child.starts()
    stage.pass_time(limit + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed


def test_timeout_of_the_settings_may_be_infinite(stage):
    """As a session's own may."""
    stage.configure(timeout=VI_TMO_INFINITE)
    session = stage.opened()
    assert session.timeout_ms is None
    stage.submit(session)
    stage.child.starts()
    stage.pass_time(100_000)
    assert not stage.child.is_being_killed


# Clients that are slower than their instrument.


@pytest.fixture
def slow(stage):
    """A session whose client does not keep up with a long answer."""
    session = stage.opened()
    answers = stage.submit(session, "read")
    stage.child.starts()
    stage.child.gives(b"x")
    stage.service.pause()
    assert stage.child.is_paused
    return answers


def test_deadline_stands_still_while_the_client_does_not_keep_up(stage, slow):
    """That the child says nothing is no fault of its own; it has its time anew when it may go on."""
    stage.pass_time(100_000)
    assert not stage.child.is_being_killed
    stage.service.resume()
    assert not stage.child.is_paused
    stage.pass_time(TIMEOUT + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert slow.is_open


def test_what_the_child_had_said_before_it_was_held_up_does_not_start_its_clock(stage, slow):
    """Its pieces may be here already."""
    stage.child.gives(b"y")
    stage.pass_time(100_000)
    assert not stage.child.is_being_killed
    stage.service.resume()
    stage.child.does(b"z")
    assert slow.said == "ok"
    assert slow.pieces == [b"x", b"y"]


def test_child_goes_on_for_others_when_the_answer_that_held_it_up_is_complete(stage, slow):
    """Its last bytes were here already. Nobody else waits for that client, nor is killed for it."""
    other = stage.opened()
    query = stage.submit(other)
    stage.child.does(b"the end\n")
    assert slow.said == "ok"
    assert stage.child.running.call == "query"
    assert not stage.child.is_paused
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


@pytest.mark.parametrize("is_known", [False, True])
def test_room_that_comes_late_holds_up_nobody(stage, slow, is_known):
    """The client may have its room when its answer is long complete, or never."""
    stage.child.does(b"the end\n")
    query = stage.submit(stage.opened())
    stage.child.starts()
    if is_known:
        stage.service.resume()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    assert stage.child.is_being_killed, "its deadline is its own"
    assert query.is_open


def test_child_goes_on_when_the_client_that_held_it_up_is_gone(stage, slow):
    """Its command ends, and others are served."""
    query = stage.submit(stage.opened())
    stage.resource.drop_session(slow.ticket.session)
    assert not stage.child.is_paused
    stage.child.does(b"the end\n")
    while stage.child.running.call != "query":
        stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_child_that_is_held_up_can_be_killed(stage, slow):
    """An operator need not wait for a client."""
    stage.resource.restart()
    stage.pass_time(LIMITS.kill_time + 0.1)
    assert stage.state is State.WEDGED
    assert slow.said == "INSTRUMENT_CRASHED maybe"


def test_new_process_is_not_held_up(stage, slow):
    """The answer that was is gone with the old one; and deadlines count again."""
    stage.child.dies()
    stage.child.opens()
    assert slow.said == "INSTRUMENT_CRASHED maybe"
    answers = stage.submit(slow.ticket.session)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    assert stage.child.is_being_killed
    assert answers.is_open


def test_nothing_is_held_up_that_nobody_is_answered_with(stage):
    """A client that did not keep up is told of its end only."""
    session = stage.opened()
    stage.service.pause()
    stage.service.resume()
    assert not stage.child.is_paused
    answers = stage.submit(session)
    stage.child.does()
    stage.service.pause()
    assert not stage.child.is_paused
    assert answers.said == "ok"
