"""The design card and the tree's manners as tests: names, flags, dependencies, packaging."""

import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support.daemon import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEEL_PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def files() -> Iterator[Path]:
    """What is or will be under version control: everything but what .gitignore names."""
    ignored = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().split())]

    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if any(fnmatch(path.name, pattern) for pattern in ignored):
                continue
            if path.is_dir():
                yield from walk(path)
            else:
                yield path

    return walk(ROOT)


@pytest.mark.parametrize("name", ["supervisor.py", "instrument_proc", "client", "tests", "scripts", "pyproject.toml"])
def test_top_level_has(name):
    """The names that the design card gives."""
    assert (ROOT / name).exists()


@pytest.mark.parametrize("package", ["pyvisa", "pyvisa-py", "psutil", "structlog"])
def test_project_depends_on(package):
    """The packages that the design card gives."""
    required = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    assert package in required


def test_supervisor_has_the_options_of_the_card():
    """`python supervisor.py --daemonize`, on port 1340 by default."""
    command = [sys.executable, "supervisor.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    options = ["host", "port", "visa-library", "demo", "daemonize", "run-dir", "audit-log", "linger", "grace", "config"]
    assert [option for option in options if f"--{option}" not in done.stdout] == []
    assert "1340" in done.stdout


def test_stop_script_sends_end_daemon():
    """`scripts/stop.sh` sending `.!.end_daemon`."""
    assert "stop.py" in (ROOT / "scripts" / "stop.sh").read_text()
    assert r".!.end_daemon\n" in (ROOT / "scripts" / "stop.py").read_text()


def test_client_opens_with_check_socket():
    """`client.open_resource(..., checkSocket=True)`: the default there, off in the ResourceManager."""
    import client

    assert inspect.signature(client.open_resource).parameters["checkSocket"].default is True
    assert inspect.signature(client.ResourceManager.open_resource).parameters["checkSocket"].default is False


def test_wheel_carries_no_supervisor_tests_or_scripts():
    """`supervisor` is another distribution's name; tests and scripts are of use in a checkout only."""
    assert not {"supervisor", "supervisor.py", "tests", "scripts"} & set(WHEEL_PACKAGES)
    assert all((ROOT / package / "__init__.py").exists() for package in WHEEL_PACKAGES)


def test_only_the_backend_begins_like_one():
    """PyVISA takes every top-level module `pyvisa_<name>` for a backend."""
    assert [path.name for path in ROOT.iterdir() if path.name.startswith("pyvisa_")] == ["pyvisa_daemon"]


def test_every_folder_of_tests_is_a_package():
    """Otherwise `tests/client` would be imported as `client`."""
    folders = {path.parent for path in files() if path.is_relative_to(ROOT / "tests") and path.suffix == ".py"}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_file_names_a_registry_or_a_machine():
    """What is committed works anywhere: no registry's host, no path of the machine it was written on."""
    hosts = ["pypi" + ".org", "python" + "hosted.org", "npmjs" + ".org", "debian" + ".org"]
    forbidden = re.compile("|".join(map(re.escape, hosts)) + r"|(?<![\w.~$}{*-])/(root|work|opt)/(?!\*)")
    found = []
    for path in files():
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if path != Path(__file__) and forbidden.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_file_pins_everything_by_hash_and_names_no_address(name):
    """Installs the same everywhere, from wherever pip is told to install."""
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE), "no option lines"
    pinned = re.findall(r"^([a-z0-9-]+)==\S+.*\\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
    required = {re.split(r"[^A-Za-z0-9_-]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    assert required <= set(pinned)


def test_development_lock_file_agrees_with_the_other():
    """One .venv serves both: what the daemon runs on is what was tested."""
    pins = [
        set(re.findall(r"^[a-z0-9-]+==[^ ]+", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    ]
    assert pins[0] <= pins[1]


def test_ci_runs_the_test_script():
    """Nothing is checked in CI that is not checked by everybody."""
    assert "exec scripts/test.sh" in (ROOT / ".ci" / "run").read_text()
