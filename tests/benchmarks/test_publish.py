"""What `benchmarks.publish` leaves in a documentation."""

from pathlib import Path
from subprocess import CalledProcessError

import pytest

from benchmarks.figures import Figure, Run, read
from benchmarks.publish import publish


def a_run() -> Run:
    run = Run("2026-01-02 03:04 UTC", {"CPU": "one"}, is_quick=True)
    run.add(Figure("throughput", "rpyc", "rate", 4000.0, "queries/s", 4))
    return run


def docs_with(folder: Path, tables: str) -> Path:
    (folder / "explanation").mkdir()
    (folder / "tables.py").write_text(tables)
    return folder


def test_published_are_json_and_plots_and_then_the_tables(tmp_path: Path):
    pytest.importorskip("matplotlib")
    docs = docs_with(tmp_path, "from pathlib import Path; h = Path(__file__).parent; print(*h.rglob('*.json'))")
    publish(a_run(), docs)
    assert read(docs / "explanation" / "performance.json") == a_run()
    assert [file.name for file in (docs / "explanation" / "performance").iterdir()] == ["throughput.svg"]


def test_publishing_fails_when_the_tables_do(tmp_path: Path):
    pytest.importorskip("matplotlib")
    docs = docs_with(
        tmp_path,
        "import sys; from pathlib import Path\nsys.exit(len(list(Path(__file__).parent.glob('explanation/*.json'))))",
    )
    with pytest.raises(CalledProcessError):
        publish(a_run(), docs)
