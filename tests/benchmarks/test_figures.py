from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import KEPT, Figure, Run, Samples, read, write


def a_run() -> Run:
    run = Run("2026-01-02 03:04 UTC", {"CPU": "one"}, is_quick=True, titles={"query": "A query"})
    run.add(Figure("query", "direct", "p50", 17.5, "us"))
    run.add(Figure("throughput", "direct", "rate", 40000.0, "queries/s", 16.0))
    run.add(Samples("query", "direct", "latency", [3.0, 1.0, 2.5e-7], "us"))
    return run


def test_run_is_read_as_it_was_written(tmp_path: Path):
    file = tmp_path / "results.json"
    write(a_run(), file)
    assert read(file) == a_run()


def test_run_is_written_in_the_place_of_another(tmp_path: Path):
    """As a whole: nothing else is left."""
    (tmp_path / "results.json").write_text("old")
    write(a_run(), tmp_path / "results.json")
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_run_is_written_with_a_line_for_each_list_of_numbers(tmp_path: Path):
    write(a_run(), tmp_path / "results.json")
    assert "[2.5e-07,1.0,3.0]" in (tmp_path / "results.json").read_text()


def test_value_is_that_of_the_figure_with_these_names():
    run = a_run()
    assert run.value("throughput", "direct", "rate", 16) == 40000.0
    assert run.value("throughput", "direct", "rate") is None


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=3 * KEPT))
def test_samples_keep_their_range_when_thinned(values: list[float]):
    thinned = Samples("query", "direct", "latency", values, "us").thinned().values
    assert len(thinned) == min(len(values), KEPT)
    assert thinned == sorted(thinned)
    assert (thinned[0], thinned[-1]) == (min(values), max(values))
    assert set(thinned) <= set(values)
