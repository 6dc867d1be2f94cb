"""The table of measures: a row is a module here with TITLE and `run(bench)`, which yields figures."""

from collections.abc import Callable, Iterator
from importlib import import_module

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Samples

#: In the order of the report.
MEASURES = (
    "query",
    "write_query",
    "throughput",
    "sharing",
    "waveforms",
    "delays",
    "openings",
    "memory",
    "clients",
    "audit",
    "tls",
    "imports",
)

Run = Callable[[Bench], Iterator[Figure | Samples]]


def measure(name: str) -> tuple[str, Run]:
    """The title and the function of a measure."""
    module = import_module(f"benchmarks.{name}")
    return module.TITLE, module.run
