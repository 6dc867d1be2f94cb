"""Events of one resource: enabled by the library or by polls, told to those who asked. What goes to the child is kept
here and answered by the test; the whole story with a process is `test_service_events`'s."""

from types import SimpleNamespace

import pytest

from front_proc.serving import event_service
from front_proc.serving.event_service import EventService
from front_proc.serving.events import MAV, RQS, SERVICE_REQUEST
from front_proc.serving.sessions import Client, Session
from front_proc.serving.tickets import Outcome, failed
from instrument_proc import pipe

TRIGGER = 0xBFFF200A
UNABLE = failed("VI_ERROR_NSUP_OPER")


class Bench:
    """An EventService, what it asked of the child, and what became of its answers."""

    def __init__(self, interval=0.1, *, marks_end=True):
        self.tickets = []
        self.service = EventService("GPIB0::1::INSTR", self.tickets.append, interval)
        self.service.marks_end = marks_end
        self.happened = []

    def session(self, name):
        client = Client(f"10.0.0.1:{name}")
        session = Session(client, None, on_event=lambda event, attributes: self.happened.append((name, event)))
        client.sessions.add(session)
        return session

    def closes(self, session):
        session.client.sessions.discard(session)
        self.service.left(session)

    def enables(self, session, event=SERVICE_REQUEST):
        """The outcomes, of which there is one in the end."""
        outcomes = []
        self.service.enable(session, event, outcomes.append)
        return outcomes

    def disables(self, session, event=SERVICE_REQUEST):
        outcomes = []
        self.service.disable(session, event, outcomes.append)
        return outcomes

    @property
    def asked(self):
        return [(ticket.call, *ticket.arguments) for ticket in self.tickets]

    def answers(self, outcome=None):
        """The child answers the oldest of what it was asked, as the service passes it on."""
        ticket = self.tickets.pop(0)
        outcome = outcome or Outcome()
        if ticket.call == "read_stb" and not outcome.failed:
            outcome = self.service.status_byte(ticket, outcome, 0)
        ticket.on_outcome(outcome)

    def polls(self, stb, now=1.0):
        self.service.polled(pipe.Done(0, 0, stb), now)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(event_service, "time", SimpleNamespace(monotonic=lambda: 0.0))
    return Bench()


@pytest.fixture
def ann(bench):
    return bench.session("Ann")


@pytest.fixture
def bob(bench):
    return bench.session("Bob")


def enabled_by_library(bench, *sessions, event=SERVICE_REQUEST):
    for session in sessions:
        outcomes = bench.enables(session, event)
        if bench.tickets:
            bench.answers()
        assert [outcome.status for outcome in outcomes] == [0]


def polled(bench, *sessions):
    for session in sessions:
        outcomes = bench.enables(session)
        if bench.tickets:
            bench.answers(UNABLE)
            bench.answers(Outcome(value=0))
        assert [outcome.status for outcome in outcomes] == [0]
    assert bench.service.poll_at is not None


# By the library.


def test_library_is_asked_first(bench, ann):
    """Once it has such events, they are told, and a new process enables them as well."""
    outcomes = bench.enables(ann, TRIGGER)
    assert bench.asked == [("enable_event", TRIGGER)]
    assert bench.service.to_restore == []
    bench.answers()
    assert not outcomes[0].failed
    assert bench.service.to_restore == [TRIGGER]
    bench.service.happened(TRIGGER, [])
    assert bench.happened == [("Ann", TRIGGER)]
    assert bench.service.poll_at is None


def test_event_that_is_enabled_is_enabled_for_others_without_asking(bench, ann, bob):
    """And each is told."""
    enabled_by_library(bench, ann)
    outcomes = bench.enables(bob)
    assert bench.tickets == []
    assert not outcomes[0].failed
    bench.service.happened(SERVICE_REQUEST, [])
    assert bench.happened == [("Ann", SERVICE_REQUEST), ("Bob", SERVICE_REQUEST)]


def test_attributes_of_an_event_are_told_with_it(bench):
    """Of a trigger, say."""
    told = []
    session = bench.session("Ann")
    session.on_event = lambda event, attributes: told.append((event, attributes))
    enabled_by_library(bench, session, event=TRIGGER)
    bench.service.happened(TRIGGER, [(0x3FFF4010, 7)])
    assert told == [(TRIGGER, [(0x3FFF4010, 7)])]


def test_event_is_disabled_in_the_library_with_the_last_who_wanted_it(bench, ann, bob):
    """Not before; and it is told to nobody from the moment in which somebody disables it."""
    enabled_by_library(bench, ann, bob)
    assert not bench.disables(ann)[0].failed
    assert bench.tickets == []
    bench.service.happened(SERVICE_REQUEST, [])
    assert bench.happened == [("Bob", SERVICE_REQUEST)]
    outcomes = bench.disables(bob)
    bench.service.happened(SERVICE_REQUEST, [])
    assert bench.asked == [("disable_event", SERVICE_REQUEST)]
    assert outcomes == []
    bench.answers()
    assert not outcomes[0].failed
    assert len(bench.happened) == 1
    assert bench.service.to_restore == []


def test_disabling_what_is_not_enabled_is_no_failure(bench, ann):
    """VISA has a warning for it, which the client knows by itself."""
    assert not bench.disables(ann)[0].failed
    assert bench.tickets == []


@pytest.mark.parametrize("who", ["same", "other"])
@pytest.mark.parametrize("is_overtaken", [False, True])
def test_event_that_is_enabled_anew_while_it_is_being_disabled_is_told(bench, ann, bob, who, is_overtaken):
    """Whichever of the two the child carries out first: whoever enables comes last."""
    enabled_by_library(bench, ann)
    bench.disables(ann)
    session = ann if who == "same" else bob
    outcomes = bench.enables(session)
    if is_overtaken and len(bench.tickets) > 1 and who == "other":
        bench.tickets.reverse()  # clients take turns
    is_enabled = True
    while bench.tickets:
        is_enabled = bench.tickets[0].call == "enable_event"
        bench.answers()
    assert is_enabled, "the library has it disabled"
    assert not outcomes[0].failed
    assert bench.service.to_restore == [SERVICE_REQUEST]
    bench.service.happened(SERVICE_REQUEST, [])
    assert len(bench.happened) == 1


def test_failure_of_the_library_is_the_failure_of_who_asked(bench, ann):
    """It is not told of anything then, and the next who asks makes it try again."""
    outcomes = bench.enables(ann)
    bench.answers(failed("VI_ERROR_CONN_LOST"))
    assert outcomes[0].token == "VI_ERROR_CONN_LOST"
    bench.service.happened(SERVICE_REQUEST, [])
    assert bench.happened == []
    assert bench.service.to_restore == []
    bench.enables(ann)
    assert bench.asked == [("enable_event", SERVICE_REQUEST)]


# By polls.


def test_service_requests_are_polled_where_the_library_has_no_events(bench, ann, bob):
    """If there is a status byte to read. Nobody else needs to ask for that."""
    outcomes = bench.enables(ann)
    bench.answers(UNABLE)
    assert bench.asked == [("read_stb",)]
    assert outcomes == []
    bench.answers(Outcome(value=0))
    assert not outcomes[0].failed
    assert bench.service.poll_at is not None
    assert bench.service.to_restore == [], "a new process has nothing to enable"
    assert not bench.enables(bob)[0].failed
    assert bench.tickets == []
    bench.polls(RQS)
    assert bench.happened == [("Ann", SERVICE_REQUEST), ("Bob", SERVICE_REQUEST)]


@pytest.mark.parametrize(
    ("interval", "marks_end", "event"),
    [(0.0, True, SERVICE_REQUEST), (0.1, False, SERVICE_REQUEST), (0.1, True, TRIGGER)],
    ids=["polls are off", "a stream", "another event"],
)
def test_event_that_is_not_to_be_had_is_refused(bench, interval, marks_end, event):
    """Nothing is polled that nobody allowed, that has no status byte, or that polls cannot find."""
    bench = Bench(interval, marks_end=marks_end)
    outcomes = bench.enables(bench.session("Ann"), event)
    bench.answers(UNABLE)
    assert outcomes[0].token == "VI_ERROR_INV_EVENT"
    assert f"{event:#x}" in outcomes[0].text
    assert bench.tickets == []
    assert bench.service.poll_at is None


def test_service_requests_are_refused_where_there_is_no_status_byte(bench, ann):
    """And not polled for."""
    outcomes = bench.enables(ann)
    bench.answers(UNABLE)
    bench.answers(UNABLE)
    assert outcomes[0].token == "VI_ERROR_INV_EVENT"
    assert "no status byte" in outcomes[0].text
    assert bench.service.poll_at is None
    bench.polls(RQS)
    assert bench.happened == []


def test_service_requests_are_polled_for_a_session_that_is_locked_out(bench, ann):
    """It may not look at the status byte itself, but the daemon may; enabling an event is no I/O."""
    outcomes = bench.enables(ann)
    bench.answers(UNABLE)
    bench.answers(failed("VI_ERROR_RSRC_LOCKED"))
    assert not outcomes[0].failed
    bench.polls(RQS)
    assert bench.happened == [("Ann", SERVICE_REQUEST)]


def test_request_that_was_there_before_it_was_enabled_is_told(bench, ann, bob):
    """The question whether it can be polled takes it out of the byte: the session has not seen it."""
    bench.service.status_byte(SimpleNamespace(session=bob, call="read_stb"), Outcome(value=0), 0)
    bench.enables(ann)
    bench.answers(UNABLE)
    bench.answers(Outcome(value=RQS | MAV))
    assert bench.happened == [("Ann", SERVICE_REQUEST)]
    for session in (ann, bob):
        ticket = SimpleNamespace(session=session, call="read_stb")
        assert bench.service.status_byte(ticket, Outcome(value=0), 0).value == RQS
        assert bench.service.status_byte(ticket, Outcome(value=0), 0).value == 0


@pytest.mark.parametrize("is_known", [False, True])
def test_request_that_another_took_before_is_told_to_who_enables_it_now(bench, ann, bob, is_known):
    """It is in the next byte that this session reads, so it is there; once, and not where there is none."""
    for session, stb in ((ann, 0), (bob, RQS)):
        bench.service.status_byte(SimpleNamespace(session=session, call="read_stb"), Outcome(value=stb), 0)
    if is_known:
        enabled_by_library(bench, bob)
    enabled_by_library(bench, ann)
    assert bench.happened == [("Ann", SERVICE_REQUEST)]
    bench.disables(ann)
    bench.service.status_byte(SimpleNamespace(session=ann, call="read_stb"), Outcome(value=0), 0)
    bench.enables(ann)
    assert len(bench.happened) == 1


def test_polls_end_without_the_child(bench, ann, bob):
    """There is nothing to disable in a library that has no events."""
    polled(bench, ann, bob)
    bench.disables(ann)
    assert bench.service.poll_at is not None
    assert not bench.disables(bob)[0].failed
    assert bench.tickets == []
    assert bench.service.poll_at is None


def test_poll_that_failed_tells_nothing(bench, ann):
    """The next one may work."""
    polled(bench, ann)
    bench.service.polled(pipe.Done(0, UNABLE.status, token="VI_ERROR_NSUP_OPER"), 1.0)
    assert bench.happened == []
    assert bench.service.poll_at is not None


def test_status_byte_has_the_bits_of_the_session_itself(bench, ann):
    """What the daemon has for it, and what it has not seen yet."""
    polled(bench, ann)
    bench.polls(RQS)
    bench.polls(0)
    ticket = SimpleNamespace(session=ann, call="read_stb")
    outcome = bench.service.status_byte(ticket, Outcome(0x3FFF0000, 0x21), MAV)
    assert (outcome.status, outcome.value) == (0x3FFF0000, RQS | MAV | 0x21)
    assert bench.service.status_byte(ticket, Outcome(value=0x21), 0).value == 0x21


def test_session_that_took_a_request_by_itself_tells_those_who_have_it_polled(bench, ann, bob):
    """The polls will not find it any more."""
    polled(bench, ann)
    ticket = SimpleNamespace(session=bob, call="read_stb")
    assert bench.service.status_byte(ticket, Outcome(value=RQS), 0).value == RQS
    assert bench.happened == [("Ann", SERVICE_REQUEST)]


# Who has left.


@pytest.mark.parametrize("answers_before", [0, 1])
def test_session_that_closed_while_it_enabled_is_told_of_nothing_and_nothing_is_polled(bench, ann, answers_before):
    """The outcome is nobody's any more, but polls would go on for ever."""
    bench.enables(ann)
    if answers_before:
        bench.answers(UNABLE)
    bench.closes(ann)
    if not answers_before:
        bench.answers(UNABLE)
    while bench.tickets:
        bench.answers(Outcome(value=RQS))
    assert bench.service.poll_at is None
    bench.polls(RQS)
    bench.service.happened(SERVICE_REQUEST, [])
    assert bench.happened == []


def test_session_that_closed_while_the_library_enabled_is_told_of_nothing(bench, ann, bob):
    """Whoever comes next is."""
    bench.enables(ann)
    bench.closes(ann)
    bench.answers()
    bench.service.happened(SERVICE_REQUEST, [])
    assert bench.happened == []
    enabled_by_library(bench, bob)
    bench.service.happened(SERVICE_REQUEST, [])
    assert bench.happened == [("Bob", SERVICE_REQUEST)]


def test_session_that_left_is_told_of_nothing(bench, ann, bob):
    """The others are, and the polls go on for them."""
    polled(bench, ann, bob)
    bench.closes(ann)
    bench.polls(RQS)
    assert bench.happened == [("Bob", SERVICE_REQUEST)]
    bench.closes(bob)
    assert bench.service.poll_at is None


def test_two_who_enable_at_once_both_are_told(bench, ann, bob):
    """Neither knows of the other; the polls begin once."""
    both = [bench.enables(session) for session in (ann, bob)]
    bench.answers(UNABLE)
    while bench.tickets:
        bench.answers(UNABLE if bench.tickets[0].call == "enable_event" else Outcome(value=0))
    assert [len(outcomes) for outcomes in both] == [1, 1]
    assert not any(outcomes[0].failed for outcomes in both)
    bench.polls(RQS)
    bench.polls(RQS)
    assert sorted(bench.happened) == [("Ann", SERVICE_REQUEST), ("Bob", SERVICE_REQUEST)]
