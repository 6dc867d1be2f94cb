"""Whatever a session asks and however it reads: what is its own is gone before anybody else is served.

The real Hold between a model of an instrument and a session that does everything, also what no program should.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_proc.serving.tickets import Outcome, failed
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR
from tests.front_proc.hold_bench import Bench
from tests.front_proc.serving.test_hold import BLOCK

#: A read: at most so many bytes, to the termination character or not.
COUNTS = (1, 4, 6, 1000)


class Instrument:
    """The far end: what it has ready to be read, what it will say later, and half of a message.

    `kind`: a bus that marks the END and has a device clear; a socket, which can only be reopened; a serial line, where
    nothing helps but waiting.
    """

    def __init__(self, kind):
        self._kind = kind
        self._ready, self._late = [], []
        self.has_half = False
        #: Its next answer comes behind the rest of one that was read in part.
        self.has_rest = False

    @property
    def marks_end(self):
        return self._kind == "bus"

    def is_told(self, answers, *, is_late):
        self.has_half = False
        if self.marks_end:
            self._ready, self._late = [], []  # interrupted
        (self._late if is_late else self._ready).extend(answers)

    def says_what_was_late(self):
        self._ready += self._late
        self._late = []

    def read(self, count, *, to_character):
        """Data and status; None when nothing comes in time."""
        if not self._ready:
            return None
        answer = self._ready[0]
        lf = answer.find(b"\n") + 1 if to_character else 0
        end = min(count, lf or count, len(answer))
        self.has_rest = end < len(answer)
        self._ready[:1] = [answer[end:]] if answer[end:] else []
        if self.marks_end and end == len(answer):
            return answer[:end], 0
        if end == lf:
            return answer[:end], VI_SUCCESS_TERM_CHAR
        if end == count:
            return answer[:end], VI_SUCCESS_MAX_CNT
        return None  # a stream without a termination character: it waits for more

    def read_message(self, *, to_character):
        """As the child reads ahead: to END or the character, but not to one inside a block. None if it is not whole."""
        if not self._ready or not (self.marks_end or to_character):
            return None
        answer = self._ready.pop(0)
        lf = answer.find(b"\n") + 1
        if self.marks_end and to_character and lf < len(answer):
            self._ready.insert(0, answer[lf:])
            return answer[:lf], VI_SUCCESS_TERM_CHAR
        return answer, 0 if self.marks_end else VI_SUCCESS_TERM_CHAR

    def is_cleared(self):
        """viClear: on a stream it is emptied of what has come by now. (Nothing takes half a message back that went out
        on a serial line; that it does is a simplification here.)"""
        self._ready = []
        self.has_half = False
        if self._kind != "serial":
            self._late = []

    def is_emptied(self, late_answers):
        """A resynchronisation that knows of so many answers still to come."""
        self._ready, self._late = [], self._late[late_answers:] if self._kind == "serial" else []
        self.has_half = self.has_rest = False

    @property
    def is_empty(self):
        return not self._ready and not self._late and not self.has_half


class Story:
    """Ann does what a history says; Bob wants to be served now and then."""

    def __init__(self, kind, *, has_termchar):
        self.instrument = Instrument(kind)
        self.bench = Bench(marks_end=kind == "bus")
        self.hold = self.bench.hold
        self.ann = self.bench.session(has_termchar=has_termchar)
        self.bob = self.bench.session()
        self.has_termchar = has_termchar
        self.is_mixed_up = False

    def empties_if_it_must(self, session, call):
        """As the service does before a ticket whose turn has come."""
        if self.hold.needs_resync(self.bench.ticket(session, call)):
            self.instrument.is_emptied(self.hold.late_answers)
            self.is_mixed_up = False
            self.hold.resynchronised()

    def asks(self, answers, is_late):
        """Who asks anew behind half an answer gets answers that belong to other questions; that one of those comes
        late as well is not provided for: on a serial line everybody else would have to wait for nothing."""
        self.empties_if_it_must(self.ann, "write")
        self.is_mixed_up |= self.instrument.has_rest
        self.instrument.is_told(answers, is_late=is_late and not self.is_mixed_up)
        self.bench.asks(self.ann, answers=len(answers))

    def begins(self):
        self.empties_if_it_must(self.ann, "write")
        self.instrument.is_told([], is_late=False)
        self.instrument.has_half = True
        self.bench.writes(self.ann, is_unfinished=True)

    def tells(self):
        self.empties_if_it_must(self.ann, "write")
        self.instrument.is_told([], is_late=False)
        self.bench.writes(self.ann)

    def clears(self):
        self.empties_if_it_must(self.ann, "clear")
        self.instrument.is_cleared()
        self.hold.ended(self.bench.ticket(self.ann, "clear"), Outcome(), False, 0.0)

    def reads(self, count, to_character):
        self.empties_if_it_must(self.ann, "read")
        result = self.instrument.read(count, to_character=to_character)
        if result is None:
            self.bench.reads(self.ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
        else:
            self.bench.reads_data(self.ann, *result)

    def time_passes(self):
        self.instrument.says_what_was_late()

    def bob_comes(self):
        """After all patience: what Ann is owed is read ahead, or given up, until it is Bob's turn."""
        while self.hold.holder is not None:
            result = None
            if self.hold.can_be_read_ahead:
                result = self.instrument.read_message(to_character=self.has_termchar)
            if result is None:
                self.hold.give_up()
            else:
                self.hold.was_read_ahead(result[1], result[0])
        self.empties_if_it_must(self.bob, "query")
        assert self.bench.may_be_served(self.bob)


ANSWERS = st.sampled_from([b"5\n", b"#13a\nb\n", b"#12\n\n\n", b"#11#\n", BLOCK])

HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.just("asks"), st.lists(ANSWERS, min_size=1, max_size=2), st.booleans()),
        st.tuples(st.just("reads"), st.sampled_from(COUNTS), st.booleans()),
        st.tuples(st.sampled_from(["begins", "tells", "clears", "time_passes", "bob_comes"])),
    ),
    max_size=12,
)


@settings(max_examples=400)
@given(st.sampled_from(["bus", "socket", "serial"]), st.booleans(), HISTORIES)
def test_nobody_is_served_while_an_answer_of_another_may_be_read(kind, has_termchar, history):
    """Nor while half of its message is there."""
    story = Story(kind, has_termchar=has_termchar)
    for step, *arguments in history:
        getattr(story, step)(*arguments)
        assert story.instrument.is_empty or not story.bench.may_be_served(story.bob)


@pytest.mark.parametrize("kind", ["bus", "socket", "serial"])
def test_model_of_an_instrument_can_give_an_answer_to_the_wrong_reader(kind):
    """Else the test above would show nothing: nobody empties it here."""
    story = Story(kind, has_termchar=True)
    story.asks([b"5\n"], True)
    story.hold.give_up()
    story.hold.resynchronised()
    assert story.bench.may_be_served(story.bob)
    story.time_passes()
    assert not story.instrument.is_empty
