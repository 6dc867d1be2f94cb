"""What a run of two files beside each other says of itself, by a run of two small ones."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.daemon import ROOT

CONFTEST = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.progress import Progress

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config))
"""

GOOD = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_it_works(number):
    if number == 2:
        pytest.skip("not here")
"""

BAD = """
import pytest

@pytest.fixture
def careless():
    yield
    assert 0, "left something"

def test_it_is_wrong():
    assert 0

def test_it_leaves_something(careless):
    pass
"""


def test_each_file_has_a_line_and_each_failure_is_told_at_once(tmp_path: Path) -> None:
    """Once, also where a test passes and its fixture fails; the summary is pytest's own."""
    for name, content in (("conftest", CONFTEST), ("test_good", GOOD), ("test_bad", BAD)):
        (tmp_path / f"{name}.py").write_text(content)
    options = ["-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    said, _, report = done.stdout.partition(" items]")[2].partition("\n\n=")
    lines = [re.sub(r"^ *\d+ % +\d+\.\d s +", "", line) for line in said.splitlines() if line]
    assert sorted(lines) == [
        "FAILED test_bad.py::test_it_is_wrong",
        "FAILED test_bad.py::test_it_leaves_something",
        "test_bad.py: 2 failed",
        "test_good.py: 2 passed, 1 skipped",
    ]
    assert "100 %" in said
    assert "FAILED test_bad.py::test_it_is_wrong - " in report
    assert "1 failed, 3 passed, 1 skipped, 1 error" in report.splitlines()[-1]
