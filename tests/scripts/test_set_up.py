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


def make_project(folder: Path) -> Path:
    (folder / "scripts").mkdir()
    for name in ("set_up.sh", "set_up.py"):
        shutil.copy(ROOT / "scripts" / name, folder / "scripts")
    for name in LOCK_FILES:
        (folder / name).write_text("# nothing\n")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(BACKEND)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Nothing is set up yet."""
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One in which two have set up at the same time; to be copied only, for making `.venv` takes long."""
    folder = make_project(tmp_path_factory.mktemp("made"))
    both = [set_up(folder, "dev"), set_up(folder, "dev")]
    (folder / "said").write_text("".join(said(process) for process in both))
    return folder


@pytest.fixture
def again(made: Path, tmp_path: Path) -> Path:
    """The same project, set up for development; its Python finds its own folder by where it is."""
    return Path(shutil.copytree(made, tmp_path / "again", symlinks=True))


def set_up(project: Path, level: str = "runtime") -> "subprocess.Popen[str]":
    command = [project / "scripts" / "set_up.sh", level]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def level_of(project: Path) -> str:
    level: str = json.loads((project / ".venv" / "set-up.json").read_text())["level"]
    return level


def said(process: "subprocess.Popen[str]") -> str:
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 0, stderr
    return stderr


def test_set_up_installs_once_when_two_call_it_at_the_same_time(made):
    """One makes .venv; the other waits and then finds it made."""
    assert (made / "said").read_text().count("installing") == 1
    assert (made / ".venv" / "bin" / "python").exists()


def test_set_up_installs_again_when_a_lock_file_changed(again):
    """And only then; what was set up for development stays so."""
    assert said(set_up(again, "runtime")) == ""
    (again / "requirements-dev.lock").write_text("# changed\n")
    assert "requirements-dev.lock" in said(set_up(again, "runtime"))
    assert level_of(again) == "dev"


def test_set_up_never_takes_a_level_away(again):
    """bench holds dev, and dev holds runtime."""
    assert "requirements-bench.lock" in said(set_up(again, "bench"))
    assert said(set_up(again, "dev")) == said(set_up(again, "runtime")) == ""
    assert level_of(again) == "bench"


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


def test_set_up_shows_why_when_it_fails(again):
    """And leaves no stamp, so that the next call tries again."""
    (again / "requirements-dev.lock").write_text("no requirement at all\n")
    process = set_up(again)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "this failed" in stderr
    assert not (again / ".venv" / "set-up.json").exists()


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
