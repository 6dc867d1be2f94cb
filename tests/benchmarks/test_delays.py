"""What `benchmarks.delays` makes of what was waited."""

from benchmarks.delays import statistics


def test_worst_of_a_period_is_told_by_its_median_and_by_the_worst_of_all():
    found = statistics([[1.0, 2.0], [1.0, 30.0], [1.0, 4.0]])
    assert found["median of the worst"] == 4.0
    assert found["worst"] == 30.0


def test_percentiles_are_of_all_periods_together():
    found = statistics([[1.0] * 98, [9.0] * 2])
    assert found["p50"] == 1.0
    assert found["p99"] == 9.0
