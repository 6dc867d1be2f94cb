"""The programs of `benchmarks.imports`."""

import subprocess
import sys
from pathlib import Path

from benchmarks.imports import program, with_bytecode


def test_program_prints_how_long_and_what_it_imported():
    text = program("sys", "import json", "json.JSONDecoder")
    said = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True).stdout
    seconds, name = said.split()
    assert float(seconds) >= 0
    assert name == "JSONDecoder"


def test_bytecode_is_written_whatever_the_environment_says(tmp_path: Path):
    environment = with_bytecode({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tmp_path)}, tmp_path / "bytecode")
    (tmp_path / "imported.py").write_text("")
    subprocess.run([sys.executable, "-c", "import imported"], check=True, env=environment)
    assert [file.name.split(".")[0] for file in (tmp_path / "bytecode").rglob("*imported*.pyc")] == ["imported"]
