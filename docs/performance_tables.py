"""The tables of explanation/performance.md, from the run of the benchmarks in explanation/performance.json.

A cell is a figure by its names there (benchmarks/figures.py); `-` stands where the run has none, and a test says so.

To add a figure to a table: its row or column here. To add a table: a function here and its row in tables.TABLES.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Run, read
from benchmarks.report import goal_rows, number

FILE = Path(__file__).resolve().parent / "explanation" / "performance.json"

#: Heads and rows.
Table = tuple[tuple[str, ...], list[tuple[str, ...]]]

#: Subject -> who that is.
SUBJECTS = {
    "direct": "PyVISA and pyvisa-py in the program itself (direct)",
    "daemon @daemon": "the daemon, through `@daemon`",
    "daemon client": "the daemon, through `client`",
    "daemon text": "the daemon, text protocol",
    "rpyc": "rpyc",
    "Pyro5": "Pyro5",
    "pyvisa-proxy": "pyvisa-proxy",
    "limit: two hops": "no VISA: a front, a child and two hops",
    "limit: bare socket": "no VISA: a socket to the instrument",
}

SIZES = (100_000, 1_000_000, 4_000_000, 16_000_000, 64_000_000)
CLIENTS = 16


class Cells:
    """A run's figures as cells. `missing`: measure, subject and name of what was asked for and is not there."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.missing: list[tuple[str, str, str]] = []

    def value(self, measure: str, subject: str, name: str, x: float | None = None) -> float | None:
        value = self.run.value(measure, subject, name, x)
        if value is None:
            self.missing.append((measure, subject, name))
        return value

    def cell(self, measure: str, subject: str, name: str, x: float | None = None, unit: str = "") -> str:
        value = self.value(measure, subject, name, x)
        return "-" if value is None else f"{number(value)} {unit}".rstrip()


def cells() -> Cells:
    return Cells(read(FILE))


def the_run(found: Cells) -> Table:
    """When, where and with what."""
    form = "quick: good for a first look only" if found.run.is_quick else "full"
    rows = {"date": found.run.date, "form": form, **found.run.machine}
    return ("", ""), list(rows.items())


def goals(found: Cells) -> Table:
    return ("what", "goal", "measured", "verdict"), [
        (text, bound, value or "-", verdict) for text, bound, value, verdict in goal_rows(found.run)
    ]


# Against the others.


class Column(NamedTuple):
    head: str
    measure: str
    name: str
    subjects: frozenset[str]
    x: float | None = None


_ALL = frozenset(SUBJECTS)
_VISA = frozenset(subject for subject in SUBJECTS if not subject.startswith("limit"))
_MANY = _VISA - {"daemon client"}

PEERS = (
    Column("a query, p50, µs", "query", "p50", _ALL),
    Column("times direct", "query", "p50 / direct", _ALL),
    Column("p99, µs", "query", "p99", _ALL),
    Column("a write and a query, p50, µs", "write_query", "p50", _VISA),
    Column("16 clients, 16 instruments, one CPU: queries/s", "throughput", "rate", _MANY, CLIENTS),
    Column("the same on all cores", "throughput", "rate, on all cores", _MANY, CLIENTS),
)


def peers(found: Cells) -> Table:
    rows = [(who, *(_of(found, column, subject) for column in PEERS)) for subject, who in SUBJECTS.items()]
    return ("", *(column.head for column in PEERS)), rows


def _of(found: Cells, column: Column, subject: str) -> str:
    """Blank, as a dash, where there is nothing to measure."""
    return found.cell(column.measure, subject, column.name, column.x) if subject in column.subjects else "-"


class Contest(NamedTuple):
    """What is done directly and through the daemon. `is_rate`: the more the better. `ratio`: the figure that has the
    median of the ratios of the rounds, which is truer than the ratio of two medians; rates have it in per cent."""

    what: str
    unit: str
    measure: str
    name: str
    x: float | None = None
    is_rate: bool = False
    ratio: str = ""

    def times(self, found: Cells, direct: float, ours: float) -> float:
        """How many times as long it takes through the daemon."""
        ratio = found.value(self.measure, OURS, self.ratio, self.x) if self.ratio else None
        if self.is_rate:
            return direct / ours if ratio is None else 100 / ratio
        return ours / direct if ratio is None else ratio


def _block(what: str, name: str, size: int) -> Contest:
    return Contest(f"{what} of {size / 1e6:g} MB, `{name.partition(',')[0]}`", "MB/s", "waveforms", name, size, True)


#: Who is compared with direct.
OURS = "daemon @daemon"

ON_ALL = ", on all cores"

CONTESTS = (
    Contest("a query, p50", "µs", "query", "p50", ratio="p50 / direct"),
    Contest("a query, p99", "µs", "query", "p99"),
    Contest("a write and a query behind it, p50", "µs", "write_query", "p50", ratio="p50 / direct"),
    Contest("16 clients, 16 instruments, one CPU", "queries/s", "throughput", "rate", CLIENTS, True, "rate / direct"),
    Contest(
        "16 clients, 16 instruments, all cores",
        "queries/s",
        "throughput",
        "rate" + ON_ALL,
        CLIENTS,
        True,
        "rate / direct" + ON_ALL,
    ),
    Contest(
        "16 clients on one instrument; directly just one", "queries/s", "sharing", "rate", None, True, "rate / direct"
    ),
    Contest("import of the backend, on top of PyVISA", "ms", "imports", "import on top of pyvisa"),
    *(_block("a block", "read_bytes", size) for size in SIZES),
    *(_block("a block", "query_binary_values", size) for size in SIZES[1:]),
    *(_block("a text", "read_raw, of text", size) for size in SIZES[1:]),
)


def against_direct(found: Cells) -> Table:
    """What takes longest compared with direct comes first; last, what could not be compared."""
    judged: list[tuple[float, tuple[str, ...]]] = []
    for one in CONTESTS:
        direct, ours = (found.value(one.measure, subject, one.name, one.x) for subject in ("direct", OURS))
        times = None if direct is None or ours is None else one.times(found, direct, ours)
        shown = zip((direct, ours, times), (one.unit, one.unit, "x"), strict=True)
        row = (one.what, *("-" if value is None else f"{number(value)} {its_unit}" for value, its_unit in shown))
        judged.append((times or 0.0, row))
    judged.sort(key=lambda one: one[0], reverse=True)
    return ("what", "direct", "through `@daemon`", "time it takes, against direct"), [row for _, row in judged]


# Blocks, waits, and what else it costs.

WAYS = {
    ("direct", "query_binary_values"): "direct, `query_binary_values`",
    ("daemon @daemon", "query_binary_values"): "`@daemon`, `query_binary_values`",
    ("direct", "read_bytes"): "direct, `read_bytes`",
    ("daemon @daemon", "read_bytes"): "`@daemon`, `read_bytes`",
    ("direct", "read_bytes, chunks of 1 MiB"): "direct, `read_bytes`, chunks of 1 MiB",
    ("daemon @daemon", "read_bytes, chunks of 1 MiB"): "`@daemon`, `read_bytes`, chunks of 1 MiB",
    ("direct", "read_raw, of text"): "direct, `read_raw` of a text",
    ("daemon @daemon", "read_raw, of text"): "`@daemon`, `read_raw` of a text",
    ("daemon text", "query_binary"): "text protocol, `query_binary`",
}


def blocks(found: Cells) -> Table:
    heads = ("MB/s", *(f"{size / 1e6:g} MB" for size in SIZES))
    return heads, [(words, *(found.cell("waveforms", *way, size) for size in SIZES)) for way, words in WAYS.items()]


WAITS = {
    "alone": "nothing",
    "a process stopped in mid-answer": "another instrument's process is stopped in mid-answer",
    "64 MB to a PyVISA program": "another instrument sends blocks of 64 MB to a PyVISA program",
    "64 MB in the text protocol": "another instrument sends blocks of 64 MB in the text protocol",
}
STATISTICS = {"p50": "p50", "p99": "p99", "median of the worst": "worst of a period"}


def waits(found: Cells) -> Table:
    subjects = {"daemon text": "daemon", "direct": "direct"}
    heads = ("meanwhile", *(f"{who}: {word}, ms" for who in subjects.values() for word in STATISTICS.values()))
    return heads, [
        (words, *(found.cell("delays", subject, f"{event}: {name}") for subject in subjects for name in STATISTICS))
        for event, words in WAITS.items()
    ]


class Cost(NamedTuple):
    what: str
    unit: str
    measure: str
    subject: str
    name: str
    x: float | None = None


COSTS = (
    Cost("open an instrument, a spare process warm, p50", "ms", "openings", "daemon text", "open, spare warm, p50"),
    Cost("open one after the other without a pause, each", "ms", "memory", "daemon", "open, back to back, p50", 100),
    Cost("join one that is open, p50", "ms", "openings", "daemon text", "open what is open, p50"),
    Cost(
        "a hung process's death to a good answer, p50",
        "ms",
        "openings",
        "daemon text",
        "hung, death to good answer, p50",
    ),
    Cost(
        "a killed process's death to a good answer, p50",
        "ms",
        "openings",
        "daemon text",
        "killed, death to good answer, p50",
    ),
    Cost(
        "memory (PSS) of everything, one instrument open", "MB", "memory", "daemon", "PSS of everything / instrument", 1
    ),
    Cost("the same for each of a hundred", "MB", "memory", "daemon", "PSS of everything / instrument", 100),
    Cost("the front's share of it, a hundred open", "MB", "memory", "daemon", "PSS of the front", 100),
    Cost("a query with a hundred open, p50", "µs", "memory", "daemon", "query p50", 100),
    Cost("memory of an idle text client", "kB", "clients", "daemon", "memory of a text client, after a ping"),
    Cost("memory of an idle PyVISA client", "kB", "clients", "daemon", "memory of a wire client, after its hello"),
    Cost(
        "1000 clients connect and the last is answered",
        "s",
        "clients",
        "daemon",
        "1000 connects, all accepted, the last answered",
    ),
    Cost("a record of the audit log, caller and writer", "µs", "audit", "daemon's Audit", "caller and writer"),
    Cost("start to `READY`", "ms", "imports", "daemon", "start to READY"),
)


def costs(found: Cells) -> Table:
    return ("what", "figure"), [
        (one.what, found.cell(one.measure, one.subject, one.name, one.x, one.unit)) for one in COSTS
    ]


#: name in the page -> what fills it.
TABLES: dict[str, Callable[[Cells], Table]] = {
    "performance-run": the_run,
    "performance-goals": goals,
    "performance-peers": peers,
    "performance-against-direct": against_direct,
    "performance-blocks": blocks,
    "performance-waits": waits,
    "performance-costs": costs,
}


def missing(found: Cells) -> Iterable[tuple[str, str, str]]:
    """What the tables name and the run has not, apart from what it left out and said so."""
    for fill in TABLES.values():
        fill(found)
    return [
        one for one in found.missing if not any(note.startswith(f"{one[1]}, {one[2]}:") for note in found.run.notes)
    ]
