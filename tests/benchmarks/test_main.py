"""The command: its exit codes, and a small run of it with a real daemon."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks import __main__ as command
from benchmarks import figures
from benchmarks.figures import Figure, Run
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until


def run_command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100)


def with_measure(monkeypatch: pytest.MonkeyPatch, measure: object) -> None:
    """All measures are `measure`, whatever they are called."""
    monkeypatch.setattr(command, "measure", lambda name: (f"Title of {name}", measure))
    monkeypatch.setenv("TMPDIR", "")
    monkeypatch.setattr("tempfile.tempdir", None)


def fine(bench):
    bench.check(True, "one and one is two")
    yield Figure("query", "direct", "p50", 1.0, "us")


def wrong(bench):
    bench.check(False, "one and one is three")
    yield Figure("query", "direct", "p50", 1.0, "us")


def failing(bench):
    yield Figure("query", "direct", "p50", 1.0, "us")
    raise RuntimeError("the lamp went out")


def test_command_exits_with_0_and_writes_its_files_when_all_is_right(tmp_path, monkeypatch):
    with_measure(monkeypatch, fine)
    assert command.main(["--only", "audit", "query", "--out", str(tmp_path / "out")]) == 0
    run = figures.read(tmp_path / "out" / "results.json")
    assert run.titles == {"query": "Title of query", "audit": "Title of audit"}
    assert "Title of audit" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(("measure", "words"), [(wrong, "one and one is three"), (failing, "the lamp went out")])
def test_command_exits_with_1_when_something_is_wrong(tmp_path, monkeypatch, capsys, measure, words):
    """The other measures are made all the same, and what was found is written."""
    with_measure(monkeypatch, measure)
    assert command.main(["--only", "query", "audit", "--out", str(tmp_path)]) == 1
    assert words in capsys.readouterr().err
    run = figures.read(tmp_path / "results.json")
    assert len(run.figures) == len(run.wrong) == 2
    assert words in (tmp_path / "report.md").read_text()


def test_command_leaves_what_it_has_when_it_is_interrupted(tmp_path, monkeypatch):
    """In the middle of the second measure: all of the first is there, and says so."""

    def interrupted(bench):
        if (tmp_path / "results.json").exists():
            raise KeyboardInterrupt
        yield from fine(bench)

    with_measure(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.main(["--only", "query", "audit", "--out", str(tmp_path)])
    run = figures.read(tmp_path / "results.json")
    assert run.titles == {"query": "Title of query"}
    assert run.value("query", "direct", "p50") == 1.0
    assert "Title of query" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(("measure", "times"), [(fine, 1), (wrong, 0)])
def test_command_publishes_a_run_in_which_all_was_right(tmp_path, monkeypatch, measure, times):
    pytest.importorskip("matplotlib")
    published = list[Run]()
    with_measure(monkeypatch, measure)
    monkeypatch.setattr(command, "publish", published.append)
    command.main(["--quick", "--publish", "--out", str(tmp_path)])
    assert len(published) == times


@pytest.mark.parametrize(
    "arguments",
    [["--fast"], ["--only", "nothing"], ["--only"], ["--peers", "nobody"], ["--publish", "--only", "query"]],
)
def test_command_exits_with_2_when_it_is_not_understood(arguments):
    done = run_command(*arguments)
    assert done.returncode == 2
    assert "usage: scripts/benchmark.sh" in done.stderr


def test_command_measures_a_query_directly_and_through_a_daemon(tmp_path: Path):
    """The real thing, as small as it gets."""
    arguments = ["--quick", "--only", "query", "--peers", "daemon @daemon", "daemon text", "--out", str(tmp_path)]
    done = run_command(*arguments)
    assert done.returncode == 0, done.stderr
    run = figures.read(tmp_path / "results.json")
    assert {one.subject for one in run.figures} == {"direct", "daemon @daemon", "daemon text"}
    assert run.value("query", "direct", "p50 / direct") == 1.0
    assert all(run.value("query", one.subject, "p50") > 0 for one in run.samples)
    assert "a query through `@daemon`, p50" in done.stdout


def has_a_daemon(process: psutil.Process) -> bool:
    """One that has begun to start processes of its own."""
    with suppress(psutil.Error):  # a compiler may come and go
        return any("supervisor.py" in one.cmdline() and one.children() for one in process.children())
    return False


def test_command_leaves_no_process_when_it_is_terminated(tmp_path: Path):
    """A daemon is in a session of its own, so nothing else would end it."""
    words = [sys.executable, "-m", "benchmarks", "--quick", "--only", "memory", "--out", str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        ours = psutil.Process(process.pid)
        wait_until(lambda: has_a_daemon(ours))
        family = ours.children(recursive=True)
        process.terminate()
        _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert said.endswith("benchmarks: interrupted; what was measured before is in its folder\n")
    _, alive = psutil.wait_procs(family, DEADLINE)
    assert alive == []
