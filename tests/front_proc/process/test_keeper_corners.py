"""Where two things meet in one moment: whoever waits is told, and nobody is blamed for what another did."""

from types import SimpleNamespace

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.front import Front
from front_proc.process.lifecycle import State
from front_proc.serving.sessions import VI_ATTR_SEND_END_EN
from instrument_proc import pipe
from pyvisa_daemon.errors import ERRORS, Effect
from tests.front_proc.playbook import GRACE, NAME, TIMEOUT, break_it, failure_of


def wedged(stage):
    session = stage.opened()
    stage.submit(session)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    stage.pass_time(LIMITS.kill_time + 0.1)
    assert stage.state is State.WEDGED
    return session


def closes(stage, session):
    """As a client does, where nothing lingers."""
    return stage.start(Front.close(SimpleNamespace(linger=0.0), session))


def in_back_off(stage):
    """For 8 s."""
    session = stage.opened()
    for _ in range(LIMITS.failures):
        if stage.state is State.BACKOFF:
            stage.pass_time(stage.house.breakers[NAME].wait(stage.loop.time()))
        if stage.state is State.OPENING:
            stage.child.opens()
        stage.child.dies()
    assert stage.state is State.BACKOFF
    return session


def test_open_of_what_is_offline_makes_an_attempt_whatever_failed_before(stage):
    """It was broken, an operator restarted it, and it could not be reached."""
    stage.opened()
    break_it(stage)
    stage.resource.restart()
    stage.run()
    stage.child.refuses()
    stage.child.dies()
    assert stage.state is State.OFFLINE
    opening = stage.asks_to_open()
    stage.child.opens()
    assert opening.result()


def test_close_of_what_is_wedged_returns(stage):
    """There is no end to wait for."""
    assert closes(stage, wedged(stage)).done()


def test_close_returns_when_somebody_else_has_opened_it_meanwhile(stage):
    """The process goes on, for them."""
    stage.house.linger = 0.0
    session = stage.opened()
    stage.submit(session)
    stage.child.starts()
    closing = closes(stage, session)
    stage.opened()
    assert closing.done()


def test_last_words_of_a_process_that_is_being_killed_are_no_failure(stage):
    """An operator restarted it; that its pipe closed first means nothing."""
    stage.opened()
    stage.resource.restart()
    stage.child.babbles()
    stage.child.dies()
    stage.child.opens()
    stage.child.dies()
    assert stage.state is State.STARTING or stage.state is State.OPENING, "this was the first failure"


def test_last_words_of_a_wedged_process_change_no_refusal(stage):
    """It is wedged, whatever it says."""
    session = wedged(stage)
    stage.child.babbles()
    assert stage.submit(session).said == "INSTRUMENT_WEDGED none"


def test_no_timer_is_left_of_an_opening_that_was_refused(stage):
    """Somebody asks a thousand times."""
    stage.resource.drop_session(in_back_off(stage))
    for _ in range(1000):
        stage.resource = stage.new_resource()
        assert failure_of(stage.asks_to_open()) == "INSTRUMENT_BACKOFF none"
    assert len([timer for timer in stage.loop._scheduled if not timer.cancelled()]) < 10


def test_refusal_says_how_long_it_is_from_now(stage):
    """Not from when the back-off began."""
    session = in_back_off(stage)
    first = stage.submit(session).outcome.text
    stage.pass_time(5)
    assert first.endswith("the next start is in 8.0 s")
    assert stage.submit(session).outcome.text.endswith("the next start is in 3.0 s")


def test_hang_is_told_as_a_hang_though_the_daemon_stops_meanwhile(stage):
    """It was one."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + 0.1)
    stage.resource.shut()
    stage.child.dies()
    assert answers.said == "INSTRUMENT_HUNG maybe"


def test_after_garbage_nothing_is_proven(stage):
    """That the call began may have been said behind it, which is not read."""
    answers = stage.submit(stage.opened())
    stage.child.babbles()
    stage.child.dies()
    assert answers.said == "INSTRUMENT_CRASHED maybe"


def test_clear_of_a_socket_may_take_as_long_as_an_open(stage):
    """It is one: the instrument may be switched off, which takes a library long to find out."""
    answers = stage.submit(stage.opened(), "clear")
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + LIMITS.open_time - 0.1)
    assert answers.is_open
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed


@pytest.mark.parametrize("by", ["abort", "time"])
def test_rest_of_a_message_whose_beginning_was_dropped_is_not_sent(stage, by):
    """`OUTP OFF;:VOLT 5` and `;:OUTP ON` are one message; its end alone would switch on whatever is set now."""
    writer, other = stage.opened(can_abort=True, ends=True), stage.opened()
    stage.sets(writer, VI_ATTR_SEND_END_EN, False)
    stage.submit(writer, "write", data=b"OUTP OFF;:VOLT 5")
    stage.child.does(value=16)
    if by == "abort":
        stage.submit(other, "read_stb")
        stage.child.starts()
        stage.start(stage.resource.abort("somebody"))
        aborted = ERRORS["VI_ERROR_ABORT"].status
        stage.child.say(pipe.Done(stage.child.running.ticket, aborted, token="VI_ERROR_ABORT", effect=Effect.NONE))
    else:
        query = stage.submit(other)
        stage.pass_time(TIMEOUT + 0.1)
        stage.child.does()
        stage.child.does()
        assert query.said == "ok"
    stage.sets(writer, VI_ATTR_SEND_END_EN, True)
    assert stage.submit(writer, "write", data=b";:OUTP ON\n").said == "SESSION_RESET none"
    again = stage.submit(writer, "write", data=b"OUTP OFF\n")
    stage.child.does(value=9)
    assert again.said == "ok"
