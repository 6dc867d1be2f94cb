"""Numbers with their names, and a whole run of them as JSON. Pure, but for reading and writing that one file."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: So many raw samples of one curve are kept.
KEPT = 500

#: A list of nothing but numbers: it stands in one line.
_NUMBERS = re.compile(r"\[[-\d.e+,\s]+\]")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `x` is the abscissa if it is a point of a curve: bytes, clients, instruments."""

    measure: str
    subject: str
    name: str
    value: float
    unit: str
    x: float | None = None


@dataclass(frozen=True, slots=True)
class Samples:
    """Raw values of one subject, for a distribution; a measure may yield them among its figures."""

    measure: str
    subject: str
    name: str
    values: list[float]
    unit: str

    def thinned(self) -> "Samples":
        """The same with at most KEPT values: every nth in order of size, so that the distribution stays what it is."""
        ordered = sorted(self.values)
        if len(ordered) > KEPT:
            last = len(ordered) - 1
            ordered = [ordered[round(index * last / (KEPT - 1))] for index in range(KEPT)]
        return Samples(self.measure, self.subject, self.name, ordered, self.unit)


@dataclass(slots=True)
class Run:
    """What one run of the benchmarks found. `missing`: peers that are not there, and why. `wrong`: what was not as it
    must be; a run with any of these proves nothing."""

    date: str
    machine: dict[str, str]
    is_quick: bool
    figures: list[Figure] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, found: Figure | Samples) -> None:
        if isinstance(found, Figure):
            self.figures.append(found)
        else:
            self.samples.append(found.thinned())

    def value(self, measure: str, subject: str, name: str, x: float | None = None) -> float | None:
        """The value of the figure that has these names; None if there is none."""
        return next(
            (one.value for one in self.of(measure) if (one.subject, one.name, one.x) == (subject, name, x)), None
        )

    def of(self, measure: str) -> list[Figure]:
        return [one for one in self.figures if one.measure == measure]


def write(run: Run, file: Path) -> None:
    """The whole file or nothing of it: who is interrupted keeps what was there."""
    rounded: dict[str, Any] = asdict(run)
    for row in rounded["samples"]:
        row["values"] = [float(f"{value:.4g}") for value in row["values"]]
    text = json.dumps(rounded, indent=1)
    part = file.with_name(file.name + ".part")
    part.write_text(_NUMBERS.sub(lambda found: "".join(found[0].split()), text) + "\n")
    part.replace(file)


def read(file: Path) -> Run:
    """What `write` wrote. Raises ValueError or TypeError if it is something else."""
    run = Run(**json.loads(file.read_text()))
    run.figures = [Figure(**row) for row in _rows(run.figures)]
    run.samples = [Samples(**row) for row in _rows(run.samples)]
    return run


def _rows(rows: Iterable[Any]) -> Iterable[dict[str, Any]]:
    return rows
