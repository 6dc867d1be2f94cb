"""A run into the documentation: performance.json, the plots, and the tables that docs/tables.py makes of it.

The JSON is a results.json; `python -m benchmarks.publish benchmark-results/results.json` takes one of an earlier run.
To show something else in the page: docs/performance_tables.py.
"""

import subprocess
import sys
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Run
from benchmarks.plots import plots

DOCS = Path(__file__).resolve().parents[1] / "docs"


def publish(run: Run, docs: Path = DOCS) -> None:
    """Replace what is there, and let docs/tables.py rewrite the pages. Raises CalledProcessError if that fails."""
    figures.write(run, docs / "explanation" / "performance.json")
    folder = docs / "explanation" / "performance"
    folder.mkdir(exist_ok=True)
    for name, svg in plots(run).items():
        (folder / f"{name}.svg").write_text(svg)
    subprocess.run([sys.executable, docs / "tables.py"], check=True)


if __name__ == "__main__":
    publish(figures.read(Path(sys.argv[1])))
