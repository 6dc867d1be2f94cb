"""Which messages of a safe state are due: histories of demands, messages that fail, and processes that die."""

from hypothesis import given
from hypothesis import strategies as st

from front_proc.serving.safe_state import SafeState
from front_proc.serving.tickets import Outcome, failed
from pyvisa_daemon.errors import Effect

MESSAGES = (b"OUTP OFF", b"VOLT 0")


def sent(state):
    return [(each.message, each.outcome.effect) for each in state.sent]


def test_nothing_is_ever_due_without_messages():
    state = SafeState(())
    assert not state.demand("somebody said so")
    assert not state.is_due
    assert state.describe() is None


def test_messages_are_sent_once_in_their_order():
    state = SafeState(MESSAGES)
    assert state.demand("the holder is gone")
    assert state.begin() == b"OUTP OFF"
    state.ended(Outcome())
    assert state.is_due
    assert state.begin() == b"VOLT 0"
    state.ended(Outcome())
    assert not state.is_due
    assert not state.outcome.failed


def test_demand_while_one_is_under_way_is_met_by_that():
    """Nobody's command was served in between."""
    state = SafeState(MESSAGES)
    state.demand("the holder is gone")
    state.begin()
    assert not state.demand("and another one")
    state.ended(Outcome())
    assert not state.demand("and another one")
    state.begin()
    state.ended(Outcome())
    assert [message for message, _ in sent(state)] == list(MESSAGES)
    assert state.reason == "the holder is gone"


def test_later_demand_has_all_sent_again():
    state = SafeState(MESSAGES)
    for reason in ("a loss", "another one"):
        assert state.demand(reason)
        while state.is_due:
            state.begin()
            state.ended(Outcome())
        assert [message for message, _ in sent(state)] == list(MESSAGES)


def test_message_that_fails_does_not_keep_back_the_next():
    state = SafeState(MESSAGES)
    state.demand("a loss")
    state.begin()
    state.ended(failed("VI_ERROR_TMO", "no answer", Effect.MAYBE))
    assert state.begin() == b"VOLT 0"
    state.ended(Outcome())
    assert not state.is_due
    assert state.outcome.token == "VI_ERROR_TMO"
    assert state.outcome.effect is Effect.MAYBE
    assert "OUTP OFF" in state.outcome.text
    assert state.describe()["state"] == "failed"


def test_message_that_may_have_got_through_a_dying_process_is_not_sent_again():
    """The others stay due."""
    state = SafeState(MESSAGES)
    state.demand("a loss")
    state.begin()
    assert state.ended(failed("INSTRUMENT_HUNG", effect=Effect.MAYBE), is_alive=False) is not None
    assert state.is_due
    assert state.describe()["state"] == "due"
    assert state.begin() == b"VOLT 0"


def test_message_that_never_began_in_a_dying_process_stays_due():
    state = SafeState(MESSAGES)
    state.demand("a loss")
    state.begin()
    assert state.ended(failed("INSTRUMENT_CRASHED"), is_alive=False) is None
    assert state.begin() == b"OUTP OFF"


def test_message_that_a_healthy_process_refused_is_not_tried_again():
    """It would refuse it again."""
    state = SafeState(MESSAGES)
    state.demand("a loss")
    state.begin()
    assert state.ended(failed("VI_ERROR_NSUP_OPER")) is not None
    assert state.begin() == b"VOLT 0"


def test_what_is_given_up_is_told_and_what_is_under_way_ends():
    state = SafeState(MESSAGES)
    state.demand("a loss")
    state.begin()
    assert [each.message for each in state.give_up(failed("SHUTTING_DOWN"))] == [b"VOLT 0"]
    assert not state.is_due
    assert state.ended(failed("SHUTTING_DOWN", effect=Effect.NONE), is_alive=False) is not None
    assert not state.is_due
    assert state.outcome.effect is Effect.NONE


def test_message_under_way_of_what_was_given_up_is_none_of_the_next_demand():
    """That one has all of its own."""
    state = SafeState(MESSAGES)
    state.demand("a loss")
    state.begin()
    state.give_up(failed("COMMAND_ABORTED"))
    assert state.demand("another one")
    state.ended(failed("INSTRUMENT_CRASHED"), is_alive=False)
    assert state.sent == []
    assert [state.begin(), state.ended(Outcome()) and state.begin()] == list(MESSAGES)


@given(
    st.lists(st.sampled_from(["demand", "ok", "maybe", "none", "dies before", "dies after", "give up"]), max_size=60),
    st.integers(0, 3),
)
def test_no_history_sends_a_message_twice_for_one_demand(history, count):
    """Nor out of order, nor leaves one out that was not given up."""
    messages = [b"%d" % number for number in range(count)]
    state, reached, given_up = SafeState(messages), [], False
    for step in history:
        if step == "demand":
            if state.demand("a loss"):
                reached, given_up = [], False
        elif step == "give up":
            given_up = bool(state.give_up(failed("SHUTTING_DOWN"))) or given_up
        elif state.is_due:
            message = state.begin()
            is_alive = not step.startswith("dies")
            effect = {"ok": Effect.DONE, "none": Effect.NONE, "dies before": Effect.NONE}.get(step, Effect.MAYBE)
            outcome = Outcome() if step == "ok" else failed("VI_ERROR_IO", "it failed", effect)
            if state.ended(outcome, is_alive=is_alive) is not None:
                reached.append(message)
        assert reached == messages[: len(reached)]
        assert not state.is_under_way
        assert state.is_due or given_up or reached in (messages, [])
