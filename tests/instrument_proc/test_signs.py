"""Signs of life: a page of memory that tells of an order what its process cannot tell any more."""

import errno
import fcntl
import multiprocessing
import os
import time
from types import SimpleNamespace

import pytest

from instrument_proc import signs as signs_module
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


@pytest.mark.parametrize(
    "words",
    [
        (0, 0),
        (7 << 16, 0),
        (7 << 16 | Step.WRITTEN + 1, 0),
        (6 << 16 | Step.TAKEN - 1, 0),
        (8 << 16 | Step.STARTED, 0),
        ((1 << 64) - 1, 0),
        (7 << 16 | Step.WRITTEN, (1 << 64) - 1),
        (6 << 16 | Step.WRITTEN, (1 << 64) - 1),
    ],
)
def test_page_that_was_scribbled_on_proves_nothing_and_buys_no_time(signs, words):
    """A library may write anywhere, zeros above all: the instrument may have acted, and its process has hung."""
    signs._words[0], signs._words[1] = words
    assert signs.of(7) == (Step.STARTED, 0.0)


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_page_keeps_its_size_whatever_a_library_does_to_the_file_behind_it(signs, size):
    """What a process has mapped and the file does not have any more kills it, and the front has mapped it too."""
    with pytest.raises(PermissionError):
        os.truncate(signs._descriptor, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(signs._descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    signs.show(7, Step.STARTED)
    assert signs.of(7)[0] is Step.STARTED


def test_order_s_number_may_be_as_great_as_a_daemon_ever_counts(signs):
    """A million a second for eight years."""
    number = (1 << 48) - 1
    signs.show(number, Step.WRITTEN)
    assert signs.of(number)[0] is Step.WRITTEN
    assert signs.of(number - 1) == (Step.STARTED, 0.0)


def test_last_sign_is_kept_and_the_page_given_back_when_it_ends(signs):
    """Whoever asks for it afterwards is answered; with each page goes a descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    other = Signs()
    other.close_descriptor()
    other.show(7, Step.WRITTEN)
    shown = other.of(7)
    other.end()
    other.end()
    assert other.of(7) == shown
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_is_left_open_when_there_is_no_memory_for_a_page(monkeypatch):
    """Or no descriptor: the mapping needs one of its own."""

    def refused(*_):
        raise OSError(errno.EMFILE, "no descriptor")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(signs_module, "mmap", SimpleNamespace(mmap=refused))
    with pytest.raises(OSError, match="no descriptor"):
        Signs()
    assert os.listdir("/proc/self/fd") == before


def show_and_die(signs):
    signs.show(7, Step.WRITTEN)


def test_sign_outlives_its_process(signs):
    """That is what it is for."""
    process = _spawn.Process(target=show_and_die, args=(signs,))
    process.start()
    process.join()
    assert signs.of(7)[0] is Step.WRITTEN
    process.close()
