"""What `benchmarks.waveforms` knows without an instrument."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.goals import BLOCKS, READS
from benchmarks.loopback import curve_answer, letters
from benchmarks.waveforms import LOOKED_AT, OF_TEXT, ROUNDS, WAYS, _drop_slow, content, expected


@given(st.binary(max_size=300), st.integers(3, 9))
def test_content_is_the_same_with_header_and_without(data: bytes, digits: int):
    answer = b"#%d" % digits + str(len(data)).zfill(digits).encode() + data + b"\n"
    assert content(answer, len(data)) == data
    assert content(data, len(data)) == data


@pytest.mark.parametrize("way", WAYS)
def test_content_is_what_is_expected_of_each_way(way: tuple[str, str]):
    """A block with its header, or a text; both with their termination."""
    answer = letters(5000) + b"\n" if way[1] == OF_TEXT else curve_answer(5000)
    assert content(answer, 5000) == expected(way, 5000)


def test_goals_are_of_ways_that_there_are():
    assert {("daemon @daemon", name) for name in READS} <= WAYS.keys()
    assert set(BLOCKS) <= set(LOOKED_AT[False]) <= set(ROUNDS[False])


def test_content_of_a_shorter_answer_is_not_made_up():
    assert len(content(b"#14hell", 5)) != 5


@pytest.mark.parametrize(("rate", "remains"), [(1000.0, True), (0.5, False)])
def test_what_would_take_too_long_is_left_out_and_noted(tmp_path: Path, rate: float, remains: bool):
    bench = Bench(tmp_path, is_quick=True)
    ways = {("daemon text", "query_binary"): lambda size: b""}
    _drop_slow(bench, ways, [Figure("waveforms", "daemon text", "query_binary", rate, "MB/s", 1e6)], 16_000_000)
    assert bool(ways) == remains
    assert len(bench.notes) == (not remains)
