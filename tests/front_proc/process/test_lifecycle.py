"""The life cycle's table keeps its promises."""

from itertools import product

import pytest

from front_proc.process.keeper import Keeper
from front_proc.process.lifecycle import (
    DORMANT,
    TRANSITIONS,
    Action,
    Event,
    State,
    transition,
)

DEATHS = {Event.DIED, Event.DIED_START, Event.DIED_OFFLINE, Event.DIED_WAIT, Event.DIED_OFTEN, Event.DIED_CHANGED}
HAVE_PROCESS = {
    State.OPENING,
    State.READY,
    State.BUSY,
    State.ABORTING,
    State.RESYNC,
    State.KILLING,
    State.WEDGED,
    State.CLOSING,
    State.TERMINATING,
}
HAVE_SESSION = {State.READY, State.BUSY, State.ABORTING, State.RESYNC}
#: Nothing is under way here that would serve those who wait.
AT_REST = {State.CLOSED, State.OFFLINE, State.BACKOFF, State.BROKEN, State.CHANGED, State.WEDGED}
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


@pytest.mark.parametrize("state", sorted(HAVE_PROCESS - {State.READY, State.WEDGED}))
def test_every_state_that_awaits_a_process_has_a_deadline(state):
    """Nobody waits for a process without limit."""
    assert Event.DEADLINE in TRANSITIONS[state]


@every_row
def test_running_command_is_judged_when_its_process_is_gone(state, event, after, actions):
    """Only then is all read that it said; a process that never goes is judged when it is called wedged."""
    is_end = event in DEATHS or (state, event) == (State.KILLING, Event.DEADLINE)
    assert (Action.FAIL_RUNNING in actions) == (state in {State.BUSY, State.ABORTING, State.KILLING} and is_end)


@every_row
def test_queued_commands_fail_when_an_open_session_is_given_up(state, event, after, actions):
    """What was sent to one incarnation of the instrument is never carried out on the next."""
    if state in HAVE_SESSION and after not in HAVE_SESSION:
        assert Action.FAIL_QUEUED in actions


@every_row
def test_nobody_is_left_waiting_where_nothing_is_under_way(state, event, after, actions):
    """Where the table comes to rest it has failed what waits, unless nobody can wait there."""
    nobody_waits = state in DORMANT - {State.OFFLINE} | {State.CLOSING} and after is State.CLOSED
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
