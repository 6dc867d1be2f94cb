"""Signs of life: a page of memory that tells of an order what its process cannot tell any more."""

import multiprocessing
import time

import pytest

from instrument_proc.signs import Signs, Step

_spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def signs():
    signs = Signs()
    yield signs
    signs.close_descriptor()


def test_new_page_knows_of_no_order(signs):
    """Nor of the one that has no number."""
    assert [signs.of(number)[0] for number in (0, 1, 1 << 40)] == [Step.TAKEN] * 3


@pytest.mark.parametrize("step", [Step.STARTED, Step.WRITTEN])
def test_sign_is_seen_with_its_time_and_of_no_other_order(signs, step):
    """Seconds of the monotonic clock, which is the same for all processes."""
    before = time.monotonic()
    signs.show(7, step)
    shown, moment = signs.of(7)
    assert shown is step
    assert before <= moment <= time.monotonic()
    assert signs.of(8)[0] is Step.TAKEN


def test_later_sign_of_the_same_order_takes_the_place_of_the_earlier(signs):
    """A sign of progress has the same step and another time."""
    signs.show(7, Step.STARTED)
    _, first = signs.of(7)
    signs.show(7, Step.STARTED)
    assert signs.of(7) >= (Step.STARTED, first)


@pytest.mark.parametrize("words", [(7 << 2 | 3, 0), (8 << 2, 0), ((1 << 64) - 1, 0), (7 << 2 | 2, (1 << 64) - 1)])
def test_page_that_was_scribbled_on_proves_nothing_and_buys_no_time(signs, words):
    """A library may write anywhere: the instrument may have acted, and its process has hung."""
    signs._words[0], signs._words[1] = words
    assert signs.of(7) == (Step.STARTED, 0.0)


def show_and_die(signs):
    signs.show(7, Step.WRITTEN)


def test_sign_outlives_its_process(signs):
    """That is what it is for."""
    process = _spawn.Process(target=show_and_die, args=(signs,))
    process.start()
    process.join()
    assert signs.of(7)[0] is Step.WRITTEN
    process.close()
