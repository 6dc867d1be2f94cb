"""What is to be reached: a table. Pure.

Speed is compared with what the same machine does in the same run; what a user waits for, or pays in memory, has a
number of its own. A goal whose figures a run does not have is not judged.

To add a goal: its row in GOALS.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Figure, Run


@dataclass(frozen=True, slots=True)
class Goal:
    """`value(run)` must be at most, or at least, `bound`; None: the run did not measure it."""

    text: str
    measure: str
    value: Callable[[Run], float | None]
    bound: float
    unit: str
    is_floor: bool = False

    def is_met(self, run: Run) -> bool | None:
        value = self.value(run)
        if value is None:
            return None
        return value >= self.bound if self.is_floor else value <= self.bound


# How a value is found.


def _of(measure: str, subject: str, name: str, x: float | None = None) -> Callable[[Run], float | None]:
    return lambda run: run.value(measure, subject, name, x)


def _greatest(measure: str, is_in: Callable[[Figure], bool]) -> Callable[[Run], float | None]:
    return lambda run: max((one.value for one in run.of(measure) if is_in(one)), default=None)


def _at_most_x(measure: str, subject: str, name: str, x: float) -> Callable[[Run], float | None]:
    """At the greatest abscissa up to `x` that was measured."""

    def value(run: Run) -> float | None:
        points = [one for one in run.of(measure) if (one.subject, one.name) == (subject, name)]
        known = [one for one in points if one.x is not None and one.x <= x]
        return max(known, key=lambda one: one.x or 0.0).value if known else None

    return value


def _quotient(
    above: Callable[[Run], float | None], below: Callable[[Run], float | None], scale: float = 1.0
) -> Callable[[Run], float | None]:
    def value(run: Run) -> float | None:
        numerator, denominator = above(run), below(run)
        return scale * numerator / denominator if numerator is not None and denominator else None

    return value


def _difference(
    above: Callable[[Run], float | None], below: Callable[[Run], float | None]
) -> Callable[[Run], float | None]:
    def value(run: Run) -> float | None:
        minuend, subtrahend = above(run), below(run)
        return None if minuend is None or subtrahend is None else minuend - subtrahend

    return value


def _rate(subject: str) -> Callable[[Run], float | None]:
    return _of("throughput", subject, "rate / direct", 16)


def _block(name: str, size: int) -> Callable[[Run], float | None]:
    """The daemon's MB/s in per cent of direct's, both read in this way."""
    ours, direct = (_of("waveforms", subject, name, size) for subject in ("daemon @daemon", "direct"))
    return _quotient(ours, direct, 100)


def _grown(process: str, size: int | None = None, subject: str | None = None) -> Callable[[Run], float | None]:
    """Megabytes, in the worst of the ways, of this subject or of any."""
    end = f": memory of the {process}"
    return _greatest(
        "waveforms",
        lambda one: one.name.endswith(end) and size in (None, one.x) and subject in (None, one.subject),
    )


def _wait(event: str) -> Callable[[Run], float | None]:
    """Milliseconds: the longest wait in a period with such an event, above the longest without; the median of it."""
    end = ": median of the worst, above alone"
    return _greatest(
        "delays", lambda one: one.subject == "daemon text" and event in one.name and one.name.endswith(end)
    )


#: Bytes of a block, and the least rate in per cent of direct's.
BLOCKS = {16_000_000: 90, 64_000_000: 100}
MIDDLE, LONG = BLOCKS

#: How stock PyVISA reads them -> what it reads.
READS = {"query_binary_values": "block", "read_bytes": "block", "read_raw, of text": "text"}

GOALS = (
    Goal("a query through `@daemon`, p50", "query", _of("query", "daemon @daemon", "p50 / direct"), 3.0, "x direct"),
    Goal("a query through `client`, p50", "query", _of("query", "daemon client", "p50 / direct"), 3.0, "x direct"),
    Goal("a query in the text protocol, p50", "query", _of("query", "daemon text", "p50 / direct"), 2.8, "x direct"),
    Goal(
        "a write and a query behind it, through `@daemon`, p50",
        "write_query",
        _of("write_query", "daemon @daemon", "p50 / direct"),
        1.0,
        "x direct",
    ),
    Goal(
        "16 clients, 16 instruments: queries/s", "throughput", _rate("daemon @daemon"), 28, "% of direct", is_floor=True
    ),
    Goal(
        "the same, against pyvisa-proxy",
        "throughput",
        _quotient(_rate("daemon @daemon"), _rate("pyvisa-proxy")),
        6,
        "x pyvisa-proxy",
        is_floor=True,
    ),
    Goal(
        "the same, against rpyc",
        "throughput",
        _quotient(_rate("daemon @daemon"), _rate("rpyc")),
        2,
        "x rpyc",
        is_floor=True,
    ),
    Goal(
        "16 clients, one instrument: queries/s",
        "sharing",
        _of("sharing", "daemon @daemon", "rate / direct"),
        20,
        "% of direct",
        is_floor=True,
    ),
    Goal(
        "the same, the least that a client gets",
        "sharing",
        _of("sharing", "daemon @daemon", "least share"),
        80,
        "% of its share",
        is_floor=True,
    ),
    Goal(
        "the same, the most that a client gets",
        "sharing",
        _of("sharing", "daemon @daemon", "greatest share"),
        120,
        "% of its share",
    ),
    *(
        Goal(
            f"a {what} of {size // 10**6} MB through stock PyVISA, `{name.partition(',')[0]}`",
            "waveforms",
            _block(name, size),
            least,
            "% of direct",
            is_floor=True,
        )
        for name, what in READS.items()
        for size, least in BLOCKS.items()
    ),
    Goal(
        "the front's memory meanwhile, above its own",
        "waveforms",
        _grown("front", subject="daemon @daemon"),
        8,
        "MB",
    ),
    Goal(
        "the child's memory: what 64 MB take more than 16 MB",
        "waveforms",
        _difference(_grown("child", LONG), _grown("child", MIDDLE)),
        8,
        "MB",
    ),
    Goal(
        "longest wait of others while a process is stopped in mid-answer, above alone",
        "delays",
        _wait("stopped"),
        10,
        "ms",
    ),
    Goal(
        "longest wait of others while 64 MB stream to a PyVISA program, above alone",
        "delays",
        _wait("64 MB to a PyVISA program"),
        10,
        "ms",
    ),
    Goal(
        "longest wait of others while 64 MB stream in the text protocol, above alone",
        "delays",
        _wait("64 MB in the text protocol"),
        10,
        "ms",
    ),
    Goal(
        "opening, with a warm spare, p50", "openings", _of("openings", "daemon text", "open, spare warm, p50"), 10, "ms"
    ),
    Goal(
        "a hung process's death to the first good answer, p50",
        "openings",
        _of("openings", "daemon text", "hung, death to good answer, p50"),
        15,
        "ms",
    ),
    Goal(
        "memory of an open instrument (PSS), up to 100 open",
        "memory",
        _at_most_x("memory", "daemon", "PSS of everything / instrument", 100),
        16,
        "MB",
    ),
    Goal(
        "memory of one of 1000 idle clients, of whatever kind",
        "clients",
        _greatest("clients", lambda one: one.name.startswith("memory of a ")),
        4,
        "kB",
    ),
    Goal(
        "1000 connects, until all are served",
        "clients",
        _of("clients", "daemon", "1000 connects, all accepted, the last answered"),
        0.5,
        "s",
    ),
    Goal(
        "a record of the audit log, off the reply path",
        "audit",
        _of("audit", "daemon's Audit", "caller and writer"),
        8,
        "us",
    ),
    Goal(
        "`import client`, which imports PyVISA too",
        "imports",
        _quotient(_of("imports", "client", "import"), _of("imports", "pyvisa", "import")),
        1.3,
        "x pyvisa",
    ),
    Goal(
        "import of the backend on top of PyVISA",
        "imports",
        _of("imports", "daemon @daemon", "import on top of pyvisa"),
        15,
        "ms",
    ),
)
