"""Who is told of which events, and who sees which request for service. The clock is the test's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_proc.serving.events import MAV, RQS, SERVICE_REQUEST, ResourceEvents
from front_proc.serving.sessions import Client, Session

TRIGGER = 0xBFFF200A
INTERVAL = 0.1


@pytest.fixture
def events():
    return ResourceEvents(INTERVAL)


@pytest.fixture
def ann():
    return Session(Client("10.0.0.1:1"), None)


@pytest.fixture
def bob():
    return Session(Client("10.0.0.1:2"), None)


def test_sessions_are_told_of_what_they_have_enabled(events, ann, bob):
    """Each type by itself, each session once, in the order in which they asked."""
    events.subscribe(ann, TRIGGER)
    for _ in range(2):
        events.subscribe(bob, SERVICE_REQUEST)
        events.subscribe(ann, SERVICE_REQUEST)
    assert events.subscribers(TRIGGER) == (ann,)
    assert events.subscribers(SERVICE_REQUEST) == (bob, ann)
    assert events.subscribers(0x3FFF2011) == ()


def test_unsubscribing_says_whether_it_was_the_last(events, ann, bob):
    """Only then is something to be disabled. Who never asked was not the last."""
    assert not events.unsubscribe(ann, TRIGGER)
    events.subscribe(ann, TRIGGER)
    events.subscribe(bob, TRIGGER)
    assert not events.unsubscribe(ann, TRIGGER)
    assert not events.unsubscribe(ann, TRIGGER)
    assert events.unsubscribe(bob, TRIGGER)
    assert not events.unsubscribe(bob, TRIGGER)
    assert events.subscribers(TRIGGER) == ()


def test_session_that_left_is_told_of_nothing(events, ann, bob):
    """Of no type; the others are."""
    for event in (TRIGGER, SERVICE_REQUEST):
        events.subscribe(ann, event)
    events.subscribe(bob, TRIGGER)
    events.left(ann)
    assert events.subscribers(SERVICE_REQUEST) == ()
    assert events.subscribers(TRIGGER) == (bob,)


def test_events_are_enabled_by_the_library_or_by_polls(events):
    """Polls find requests for service, and nothing else."""
    assert not events.is_enabled(SERVICE_REQUEST)
    events.poll(0.0)
    assert events.is_enabled(SERVICE_REQUEST)
    assert not events.is_enabled(TRIGGER)
    events.native.add(TRIGGER)
    assert events.is_enabled(TRIGGER)


def test_resource_without_an_interval_is_not_polled():
    """`srq-poll = 0`."""
    assert ResourceEvents(INTERVAL).can_poll
    assert not ResourceEvents(0.0).can_poll


# Polls.


def test_polls_begin_at_once_and_come_at_their_interval(events, ann):
    """Whatever a poll gives, and if it fails."""
    assert events.poll_at is None
    events.subscribe(ann, SERVICE_REQUEST)
    events.poll(5.0)
    assert events.poll_at <= 5.0
    for stb, now in ((0, 5.5), (MAV, 6.0), (None, 7.0)):
        assert events.polled(stb, now) == ()
        assert events.poll_at == now + INTERVAL


@pytest.mark.parametrize("how", ["unsubscribe", "left"])
def test_polls_end_with_the_last_who_wants_them(events, ann, bob, how):
    """And begin anew, at once."""
    for session in (ann, bob):
        events.subscribe(session, SERVICE_REQUEST)
    events.subscribe(ann, TRIGGER)
    events.poll(0.0)
    events.left(ann)
    assert events.poll_at is not None
    events.left(bob) if how == "left" else events.unsubscribe(bob, SERVICE_REQUEST)
    assert events.poll_at is None
    assert not events.is_enabled(SERVICE_REQUEST)
    events.subscribe(bob, SERVICE_REQUEST)
    events.poll(100.0)
    assert events.poll_at <= 100.0


def test_poll_that_finds_a_request_tells_all_who_asked(events, ann, bob):
    """Once, though the next poll comes at once to see what bit 6 is here."""
    events.subscribe(ann, SERVICE_REQUEST)
    events.subscribe(bob, SERVICE_REQUEST)
    events.poll(0.0)
    assert events.polled(RQS | MAV, 1.0) == (ann, bob)
    assert events.poll_at <= 1.0
    assert events.polled(MAV, 1.0) == ()
    assert events.poll_at == 1.0 + INTERVAL
    assert events.polled(RQS | MAV, 2.0) == (ann, bob), "RQS: it was gone, so this is another"


def test_summary_bit_that_stays_set_is_one_request(events, ann):
    """MSS, as some instruments have it there: until it was clear."""
    events.subscribe(ann, SERVICE_REQUEST)
    events.poll(0.0)
    assert events.polled(RQS, 1.0) == (ann,)
    for now in (1.0, 2.0, 3.0):
        assert events.polled(RQS, now) == ()
        assert events.poll_at == now + INTERVAL
    assert events.polled(0, 4.0) == ()
    assert events.polled(RQS, 5.0) == (ann,)


def test_failed_poll_says_nothing_of_the_summary_bit(events, ann):
    """It may be set as before."""
    events.subscribe(ann, SERVICE_REQUEST)
    events.poll(0.0)
    assert events.polled(RQS, 1.0) == (ann,)
    assert events.polled(None, 1.1) == ()
    assert events.polled(RQS, 1.2) == ()


def test_second_who_wants_polls_changes_nothing_about_them(events, ann, bob):
    """What is known of the summary bit is still known."""
    events.subscribe(ann, SERVICE_REQUEST)
    events.poll(0.0)
    assert events.polled(RQS, 1.0) == (ann,)
    events.subscribe(bob, SERVICE_REQUEST)
    events.poll(1.0)
    assert events.polled(RQS, 1.0) == ()


# The status byte, which several read.


def test_request_that_another_reader_took_is_still_to_be_seen(events, ann, bob):
    """Reading the byte takes RQS out of it, for all readers."""
    for session in (ann, bob):
        assert events.status_byte(session, MAV) == (MAV, ())
    assert events.status_byte(ann, RQS | MAV) == (RQS | MAV, ())
    assert events.status_byte(ann, MAV) == (MAV, ())
    assert events.status_byte(bob, MAV) == (RQS | MAV, ())
    assert events.status_byte(bob, 0) == (0, ())


def test_request_that_a_poll_took_is_still_to_be_seen(events, ann, bob):
    """By those who asked for it, and by those who read the byte."""
    events.status_byte(bob, 0)
    events.subscribe(ann, SERVICE_REQUEST)
    events.poll(0.0)
    events.polled(RQS, 1.0)
    events.polled(0, 1.0)
    for session in (ann, bob):
        assert events.status_byte(session, MAV)[0] == RQS | MAV
        assert events.status_byte(session, MAV)[0] == MAV


def test_request_that_a_session_took_is_told_to_those_who_have_it_polled(events, ann, bob):
    """The polls will not find it; a second look says whether it stays set."""
    events.subscribe(ann, SERVICE_REQUEST)
    events.poll(0.0)
    events.polled(0, 1.0)
    assert events.status_byte(bob, RQS) == (RQS, (ann,))
    assert events.poll_at <= 1.0
    assert events.polled(0, 1.05) == ()
    assert events.status_byte(ann, 0)[0] == RQS


def test_request_that_a_session_saw_first_is_told_once_where_it_stays_set(events, ann, bob):
    """MSS: the poll behind that finds it again."""
    events.subscribe(ann, SERVICE_REQUEST)
    events.poll(0.0)
    events.polled(0, 1.0)
    assert events.status_byte(bob, RQS) == (RQS, (ann,))
    for now in (1.05, 1.15, 1.25):
        assert events.polled(RQS, now) == ()


def test_request_that_a_session_took_is_told_to_nobody_where_the_library_tells(events, ann, bob):
    """It does so itself."""
    events.subscribe(ann, SERVICE_REQUEST)
    events.native.add(SERVICE_REQUEST)
    assert events.status_byte(bob, RQS) == (RQS, ())
    assert events.status_byte(ann, 0)[0] == RQS


def test_request_that_is_to_be_seen_is_known(events, ann, bob):
    """Who enables the event now is told of it at once; who has it enabled was told, and other events are others."""
    for session in (ann, bob):
        events.status_byte(session, 0)
    events.status_byte(bob, RQS)
    assert not events.subscribe(ann, TRIGGER)
    assert [events.subscribe(session, SERVICE_REQUEST) for session in (ann, ann, bob)] == [True, False, False]
    events.unsubscribe(ann, SERVICE_REQUEST)
    events.status_byte(ann, 0)
    assert not events.subscribe(ann, SERVICE_REQUEST)


def test_request_from_before_its_first_read_is_not_invented_for_a_session(events, ann, bob):
    """It may be served and forgotten by then."""
    events.status_byte(ann, RQS)
    assert events.status_byte(bob, 0)[0] == 0


def test_session_that_left_has_nothing_to_see(events, ann, bob):
    """Nor is it kept in mind."""
    for session in (ann, bob):
        events.status_byte(session, 0)
    events.left(ann)
    events.status_byte(bob, RQS)
    assert events.status_byte(ann, 0)[0] == 0


# Whatever happens in whatever order, with three sessions, on either kind of instrument.


class Instrument:
    """Its status byte; `is_summary`: bit 6 is MSS, and stays set until its reason is gone."""

    def __init__(self, *, is_summary):
        self._is_summary = is_summary
        self._bit = False

    def requests(self):
        """Is that a new request? One that was not seen yet goes on."""
        is_new, self._bit = not self._bit, True
        return is_new

    def reason_goes(self):
        self._bit = False

    def look(self):
        stb = RQS if self._bit else 0
        self._bit &= self._is_summary
        return stb

    @property
    def is_set(self):
        return self._bit


class World:
    """Three sessions, of which some have requests enabled; polls as the service makes them."""

    def __init__(self, *, is_summary, is_polled):
        self.events = ResourceEvents(INTERVAL)
        self.instrument = Instrument(is_summary=is_summary)
        self.is_polled = is_polled
        self.sessions = [Session(Client(f"10.0.0.1:{number}"), None) for number in range(3)]
        self.readers = set()
        self.now = 1.0
        self._was_set = False
        #: The requests that were made since each one's last read, those of them that a look found where the look before
        #: had not, and those that it was told of.
        self.missed = dict.fromkeys(self.sessions, 0)
        self.found = dict.fromkeys(self.sessions, 0)
        self.told = dict.fromkeys(self.sessions, 0)

    def looks(self):
        if self.instrument.is_set and not self._was_set:
            for session in self.readers:
                self.found[session] = self.missed[session]
        self._was_set = self.instrument.is_set
        return self.instrument.look()

    def has_read(self, session):
        self.missed[session] = self.found[session] = self.told[session] = 0

    def requests(self):
        if self.instrument.requests():
            for session in self.readers:
                self.missed[session] += 1

    def tell(self, sessions):
        for session in sessions:
            self.told[session] += 1

    def polls(self, *, fails=False):
        """One when it is time, and the second look that follows from it."""
        self.now += INTERVAL
        if fails and self.events.poll_at is not None:
            self.tell(self.events.polled(None, self.now))
        self.polls_if_due()

    def polls_if_due(self):
        while self.events.poll_at is not None and self.events.poll_at <= self.now:
            self.tell(self.events.polled(self.looks(), self.now))

    def reads(self, session):
        """What was there, and what the session finds."""
        raw = self.looks()
        stb, told = self.events.status_byte(session, raw)
        self.readers.add(session)
        self.tell(told)
        self.polls_if_due()
        return bool(raw), bool(stb & RQS)

    def subscribes(self, session):
        if self.events.subscribe(session, SERVICE_REQUEST):
            self.told[session] = max(1, self.told[session])  # of one that it may have been told of before
        if session not in self.readers:
            self.readers.add(session)
            self.missed[session] = int(self.instrument.is_set)
        if self.is_polled:
            self.events.poll(self.now)
        else:
            self.events.native.add(SERVICE_REQUEST)

    def unsubscribes(self, session):
        self.events.unsubscribe(session, SERVICE_REQUEST)

    def leaves(self, session):
        self.events.left(session)
        self.readers.discard(session)
        self.has_read(session)


who = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.just(("requests",)),
        st.tuples(st.just("reads"), who),
        st.tuples(st.sampled_from(["subscribes", "subscribes", "unsubscribes", "leaves"]), who),
        st.sampled_from([("polls",), ("polls",), ("fails",)]),
    ),
    max_size=30,
)


@settings(max_examples=300)
@given(st.booleans(), STEPS)
def test_each_request_is_seen_by_every_session_that_reads_exactly_once(is_polled, steps):
    """RQS: a read shows it if, and only if, there was a request since that session's last read; its first read shows
    what is there. Those that have them polled are told before that."""
    world = World(is_summary=False, is_polled=is_polled)
    for step, *arguments in steps:
        session = world.sessions[arguments[0]] if arguments else None
        if step == "reads":
            expected = world.missed[session] > 0 if session in world.readers else world.instrument.is_set
            _, is_seen = world.reads(session)
            assert is_seen == expected
            world.has_read(session)
        elif step in ("polls", "fails"):
            world.polls(fails=step == "fails")
            if step == "polls" and is_polled:
                for reader in world.events.subscribers(SERVICE_REQUEST):
                    assert world.told[reader] >= (world.missed[reader] > 0)
                    assert world.told[reader] <= max(1, world.missed[reader])
        elif session is not None:
            getattr(world, step)(session)
        else:
            world.requests()


@settings(max_examples=300)
@given(STEPS, who)
def test_summary_bit_is_a_request_when_it_becomes_set_and_at_no_other_time(steps, first):
    """MSS, while the first session has it polled: a read shows what is there, and what was found since that session's
    last read. Each request is told once. (Without polls nobody can tell MSS from requests that follow each other.)"""
    world = World(is_summary=True, is_polled=True)
    world.subscribes(world.sessions[first])
    world.polls()
    requests, told = 0, dict.fromkeys(world.sessions, 0)
    for step, *arguments in steps:
        session = world.sessions[arguments[0]] if arguments else None
        before = dict(world.told)
        if step == "reads":
            missed, found = world.missed[session], world.found[session]
            raw, is_seen = world.reads(session)
            assert is_seen >= (raw or found > 0)
            assert is_seen <= (raw or missed > 0), "nobody asked for service"
        elif step in ("polls", "fails"):
            world.polls(fails=step == "fails")
        elif session is not None:
            if step == "subscribes" or arguments != [first]:
                getattr(world, step)(session)
        elif world.instrument.is_set:
            world.instrument.reason_goes()
        else:
            requests += 1
            world.requests()
        for each in world.sessions:
            told[each] += max(0, world.told[each] - before[each])
            assert told[each] <= requests
        if step == "reads":
            world.has_read(session)
