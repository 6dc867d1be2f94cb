"""Faults as rules: which message has one, and what the instrument then does. No socket, no clock."""

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo_bench.faults import KINDS, PIECES, Close, Course, Fault, Restart, Send, StopReading, Wait

COUNTS = st.integers(1, 5)

FAULTS = st.builds(
    Fault,
    st.sampled_from(sorted(KINDS)),
    on=st.sampled_from(["*", "a*", "B?", "*?"]),
    after=st.integers(0, 5),
    every=COUNTS,
    times=st.none() | COUNTS,
    seconds=st.floats(0.001, 10),
    bytes=st.integers(1, 50),
)

#: Messages, and whether they are answered.
RUNS = st.lists(st.sampled_from([("A?", True), ("a?", True), ("B?", True), ("A 1", False)]), max_size=30)

ANSWERS = st.binary(max_size=300)

#: The cores may be busy.
UNHURRIED = settings(deadline=None)


def steps_of(fault: Fault, answer: bytes, seed: int = 0) -> list:
    """At most a thousand of them."""
    return list(itertools.islice(Course([fault], seed).steps(fault, answer), 1000))


def sent(steps: list) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Send))


def waited(steps: list) -> float:
    return sum(step.seconds for step in steps if isinstance(step, Wait))


@pytest.mark.parametrize(
    ("when", "turns"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ({"after": 9}, [10, 11, 12]),
        ({"every": 5}, [5, 10]),
        ({"times": 2}, [1, 2]),
        ({"after": 1, "every": 3}, [4, 7, 10]),
        ({"after": 1, "every": 3, "times": 2}, [4, 7]),
        ({"after": 2, "times": 1}, [3]),
    ],
)
def test_fault_has_its_turn_when_the_row_says(when, turns):
    """Spelled out: the numbers of the messages that it befalls."""
    assert [number for number in range(1, 13) if Fault("late", **when).is_due(number)] == turns


@UNHURRIED
@given(FAULTS)
def test_fault_comes_as_often_as_it_says(fault):
    """None among the first `after`, then one in `every`, and `times` in all."""
    turns = [number for number in range(1, 100) if fault.is_due(number)]
    assert all(number > fault.after for number in turns)
    assert {later - earlier for earlier, later in itertools.pairwise(turns)} <= {fault.every}
    expected = (99 - fault.after) // fault.every
    assert len(turns) == (expected if fault.times is None else min(expected, fault.times))


@UNHURRIED
@given(st.lists(FAULTS, max_size=4), RUNS)
def test_course_gives_each_message_the_first_row_that_is_due(faults, run):
    """Each row counts the messages that it is for, and no other row changes that."""
    course = Course(faults, 0)
    alone = [Course([fault], 0) for fault in faults]
    for message, is_answered in run:
        due = [each.fault_for(message, is_answered=is_answered) for each in alone]
        expected = next((fault for fault in due if fault is not None), None)
        assert course.fault_for(message, is_answered=is_answered) is expected


@UNHURRIED
@given(FAULTS, RUNS)
def test_fault_befalls_the_messages_that_it_is_for(fault, run):
    """By its pattern, in any case; and what spoils an answer needs one."""
    always = Fault(fault.kind, on=fault.on)
    course = Course([always], 0)
    beginning = {"*": "ab", "a*": "a", "B?": "b", "*?": "ab"}[fault.on]
    for message, is_answered in run:
        is_meant = message[0].lower() in beginning and (is_answered or fault.kind in ("drop", "deaf", "crash"))
        assert (course.fault_for(message, is_answered=is_answered) is always) == is_meant


@UNHURRIED
@given(st.lists(FAULTS, max_size=4), RUNS, st.integers())
def test_same_messages_fare_the_same_when_sent_again(faults, run, seed):
    """So a test can be repeated, garbage and all."""

    def story() -> list:
        course = Course(faults, seed)
        told = []
        for message, is_answered in run:
            fault = course.fault_for(message, is_answered=is_answered)
            told.append((fault, list(itertools.islice(course.steps(fault, b"1.5" if is_answered else None), 20))))
        return told

    assert story() == story()


def test_other_garbage_comes_when_the_seed_is_another():
    """And other garbage at every turn of one run."""
    garbage = Fault("garbage", bytes=16)
    course = Course([garbage], 1)
    first, second = list(course.steps(garbage, b"1")), list(course.steps(garbage, b"1"))
    assert len({sent(first), sent(second), sent(steps_of(garbage, b"1", seed=2))}) == 3


@UNHURRIED
@given(ANSWERS)
def test_answer_comes_whole_when_no_fault_has_it(answer):
    """With its terminator; and nothing comes where nothing was asked."""
    course = Course([], 0)
    assert list(course.steps(None, answer)) == [Send(answer + b"\n")]
    assert list(course.steps(None, None)) == []


@UNHURRIED
@given(ANSWERS, st.floats(0.001, 100))
def test_slow_answer_comes_whole_in_its_time(answer, seconds):
    """Something waits before each piece, so that the last byte comes at the end of it."""
    steps = steps_of(Fault("slow", seconds=seconds), answer)
    assert sent(steps) == answer + b"\n"
    assert waited(steps) == pytest.approx(seconds)
    assert isinstance(steps[0], Wait)
    pieces = [step.data for step in steps if isinstance(step, Send)]
    assert len(pieces) == min(len(answer) + 1, PIECES)
    assert all(pieces)


@UNHURRIED
@given(ANSWERS, st.floats(0.001, 100))
def test_late_answer_comes_whole_after_its_time(answer, seconds):
    """All at once."""
    assert steps_of(Fault("late", seconds=seconds), answer) == [Wait(seconds), Send(answer + b"\n")]


@UNHURRIED
@given(ANSWERS, st.integers(1, 400))
def test_partial_answer_has_no_terminator(answer, count):
    """Not even if the whole answer is let through."""
    assert sent(steps_of(Fault("partial", bytes=count), answer)) == answer[:count]


@UNHURRIED
@given(ANSWERS, st.integers(1, 400), st.integers())
def test_garbage_is_one_message_of_its_length(answer, count, seed):
    """No LF in it, one behind it."""
    data = sent(steps_of(Fault("garbage", bytes=count), answer, seed))
    assert data.index(b"\n") == count == len(data) - 1


def test_hang_goes_on_for_ever():
    """And no byte of it ends a message."""
    steps = steps_of(Fault("hang", seconds=0.05), b"1")
    assert len(steps) == 1000
    assert steps[:4] == [Send(b"?"), Wait(0.05)] * 2


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        (Fault("silent"), []),
        (Fault("drop"), [Close()]),
        (Fault("deaf"), [StopReading()]),
        (Fault("crash", seconds=2), [Restart(2)]),
    ],
)
def test_fault_sends_nothing_when_there_is_no_answer_any_more(fault, steps):
    """These four."""
    assert steps_of(fault, b"1") == steps


@pytest.mark.parametrize("kind", KINDS)
def test_kind_of_fault_says_what_it_does(kind):
    """In the journal: the kind, and its parameters with their units. Each parameter is explained in the help."""
    fault = Fault(kind, **KINDS[kind].parameters)
    assert str(fault).split()[0] == kind
    assert len(str(fault).split()) == 1 + 2 * len(KINDS[kind].parameters)
    assert all(f"`{name}`" in KINDS[kind].help for name in KINDS[kind].parameters)
    assert KINDS[kind].act(b"1\n", fault, Random(0)) is not None
