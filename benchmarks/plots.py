"""The curves of a run as SVG. Needs matplotlib, of which nothing here needs a screen."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.figures import Figure, Run

#: The same colour for the same subject, everywhere.
COLOURS = {
    "direct": "#222222",
    "daemon @daemon": "#0b6e4f",
    "daemon client": "#3fa66b",
    "daemon text": "#8bd3a8",
    "daemon": "#0b6e4f",
    "rpyc": "#c1440e",
    "Pyro5": "#e39a27",
    "pyvisa-proxy": "#7b4ea3",
    "limit: bare socket": "#9a9a9a",
    "limit: two hops": "#c4c4c4",
}
OTHER = "#4477aa"

#: What others do meanwhile, in the order in which it is measured.
EVENTS = ("#222222", "#c1440e", "#0b6e4f", "#7b4ea3")

SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def plots(run: Run) -> dict[str, str]:
    """File name without its ending -> SVG, of all that the run has figures for."""
    import matplotlib

    matplotlib.use("Agg")
    drawn = {}
    with matplotlib.rc_context(SETTINGS):
        for name, draw in PLOTS.items():
            svg = draw(run)
            if svg is not None:
                drawn[name] = svg
    return drawn


def _latencies(run: Run) -> str | None:
    curves = [one for one in run.samples if one.measure == "query"]
    if not curves:
        return None
    figure, axes = _axes("A query, one client", "microseconds", "of all queries took at most so long, %")
    for one in curves:
        shares = [100 * (index + 1) / len(one.values) for index in range(len(one.values))]
        axes.plot(one.values, shares, color=COLOURS.get(one.subject, OTHER), label=one.subject, **_stroke(one.subject))
    _logarithmic(axes, "x")
    axes.set_ylim(0, 100)
    highest = max(one.values[int(0.99 * (len(one.values) - 1))] for one in curves)
    axes.set_xlim(min(one.values[0] for one in curves) * 0.8, highest * 1.5)
    return _svg(figure, axes)


def _throughput(run: Run) -> str | None:
    import matplotlib.pyplot as plt

    kinds = {"rate": "one CPU for all", "rate, on all cores": "on all cores"}
    points = {name: [one for one in run.of("throughput") if one.name == name] for name in kinds}
    there = [name for name in kinds if points[name]]
    if not there:
        return None
    size = (2 + 4 * len(there), 4)
    figure, (row,) = plt.subplots(1, len(there), figsize=size, layout="constrained", squeeze=False, sharey=True)
    for axes, name in zip(row, there, strict=True):
        axes.set_title(kinds[name], loc="left", fontsize=10)
        _curves(axes, points[name], lambda one: one.subject)
        _powers(axes, points[name])
        _logarithmic(axes, "y", (1, 2, 5))
        axes.set_xlabel("clients")
    row[0].set_ylabel("queries/s, all together")
    figure.suptitle("Clients with an instrument each", x=0.01, ha="left", fontweight="bold", fontsize=12)
    return _svg(figure, row[-1])


def _delays(run: Run) -> str | None:
    """How often somebody waits longer than how long: what is rare is what is looked for."""
    curves = [one for one in run.samples if one.measure == "delays"]
    if not curves:
        return None
    figure, axes = _axes(
        "How long a client waits, by what others do", "milliseconds", "of all queries waited longer, %", width=9
    )
    colours = dict(zip(dict.fromkeys(one.name for one in curves), EVENTS, strict=False))
    for one in curves:
        shares = [100 * (1 - index / len(one.values)) for index in range(len(one.values))]
        stroke = "--" if one.subject == "direct" else "-"
        label = f"{one.subject}: {one.name}"
        axes.plot(one.values, shares, color=colours.get(one.name, OTHER), linestyle=stroke, label=label)
    _logarithmic(axes, "xy")
    return _svg(figure, axes)


def _waveforms(run: Run) -> str | None:
    points = [one for one in run.of("waveforms") if one.unit == "MB/s"]
    if not points:
        return None
    figure, axes = _axes("A block, as fast as it comes", "megabytes", "MB/s", width=9)
    megabytes = [Figure(one.measure, one.subject, one.name, one.value, one.unit, (one.x or 0) / 1e6) for one in points]
    _curves(axes, megabytes, lambda one: f"{one.subject}, {one.name}")
    _powers(axes, megabytes)
    axes.set_ylim(bottom=0)
    return _svg(figure, axes)


#: What is drawn of each further instrument: the names of the figures, and what they are.
COSTS = {
    "PSS of everything / instrument": "memory (PSS) of an\nopen instrument, MB",
    "query p50": "a query, p50, µs",
    "open, back to back, p50": "opening the next\nat once, p50, ms",
}


def _instruments(run: Run) -> str | None:
    import matplotlib.pyplot as plt

    points = {name: [one for one in run.of("memory") if one.name == name and one.x is not None] for name in COSTS}
    there = [name for name in COSTS if points[name]]
    if not there:
        return None
    figure, rows = plt.subplots(1, len(there), figsize=(3 * len(there), 3), layout="constrained", squeeze=False)
    for axes, name in zip(rows[0], there, strict=True):
        _curves(axes, points[name], lambda one: one.subject)
        axes.set_title(COSTS[name], loc="left", fontsize=10)
        axes.set_xlabel("open instruments")
        axes.set_ylim(bottom=0, top=1.3 * max(one.value for one in points[name]))
    return _svg(figure, None)


PLOTS: dict[str, Callable[[Run], str | None]] = {
    "latency": _latencies,
    "throughput": _throughput,
    "waveforms": _waveforms,
    "delays": _delays,
    "instruments": _instruments,
}


# What they have in common.


def _axes(title: str, x: str, y: str, width: float = 7) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, 4), layout="constrained")
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _curves(axes: Any, points: Sequence[Figure], label: Callable[[Figure], str]) -> None:
    labels = dict.fromkeys(label(one) for one in points)
    for which, style in zip(labels, _styles(points, label), strict=True):
        mine = sorted((one.x, one.value) for one in points if label(one) == which)
        axes.plot(*zip(*mine, strict=True), label=which, **style)


def _styles(points: Sequence[Figure], label: Callable[[Figure], str]) -> Iterator[dict[str, Any]]:
    """A colour for a subject; its further curves differ in their strokes."""
    strokes = ("-", "--", ":", "-.")
    seen: dict[str, int] = {}
    for which in dict.fromkeys(label(one) for one in points):
        subject = next(one.subject for one in points if label(one) == which)
        seen[subject] = seen.get(subject, -1) + 1
        stroke = strokes[seen[subject] % len(strokes)]
        yield {"color": COLOURS.get(subject, OTHER), "linestyle": stroke, "marker": "o", "markersize": 4}


def _stroke(subject: str) -> dict[str, Any]:
    return {"linestyle": "--" if subject.startswith("limit") else "-", "linewidth": 1.8}


def _powers(axes: Any, points: Sequence[Figure]) -> None:
    """A logarithmic abscissa that names the points that there are."""
    ticks = sorted({one.x for one in points if one.x is not None})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()


def _logarithmic(axes: Any, which: str, marks: Sequence[int] = (1,)) -> None:
    """The axes `x`, `y` or `xy`, with 10 and 100 in the place of powers; `marks` are named in each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for letter in which:
        getattr(axes, f"set_{letter}scale")("log")
        axis = getattr(axes, f"{letter}axis")
        axis.set_major_locator(LogLocator(subs=marks))
        axis.set_major_formatter(lambda value, _: f"{value:,g}".replace(",", " "))
        axis.set_minor_formatter(NullFormatter())


def _svg(figure: Any, axes: Any) -> str:
    import matplotlib.pyplot as plt

    if axes is not None:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file.getvalue()
