"""`python -m benchmarks`: runs the measures and writes results.json, report.md and the plots. See --help.

Exit code 0: everything was as it must be; 1: a wrong answer, or a measure that failed; 2: bad usage.
"""

import argparse
import os
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from benchmarks import figures, loopback
from benchmarks.bench import Bench
from benchmarks.figures import Run
from benchmarks.machine import machine
from benchmarks.measures import MEASURES, measure
from benchmarks.peers import PEERS
from benchmarks.plots import plots
from benchmarks.report import goals_table, report


def main(arguments: list[str] | None = None) -> int:
    chosen = _parser().parse_args(arguments)
    names = [name for name in MEASURES if name in (chosen.only or MEASURES)]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        # Whatever is made on the way, here and in processes that are started, goes with this folder.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        run = measured(Bench(Path(folder), chosen.quick, chosen.peers), names)
    _write(run, chosen.out)
    print("\n".join(goals_table(run)))
    for what in run.wrong:
        print(f"benchmarks: wrong: {what}", file=sys.stderr)
    return 1 if run.wrong else 0


def measured(bench: Bench, names: list[str]) -> Run:
    """All figures of these measures. One that fails is a wrong answer, and the next one is made."""
    run = Run(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine(), bench.is_quick)
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
    run.missing, run.notes, run.wrong = bench.missing, bench.notes, bench.wrong
    bench.say(f"done: {bench.checked} answers compared, {bench.wrong_count} wrong")
    return run


def _write(run: Run, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figures.write(run, out / "results.json")
    (out / "report.md").write_text(report(run))
    if find_spec("matplotlib"):
        for name, svg in plots(run).items():
            (out / f"{name}.svg").write_text(svg)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark.sh",
        description="Measures the daemon against what one would use instead of it, everything in turn in one run.",
        epilog="FOLDER gets results.json, report.md and plots as SVG; the goals are printed. Exit code 0: every answer "
        "was right; 1: one was wrong, or a measure failed; 2: bad usage. A missed goal is no failure.",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: about two minutes, for a first look")
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
