"""docs/explanation/performance.md, its JSON and its plots belong to one run of the benchmarks, and say all they name.

That the tables are those of the JSON is in test_tables.
"""

import re
import socket
import sys

import pytest

from benchmarks.figures import Run, read
from benchmarks.goals import GOALS
from benchmarks.plots import PLOTS
from tests.docs.pages import prose
from tests.support.daemon import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import performance_tables
from performance_tables import Cells

EXPLANATION = ROOT / "docs" / "explanation"
PAGE = EXPLANATION / "performance.md"
GENERATED = re.compile(r"<!-- generated: ([\w-]+) -->.*?<!-- end generated -->", re.DOTALL)

#: A number with a unit of speed or size.
FIGURE = re.compile(r"\d[\d .]*\s?(?:µs|us|ms|MB|kB|MB/s|queries/s|x direct|%)(?!\w)")


@pytest.fixture(scope="module")
def run() -> Run:
    return read(EXPLANATION / "performance.json")


def test_every_figure_that_the_page_names_is_in_the_run(run):
    """Or the run says itself that it left it out."""
    assert performance_tables.missing(Cells(run)) == []


def test_a_figure_that_the_run_has_not_is_found_missing(run):
    less = Run(run.date, run.machine, run.is_quick, [one for one in run.figures if one.name != "start to READY"])
    less.notes = run.notes
    assert ("imports", "daemon", "start to READY") in performance_tables.missing(Cells(less))


def test_run_is_a_full_one_in_which_nothing_was_wrong(run):
    assert not run.is_quick
    assert run.wrong == []
    assert run.missing == {}
    assert [goal.text for goal in GOALS if goal.value(run) is None and not run.notes] == []


def test_page_has_every_table_once():
    assert sorted(GENERATED.findall(PAGE.read_text())) == sorted(performance_tables.TABLES)


def test_page_says_no_figure_but_in_its_tables():
    """Words are not rewritten with the next run."""
    assert FIGURE.findall("it takes 12.5 ms, or 44 000 queries/s") == ["12.5 ms", "44 000 queries/s"]
    assert FIGURE.findall(GENERATED.sub("", prose(PAGE))) == []


def test_page_shows_every_plot():
    shown = re.findall(r"!\[[^]]+\]\((.+?)\)", PAGE.read_text())
    assert sorted(shown) == sorted(f"performance/{name}.svg" for name in PLOTS)
    for name in shown:
        assert (EXPLANATION / name).read_text().rstrip().endswith("</svg>")
    assert sorted(file.name for file in (EXPLANATION / "performance").iterdir()) == sorted(
        f"{one}.svg" for one in PLOTS
    )


def test_run_does_not_say_where_it_was_made(run):
    """A machine's kind is told, not its name or its folders."""
    text = (EXPLANATION / "performance.json").read_text()
    assert not re.search(r'"/|/(?:home|root|tmp|work)/', text)
    assert f'"{socket.gethostname()}"' not in text
