"""The bench for each fault, and the table of figures that the run writes (`--figures FILE`)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.bench import Bench
from tests.faults.faults import FAULTS
from tests.support.daemon import Daemon
from tests.support.tcp_instrument import TcpInstrument

#: number -> what its tests found: outcomes, reasons, figures.
_ROWS = pytest.StashKey[dict[int, dict[str, Any]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = {}


def _numbers(item: pytest.Item) -> list[int]:
    return [number for marker in item.iter_markers("fault") for number in marker.args]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A fault is survived if every phase of every test of it passed; one that was skipped is not."""
    report: pytest.TestReport = yield
    if report.when == "call" or report.outcome != "passed":
        for number in _numbers(item):
            row = item.config.stash[_ROWS].setdefault(number, {"outcomes": [], "reasons": [], "figures": {}})
            row["outcomes"].append(report.outcome)
            if report.skipped and isinstance(report.longrepr, tuple):
                row["reasons"].append(report.longrepr[2])
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--figures")
    if file is None:
        return
    rows = session.config.stash[_ROWS]
    table = [
        {"fault": number, "title": title, **rows.get(number, {"outcomes": [], "reasons": [], "figures": {}})}
        for number, title in FAULTS.items()
    ]
    Path(file).write_text(json.dumps(table, indent=1) + "\n")


@pytest.fixture
def make_bench(
    request: pytest.FixtureRequest,
    daemon_factory: Callable[..., Daemon],
    instrument_factory: Callable[[], TcpInstrument],
    tmp_path: Path,
) -> Iterator[Callable[..., Bench]]:
    """Makes the bench, with limits and settings of the test's own: `make_bench(limits={"open-time": 1})`."""
    benches: list[Bench] = []

    def make(**options: Any) -> Bench:
        benches.append(Bench(daemon_factory, instrument_factory, tmp_path, **options))
        return benches[-1]

    yield make
    for bench in benches:
        report = bench.closes()
        for number in _numbers(request.node):
            row = request.config.stash[_ROWS].setdefault(number, {"outcomes": [], "reasons": [], "figures": {}})
            for name, value in bench.figures.seen.items():
                _keep_worst(row["figures"], name, value)
            for name in ("p99_ms", "worst_ms"):
                if report[name] is not None:
                    _keep_worst(row["figures"], f"good_{name}", report[name])
            row["figures"]["good_asked"] = row["figures"].get("good_asked", 0) + report["asked"]


def _keep_worst(figures: dict[str, Any], name: str, value: Any) -> None:
    before = figures.get(name)
    both = isinstance(before, int | float) and isinstance(value, int | float)
    figures[name] = max(before, value) if both else value


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """The bench as it is without any settings of the test's own, but for a grace of 0.3 s."""
    return make_bench()
