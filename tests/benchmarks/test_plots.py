import pytest

from benchmarks.figures import Figure, Run, Samples
from benchmarks.plots import COSTS, plots


def test_plots_are_drawn_of_what_was_measured():
    """And of nothing else; each names its subjects."""
    pytest.importorskip("matplotlib")
    run = Run("2026-01-02 03:04 UTC", {}, is_quick=True)
    assert plots(run) == {}
    run.add(Samples("query", "direct", "latency", [1.0, 2.0, 3.0], "us"))
    run.add(Figure("throughput", "rpyc", "rate", 4000.0, "queries/s", 4))
    run.add(Figure("throughput", "rpyc", "rate, on all cores", 5000.0, "queries/s", 4))
    run.add(Samples("delays", "daemon text", "alone", [1.0, 2.0], "ms"))
    run.add(Figure("memory", "daemon", next(iter(COSTS)), 16.0, "MB", 10))
    drawn = plots(run)
    assert set(drawn) == {"latency", "throughput", "delays", "instruments"}
    assert "direct" in drawn["latency"]
    assert all(words in drawn["throughput"] for words in ("rpyc", "one CPU for all", "on all cores"))
    assert drawn == plots(run), "the same run, the same files"
