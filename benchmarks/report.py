"""A run as Markdown: the machine, the goals, then a table for each measure. Pure."""

from collections.abc import Iterable, Iterator

from benchmarks.figures import Figure, Run
from benchmarks.goals import GOALS

#: A measure with more names than this has them in its rows, not in its columns.
COLUMNS = 6

VERDICTS = {True: "met", False: "**missed**", None: "not measured"}


def report(run: Run) -> str:
    parts = [*_head(run), "## Goals", "", *goals_table(run), ""]
    for measure, title in run.titles.items():
        parts += [f"## {title}", "", *_measure(run.of(measure)), ""]
    return "\n".join(parts)


def number(value: float) -> str:
    """Three digits that count, thousands apart: 0.0123, 12.3, 44 000."""
    if value and abs(value) < 1000:
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    digits = max(0, len(f"{abs(value):.0f}") - 3)
    return f"{round(value, -digits):,.0f}".replace(",", " ")


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield f"| {' | '.join(heads)} |"
    yield f"| {' | '.join(['---', *['---:'] * (len(heads) - 1)])} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def goals_table(run: Run) -> Iterator[str]:
    """Each goal with what the run found, met or missed."""
    return table(["what", "goal", "measured", ""], goal_rows(run))


def goal_rows(run: Run) -> Iterator[tuple[str, str, str, str]]:
    """What, its goal, what was measured, the verdict."""
    for goal in GOALS:
        value = goal.value(run)
        bound = f"{'>=' if goal.is_floor else '<='} {goal.bound:g} {goal.unit}"
        yield goal.text, bound, "" if value is None else number(value), VERDICTS[goal.is_met(run)]


def _head(run: Run) -> Iterator[str]:
    kind = "the quick form, which is good for a first look only" if run.is_quick else "the full form"
    yield from [f"# A run of the benchmarks: {run.date}", "", f"This is {kind}.", ""]
    if run.wrong:
        yield from ["**Not everything was as it must be, so this run proves nothing:**", ""]
        yield from [*(f"* {what}" for what in run.wrong), ""]
    yield from [*(f"* {name}: {words}" for name, words in run.machine.items()), ""]
    notes = [*(f"{subject}: {why}, so its cells are empty." for subject, why in run.missing.items()), *run.notes]
    if notes:
        yield from [*(f"* {note}" for note in notes), ""]


def _measure(figures: list[Figure]) -> Iterator[str]:
    """One table of what has no abscissa, and one of the curves, by the abscissa."""
    flat = [one for one in figures if one.x is None]
    curves = [one for one in figures if one.x is not None]
    if not figures:
        yield "Nothing was measured."
    if flat:
        yield from _flat(flat)
    if flat and curves:
        yield ""
    if curves:
        yield from _curves(curves)


def _flat(figures: list[Figure]) -> Iterator[str]:
    cells = {(one.subject, _name(one)): number(one.value) for one in figures}
    subjects = list(dict.fromkeys(one.subject for one in figures))
    names = list(dict.fromkeys(_name(one) for one in figures))
    if len(names) > COLUMNS:
        return table(["", *subjects], ([name, *(cells.get((one, name), "") for one in subjects)] for name in names))
    return table(["", *names], ([one, *(cells.get((one, name), "") for name in names)] for one in subjects))


def _curves(figures: list[Figure]) -> Iterator[str]:
    cells = {(one.subject, _name(one), one.x): number(one.value) for one in figures}
    rows = list(dict.fromkeys((one.subject, _name(one)) for one in figures))
    points = sorted({one.x for one in figures if one.x is not None})
    heads = ["", "", *(number(x) for x in points)]
    return table(heads, ([*row, *(cells.get((*row, x), "") for x in points)] for row in rows))


def _name(one: Figure) -> str:
    return f"{one.name}, {one.unit}"
