"""set_up.sh, in a small project of its own: same scripts, nothing to download."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import ROOT

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "small"
version = "1"
"""

#: The least that `pip install -e .` accepts as a build backend.
BACKEND = """
import zipfile
def build_editable(folder, settings=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/small-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("small-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n")
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    return "small-1-py3-none-any.whl"
"""

LOCK_FILES = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("set_up.sh", "set_up.py"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    for name in LOCK_FILES:
        (tmp_path / name).write_text("# nothing\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    return tmp_path


def set_up(project: Path, level: str = "runtime") -> "subprocess.Popen[str]":
    command = [project / "scripts" / "set_up.sh", level]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    return stderr


def test_set_up_installs_once_when_two_call_it_at_the_same_time(project):
    """One makes .venv; the other waits and then finds it made."""
    both = [said(process) for process in [set_up(project), set_up(project)]]
    assert sum("installing" in words for words in both) == 1
    assert (project / ".venv" / "bin" / "python").exists()


def test_set_up_installs_again_when_a_lock_file_changed(project):
    """And only then; what was set up for development stays so."""
    assert "requirements-dev.lock" in said(set_up(project, "dev"))
    assert said(set_up(project, "runtime")) == ""
    (project / "requirements-dev.lock").write_text("# changed\n")
    assert "requirements-dev.lock" in said(set_up(project, "runtime"))
    assert json.loads((project / ".venv" / "set-up.json").read_text())["level"] == "dev"


def test_set_up_never_takes_a_level_away(project):
    """bench holds dev, and dev holds runtime."""
    assert "requirements-bench.lock" in said(set_up(project, "bench"))
    assert said(set_up(project, "dev")) == said(set_up(project, "runtime")) == ""
    assert json.loads((project / ".venv" / "set-up.json").read_text())["level"] == "bench"


def test_set_up_knows_no_other_level(project):
    process = set_up(project, "everything")
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "[runtime|dev|bench]" in stderr
    assert not (project / ".venv").exists()


def test_lock_files_hold_those_of_the_levels_before():
    """The same version of everything: who measures runs what users run."""
    locked = [set((ROOT / name).read_text().splitlines()) for name in LOCK_FILES]
    pinned = [{line.split()[0] for line in lines if "==" in line} for lines in locked]
    assert pinned[0] < pinned[1] < pinned[2]


def test_set_up_shows_why_when_it_fails(project):
    """And leaves no stamp, so that the next call tries again."""
    (project / "requirements.lock").write_text("no requirement at all\n")
    process = set_up(project)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "this failed" in stderr
    assert not (project / ".venv" / "set-up.json").exists()


def test_set_up_says_one_sentence_when_there_is_no_python(project):
    """Nothing is half set up on such a machine."""
    for tool in ("bash", "dirname", "env"):
        (project / "bin" / tool).parent.mkdir(exist_ok=True)
        (project / "bin" / tool).symlink_to(str(shutil.which(tool)))
    done = subprocess.run(
        [str(shutil.which("bash")), project / "scripts" / "set_up.sh"],
        env={"PATH": str(project / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or later" in done.stderr
    assert not (project / ".venv").exists()
