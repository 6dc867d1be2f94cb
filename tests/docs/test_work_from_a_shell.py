"""docs/how-to/work-from-a-shell.md: its commands run, its session goes as shown."""

import os
import re
import subprocess
import sys

import pytest

from tests.docs.pages import WORK_FROM_A_SHELL, examples
from tests.docs.test_examples import named
from tests.support.daemon import ROOT

SESSION = re.compile(r"\$ instruments shell multimeter\n(.*)", re.DOTALL)
PROMPT = "multimeter> "


def run(command, daemon, folder, said=""):
    """What it says; it must end well, and without a warning."""
    environment = {
        **os.environ,
        "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYVISA_DAEMON_HOSTS": daemon.address,
    }
    done = subprocess.run(command, cwd=folder, env=environment, input=said, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_commands_run(daemon, tmp_path):
    """In the page's order, with the multimeter open; each says something."""
    with daemon.text() as client:
        client.ask(".#.open_resource multimeter")
        for example in examples("sh", WORK_FROM_A_SHELL):
            assert run(["bash", "-euo", "pipefail", "-c", example.text], daemon, tmp_path).strip(), named(example)
    assert len((tmp_path / "readings.tsv").read_text().splitlines()) == 3
    assert (tmp_path / "trace.npy").stat().st_size == 128 + (tmp_path / "trace.bin").stat().st_size
    assert len((tmp_path / "trace.csv").read_text().splitlines()) == (tmp_path / "trace.bin").stat().st_size


@pytest.mark.parametrize("example", examples("text", WORK_FROM_A_SHELL), ids=named)
def test_session_goes_as_shown(example, daemon, tmp_path):
    """What is typed behind the prompt, and what comes of it."""
    lines = SESSION.fullmatch(example.text)[1].splitlines()
    typed = [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
    shown = [line for line in lines if not line.startswith(PROMPT)]
    said = run(["instruments", "shell", "multimeter"], daemon, tmp_path, "\n".join(typed))
    assert said.splitlines() == shown


def test_page_has_examples_of_each_kind():
    assert [len(examples(language, WORK_FROM_A_SHELL)) for language in ("sh", "text")] == [6, 1]
