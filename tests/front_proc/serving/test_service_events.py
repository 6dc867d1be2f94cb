"""Events among the commands: what the library tells, what polls find, and the one status byte that all read.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.process.lifecycle import State
from front_proc.serving.errands import POLL_MS
from front_proc.serving.events import MAV, RQS, SERVICE_REQUEST
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_TERMCHAR_EN
from pyvisa_daemon.errors import Effect
from tests.front_proc.playbook import GRACE, TIMEOUT, take_offline

TRIGGER = 0xBFFF200A
INTERVAL = 0.1


@pytest.fixture
def ann(stage):
    return listening(stage.opened(ends=True))


@pytest.fixture
def bob(stage, ann):
    return listening(stage.opened())


#: What each session was told of.
told = {}


def listening(session):
    told[session] = []
    session.on_event = lambda event, attributes: told[session].append((event, *attributes))
    return session


@pytest.fixture(autouse=True)
def _nobody_was_told_of_anything():
    told.clear()


def enables(stage, session, event=SERVICE_REQUEST):
    outcomes = []
    stage.service.events.enable(session, event, outcomes.append)
    stage.run()
    return outcomes


def disables(stage, session, event=SERVICE_REQUEST):
    outcomes = []
    stage.service.events.disable(session, event, outcomes.append)
    stage.run()
    return outcomes


def enabled(stage, *sessions):
    """By the library."""
    for session in sessions:
        outcomes = enables(stage, session)
        if not outcomes:
            stage.child.does()
        assert not outcomes[0].failed


def polled(stage, *sessions):
    """The library has no events; the status byte is there, and nobody asks for service yet."""
    for session in sessions:
        outcomes = enables(stage, session)
        if not outcomes:
            stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
        looks(stage)
        assert not outcomes[0].failed


def looks(stage, stb=0):
    """The child answers all that it is asked for the status byte just now; it has RQS at most once."""
    count = 0
    while stage.state is State.BUSY and stage.child.running.call in ("read_stb", "poll"):
        stage.child.does(value=stb)
        stb &= ~RQS
        count += 1
    return count


def stb_of(stage, session, stb=0):
    """What a session reads when the instrument has `stb`."""
    answers = stage.submit(session, "read_stb")
    stage.child.does(value=stb)
    looks(stage)
    return answers.outcome.value


def polls(stage):
    """The polls so far, and with them the looks that follow from one."""
    return [run for run in stage.child.runs if run.call == "poll"]


# By the library.


def test_event_that_the_library_tells_goes_to_those_who_enabled_it(stage, ann, bob):
    """With its attributes."""
    outcomes = enables(stage, ann, TRIGGER)
    assert (stage.child.running.call, stage.child.running.arguments) == ("enable_event", [TRIGGER])
    stage.child.does()
    assert not outcomes[0].failed
    stage.child.happens(TRIGGER, (0x3FFF4010, 7))
    assert told == {ann: [(TRIGGER, (0x3FFF4010, 7))], bob: []}


def test_event_is_told_whatever_runs(stage, ann, bob):
    """It has nothing to do with the command under way, which goes on."""
    enabled(stage, ann, bob)
    answers = stage.submit(ann)
    stage.child.starts()
    stage.child.happens(SERVICE_REQUEST)
    assert told == {ann: [(SERVICE_REQUEST,)], bob: [(SERVICE_REQUEST,)]}
    stage.child.does(b"5.0\n")
    assert answers.outcome.data == b"5.0\n"


def test_events_are_enabled_in_a_new_process(stage, ann, bob):
    """Nobody has to ask again; nobody hears of what nobody wants any more."""
    enabled(stage, ann, bob)
    enables(stage, bob, TRIGGER)
    stage.child.does()
    disables(stage, bob, TRIGGER)
    stage.child.does()
    stage.child.dies()
    assert stage.child.order.events == [SERVICE_REQUEST]
    stage.child.opens(ends=True)
    stage.child.happens(SERVICE_REQUEST)
    assert told[ann] == told[bob] == [(SERVICE_REQUEST,)]


def test_event_for_nobody_is_ignored(stage, ann):
    """A library may be late to disable it."""
    stage.child.happens(SERVICE_REQUEST)
    answers = stage.submit(ann)
    stage.child.does()
    assert answers.said == "ok"
    assert told == {ann: []}


def test_events_may_be_enabled_by_who_is_locked_out(stage, ann, bob):
    """That is no I/O: neither where the library has them, nor where the daemon polls."""
    stage.start(stage.resource.lock(ann, LockKind.EXCLUSIVE, None, 0.0))
    outcomes = enables(stage, bob)
    stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
    looks(stage)
    assert not outcomes[0].failed
    stage.pass_time(INTERVAL)
    looks(stage, RQS)
    assert told == {ann: [], bob: [(SERVICE_REQUEST,)]}


# By polls.


def test_polls_come_at_their_interval_and_find_requests(stage, ann, bob):
    """Those who enabled them are told once."""
    polled(stage, ann, bob)
    begun = len(polls(stage))
    for _ in range(5):
        stage.pass_time(INTERVAL)
        looks(stage)
    assert len(polls(stage)) == begun + 5
    assert told == {ann: [], bob: []}
    stage.pass_time(INTERVAL)
    assert looks(stage, RQS) == 2, "what bit 6 is here shows at once"
    assert told == {ann: [(SERVICE_REQUEST,)], bob: [(SERVICE_REQUEST,)]}


def test_interval_of_polls_is_a_setting(stage):
    """Of the resource."""
    stage.configure(srq_poll=5.0)
    ann = listening(stage.opened(ends=True))
    polled(stage, ann)
    begun = len(polls(stage))
    stage.pass_time(4.9)
    looks(stage)
    assert len(polls(stage)) == begun
    stage.pass_time(0.2)
    assert len(polls(stage)) == begun + 1


def test_nothing_is_polled_where_that_is_switched_off(stage):
    """The event is refused then."""
    stage.configure(srq_poll=0.0)
    ann = listening(stage.opened(ends=True))
    outcomes = enables(stage, ann)
    stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
    assert outcomes[0].token == "VI_ERROR_INV_EVENT"
    stage.pass_time(100)
    assert polls(stage) == []


def test_poll_waits_for_the_command_under_way_and_commands_for_the_poll(stage, ann, bob):
    """The child does one thing at a time."""
    polled(stage, ann)
    query = stage.submit(bob)
    stage.pass_time(10 * INTERVAL)
    assert stage.child.running.call == "query"
    waiting = stage.submit(bob)
    stage.child.does(b"first\n")
    assert stage.child.running.call == "poll"
    looks(stage)
    assert stage.child.running.call == "query"
    stage.child.does(b"second\n")
    assert (query.outcome.data, waiting.outcome.data) == (b"first\n", b"second\n")


def test_polls_wait_for_nobody_s_answer(stage, ann, bob):
    """A program that waits for the request before it reads the answer is what they are for."""
    polled(stage, ann)
    stage.asked(ann)
    stage.submit(bob)
    stage.pass_time(INTERVAL)
    looks(stage, RQS | MAV)
    assert told[ann] == [(SERVICE_REQUEST,)]
    read = stage.submit(ann, "read")
    stage.child.does(b"5.0\n")
    assert read.outcome.data == b"5.0\n"


def test_polls_do_not_prolong_a_hold(stage, ann, bob):
    """They are no sign of life of its holder."""
    polled(stage, ann)
    stage.asked(ann)
    stage.submit(bob)
    for _ in range(int(TIMEOUT / INTERVAL) + 1):
        stage.pass_time(INTERVAL)
        looks(stage)
    assert "read_ahead" in [run.call for run in stage.child.runs]


@pytest.mark.parametrize("how", ["disables", "closes"])
def test_polls_end_with_the_last_who_wants_them(stage, ann, bob, how):
    """Nobody's instrument is bothered for nothing."""
    polled(stage, ann, bob)
    for session in (ann, bob):
        stage.pass_time(INTERVAL)
        assert looks(stage) == 1
        disables(stage, session) if how == "disables" else stage.resource.drop_session(session)
    begun = len(polls(stage))
    stage.pass_time(10)
    assert len(polls(stage)) == begun


def test_poll_that_the_library_refuses_tells_nobody_and_polls_go_on(stage, ann):
    """A timeout, say: the instrument is busy."""
    polled(stage, ann)
    for _ in range(3):
        stage.pass_time(INTERVAL)
        assert (stage.child.running.call, stage.child.running.arguments) == ("poll", [POLL_MS])
        stage.child.fails("VI_ERROR_TMO")
    assert stage.state is State.READY
    assert told[ann] == []
    stage.pass_time(INTERVAL)
    looks(stage, RQS)
    assert told[ann] == [(SERVICE_REQUEST,)]


def test_poll_has_a_deadline(stage, ann, bob):
    """Its own, whatever patience sessions have; a process that does not come back from it hangs."""
    polled(stage, ann)
    stage.pass_time(INTERVAL)
    waiting = stage.submit(bob)
    stage.pass_time(POLL_MS / 1000 + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed
    assert waiting.said == "SESSION_RESET none"


def test_polls_go_on_in_a_new_process(stage, ann):
    """Whoever waits for a request has not been told of anything."""
    polled(stage, ann)
    stage.child.dies()
    stage.pass_time(10)
    stage.child.opens(ends=True)
    stage.pass_time(INTERVAL)
    looks(stage, RQS)
    assert told[ann] == [(SERVICE_REQUEST,)]


def test_poll_that_finds_the_instrument_lost_takes_it_offline(stage, ann):
    """And there is nothing to poll until somebody wants it again."""
    polled(stage, ann)
    stage.pass_time(INTERVAL)
    stage.child.fails("VI_ERROR_CONN_LOST")
    stage.child.dies()
    assert stage.state is State.OFFLINE
    children = len(stage.children)
    stage.pass_time(100)
    assert len(stage.children) == children


def test_instrument_that_is_offline_is_not_polled(stage, ann):
    """Until it is back."""
    polled(stage, ann)
    take_offline(stage, ann)
    stage.pass_time(100)
    assert stage.state is State.OFFLINE
    assert stage.faults == []


# The status byte.


def test_request_is_in_the_next_byte_that_each_session_reads(stage, ann, bob):
    """The poll took it out of the instrument's."""
    polled(stage, ann)
    assert stb_of(stage, bob) == 0
    stage.pass_time(INTERVAL)
    looks(stage, RQS)
    assert [stb_of(stage, session, 0x21) for session in (ann, bob, ann, bob)] == [RQS | 0x21, RQS | 0x21, 0x21, 0x21]


def test_request_that_one_session_took_is_in_the_next_byte_of_the_others(stage, ann, bob):
    """Without polls as well: each has an instrument of its own, as far as it can see."""
    assert [stb_of(stage, session) for session in (ann, bob)] == [0, 0]
    assert [stb_of(stage, session, stb) for session, stb in ((ann, RQS), (ann, 0), (bob, 0), (bob, 0))] == [
        RQS,
        0,
        RQS,
        0,
    ]


def test_request_that_was_there_when_it_was_enabled_is_told_and_seen(stage, ann):
    """Whoever looked whether it can be polled took it out of the byte."""
    outcomes = enables(stage, ann)
    stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
    looks(stage, RQS)
    assert not outcomes[0].failed
    assert told[ann] == [(SERVICE_REQUEST,)]
    assert [stb_of(stage, ann), stb_of(stage, ann)] == [RQS, 0]


@pytest.mark.parametrize("ends", [True, False])
def test_answer_that_was_read_ahead_is_available(stage, ends):
    """MAV: the instrument has it no more, but the session's reads will. A stream has no such bit."""
    asker, other = stage.opened(ends=ends), stage.opened()
    stage.sets(asker, VI_ATTR_TERMCHAR_EN, not ends)
    stage.asked(asker)
    stage.submit(other)
    stage.pass_time(TIMEOUT + 0.1)
    stage.child.does(b"5.0\n")
    stage.child.does()
    assert [stb_of(stage, session) for session in (asker, other)] == [MAV if ends else 0, 0]
    assert stage.submit(asker, "read", arguments=[1000]).outcome.data == b"5.0\n"
    assert stb_of(stage, asker) == 0
