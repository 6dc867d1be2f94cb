"""One instrument: who has it open, who waits for that, and when it closes.

The resource, its service and its keeper are the real ones; the process is played (see `playbook`), and time is the
test's.
"""

import asyncio

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.process.lifecycle import Event, State
from instrument_proc import pipe
from pyvisa_daemon.errors import Failure
from tests.front_proc.playbook import NAME, break_it, failure_of, take_offline

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


def test_library_of_the_settings_opens_the_resource(stage):
    """Whatever the daemon's own is."""
    stage.configure(library="@ivi")
    stage.asks_to_open().cancel()
    assert stage.child.order.library == "@ivi"


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
    stage.pass_time(LIMITS.open_time - 0.1)
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
    """Then it is asked to end, and then it is killed."""
    stage.house.linger = 0.0
    stage.resource.drop_session(stage.opened())
    stage.pass_time(LIMITS.close_time + 0.1)
    assert stage.child.is_being_terminated
    assert not stage.child.is_being_killed
    stage.pass_time(LIMITS.terminate_time + 0.1)
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
