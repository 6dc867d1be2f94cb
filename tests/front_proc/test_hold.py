"""The hold: who may be served while an answer is awaited. The clock is the test's."""

import pytest

from front_proc.attributes import ResourceAttributes
from front_proc.hold import FOR_INFINITE, SHORTEST, VI_SUCCESS_MAX_CNT, Hold
from front_proc.sessions import VI_ATTR_TMO_VALUE, VI_TMO_INFINITE, Client, Session
from front_proc.tickets import Outcome, Ticket, failed


class Bench:
    """A hold, and the sessions of some clients on one resource whose library has a timeout of 2 s."""

    def __init__(self):
        self.hold = Hold()
        self.attributes = ResourceAttributes()
        self.attributes.opened([(VI_ATTR_TMO_VALUE, 2000)])

    def session(self, timeout_ms=None):
        session = Session(Client("10.0.0.1:1"), self)
        if timeout_ms is not None:
            session.attributes[VI_ATTR_TMO_VALUE] = timeout_ms
        return session

    def ticket(self, session, call="query", **fields):
        return Ticket(session, call, lambda _: None, lambda _: None, **fields)

    def asks(self, session, now=0.0, outcome=None):
        """A write that holds a query."""
        ticket = self.ticket(session, "write", holds=True)
        self.hold.ended(ticket, outcome or Outcome(), bool(outcome and outcome.failed), now)

    def reads(self, session, now=0.0, outcome=None, *, is_dirty=False):
        self.hold.ended(self.ticket(session, "read", continues=True), outcome or Outcome(), is_dirty, now)

    def may_be_served(self, session, call="query", **fields):
        """At once, without emptying the instrument."""
        is_turn = self.hold.holder in (None, session)
        return is_turn and not self.hold.needs_resync(self.ticket(session, call, **fields))

    def expires(self, now, waiting):
        self.hold.expire(now, lambda holder: any(session is not holder for session in waiting))


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def ann(bench):
    return bench.session()


@pytest.fixture
def bob(bench):
    return bench.session()


def test_nobody_holds_at_first(bench, ann):
    """A fresh instrument owes nobody anything."""
    assert bench.may_be_served(ann)
    assert bench.hold.expires_at() is None


def test_asking_holds_until_the_answer_is_read_to_its_end(bench, ann, bob):
    """END or the termination character ends it."""
    bench.asks(ann)
    assert bench.hold.holder is ann
    assert not bench.may_be_served(bob)
    bench.reads(ann)
    assert bench.hold.holder is None
    assert bench.may_be_served(bob)


def test_reading_part_of_an_answer_keeps_the_hold(bench, ann):
    """viRead said that its count was reached: more is to come."""
    bench.asks(ann)
    for _ in range(3):
        bench.reads(ann, outcome=Outcome(VI_SUCCESS_MAX_CNT))
        assert bench.hold.holder is ann
    bench.reads(ann)
    assert bench.hold.holder is None


def test_two_questions_are_owed_two_answers(bench, ann):
    """write, write, read, read."""
    bench.asks(ann)
    bench.asks(ann)
    bench.reads(ann)
    assert bench.hold.holder is ann
    bench.reads(ann)
    assert bench.hold.holder is None


def test_command_without_a_question_holds_nothing(bench, ann):
    """Most writes are like that."""
    bench.hold.ended(bench.ticket(ann, "write"), Outcome(), False, 0.0)
    assert bench.hold.holder is None


def test_question_that_failed_without_a_trace_holds_nothing(bench, ann, bob):
    """Nothing reached the instrument."""
    bench.hold.ended(bench.ticket(ann, "write", holds=True), failed("VI_ERROR_NSUP_OPER"), False, 0.0)
    assert bench.may_be_served(bob)


def test_clear_ends_the_hold_and_leaves_nothing_old(bench, ann, bob):
    """viClear empties the instrument."""
    bench.asks(ann)
    bench.hold.ended(bench.ticket(ann, "clear"), Outcome(), False, 0.0)
    assert bench.may_be_served(bob)


def test_clear_that_failed_ends_nothing(bench, ann):
    """The answer is still there."""
    bench.asks(ann)
    bench.hold.ended(bench.ticket(ann, "clear"), failed("VI_ERROR_NSUP_OPER"), False, 0.0)
    assert bench.hold.holder is ann


def test_nobody_is_served_before_the_instrument_is_emptied_when_the_holder_closes(bench, ann, bob):
    """Its answer is in the way."""
    bench.asks(ann)
    bench.hold.left(ann)
    assert bench.hold.holder is None
    assert not bench.may_be_served(bob)
    bench.hold.resynchronised()
    assert bench.may_be_served(bob)


def test_holder_that_closed_holds_nothing_more(bench, ann, bob):
    """Somebody who is not the holder may come and go."""
    bench.asks(ann)
    bench.hold.left(bob)
    assert bench.hold.holder is ann


def test_read_that_timed_out_leaves_its_answer_to_its_owner_only(bench, ann, bob):
    """The owner may try again; everybody else needs an empty instrument, also for a read."""
    bench.asks(ann)
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    assert bench.may_be_served(ann, "read", continues=True)
    assert not bench.may_be_served(ann)
    assert not bench.may_be_served(bob)
    assert not bench.may_be_served(bob, "read", continues=True)


def test_late_answer_read_to_its_end_leaves_nothing(bench, ann, bob):
    """Part of it does not."""
    bench.asks(ann)
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    bench.reads(ann, outcome=Outcome(VI_SUCCESS_MAX_CNT))
    assert not bench.may_be_served(bob)
    bench.reads(ann)
    assert bench.may_be_served(bob)


def test_owner_of_a_late_answer_that_closed_reads_it_no_more(bench, ann, bob):
    """It stays in the way."""
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    bench.hold.left(ann)
    assert not bench.may_be_served(ann, "read", continues=True)
    assert not bench.may_be_served(bob)


def test_somebody_s_success_does_not_clean_what_is_another_s(bench, ann, bob):
    """Only whoever it belongs to reads the late answer."""
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    bench.reads(bob)
    assert bench.hold.is_dirty


def test_write_that_failed_half_way_is_cleaned_up_before_anybody_is_served(bench, ann, bob):
    """What the instrument makes of it is unknown."""
    bench.hold.ended(bench.ticket(ann, "write"), failed("VI_ERROR_IO"), True, 0.0)
    assert not bench.may_be_served(ann)
    assert not bench.may_be_served(bob)


# Time.


@pytest.mark.parametrize(
    ("timeout_ms", "patience"),
    [(None, 2.0), (500, SHORTEST), (30_000, 30.0), (VI_TMO_INFINITE, FOR_INFINITE)],
)
def test_hold_runs_out_after_the_holder_s_own_timeout(bench, bob, timeout_ms, patience):
    """At least 2 s, 60 s for an infinite one; then the instrument is emptied first."""
    ann = bench.session(timeout_ms)
    bench.asks(ann, now=100.0)
    assert bench.hold.expires_at() == 100.0 + patience
    bench.expires(100.0 + patience - 0.01, [bob])
    assert bench.hold.holder is ann
    bench.expires(100.0 + patience, [bob])
    assert bench.hold.holder is None
    assert not bench.may_be_served(bob)
    assert not bench.may_be_served(ann, "read", continues=True)


def test_hold_does_not_run_out_while_nobody_waits(bench, ann):
    """`write("MEAS?"); sleep(30); read()` works as it does locally. Its own tickets are not somebody."""
    bench.asks(ann)
    bench.expires(1e9, [])
    bench.expires(1e9, [ann])
    assert bench.hold.holder is ann


def test_each_read_gives_the_holder_its_time_anew(bench, ann, bob):
    """Idle is what counts, not the length of the answer."""
    bench.asks(ann, now=0.0)
    for now in (1.5, 3.0, 4.5):
        bench.reads(ann, now=now, outcome=Outcome(VI_SUCCESS_MAX_CNT))
        bench.expires(now + 1.9, [bob])
        assert bench.hold.holder is ann


def test_running_out_does_nothing_without_a_hold(bench, bob):
    """There is nobody to take it from."""
    bench.expires(1e9, [bob])
    assert bench.may_be_served(bob)
