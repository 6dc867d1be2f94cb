"""The hold: who may be served while an answer is awaited. The clock is the test's."""

import pytest

from front_proc.serving.tickets import Outcome, failed
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR


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


def test_answers_line_up_where_nothing_marks_their_end(line, ann, bob):
    """write, write, read, read."""
    line.asks(ann)
    line.asks(ann)
    line.reads(ann)
    assert line.hold.holder is ann
    line.reads(ann)
    assert line.hold.holder is None
    assert line.may_be_served(bob)


def test_one_write_may_ask_for_several_answers(line, ann, bob):
    """`write("A?\\nB?")`, read, read; then one more write before the last was read."""
    line.asks(ann, answers=2)
    line.reads(ann)
    line.asks(ann)
    line.reads(ann)
    assert line.hold.holder is ann
    line.reads(ann)
    assert line.may_be_served(bob)


def test_query_replaces_the_answer_that_was_not_read_where_the_end_is_marked(bus, ann, bob):
    """IEEE 488.2, 6.3.2.3. Whether the instrument keeps to that is unknown: others begin with an empty one."""
    bus.asks(ann)
    bus.asks(ann)
    bus.reads(ann)
    assert bus.hold.holder is None
    assert bus.may_be_served(ann)
    assert not bus.may_be_served(bob)
    assert not bus.may_be_served(bob, "read")
    bus.hold.resynchronised()
    assert bus.may_be_served(bob)


def test_only_one_answer_of_several_queries_is_awaited_where_the_end_is_marked(bus, ann, bob):
    """The instrument may have said the others too."""
    bus.asks(ann, answers=2)
    bus.reads(ann)
    assert bus.hold.holder is None
    assert bus.may_be_served(ann)
    assert not bus.may_be_served(bob)


def test_what_somebody_may_have_left_is_cleared_away_by_clear(bus, ann, bob):
    """As well as by a resynchronisation; not by a later exchange of its own."""
    bus.asks(ann)
    for _ in range(3):
        bus.asks(ann)
        bus.reads(ann)
        assert not bus.may_be_served(bob)
    bus.hold.ended(bus.ticket(ann, "clear"), Outcome(), False, 0.0)
    assert bus.may_be_served(bob)


def test_what_somebody_left_stays_in_the_way_when_it_closes(bus, ann, bob):
    """Nobody will ever read it."""
    bus.asks(ann)
    bus.asks(ann)
    bus.reads(ann)
    bus.hold.left(ann)
    assert not bus.may_be_served(bob)


def test_query_after_a_read_that_ended_at_its_count_is_a_new_exchange(bench, ann, bob):
    """`read_bytes(5)` of exactly what was said: nobody knows that this was all."""
    for _ in range(3):
        bench.asks(ann)
        bench.reads(ann, outcome=Outcome(VI_SUCCESS_MAX_CNT))
    bench.asks(ann)
    bench.reads(ann)
    assert bench.hold.holder is None
    assert bench.may_be_served(ann)
    assert not bench.may_be_served(bob)


def test_hold_ends_with_the_query_that_follows_a_read_which_ended_at_its_count(bench, ann, bob):
    """Others may have their turn before it, with an empty instrument; nothing else that the holder does ends it."""
    bench.asks(ann)
    assert not bench.ends_with(ann, "write", may_ask=True), "the answer is still to be read"
    bench.reads(ann, outcome=Outcome(VI_SUCCESS_MAX_CNT))
    for session, call, may_ask in (
        (ann, "read", False),
        (ann, "read_stb", False),
        (ann, "write", False),
        (bob, "write", True),
    ):
        assert not bench.ends_with(session, call, may_ask=may_ask)
        assert bench.hold.holder is ann
    assert bench.ends_with(ann, "write", may_ask=True)
    assert bench.hold.holder is None
    assert bench.may_be_served(ann)
    assert not bench.may_be_served(bob)


# Termination characters and blocks.

BLOCK = b"#212a\nb\nc\nd\ne\n\n\n\n"  # its content ends with LF too; the last one is behind it


def until_lf(data, count=1000):
    """What reads of at most `count` bytes make of it, as (data, status)."""
    while data:
        end = min(data.index(b"\n") + 1, count)
        yield data[:end], VI_SUCCESS_TERM_CHAR if data[end - 1 : end] == b"\n" else VI_SUCCESS_MAX_CNT
        data = data[end:]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 1000])
def test_termination_character_inside_a_block_ends_no_answer(line, ann, bob, count):
    """However the reads cut it: any byte of a block may be one."""
    line.asks(ann)
    for data, status in until_lf(BLOCK, count):
        assert line.hold.holder is ann, "all was not read"
        line.reads_data(ann, data, status)
    assert line.hold.holder is None
    assert line.may_be_served(bob)


def test_end_of_a_serial_line_inside_a_block_ends_no_answer(line, ann, bob):
    """There the termination character is the END indicator (VI_ATTR_ASRL_END_IN), and the status says no more."""
    line.asks(ann)
    for data, _ in until_lf(BLOCK):
        assert line.hold.holder is ann
        line.reads_data(ann, data, 0)
    assert line.may_be_served(bob)


def test_block_that_came_in_pieces_is_a_block(line, ann):
    """Of a long answer the outcome has only the last bytes."""
    line.asks(ann)
    ticket = line.ticket(ann, "read")
    line.hold.heard(ticket, b"#6100000" + bytes(65536 - 8))
    line.hold.ended(ticket, Outcome(VI_SUCCESS_TERM_CHAR, data=bytes(100)), False, 0.0)
    assert line.hold.holder is ann
    line.reads_data(ann, bytes(100_000 + 8 - 65536 - 100), VI_SUCCESS_TERM_CHAR)
    assert line.hold.holder is ann, "its last byte was LF by chance"
    line.reads_data(ann, b"\n", VI_SUCCESS_TERM_CHAR)
    assert line.hold.holder is None


def test_each_answer_may_be_a_block(line, ann):
    """Also the second, and a line after a block is a line."""
    line.asks(ann, answers=3)
    for answer in (BLOCK, b"5\n", BLOCK):
        for data, status in until_lf(answer):
            assert line.hold.holder is ann
            line.reads_data(ann, data, status)
    assert line.hold.holder is None


@pytest.mark.parametrize("answer", [b"#0a\n", b"#\n", b"#1\n", b"#3ab\n", b"x#15\n", b"\n"])
def test_line_that_is_no_definite_block_ends_at_its_termination_character(line, ann, answer):
    """Also one that looks like a block for a while."""
    line.asks(ann)
    line.reads_data(ann, answer, VI_SUCCESS_TERM_CHAR)
    assert line.hold.holder is None


def test_termination_character_ends_an_answer_but_who_knows_what_follows_where_the_end_is_marked(bus, ann, bob):
    """It may have been inside; END was not there, so others begin with an empty instrument."""
    bus.asks(ann)
    bus.reads_data(ann, b"5\n", VI_SUCCESS_TERM_CHAR)
    assert bus.hold.holder is None
    assert bus.may_be_served(ann)
    assert not bus.may_be_served(bob)


def test_command_without_a_question_holds_nothing(bench, ann):
    """Most writes are like that."""
    bench.hold.ended(bench.ticket(ann, "write"), Outcome(), False, 0.0)
    assert bench.hold.holder is None


def test_question_that_failed_without_a_trace_holds_nothing(bench, ann, bob):
    """Nothing reached the instrument."""
    bench.hold.ended(bench.ticket(ann, "write", answers=1), failed("VI_ERROR_NSUP_OPER"), False, 0.0)
    assert bench.may_be_served(bob)


def test_clear_ends_the_hold_and_leaves_nothing_old(bus, ann, bob):
    """viClear empties the instrument."""
    bus.asks(ann)
    bus.hold.ended(bus.ticket(ann, "clear"), Outcome(), False, 0.0)
    assert bus.may_be_served(bob)


def test_clear_begins_with_an_empty_instrument_where_it_has_no_device_clear(line, bus, ann):
    """It will answer all the same: what was asked for must be waited for."""
    for bench, needs in ((line, True), (bus, False)):
        bench.asks(ann)
        assert bench.hold.late_answers == 1
        assert bench.hold.needs_resync(bench.ticket(ann, "clear")) == needs
        bench.hold.resynchronised()
        assert bench.hold.late_answers == 0
        assert not bench.hold.needs_resync(bench.ticket(ann, "clear"))


def test_clear_of_a_session_that_is_owed_nothing_leaves_nothing_old(line, ann, bob):
    """Nothing can come any more."""
    line.asks(ann)
    line.reads(ann)
    line.hold.ended(line.ticket(ann, "clear"), Outcome(), False, 0.0)
    assert line.may_be_served(bob)


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
    assert bench.may_be_served(ann, "read")
    assert not bench.may_be_served(ann)
    assert not bench.may_be_served(bob)
    assert not bench.may_be_served(bob, "read")


def test_late_answers_may_be_read_and_never_make_it_clean(bench, ann, bob):
    """However many: nobody knows how many are still to come. What the owner asks next begins anew as well."""
    bench.asks(ann)
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    for status in (VI_SUCCESS_MAX_CNT, 0, VI_SUCCESS_TERM_CHAR, 0):
        bench.reads(ann, outcome=Outcome(status))
        assert bench.may_be_served(ann, "read")
        assert not bench.may_be_served(bob)
        assert not bench.may_be_served(ann)


@pytest.mark.parametrize("how", ["resynchronised", "clear"])
def test_dirty_session_is_clean_when_it_was_emptied(bench, ann, bob, how):
    """By a resynchronisation, or by somebody's clear."""
    bench.asks(ann)
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    if how == "clear":
        bench.hold.ended(bench.ticket(bob, "clear"), Outcome(), False, 0.0)
    else:
        bench.hold.resynchronised()
    assert bench.may_be_served(ann)
    assert bench.may_be_served(bob)


def test_owner_of_a_late_answer_that_closed_reads_it_no_more(bench, ann, bob):
    """It stays in the way."""
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    bench.hold.left(ann)
    assert not bench.may_be_served(ann, "read")
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


def test_answer_to_a_message_of_the_daemons_own_is_waited_for_and_thrown_away(bench, ann):
    """Nobody is served before that; where the daemon asks nothing nothing changes."""
    bench.hold.owes(0)
    assert not bench.hold.has_remains
    bench.hold.owes(1)
    assert bench.hold.has_remains
    assert bench.hold.late_answers == 1
    assert not bench.may_be_served(ann)
    bench.hold.resynchronised()
    assert not bench.hold.has_remains
    assert bench.hold.late_answers == 0
