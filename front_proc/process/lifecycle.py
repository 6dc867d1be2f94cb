"""The life cycle of one instrument's process, as one table.

Pure: no process, no clock, no logging. `keeper.Keeper` feeds events in and carries out the actions;
how a death goes on says the `breaker`; the docs' diagram is drawn from TRANSITIONS. An event that a state's row does
not name changes nothing there: every event is legal in every state (a signal to a process that is gone, a frame that
crossed a kill).

To add a state or an event: its name here, its rows in TRANSITIONS, an action's method in `Keeper`.
"""

from enum import StrEnum


class State(StrEnum):
    """Where an instrument's process is."""

    CLOSED = "closed"  # no process, and nobody wants one
    STARTING = "starting"  # waits for a warm child
    OPENING = "opening"  # the child is inside viOpen
    READY = "ready"  # the session is open and idle
    BUSY = "busy"  # one command is with the child
    ABORTING = "aborting"  # the command is being cut short by a device clear
    RESYNC = "resync"  # the session is being emptied of old answers
    KILLING = "killing"  # SIGKILL is sent, its death is awaited
    WEDGED = "wedged"  # it did not die: the kernel holds it
    OFFLINE = "offline"  # the instrument cannot be reached; the next command tries again
    BACKOFF = "backoff"  # it failed again; waits before the next start
    BROKEN = "broken"  # it failed too often; waits for `reset`, or for a command after the trial time
    CHANGED = "changed"  # another instrument answers than the one first seen; waits for `reset`, or `restart`
    CLOSING = "closing"  # viClose, then the process ends
    TERMINATING = "terminating"  # it did not, and has SIGTERM


class Event(StrEnum):
    """What happens to it."""

    WANTED = "wanted"  # somebody opens it, or a command needs it
    TOO_SOON = "too_soon"  # ... but it failed a moment ago
    TOO_OFTEN = "too_often"  # ... but it is broken
    WARM = "warm"  # a warm child is at hand
    OPENED = "opened"
    REFUSED = "refused"  # viOpen failed, child healthy
    STRANGER = "stranger"  # another instrument answers than the one first seen
    DISPATCHED = "dispatched"  # a command went to the child
    DONE = "done"
    DIRTY = "dirty"  # the next command needs a resynchronised session
    LOST = "lost"  # the connection to the instrument is lost, child healthy
    ABORT = "abort"  # somebody cuts the command short, and the library can clear the device meanwhile
    CUT = "cut"  # the command is to end now, and only with its process can it
    DEADLINE = "deadline"  # no answer in time
    GARBAGE = "garbage"  # the child sent what is no report
    RESTART = "restart"  # an operator's word
    CLOSE = "close"  # nobody wants it any more
    DIED = "died"  # the process is gone and ...
    DIED_START = "died_start"  # ... is wanted: start at once
    DIED_OFFLINE = "died_offline"  # ... was of no use: the instrument cannot be reached
    DIED_WAIT = "died_wait"  # ... failed before: start later
    DIED_OFTEN = "died_often"  # ... failed too often
    DIED_CHANGED = "died_changed"  # ... was well, but had another instrument
    ELAPSED = "elapsed"  # the back-off is over
    RESET = "reset"  # an operator's word


class Action(StrEnum):
    """What is then done; each is a method of `Keeper`."""

    TAKE_CHILD = "take_child"
    SEND_OPEN = "send_open"
    SERVE = "serve"  # complete opens, dispatch the next ticket
    FAIL_OPENS = "fail_opens"  # nobody gets a session
    FAIL_RUNNING = "fail_running"  # once the pipe of the dead is drained: only then is its effect known
    FAIL_QUEUED = "fail_queued"
    NAME_HANG = "name_hang"  # whose deadline it was, for the record and for those who wait
    DUMP_AND_KILL = "dump_and_kill"  # stacks first: the child hangs
    KILL = "kill"
    SEND_ABORT = "send_abort"
    SEND_CLOSE = "send_close"
    TERMINATE = "terminate"
    START_BACKOFF = "start_backoff"
    GIVE_UP = "give_up"
    CALL_WEDGED = "call_wedged"
    FORGET = "forget"  # the resource is closed


S, E, A = State, Event, Action

#: What a death leads to where nothing has to be done before.
_AFTER_DEATH: dict[Event, tuple[State, tuple[Action, ...]]] = {
    E.DIED: (S.CLOSED, (A.FAIL_OPENS, A.FAIL_QUEUED, A.FORGET)),
    E.DIED_START: (S.STARTING, (A.TAKE_CHILD,)),
    E.DIED_OFFLINE: (S.OFFLINE, (A.FAIL_OPENS, A.FAIL_QUEUED)),
    E.DIED_WAIT: (S.BACKOFF, (A.START_BACKOFF, A.FAIL_OPENS, A.FAIL_QUEUED)),
    E.DIED_OFTEN: (S.BROKEN, (A.GIVE_UP, A.FAIL_OPENS, A.FAIL_QUEUED)),
    E.DIED_CHANGED: (S.CHANGED, (A.FAIL_OPENS, A.FAIL_QUEUED)),
}


def _after_death(*first: Action) -> dict[Event, tuple[State, tuple[Action, ...]]]:
    """What a death leads to where `first` must be done before."""
    return {event: (state, first + actions) for event, (state, actions) in _AFTER_DEATH.items()}


#: [state][event] -> (next state, actions in order).
TRANSITIONS: dict[State, dict[Event, tuple[State, tuple[Action, ...]]]] = {
    S.CLOSED: {
        E.WANTED: (S.STARTING, (A.TAKE_CHILD,)),
        # Closing and opening again does not get around the breaker.
        E.TOO_SOON: (S.BACKOFF, (A.START_BACKOFF, A.FAIL_OPENS, A.FAIL_QUEUED)),
        E.TOO_OFTEN: (S.BROKEN, (A.GIVE_UP, A.FAIL_OPENS, A.FAIL_QUEUED)),
        E.STRANGER: (S.CHANGED, (A.FAIL_OPENS, A.FAIL_QUEUED)),
    },
    S.STARTING: {
        E.WARM: (S.OPENING, (A.SEND_OPEN,)),
        E.CLOSE: (S.CLOSED, (A.FAIL_OPENS, A.FAIL_QUEUED, A.FORGET)),
        # No process could be started: as if it had died at once.
        **_after_death(A.FAIL_OPENS, A.FAIL_QUEUED),
    },
    S.OPENING: {
        E.OPENED: (S.READY, (A.SERVE,)),
        E.REFUSED: (S.KILLING, (A.FAIL_OPENS, A.FAIL_QUEUED, A.KILL)),
        E.STRANGER: (S.KILLING, (A.FAIL_OPENS, A.FAIL_QUEUED, A.KILL)),
        E.DEADLINE: (S.KILLING, (A.NAME_HANG, A.FAIL_OPENS, A.FAIL_QUEUED, A.DUMP_AND_KILL)),
        E.GARBAGE: (S.KILLING, (A.FAIL_OPENS, A.FAIL_QUEUED, A.KILL)),
        E.RESTART: (S.KILLING, (A.KILL,)),
        E.CLOSE: (S.KILLING, (A.FAIL_OPENS, A.FAIL_QUEUED, A.KILL)),
        # An open that killed its process is not tried again for those who asked for it.
        **_after_death(A.FAIL_OPENS, A.FAIL_QUEUED),
    },
    S.READY: {
        E.DISPATCHED: (S.BUSY, ()),
        E.DIRTY: (S.RESYNC, ()),
        E.GARBAGE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.RESTART: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.CLOSE: (S.CLOSING, (A.FAIL_QUEUED, A.SEND_CLOSE)),
        **_after_death(A.FAIL_QUEUED),
    },
    S.BUSY: {
        E.DONE: (S.READY, (A.SERVE,)),
        # A healthy child whose instrument went away: its session is worth nothing, the next command opens anew.
        E.LOST: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.ABORT: (S.ABORTING, (A.SEND_ABORT,)),
        E.CUT: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.DEADLINE: (S.KILLING, (A.NAME_HANG, A.FAIL_QUEUED, A.DUMP_AND_KILL)),
        E.GARBAGE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.RESTART: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.CLOSE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        **_after_death(A.FAIL_RUNNING, A.FAIL_QUEUED),
    },
    S.ABORTING: {
        E.DONE: (S.READY, (A.SERVE,)),
        E.LOST: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        # No hang: it was told to stop what it did, and this is the other way.
        E.DEADLINE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.GARBAGE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.RESTART: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.CLOSE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        **_after_death(A.FAIL_RUNNING, A.FAIL_QUEUED),
    },
    S.RESYNC: {
        E.DONE: (S.READY, (A.SERVE,)),
        E.LOST: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.DEADLINE: (S.KILLING, (A.NAME_HANG, A.FAIL_QUEUED, A.DUMP_AND_KILL)),
        E.GARBAGE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.RESTART: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        E.CLOSE: (S.KILLING, (A.FAIL_QUEUED, A.KILL)),
        **_after_death(A.FAIL_QUEUED),
    },
    S.KILLING: {
        E.DEADLINE: (S.WEDGED, (A.CALL_WEDGED, A.FAIL_RUNNING, A.FAIL_OPENS, A.FAIL_QUEUED)),
        **_after_death(A.FAIL_RUNNING),
    },
    S.WEDGED: {
        **_AFTER_DEATH,
    },
    S.OFFLINE: {
        E.WANTED: (S.STARTING, (A.TAKE_CHILD,)),
        E.RESET: (S.STARTING, (A.TAKE_CHILD,)),
        E.RESTART: (S.STARTING, (A.TAKE_CHILD,)),
        E.CLOSE: (S.CLOSED, (A.FAIL_OPENS, A.FAIL_QUEUED, A.FORGET)),
    },
    S.BACKOFF: {
        E.ELAPSED: (S.STARTING, (A.TAKE_CHILD,)),
        E.RESET: (S.STARTING, (A.TAKE_CHILD,)),
        E.RESTART: (S.STARTING, (A.TAKE_CHILD,)),
        E.CLOSE: (S.CLOSED, (A.FORGET,)),
    },
    S.BROKEN: {
        E.WANTED: (S.STARTING, (A.TAKE_CHILD,)),
        E.RESET: (S.STARTING, (A.TAKE_CHILD,)),
        E.RESTART: (S.STARTING, (A.TAKE_CHILD,)),
        E.CLOSE: (S.CLOSED, (A.FORGET,)),
    },
    S.CHANGED: {  # no WANTED: who comes with a command must not be served by whoever it is
        E.RESET: (S.STARTING, (A.TAKE_CHILD,)),
        E.RESTART: (S.STARTING, (A.TAKE_CHILD,)),
        E.CLOSE: (S.CLOSED, (A.FORGET,)),
    },
    S.CLOSING: {
        E.DEADLINE: (S.TERMINATING, (A.TERMINATE,)),
        E.RESTART: (S.KILLING, (A.KILL,)),
        # What was asked for while it closed is served by a new process.
        **_AFTER_DEATH,
    },
    S.TERMINATING: {
        E.DEADLINE: (S.KILLING, (A.KILL,)),
        E.RESTART: (S.KILLING, (A.KILL,)),
        **_AFTER_DEATH,
    },
}

#: States in which a command is refused at once, with the keeper's word for it, unless it may wake the instrument.
DORMANT = frozenset({State.WEDGED, State.OFFLINE, State.BACKOFF, State.BROKEN, State.CHANGED})


def transition(state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
    """Where `event` leads from `state`, and what to do; the same state and nothing for an event of no consequence."""
    return TRANSITIONS[state].get(event, (state, ()))
