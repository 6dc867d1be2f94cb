"""The hold in time: how long it lasts, messages in parts, what is read ahead, and answers that come late.

The clock is the test's.
"""

import pytest

from front_proc.serving.hold import FOR_INFINITE, LONGEST_POLLING, PATIENCE, SHORTEST
from front_proc.serving.sessions import VI_TMO_INFINITE
from front_proc.serving.tickets import Outcome, failed
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR

# Time.


@pytest.mark.parametrize(
    ("timeout_ms", "patience"),
    [(None, 2.0), (500, SHORTEST), (30_000, 30.0), (VI_TMO_INFINITE, FOR_INFINITE)],
)
def test_hold_runs_out_after_the_holder_s_own_timeout(bench, bob, timeout_ms, patience):
    """At least 2 s, 60 s for an infinite one; then the instrument is emptied first if nothing was read ahead."""
    ann = bench.session(timeout_ms)
    bench.asks(ann, now=100.0)
    assert bench.hold.expires_at() == 100.0 + patience
    assert not bench.hold.is_over(100.0 + patience - 0.01)
    assert bench.hold.is_over(100.0 + patience)
    assert bench.hold.holder is ann, "until somebody waits"
    bench.hold.give_up()
    assert bench.hold.holder is None
    assert not bench.may_be_served(bob)
    assert not bench.may_be_served(ann, "read")


def test_each_read_gives_the_holder_its_time_anew(bench, ann):
    """Idle is what counts, not the length of the answer."""
    bench.asks(ann, now=0.0)
    for now in (1.5, 3.0, 4.5):
        bench.reads(ann, now=now, outcome=Outcome(VI_SUCCESS_MAX_CNT))
        assert not bench.hold.is_over(now + 1.9)
        assert bench.hold.is_over(now + 2.0)


@pytest.mark.parametrize("call", ["read_stb", "get_attribute", "write", "query"])
def test_every_command_of_the_holder_gives_it_time(bench, ann, bob, call):
    """`while not stb & 16: sleep(1)`: who polls is there. What others do does not count."""
    bench.asks(ann, now=0.0)
    for now in (1.5, 3.0, 4.5):
        bench.hold.ended(bench.ticket(ann, call), Outcome(), False, now)
        bench.hold.ended(bench.ticket(bob, "read_stb"), Outcome(), False, now + 1.0)
        assert bench.hold.expires_at() == now + SHORTEST


@pytest.mark.parametrize(
    ("timeout_ms", "longest"),
    [(None, LONGEST_POLLING), (90_000, 90.0), (VI_TMO_INFINITE, FOR_INFINITE)],
)
def test_polling_keeps_a_hold_for_a_minute_at_most(bench, timeout_ms, longest):
    """Or for the holder's own timeout if that is longer; a write or a read begins that anew."""
    ann = bench.session(timeout_ms)
    for begins in (0.0, 1000.0):
        bench.asks(ann, now=begins)
        for now in range(int(longest)):
            bench.hold.ended(bench.ticket(ann, "read_stb"), Outcome(), False, begins + now)
            assert not bench.hold.is_over(begins + now + 0.9)
        assert bench.hold.expires_at() == begins + longest
        bench.reads(ann, now=begins + longest - 0.5, outcome=Outcome(VI_SUCCESS_MAX_CNT))
        assert bench.hold.expires_at() > begins + longest


def test_nothing_runs_out_without_a_hold(bench):
    """There is nobody to take it from."""
    assert bench.hold.expires_at() is None
    assert not bench.hold.is_over(1e9)


# Messages in parts.


def test_message_that_is_not_whole_holds_and_nothing_is_owed(bench, ann, bob):
    """Nobody's message may come between its parts; nobody would answer a part."""
    bench.writes(ann, is_unfinished=True)
    assert bench.hold.holder is ann
    assert not bench.may_be_served(bob)
    assert not bench.hold.can_be_read_ahead


@pytest.mark.parametrize("parts", [1, 3])
def test_message_that_asks_for_nothing_holds_until_it_is_whole(bench, ann, bob, parts):
    """Then others are served, and nothing has to be cleared away."""
    for _ in range(parts):
        bench.writes(ann, is_unfinished=True)
        assert bench.hold.holder is ann
    bench.writes(ann)
    assert bench.hold.holder is None
    assert bench.may_be_served(bob)


def test_message_in_parts_that_asks_holds_until_its_answer_is_read(bench, ann, bob):
    """Whichever part has the question."""
    bench.writes(ann, is_unfinished=True)
    bench.writes(ann, answers=1, is_unfinished=True)
    bench.writes(ann)
    assert bench.hold.holder is ann
    bench.reads(ann)
    assert bench.hold.holder is None
    assert bench.may_be_served(bob)


@pytest.mark.parametrize("call", ["query", "query_block"])
def test_query_ends_the_hold_of_a_message_that_was_not_whole(bench, ann, bob, call):
    """It had an end, and its answer was read."""
    bench.writes(ann, is_unfinished=True)
    bench.hold.ended(bench.ticket(ann, call), Outcome(), False, 0.0)
    assert bench.hold.holder is None
    assert bench.may_be_served(bob)


def test_half_a_message_is_cleared_away_when_its_session_leaves_or_its_time_is_up(bench, ann, bob):
    """The next one's message would be its other half."""
    bench.writes(ann, is_unfinished=True)
    bench.hold.left(ann)
    assert not bench.may_be_served(bob)
    bench.hold.resynchronised()
    bench.writes(ann, is_unfinished=True)
    assert bench.hold.is_over(SHORTEST)
    bench.hold.give_up()
    assert not bench.may_be_served(bob)


# What passes those who wait.


@pytest.mark.parametrize("call", ["get_attribute", "read_stb", "enable_event", "disable_event", "in_8", "peek_32"])
def test_what_is_no_message_needs_no_clean_session(bench, ann, bob, call):
    """It neither asks nor reads."""
    bench.asks(ann)
    bench.hold.give_up()
    assert not bench.hold.needs_resync(bench.ticket(bob, call))
    assert bench.hold.needs_resync(bench.ticket(bob, "write"))
    bench.hold.ended(bench.ticket(bob, call), Outcome(), False, 0.0)
    assert bench.hold.needs_resync(bench.ticket(bob, "write")), "nothing is clean by that"


@pytest.mark.parametrize("call", ["get_attribute", "read_stb", "enable_event"])
def test_what_is_no_message_changes_no_hold(bench, ann, bob, call):
    """Neither of the holder's nor of others, failed or not."""
    bench.asks(ann)
    for session in (ann, bob):
        bench.hold.ended(bench.ticket(session, call), Outcome(), False, 0.0)
        bench.hold.ended(bench.ticket(session, call), failed("VI_ERROR_NSUP_OPER"), False, 0.0)
        assert bench.hold.holder is ann


# Reading ahead.


def test_answer_can_be_read_ahead_where_its_end_can_be_told(bus, line, ann):
    """By END, or by a termination character; else nobody knows when it is whole."""
    for session, is_told in ((line.session(has_termchar=True), True), (line.session(), False)):
        line.asks(session)
        assert line.hold.can_be_read_ahead == is_told
    bus.asks(ann)
    assert bus.hold.can_be_read_ahead


def test_nothing_is_read_ahead_that_nobody_asked_for(bench):
    """Without a hold, or while only half a message is there."""
    ann = bench.session(has_termchar=True)
    assert not bench.hold.can_be_read_ahead
    bench.writes(ann, is_unfinished=True)
    assert not bench.hold.can_be_read_ahead


def test_answer_that_was_read_ahead_ends_the_hold_and_leaves_nothing(bench, ann, bob):
    """Others are served at once."""
    bench.asks(ann)
    bench.hold.was_read_ahead(0, b"1\n")
    assert bench.hold.holder is None
    assert bench.may_be_served(bob)
    assert bench.may_be_served(ann)


def test_all_that_is_owed_is_read_ahead_before_the_hold_ends(line, bob):
    """One answer after the other."""
    ann = line.session(has_termchar=True)
    line.asks(ann, answers=3)
    for _ in range(2):
        line.hold.was_read_ahead(VI_SUCCESS_TERM_CHAR, b"1\n")
        assert line.hold.holder is ann
        assert line.hold.can_be_read_ahead
    line.hold.was_read_ahead(VI_SUCCESS_TERM_CHAR, b"1\n")
    assert line.hold.holder is None
    assert line.may_be_served(bob)


def test_answer_that_was_read_ahead_to_a_character_may_go_on_where_the_end_is_marked(bus, bob):
    """As one that its own session reads: END was not there."""
    ann = bus.session(has_termchar=True)
    bus.asks(ann)
    bus.hold.was_read_ahead(VI_SUCCESS_TERM_CHAR, b"1\n")
    assert bus.hold.holder is None
    assert not bus.may_be_served(bob)


def test_rest_of_an_answer_is_read_ahead_as_an_answer(bench, ann, bob):
    """Its session read a part, and has not come for more."""
    bench.asks(ann)
    bench.reads(ann, outcome=Outcome(VI_SUCCESS_MAX_CNT))
    bench.hold.was_read_ahead(0, b"1\n")
    assert bench.may_be_served(bob)
    bench.asks(ann)
    assert not bench.ends_with(ann, "write", may_ask=True), "it was not cut"


# Late answers: how many, and how long it is worth to wait for them.


@pytest.mark.parametrize(
    ("timeout_ms", "patience"),
    [(None, 2.0), (100, PATIENCE[0]), (5_000, 5.0), (30_000, PATIENCE[1]), (VI_TMO_INFINITE, PATIENCE[1])],
)
def test_late_answers_are_waited_for_as_long_as_their_session_had_waited(bench, timeout_ms, patience):
    """At least a second, at most ten: everybody else waits meanwhile."""
    ann = bench.session(timeout_ms)
    bench.asks(ann)
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    assert (bench.hold.late_answers, bench.hold.patience) == (1, patience)
    bench.hold.resynchronised()
    assert (bench.hold.late_answers, bench.hold.patience) == (0, PATIENCE[0])


@pytest.mark.parametrize("call", ["query", "query_block"])
def test_query_that_failed_may_be_answered_late(bench, ann, call):
    """Once."""
    bench.hold.ended(bench.ticket(ann, call), failed("VI_ERROR_TMO"), True, 0.0)
    assert bench.hold.late_answers == 1


def test_late_answers_are_counted_until_they_were_read(line, ann):
    """By their own session, each to its end."""
    line.asks(ann, answers=3)
    line.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    assert line.hold.late_answers == 3
    for status, left in ((VI_SUCCESS_MAX_CNT, 3), (0, 2), (VI_SUCCESS_TERM_CHAR, 1), (0, 0), (0, 0)):
        line.reads(ann, outcome=Outcome(status))
        assert line.hold.late_answers == left
