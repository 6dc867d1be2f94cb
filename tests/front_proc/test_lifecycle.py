"""The life cycle's table keeps its promises, and the breaker counts as it says."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.keeper import Keeper
from front_proc.lifecycle import (
    REFUSING,
    TRANSITIONS,
    Action,
    Breaker,
    BreakerSettings,
    Event,
    State,
    transition,
)

DEATHS = {Event.DIED, Event.DIED_START, Event.DIED_OFFLINE, Event.DIED_WAIT, Event.DIED_OFTEN}
HAVE_PROCESS = {
    State.OPENING,
    State.READY,
    State.BUSY,
    State.RESYNC,
    State.KILLING,
    State.WEDGED,
    State.CLOSING,
}
#: Nothing is under way here that would serve those who wait.
AT_REST = {State.CLOSED, State.OFFLINE, State.BACKOFF, State.BROKEN, State.WEDGED}
FAILING = {Action.FAIL_OPENS, Action.FAIL_QUEUED, Action.FAIL_RUNNING}
ROWS = [
    pytest.param(state, event, *row, id=f"{state}-{event}")
    for state, events in TRANSITIONS.items()
    for event, row in events.items()
]
every_row = pytest.mark.parametrize(("state", "event", "after", "actions"), ROWS)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_event_is_legal_in_every_state(state, event):
    """A row's transition, or the same state and nothing to do."""
    after, actions = transition(state, event)
    assert isinstance(after, State)
    assert all(isinstance(action, Action) for action in actions)
    if event not in TRANSITIONS[state]:
        assert (after, actions) == (state, ())


def test_table_has_a_row_for_every_state_and_uses_every_event():
    """No state is forgotten, no event is of no use."""
    assert set(TRANSITIONS) == set(State)
    assert {event for events in TRANSITIONS.values() for event in events} == set(Event)


def test_every_action_is_used_and_carried_out_by_the_keeper():
    """One method for each."""
    assert {action for events in TRANSITIONS.values() for _, actions in events.values() for action in actions} == set(
        Action
    )
    assert set(Keeper._ACTIONS) == set(Action)


@pytest.mark.parametrize("state", sorted(HAVE_PROCESS))
@pytest.mark.parametrize("death", sorted(DEATHS))
def test_every_death_leads_on_from_a_state_with_a_process(state, death):
    """However it is judged: a state whose process is gone must not be stayed in."""
    assert transition(state, death)[0] not in HAVE_PROCESS


@pytest.mark.parametrize("state", sorted({State.OPENING, State.BUSY, State.RESYNC, State.KILLING, State.CLOSING}))
def test_every_state_that_awaits_a_process_has_a_deadline(state):
    """Nobody waits for a process without limit."""
    assert Event.DEADLINE in TRANSITIONS[state]


@every_row
def test_running_command_is_judged_when_its_process_is_gone(state, event, after, actions):
    """Only then is all read that it said; a process that never goes is judged when it is called wedged."""
    is_end = event in DEATHS or (state, event) == (State.KILLING, Event.DEADLINE)
    assert (Action.FAIL_RUNNING in actions) == (state in {State.BUSY, State.KILLING} and is_end)


@every_row
def test_queued_commands_fail_when_an_open_session_is_given_up(state, event, after, actions):
    """What was sent to one incarnation of the instrument is never carried out on the next."""
    if state in {State.READY, State.BUSY, State.RESYNC} and after not in {State.READY, State.BUSY, State.RESYNC}:
        assert Action.FAIL_QUEUED in actions


@every_row
def test_nobody_is_left_waiting_where_nothing_is_under_way(state, event, after, actions):
    """Where the table comes to rest it has failed what waits, unless nobody can wait there."""
    nobody_waits = state in REFUSING | {State.CLOSING} and after is State.CLOSED
    if after in AT_REST and not nobody_waits:
        assert {Action.FAIL_OPENS, Action.FAIL_QUEUED} <= set(actions)


@every_row
def test_no_row_serves_what_it_fails(state, event, after, actions):
    """Serving, taking a child and forgetting come last: what they bring about must find the rest done."""
    for action in (Action.SERVE, Action.TAKE_CHILD, Action.SEND_OPEN, Action.FORGET):
        assert action not in actions[:-1]
    if Action.SERVE in actions:
        assert not FAILING & set(actions)


@every_row
def test_every_kill_is_awaited(state, event, after, actions):
    """Killing is entered by a kill and by nothing else."""
    kills = {Action.KILL, Action.DUMP_AND_KILL} & set(actions)
    assert bool(kills) == (after is State.KILLING)
    assert (Action.NAME_HANG in actions) == (Action.DUMP_AND_KILL in actions)


@every_row
def test_every_start_is_of_a_child_that_is_taken(state, event, after, actions):
    """One process at a time: a child is taken only where there is none."""
    assert (Action.TAKE_CHILD in actions) == (after is State.STARTING)
    if Action.TAKE_CHILD in actions:
        assert event in DEATHS or state not in HAVE_PROCESS


@pytest.mark.parametrize("state", State)
def test_every_state_leads_to_closed(state):
    """Nothing is ever stuck, however it got there."""
    reached, new = {State.CLOSED}, {State.CLOSED}
    while new:
        new = {
            origin
            for origin, events in TRANSITIONS.items()
            if origin not in reached and any(after in reached for after, _ in events.values())
        }
        reached |= new
    assert state in reached


# The breaker.


def breaker(spread=lambda: 0.5, **settings):
    return Breaker(BreakerSettings(**settings), spread)


def test_breaker_starts_at_once_after_the_first_failure():
    """One bad day is no pattern."""
    one = breaker()
    assert one.failed(10.0) is Event.DIED_START
    assert one.wait == 0


def test_breaker_waits_twice_as_long_each_time_up_to_a_limit():
    """1, 2, 4 ... 60 seconds."""
    one = breaker(limit=100)
    one.failed(0.0)
    waits = []
    for now in range(1, 10):
        assert one.failed(float(now)) is Event.DIED_WAIT
        waits.append(one.wait)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(spread=st.floats(0, 1, exclude_max=True), count=st.integers(2, 20))
def test_breaker_spreads_its_waits_by_a_fifth(spread, count):
    """Instruments that failed together do not start together."""
    one = breaker(lambda: spread, limit=100)
    for _ in range(count):
        one.failed(0.0)
    assert 0.8 <= one.wait / min(2 ** (count - 2), 60) <= 1.2


def test_breaker_gives_up_after_more_than_five_failures_in_a_minute():
    """The sixth within 60 s is one too many."""
    one = breaker()
    assert [one.failed(now) for now in (0.0, 10.0, 20.0, 30.0, 40.0, 60.0)] == [
        Event.DIED_START,
        *[Event.DIED_WAIT] * 4,
        Event.DIED_OFTEN,
    ]


def test_breaker_forgets_failures_after_a_minute():
    """A failure each minute is always the first."""
    one = breaker()
    assert {one.failed(now) for now in (0.0, 60.1, 120.2, 180.3, 240.4, 300.5, 360.6)} == {Event.DIED_START}


def test_breaker_forgets_everything_on_reset():
    """An operator says that it is fine."""
    one = breaker()
    for _ in range(6):
        one.failed(0.0)
    one.reset()
    assert one.failed(0.0) is Event.DIED_START


@given(st.lists(st.floats(0, 120), max_size=40))
def test_breaker_breaks_exactly_when_a_window_holds_too_many(gaps):
    """Whatever the moments: the answer follows from the failures of the last minute."""
    one, moments, now = breaker(), [], 0.0
    for gap in gaps:
        now += gap
        moments.append(now)
        recent = sum(now - moment <= 60.0 for moment in moments)
        expected = Event.DIED_START if recent == 1 else Event.DIED_OFTEN if recent > 5 else Event.DIED_WAIT
        assert one.failed(now) is expected
