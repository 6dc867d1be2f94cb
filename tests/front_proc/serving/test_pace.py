"""The figures of commands: how many, how fast, how long."""

from front_proc.serving.pace import KEPT, TICK, WINDOW, Pace, Rate


def counted(*moments):
    rate = Rate()
    for moment in moments:
        rate.count(moment)
    return rate


def test_rate_counts_what_ended_within_the_window():
    """What is older is in the total only."""
    rate = counted(100, 105, 106, 107)
    assert rate.per_second(107) == 4 / WINDOW
    assert rate.per_second(111) == 3 / WINDOW
    assert rate.per_second(116.9) == 1 / WINDOW
    assert rate.per_second(117) == 0
    assert rate.total == 4


def test_rate_is_nothing_when_nothing_ended():
    """Nor does a machine that has just started count from a moment of its own."""
    assert Rate().per_second(0.5) == 0
    assert counted(0.1).per_second(0.5) == 1 / WINDOW


def test_rate_misses_a_tick_at_most_when_many_end():
    """A thousand a second for half a minute."""
    rate = counted(*(number / 1000 for number in range(30_000)))
    assert 1000 * (1 - TICK / WINDOW) <= rate.per_second(30) <= 1000


def test_rate_is_exact_again_after_a_rest():
    """Marks of long ago do not reach into the window."""
    rate = counted(*(number / 100 for number in range(5000)))
    rate.count(500)
    assert rate.per_second(501) == 1 / WINDOW


def test_latency_is_the_nearest_rank_of_the_last_commands():
    """Of as many as are kept; those that never got to the instrument have no time."""
    pace = Pace(Rate())
    pace.ended(1.0, None, is_failure=True)
    assert pace.latency_ms() is None
    for number in range(KEPT + 100):
        pace.ended(1.0, 0.001 * (number + 1), is_failure=False)
    assert pace.latency_ms() == {"p50": 100 + KEPT / 2, "p99": 100 + KEPT - 1}
    assert (pace.rate.total, pace.failed) == (KEPT + 101, 1)


def test_latency_of_one_command_is_its_own():
    """Both figures are that of a real command, never between two."""
    pace = Pace(Rate())
    pace.ended(1.0, 0.25, is_failure=False)
    assert pace.latency_ms() == {"p50": 250, "p99": 250}


def test_rate_of_all_counts_each_resource():
    """The daemon's is the sum, and outlives a resource."""
    everybodys = Rate()
    for _ in range(3):
        Pace(everybodys).ended(1.0, 0.1, is_failure=False)
    assert everybodys.per_second(1.0) == 3 / WINDOW
