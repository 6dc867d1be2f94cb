"""`python -m benchmarks`: runs the measures and writes results.json, report.md and the plots. See --help.

What was measured is written after each measure, so that who interrupts a run keeps what it has found so far.

Exit code 0: everything was as it must be; 1: a wrong answer, or a measure that failed; 2: bad usage.
"""

import argparse
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from benchmarks import figures, loopback
from benchmarks.bench import Bench
from benchmarks.figures import Run
from benchmarks.machine import machine
from benchmarks.measures import MEASURES, measure
from benchmarks.peers import PEERS
from benchmarks.plots import plots
from benchmarks.publish import publish
from benchmarks.report import goals_table, report


def main(arguments: list[str] | None = None) -> int:
    chosen = _chosen(arguments)
    names = [name for name in MEASURES if name in (chosen.only or MEASURES)]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        # Whatever is made on the way, here and in processes that are started, goes with this folder.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        bench = Bench(Path(folder), chosen.quick, chosen.peers)
        run = measured(bench, names, lambda run: _write(run, chosen.out))
    _draw(run, chosen.out)
    if chosen.publish and not run.wrong:
        publish(run)
    print("\n".join(goals_table(run)))
    for what in run.wrong:
        print(f"benchmarks: wrong: {what}", file=sys.stderr)
    return 1 if run.wrong else 0


def measured(bench: Bench, names: list[str], keep: Callable[[Run], None]) -> Run:
    """All figures of these measures; `keep` is given what there is after each of them. One that fails is a wrong
    answer, and the next one is made."""
    run = Run(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine(), bench.is_quick)
    run.missing, run.notes, run.wrong = bench.missing, bench.notes, bench.wrong
    if not loopback.is_built():
        bench.note("There is no C compiler: the instrument is one in Python, which is slower.")
    if not find_spec("matplotlib"):
        bench.note("matplotlib is not installed: there are no plots.")
    for name in names:
        try:
            run.titles[name], measure_it = measure(name)
            bench.say(f"{name}: {run.titles[name]}")
            for found in measure_it(bench):
                run.add(found)
        except Exception as error:
            traceback.print_exc()
            bench.check(False, f"{name} failed: {type(error).__name__}: {error}")
        keep(run)
    bench.say(f"done: {bench.checked} answers compared, {bench.wrong_count} wrong")
    return run


def _write(run: Run, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figures.write(run, out / "results.json")
    (out / "report.md").write_text(report(run))


def _draw(run: Run, out: Path) -> None:
    if find_spec("matplotlib"):
        for name, svg in plots(run).items():
            (out / f"{name}.svg").write_text(svg)


def _chosen(arguments: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.publish and (chosen.only or chosen.peers):
        parser.error("--publish: the documentation has all figures, so all are measured: no --only, no --peers")
    if chosen.publish and not find_spec("matplotlib"):
        parser.error("--publish: matplotlib is not installed")
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark.sh",
        description="Measures the daemon against what one would use instead of it, everything in turn in one run.",
        epilog="FOLDER gets results.json, report.md and plots as SVG; the goals are printed. Exit code 0: every answer "
        "was right; 1: one was wrong, or a measure failed; 2: bad usage. A missed goal is no failure.",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: within two minutes, for a first look")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=MEASURES, help=f"only these measures: {', '.join(MEASURES)}"
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="NAME",
        choices=PEERS,
        help=f"compare only these, and direct: {', '.join(repr(name) for name in PEERS)}",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark-results"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--publish", action="store_true", help="then put it into docs/explanation too: JSON, plots, the page's tables"
    )
    return parser


def _stop(*_: object) -> NoReturn:
    """As Ctrl-C: what was started ends with its contexts."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("benchmarks: interrupted; what was measured before is in its folder")
