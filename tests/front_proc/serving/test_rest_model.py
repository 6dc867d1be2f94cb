"""However a session reads on a stream, and behind whatever it has left asks anew: none of it is there for another one.

The real Hold between a stream of bytes and a session that reads up to a character of its choice, which may be in the
middle of an answer.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_proc.serving.sessions import VI_ATTR_TERMCHAR
from front_proc.serving.tickets import Outcome, failed
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR
from tests.front_proc.hold_bench import Bench


class Story:
    """Ann does what a history says; Bob wants to be served now and then. `end` ends the instrument's answers."""

    def __init__(self, end):
        self._end = end
        self.bench = Bench(marks_end=False)
        self._hold = self.bench.hold
        self.ann, self.bob = self.bench.session(has_termchar=True), self.bench.session(has_termchar=True)
        self.here, self.late = b"", b""

    def asks(self, fields, is_late):
        """A query, and what it will be answered."""
        self.served(self.ann, "write")
        answer = ",".join(fields).encode() + self._end
        if is_late or self.late:
            self.late += answer
        else:
            self.here += answer
        self.bench.asks(self.ann)

    def reads(self, character, count):
        """viRead, or a timeout."""
        self.ann.attributes[VI_ATTR_TERMCHAR] = character[0]
        self.served(self.ann, "read")
        end = self.here.find(character) + 1
        if not end and len(self.here) < count:
            self.here = b""
            self.bench.reads(self.ann, outcome=failed("VI_ERROR_TMO"), is_dirty=True)
            return
        size = min(end or count, count)
        data, self.here = self.here[:size], self.here[size:]
        status = VI_SUCCESS_TERM_CHAR if data.endswith(character) else VI_SUCCESS_MAX_CNT
        self.bench.reads(self.ann, outcome=Outcome(status, data=data))

    def time_passes(self):
        self.here, self.late = self.here + self.late, b""

    def bob_comes(self):
        """After all patience, and not for an answer that could be read ahead."""
        if self._hold.holder is not None:
            self._hold.give_up()
        self.served(self.bob, "query")
        assert self.bench.may_be_served(self.bob)

    def served(self, session, call):
        """As the service does before a ticket whose turn has come."""
        if self._hold.needs_look(self.bench.ticket(session, call)) and not self._hold.has_remains:
            data, self.here = self.here, b""
            self._hold.looked(data, is_all=True)
        if self._hold.needs_resync(self.bench.ticket(session, call)):
            self.here = self.late = b""
            self._hold.resynchronised()


HISTORIES = st.lists(
    st.one_of(
        st.tuples(st.just("asks"), st.lists(st.sampled_from(["a", "bc", "d"]), min_size=1, max_size=3), st.booleans()),
        st.tuples(st.just("reads"), st.sampled_from([b",", b"\n", b"\r"]), st.sampled_from([1, 3, 1000])),
        st.tuples(st.sampled_from(["time_passes", "bob_comes"])),
    ),
    max_size=14,
)


@settings(max_examples=400)
@given(st.sampled_from([b"\n", b"\r\n", b"\r"]), HISTORIES)
def test_nothing_that_a_session_has_left_is_there_for_another(end, history):
    """Neither now nor later, unless CR ends the answers and nobody said so: then what is here is gone at least."""
    story = Story(end)
    for step, *arguments in history:
        getattr(story, step)(*arguments)
        if story.bench.may_be_served(story.bob):
            assert not story.here
            assert not story.late or end == b"\r"


@pytest.mark.parametrize("is_late", [True, False])
def test_model_can_give_an_answer_to_the_wrong_reader(is_late):
    """Else the test above would show nothing: nobody looks here."""
    story = Story(b"\n")
    story.asks(["a", "b"], False)
    story.reads(b",", 1000)
    story.asks(["c"], is_late)
    story.reads(b"\n", 1000)
    story.bench.hold.rest.gone()
    assert story.bench.may_be_served(story.bob)
    assert story.late or story.here
