"""The hold: who may be served while an answer is awaited. The clock is the test's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_proc.attributes import ResourceAttributes
from front_proc.hold import (
    FOR_INFINITE,
    LONGEST_POLLING,
    SHORTEST,
    VI_SUCCESS_MAX_CNT,
    VI_SUCCESS_TERM_CHAR,
    Hold,
)
from front_proc.sessions import VI_ATTR_TMO_VALUE, VI_TMO_INFINITE, Client, Session
from front_proc.tickets import Outcome, Ticket, failed


class Bench:
    """A hold, and the sessions of some clients on one resource whose library has a timeout of 2 s."""

    def __init__(self, *, marks_end):
        self.hold = Hold(marks_end=marks_end)
        self.attributes = ResourceAttributes()
        self.attributes.opened([(VI_ATTR_TMO_VALUE, 2000)])

    def session(self, timeout_ms=None):
        session = Session(Client("10.0.0.1:1"), self)
        if timeout_ms is not None:
            session.attributes[VI_ATTR_TMO_VALUE] = timeout_ms
        return session

    def ticket(self, session, call="query", **fields):
        return Ticket(session, call, lambda _: None, lambda _: None, **fields)

    def asks(self, session, now=0.0, outcome=None, answers=1):
        """A write that holds queries for so many answers."""
        ticket = self.ticket(session, "write", holds=True, answers=answers)
        self.hold.ends_with(ticket)
        self.hold.ended(ticket, outcome or Outcome(), bool(outcome and outcome.failed), now)

    def reads(self, session, now=0.0, outcome=None, *, is_dirty=False):
        self.hold.ended(self.ticket(session, "read", continues=True), outcome or Outcome(), is_dirty, now)

    def reads_data(self, session, data, status):
        self.reads(session, outcome=Outcome(status, data=data))

    def may_be_served(self, session, call="query", **fields):
        """At once, without emptying the instrument."""
        is_turn = self.hold.holder in (None, session)
        return is_turn and not self.hold.needs_resync(self.ticket(session, call, **fields))

    def expires(self, now, waiting):
        self.hold.expire(now, lambda holder: any(session is not holder for session in waiting))


@pytest.fixture(params=[True, False], ids=["with END", "without END"])
def bench(request):
    """Promises that hold on every interface."""
    return Bench(marks_end=request.param)


@pytest.fixture
def bus():
    """GPIB and its heirs."""
    return Bench(marks_end=True)


@pytest.fixture
def line():
    """A socket, a serial line."""
    return Bench(marks_end=False)


@pytest.fixture
def ann():
    return Bench(marks_end=False).session()


@pytest.fixture
def bob():
    return Bench(marks_end=False).session()


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
    assert not bus.may_be_served(bob, "read", continues=True)
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
    query = bench.ticket(ann, "write", holds=True)
    assert not bench.hold.ends_with(query), "the answer is still to be read"
    bench.reads(ann, outcome=Outcome(VI_SUCCESS_MAX_CNT))
    for ticket in (
        bench.ticket(ann, "read", continues=True),
        bench.ticket(ann, "read_stb"),
        bench.ticket(ann, "write"),
        bench.ticket(bob, "write", holds=True),
    ):
        assert not bench.hold.ends_with(ticket)
        assert bench.hold.holder is ann
    assert bench.hold.ends_with(query)
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
    ticket = line.ticket(ann, "read", continues=True)
    ticket.head, ticket.received = b"#6100000abcdefgh", 65536
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


def test_late_answers_may_be_read_and_never_make_it_clean(bench, ann, bob):
    """However many: nobody knows how many are still to come. What the owner asks next begins anew as well."""
    bench.asks(ann)
    bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
    for status in (VI_SUCCESS_MAX_CNT, 0, VI_SUCCESS_TERM_CHAR, 0):
        bench.reads(ann, outcome=Outcome(status))
        assert bench.may_be_served(ann, "read", continues=True)
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


@pytest.mark.parametrize("call", ["read_stb", "get_attribute", "write", "query"])
def test_every_command_of_the_holder_gives_it_time(bench, ann, bob, call):
    """`while not stb & 16: sleep(1)`: who polls is there. What others do does not count."""
    bench.asks(ann, now=0.0)
    for now in (1.5, 3.0, 4.5):
        bench.hold.ended(bench.ticket(ann, call), Outcome(), False, now)
        bench.hold.ended(bench.ticket(bob, call), Outcome(), False, now + 1.0)
        assert bench.hold.expires_at() == now + SHORTEST


@pytest.mark.parametrize(
    ("timeout_ms", "longest"),
    [(None, LONGEST_POLLING), (90_000, 90.0), (VI_TMO_INFINITE, FOR_INFINITE)],
)
def test_polling_keeps_a_hold_for_a_minute_at_most(bench, bob, timeout_ms, longest):
    """Or for the holder's own timeout if that is longer; a write or a read begins that anew."""
    ann = bench.session(timeout_ms)
    for begins in (0.0, 1000.0):
        bench.asks(ann, now=begins)
        for now in range(int(longest)):
            bench.hold.ended(bench.ticket(ann, "read_stb"), Outcome(), False, begins + now)
            bench.expires(begins + now + 0.9, [bob])
            assert bench.hold.holder is ann
        assert bench.hold.expires_at() == begins + longest
        bench.reads(ann, now=begins + longest - 0.5, outcome=Outcome(VI_SUCCESS_MAX_CNT))
        assert bench.hold.expires_at() > begins + longest


def test_running_out_does_nothing_without_a_hold(bench, bob):
    """There is nobody to take it from."""
    bench.expires(1e9, [bob])
    assert bench.may_be_served(bob)


# Whatever it asks and however it reads: what is another's is gone before anybody else is served.


class Instrument:
    """What a real one has ready to be read; the far end of a stream, or of a bus that marks the END."""

    def __init__(self, *, marks_end):
        self._marks_end = marks_end
        self._ready = []

    def asked(self, answers):
        if self._marks_end:
            self._ready = []  # interrupted
        self._ready += answers

    def read(self, count, *, to_character):
        """Data and status; None when nothing comes in time."""
        if not self._ready:
            return None
        answer = self._ready[0]
        lf = answer.find(b"\n") + 1 if to_character else 0
        end = min(count, lf or count, len(answer))
        self._ready[:1] = [answer[end:]] if answer[end:] else []
        if self._marks_end and end == len(answer):
            return answer[:end], 0
        if end == lf:
            return answer[:end], VI_SUCCESS_TERM_CHAR
        if end == count:
            return answer[:end], VI_SUCCESS_MAX_CNT
        return None  # a stream without a termination character: it waits for more

    @property
    def is_empty(self):
        return not self._ready


ANSWERS = st.sampled_from([b"5\n", b"#13a\nb\n", b"#12\n\n\n", b"#11#\n", BLOCK])

HISTORIES = st.lists(
    st.one_of(
        st.lists(ANSWERS, min_size=1, max_size=2),
        st.tuples(st.sampled_from([1, 4, 6, 1000]), st.booleans()),
        st.just("clear"),
        st.just("bob"),
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(st.booleans(), HISTORIES)
def test_nobody_is_served_while_an_answer_of_another_may_be_read(marks_end, history):
    """Ann writes queries, reads in every way and too often, clears; Bob is served whenever the hold lets him."""
    bench, instrument = Bench(marks_end=marks_end), Instrument(marks_end=marks_end)
    ann, bob = bench.session(), bench.session()
    for step in history:
        if step == "clear":
            instrument = Instrument(marks_end=marks_end)
            bench.hold.ended(bench.ticket(ann, "clear"), Outcome(), False, 0.0)
        elif step == "bob":
            if bench.hold.holder is None and bench.hold.needs_resync(bench.ticket(bob)):
                instrument = Instrument(marks_end=marks_end)
                bench.hold.resynchronised()
        elif isinstance(step, list):
            if bench.hold.holder in (None, ann) and bench.hold.needs_resync(bench.ticket(ann)):
                instrument = Instrument(marks_end=marks_end)
                bench.hold.resynchronised()
            instrument.asked(step)
            bench.asks(ann, answers=len(step))
        else:
            result = instrument.read(step[0], to_character=step[1])
            if result is None:
                bench.reads(ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
            else:
                bench.reads_data(ann, *result)
        assert instrument.is_empty or not bench.may_be_served(bob)
