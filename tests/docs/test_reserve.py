"""docs/how-to/reserve-an-instrument.md: its programs and commands run, its conversation goes as shown."""

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.pages import RESERVE, examples
from tests.docs.test_examples import TURN, named
from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient

PROGRAMS = examples("python", RESERVE)


def run(command: list[str], daemon: Daemon, folder: Path) -> str:
    """What it says; it must end well, and without a warning."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYVISA_DAEMON_HOSTS": daemon.address,
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("example", PROGRAMS, ids=named)
def test_program_runs(example, daemon, tmp_path):
    assert "MULTIMETER" in run([sys.executable, "-W", "error", "-c", example.text], daemon, tmp_path)


@pytest.mark.parametrize("example", examples("sh", RESERVE), ids=named)
def test_command_runs(example, daemon, tmp_path):
    """With the page's first program at hand, and the multimeter open."""
    (tmp_path / "measure.py").write_text(PROGRAMS[0].text)
    with daemon.text() as client:
        client.ask(".#.open_resource multimeter")
        assert run(["bash", "-euo", "pipefail", "-c", example.text], daemon, tmp_path).strip()


@pytest.mark.parametrize("example", examples("text", RESERVE), ids=named)
def test_conversation_goes_as_shown(example, daemon):
    clients: dict[str, TextClient] = {}
    with ExitStack() as stack:
        for line in example.text.splitlines():
            name, direction, text = TURN.fullmatch(line).groups()
            if name not in clients:
                clients[name] = stack.enter_context(daemon.text())
            if direction == ">":
                clients[name].send(text.encode() + b"\n")
            else:
                expected = ".*".join(map(re.escape, text.split("…")))
                assert re.fullmatch(expected, clients[name].reply().decode()), line


def test_page_has_examples_of_each_kind():
    assert [len(examples(language, RESERVE)) for language in ("python", "sh", "text")] == [2, 4, 1]
