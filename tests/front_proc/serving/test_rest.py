"""What may be left of an answer on a stream, and how it is looked for: by what was seen of the instrument so far."""

import pytest

from front_proc.serving.rest import AWAITED_MS, CERTAIN_MS, Rest
from front_proc.serving.sessions import VI_ATTR_TERMCHAR
from tests.front_proc.hold_bench import Bench


@pytest.fixture
def bench():
    return Bench(marks_end=False)


@pytest.fixture
def ann(bench):
    """She reads up to a comma."""
    session = bench.session(has_termchar=True)
    session.attributes[VI_ATTR_TERMCHAR] = ord(",")
    return session


@pytest.fixture
def rest():
    return Rest(b"\r\n")


def reads(rest, session, *answers):
    """One answer after the other, each to a question of its own."""
    for data in answers:
        if rest.owner is not None:
            rest.asked(1)
            rest.was_read(data)
        rest.answer_ended(session, data, 0)


@pytest.mark.parametrize("data", [b"1\n", b"1\r\n", b"\n", b""])
def test_answer_that_ends_as_the_resource_ends_it_leaves_nothing(rest, ann, data):
    """Its termination's last character tells; and who read nothing has not left anything."""
    reads(rest, ann, data)
    assert rest.owner is None


@pytest.mark.parametrize("data", [b"1,", b"1\r", b"1\n,"])
def test_answer_that_ends_otherwise_may_have_a_rest(rest, ann, data):
    """Of the one who read it."""
    reads(rest, ann, data)
    assert rest.owner is ann


def test_rest_is_awaited_once_and_then_looked_for(rest, ann):
    """CR may be the end of all that the instrument says: who waits for more each time waits in vain."""
    looks = []
    for _ in range(3):
        reads(rest, ann, b"1,")
        looks.append(rest.look)
        assert rest.is_all(b"")
        rest.gone()
    assert looks == [(AWAITED_MS, 1), (0, 1), (0, 1)]


def test_rest_is_awaited_for_certain_once_the_termination_was_seen(rest, ann):
    """Each answer is to have one."""
    reads(rest, ann, b"1,")
    assert rest.is_all(b"2\n")
    rest.gone()
    reads(rest, ann, b"3,")
    assert rest.look == (CERTAIN_MS, 1)


def test_each_answer_is_to_have_a_termination_whoever_saw_it(rest, ann):
    """Two questions, and of their answers one was read up to its end."""
    reads(rest, ann, b"1,", b"2\n")
    assert rest.owner is ann
    assert rest.look == (CERTAIN_MS, 1)
    rest.was_read(b"3\n")
    rest.answer_ended(ann, b"3\n", 0)
    assert rest.owner is None


@pytest.mark.parametrize(
    ("data", "is_all"), [(b"", True), (b"2,", True), (b"2", False), (b"2\n", True), (b"2\n3\n", True), (b"#12", False)]
)
def test_what_is_there_is_all_if_it_ends_as_an_answer_does(rest, ann, data, is_all):
    """By the resource's termination or the reader's own; of a block nobody knows."""
    reads(rest, ann, b"1,")
    assert rest.is_all(data) is is_all


@pytest.mark.parametrize(
    ("data", "is_all"), [(b"2\n", False), (b"2\n3\n", True), (b"2\n3", False), (b"2\n3\n4", False), (b"2,", False)]
)
def test_what_is_there_is_not_all_while_terminations_are_to_come(rest, ann, data, is_all):
    """So many as there were questions."""
    reads(rest, ann, b"0\n,", b"1,")
    rest.unended = 2
    assert rest.is_all(data) is is_all


def test_instrument_of_which_a_termination_was_seen_by_chance_makes_nobody_wait_again(rest, ann):
    """A text of two lines, say, from one that ends what it says with CR."""
    reads(rest, ann, b"1,", b"two\nlines,")
    assert rest.look == (CERTAIN_MS, 1)
    assert not rest.is_all(b"")
    rest.gone()
    reads(rest, ann, b"1,")
    assert rest.look == (0, 1)


def test_terminations_within_blocks_are_not_counted(rest, ann):
    """They are data."""
    reads(rest, ann, b"#13\n\n\n,")
    assert (rest.owner, rest.unended, rest.look) == (ann, 1, (AWAITED_MS, 1))


def test_resource_without_a_termination_is_looked_at(ann):
    """Nothing is known of its answers."""
    rest = Rest(b"")
    reads(rest, ann, b"1\n")
    assert (rest.owner, rest.termination) == (ann, -1)
    assert rest.is_all(b"")
