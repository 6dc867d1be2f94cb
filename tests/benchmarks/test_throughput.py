"""What `benchmarks.throughput` makes of what was counted."""

from benchmarks.throughput import ON_ALL, _figures


def test_ratio_is_the_median_of_the_ratios_of_the_rounds():
    """Not the ratio of the medians: the rounds of a busy machine are slow for all."""
    rates = {"direct": [100.0, 10.0, 100.0], "rpyc": [50.0, 5.0, 10.0]}
    found = {(one.subject, one.name): one.value for one in _figures(rates, 4, ON_ALL)}
    assert found["rpyc", "rate, on all cores"] == 10.0
    assert found["rpyc", "rate / direct, on all cores"] == 50.0
    assert found["direct", "rate / direct, on all cores"] == 100.0
