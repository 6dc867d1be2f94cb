import pytest

from benchmarks.figures import Figure, Run
from benchmarks.goals import BLOCKS, GOALS, READS
from benchmarks.measures import MEASURES
from benchmarks.report import goals_table, number, report


def run_with(*figures: Figure) -> Run:
    run = Run("2026-01-02 03:04 UTC", {"CPU": "one"}, is_quick=False, titles={"query": "A query", "audit": "A record"})
    for figure in figures:
        run.add(figure)
    return run


def row_of(run: Run, text: str) -> str:
    return next(line for line in goals_table(run) if text in line)


@pytest.mark.parametrize(("ratio", "verdict"), [(2.9, " met |"), (3.0, " met |"), (3.1, "**missed**")])
def test_goal_is_met_up_to_its_bound(ratio, verdict):
    run = run_with(Figure("query", "daemon @daemon", "p50 / direct", ratio, "x"))
    assert verdict in row_of(run, "`@daemon`, p50")


@pytest.mark.parametrize(("percent", "verdict"), [(27.9, "**missed**"), (28.0, " met |"), (90.0, " met |")])
def test_goal_is_met_from_its_floor_on(percent, verdict):
    run = run_with(Figure("throughput", "daemon @daemon", "rate / direct", percent, "%", 16))
    assert verdict in row_of(run, "16 clients, 16 instruments")


def test_goal_is_not_judged_without_its_figures():
    assert all(goal.value(run_with()) is None and goal.is_met(run_with()) is None for goal in GOALS)
    assert "not measured" in row_of(run_with(), "pyvisa-proxy")


def test_goal_against_a_peer_is_a_quotient_within_the_run():
    rates = {"daemon @daemon": 30.0, "pyvisa-proxy": 4.0}
    run = run_with(*(Figure("throughput", name, "rate / direct", rate, "%", 16) for name, rate in rates.items()))
    assert "7.5" in row_of(run, "against pyvisa-proxy")


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize(("size", "least"), BLOCKS.items())
def test_goal_of_a_block_compares_the_same_way_at_the_same_size(name, size, least):
    """Each way has its own row."""
    rates = {"direct": 200.0, "daemon @daemon": 2.0 * least}
    run = run_with(*(Figure("waveforms", subject, name, rate, "MB/s", size) for subject, rate in rates.items()))
    judged = [goal for goal in GOALS if goal.value(run) is not None]
    assert [(goal.value(run), goal.is_met(run)) for goal in judged] == [(least, True)]


def test_goal_of_the_front_s_memory_is_of_pyvisa_programs():
    """The text protocol puts an answer together in the front: what that takes is a figure without a goal."""
    name = "query_binary: memory of the front"
    run = run_with(Figure("waveforms", "daemon text", name, 60.0, "MB", 16_000_000))
    assert [goal for goal in GOALS if goal.value(run) is not None] == []
    run.add(Figure("waveforms", "daemon @daemon", name, 9.0, "MB", 16_000_000))
    assert "| 9 | **missed** |" in row_of(run, "the front's memory meanwhile")


@pytest.mark.parametrize(
    "event", ["a process stopped in mid-answer", "64 MB to a PyVISA program", "64 MB in the text protocol"]
)
def test_goal_of_waits_is_of_one_event(event):
    run = run_with(Figure("delays", "daemon text", f"{event}: median of the worst, above alone", 11.0, "ms"))
    assert [goal.is_met(run) for goal in GOALS if goal.value(run) is not None] == [False]


def test_memory_goal_looks_at_the_most_instruments_up_to_a_hundred():
    name = "PSS of everything / instrument"
    points = {1: 60.0, 100: 15.0, 200: 99.0}
    run = run_with(*(Figure("memory", "daemon", name, value, "MB", count) for count, value in points.items()))
    assert "| 15 | met |" in row_of(run, "memory of an open instrument")


def test_goals_are_of_measures_that_there_are():
    assert {goal.measure for goal in GOALS} <= set(MEASURES)
    assert len({goal.text for goal in GOALS}) == len(GOALS)


def test_report_has_a_cell_for_each_figure_and_tells_what_is_missing():
    run = run_with(Figure("query", "direct", "p50", 17.54, "us"), Figure("query", "rpyc", "p99", 1234.0, "us"))
    run.missing["Pyro5"] = "Pyro5 is not installed"
    text = report(run)
    assert "| direct | 17.5 |  |" in text
    assert "| rpyc |  | 1 230 |" in text
    assert "Pyro5 is not installed, so its cells are empty" in text
    assert "Nothing was measured." in text


def test_report_has_curves_by_their_abscissa():
    run = run_with(*(Figure("query", "direct", "rate", 10.0 * x, "MB/s", x) for x in (16, 1)))
    assert "| direct | rate, MB/s | 10 | 160 |" in report(run)


def test_report_begins_with_what_was_wrong():
    run = run_with()
    run.wrong.append("rpyc answers 'x'")
    head, _, _ = report(run).partition("## Goals")
    assert "proves nothing" in head
    assert "rpyc answers 'x'" in head


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (12.34, "12.3"), (123.4, "123"), (43_960.0, "44 000"), (64e6, "64 000 000")],
)
def test_number_has_three_digits_that_count(value, text):
    assert number(value) == text


def test_report_names_the_machine():
    assert "* CPU: one" in report(run_with())
