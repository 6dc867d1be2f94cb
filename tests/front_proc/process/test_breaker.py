"""The breaker counts as it says, whatever the moments."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.process.breaker import Breaker
from front_proc.process.lifecycle import Event


def breaker(spread=lambda: 0.5, **limits):
    return Breaker(replace(LIMITS, **limits), spread)


def broken(at=0.0):
    one = breaker()
    for _ in range(LIMITS.failures + 1):
        one.failed(at)
    return one


def test_first_failure_starts_at_once():
    """One bad day is no pattern."""
    one = breaker()
    assert one.failed(10.0) is Event.DIED_START
    assert one.wait(10.0) == 0
    assert one.admits(10.0) is Event.WANTED


def test_wait_doubles_up_to_a_limit():
    """1, 2, 4 ... 60 seconds."""
    one = breaker(failures=100)
    one.failed(0.0)
    waits = []
    for now in range(1, 10):
        assert one.failed(float(now)) is Event.DIED_WAIT
        waits.append(one.wait(now))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(spread=st.floats(0, 1, exclude_max=True), count=st.integers(2, 2000))
def test_waits_are_spread_by_a_fifth(spread, count):
    """Instruments that failed together do not start together."""
    one = breaker(lambda: spread, failures=10_000)
    for _ in range(count):
        one.failed(0.0)
    assert 0.8 <= one.wait(0.0) / min(2 ** min(count - 2, 10), 60) <= 1.2


def test_it_breaks_after_more_than_five_failures_in_a_minute():
    """The sixth within 60 s is one too many."""
    one = breaker()
    assert [one.failed(now) for now in (0.0, 10.0, 20.0, 30.0, 40.0, 60.0)] == [
        Event.DIED_START,
        *[Event.DIED_WAIT] * 4,
        Event.DIED_OFTEN,
    ]


def test_failures_are_forgotten_after_a_minute_and_a_good_command():
    """Neither alone will do."""
    one = breaker()
    one.failed(0.0)
    one.succeeded(60.0)
    assert one.failed(60.0) is Event.DIED_WAIT
    assert one.failed(1000.0) is Event.DIED_WAIT
    one.succeeded(1060.1)
    assert one.failed(1060.1) is Event.DIED_START


def test_everything_is_forgotten_on_reset():
    """An operator says that it is fine."""
    one = broken()
    one.reset()
    assert one.admits(0.0) is Event.WANTED
    assert one.failed(0.0) is Event.DIED_START


def test_start_is_not_admitted_before_the_wait_is_over():
    """Also for those who open it anew."""
    one = breaker()
    one.failed(0.0)
    one.failed(0.0)
    assert one.admits(0.9) is Event.TOO_SOON
    assert one.admits(1.0) is Event.WANTED


def test_one_trial_is_admitted_when_it_was_broken_for_long():
    """It breaks again with its first failure, and is forgiven with its first success."""
    one = broken(at=0.0)
    assert one.admits(299.9) is Event.TOO_OFTEN
    assert one.admits(300.0) is Event.WANTED
    assert one.failed(301.0) is Event.DIED_OFTEN
    assert one.admits(600.9) is Event.TOO_OFTEN
    assert one.admits(601.0) is Event.WANTED
    one.succeeded(602.0)
    assert one.failed(603.0) is Event.DIED_START


@pytest.mark.parametrize(("now", "is_forgotten"), [(59.0, False), (61.0, True)])
def test_it_is_kept_as_long_as_it_matters(now, is_forgotten):
    """A breaker that nobody uses any more is not kept for ever; a broken one is, for its next failure is the last."""
    one = breaker()
    assert one.is_forgotten(now)
    one.failed(0.0)
    assert one.is_forgotten(now) == is_forgotten
    assert not broken(at=0.0).is_forgotten(10_000.0)


@given(st.lists(st.tuples(st.floats(0, 120), st.booleans()), max_size=60))
def test_it_breaks_exactly_when_a_window_holds_too_many(steps):
    """Whatever the moments of failures and successes: the answer follows from their history."""
    one, moments, count, now = breaker(failures=5), [], 0, 0.0
    for gap, is_failure in steps:
        now += gap
        if not is_failure:
            one.succeeded(now)
            if moments and now - moments[-1] > 60.0:
                moments, count = [], 0
            continue
        moments.append(now)
        count += 1
        recent = sum(now - moment <= 60.0 for moment in moments)
        expected = Event.DIED_OFTEN if recent > 5 else Event.DIED_START if count == 1 else Event.DIED_WAIT
        assert one.failed(now) is expected
        if expected is Event.DIED_OFTEN:
            return


@given(count=st.integers(1, 100))
def test_want_of_processes_never_breaks_it(count):
    """The machine is short of something: each try waits longer, and afterwards all is as it was."""
    one = breaker()
    waits = []
    for _ in range(count):
        assert one.postponed(0.0) is Event.DIED_WAIT
        waits.append(one.wait(0.0))
    assert waits == [min(2.0**number, 60.0) for number in range(count)]
    one.succeeded(61.0)
    assert one.failed(61.0) is Event.DIED_START


def test_success_ends_the_wait():
    """An operator restarted it in back-off and it works: whoever opens it next is not refused."""
    one = breaker()
    for now in range(5):
        one.failed(float(now))
    assert one.admits(4.5) is Event.TOO_SOON
    one.succeeded(4.5)
    assert one.admits(4.6) is Event.WANTED
