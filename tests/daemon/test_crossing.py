"""Four stock PyVISA programs on one instrument, with write() and read() in two calls: nobody gets another's answer.

That this takes a hold is proven too: without one the same programs get each other's answers, or none.
"""

import contextlib

import pytest

from tests.daemon.programs.program import Program
from tests.support.instrument_process import Vxi11Instrument

#: Seconds that a program may take for all of its questions.
LONG = 600.0

#: An expression that is found in no message: nobody holds the instrument.
WITHOUT_HOLD = """
[[resource]]
match = "*"
hold = "(?!)"
"""

#: Seconds between write() and read(), from and to. Nearly none, so that the programs fall out of step: in step they
#: would be served in turn, and get their own answers without any hold.
BUSY = (0.0, 0.002)
#: Longer than a hold lasts where others wait, see `front_proc.serving.hold`.
SLOW = (2.5, 2.6)


@pytest.fixture
def vxi11_instrument():
    instrument = Vxi11Instrument()
    yield instrument
    instrument.switch_off()


def converse(daemon, instrument, counts, pauses=(BUSY,) * 4):
    """What became of the questions of four programs: (right, crossed, failed)."""
    with contextlib.ExitStack() as programs:
        running = [
            programs.enter_context(Program("two_calls", daemon.address, instrument.resource, name, count, *pause))
            for name, count, pause in zip("abcd", counts, pauses, strict=True)
        ]
        for program in running:
            assert program.hears() == "ready"
        for program in running:
            program.says("go")
        results = [program.hears(LONG) for program in running]
    right = sum(result["right"] for result in results)
    crossed = [pair for result in results for pair in result["crossed"]]
    failed = [result["failed"] for result in results if result["failed"]]
    return right, crossed, failed


COUNTS = [300, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(LONG)])]


@pytest.mark.parametrize("count", COUNTS)
def test_four_programs_that_write_and_read_get_their_own_answers(daemon_factory, instrument, count):
    """On a raw socket, which tells nobody where an answer ends."""
    right, crossed, failed = converse(daemon_factory(), instrument, [count] * 4)
    assert (right, crossed, failed) == (4 * count, [], [])
    assert instrument.count("ECHO?") == 4 * count


@pytest.mark.parametrize("count", COUNTS)
def test_four_programs_get_their_own_answers_on_vxi_11(vxi11_instrument, daemon_factory, count):
    """An instrument with END, and an output queue that forgets nothing."""
    right, crossed, failed = converse(daemon_factory(), vxi11_instrument, [count] * 4)
    assert (right, crossed, failed) == (4 * count, [], [])


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=[pytest.mark.full, pytest.mark.timeout(LONG)])])
def test_without_hold_the_same_programs_get_each_others_answers(daemon_factory, instrument, tmp_path, count):
    """So the tests above see what they are looking for."""
    config = tmp_path / "daemon.toml"
    config.write_text(WITHOUT_HOLD)
    right, crossed, failed = converse(daemon_factory("--config", str(config)), instrument, [count] * 4)
    print(f"without hold: {right} right, {len(crossed)} crossed, {failed}")
    assert crossed or failed


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=[pytest.mark.full, pytest.mark.timeout(LONG)])])
def test_answers_that_are_read_ahead_are_those_of_their_programs(daemon_factory, instrument, rounds):
    """Two programs are too slow for their hold, two are not; what the slow ones are owed is kept for them."""
    daemon = daemon_factory()
    counts, pauses = (rounds, rounds, 50 * rounds, 50 * rounds), (SLOW, SLOW, BUSY, BUSY)
    right, crossed, failed = converse(daemon, instrument, counts, pauses)
    assert (right, crossed, failed) == (sum(counts), [], [])
