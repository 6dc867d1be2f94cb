"""docs/how-to/encrypt.md: its commands run, at a daemon that has made its certificate itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, examples, name_of
from tests.support.daemon import Daemon

[PAGE] = [page for page in PAGES if name_of(page) == "how-to/encrypt.md"]

#: Part of a command -> what it prints.
PRINTS = {
    "-fingerprint": "{sha256}",
    "instruments list": "USB0::0x0957::0x0407::PS000407::0::INSTR  localhost:{port}",
    "python -c": "'GPIB0::22::INSTR', ",
    "socat": "pong",
    "s_client": "pong",
}


@pytest.mark.parametrize("example", examples("sh", PAGE), ids=lambda example: example.name)
def test_command_does_what_it_says(example, daemon_factory):
    """On this machine `labpc` is localhost."""
    [printed] = [prints for part, prints in PRINTS.items() if part in example.text]
    if "socat" in example.text and not shutil.which("socat"):
        pytest.skip("socat is not installed")
    daemon: Daemon = daemon_factory("--demo", "--tls-port", "0")
    command = example.text.replace("labpc:1341", f"localhost:{daemon.tls['port']}").replace("labpc", "localhost")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=daemon.run_dir,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert printed.format(**daemon.tls.groupdict()) in done.stdout


def test_what_is_said_of_a_refusal_is_what_is_said():
    """The table of remedies quotes the code."""
    said = (PAGE.parents[2] / "pyvisa_daemon" / "tls.py").read_text() + (
        PAGE.parents[2] / "front_proc" / "doors" / "tls_door.py"
    ).read_text()
    quoted = re.findall(r"^\| `(.+?)`(?:, `(.+?)`)? \| ", PAGE.read_text(), re.MULTILINE)
    words = [words for pair in quoted for words in pair if " " in words]
    assert len(words) == 6
    for text in words:
        for part in text.split(": "):
            assert part.strip("… ") in said, text
