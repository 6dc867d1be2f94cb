"""docs/how-to/share-on-the-lan.md: its commands run, in its order, for a user who has nothing yet.

Both machines are this one; the port and the address are what the daemon says instead of 192.168.1.10, port 1340.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.pages import examples
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE

PAGE = ROOT / "docs" / "how-to" / "share-on-the-lan.md"
START, USE, TOKENS, IN_TEXT, TAKE_AWAY = [example.text for example in examples("sh", PAGE)]
PRINTED = examples("text", PAGE)[0].text.splitlines()


class Place(NamedTuple):
    """A user's home with a daemon: what that has printed, and what its programs have in their environment."""

    home: Path
    printed: list[str]
    environment: dict[str, str]

    @property
    def run_dir(self) -> Path:
        return self.home / "state" / "pyvisa-daemon"

    def run(self, command: str, folder: Path | None = None) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder or self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout


def environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYVISA_", "XDG_"))}
    return {**own, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """The page's first command has been typed, with the demo bench and a port that is free."""
    variables = environment(tmp_path)
    command = ["bash", "-c", f"exec {START.strip()} --demo --port 0"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as daemon:
        assert daemon.stdout is not None
        try:
            printed = []
            while not printed or not printed[-1].startswith("READY "):
                printed.append(daemon.stdout.readline().rstrip("\n"))
                assert daemon.poll() is None
            yield Place(tmp_path, printed, variables)
        finally:
            daemon.terminate()
            assert daemon.wait(DEADLINE) == 0


def pasted(place: Place) -> str:
    """The two lines that are there to be pasted."""
    lines = [line for line in place.printed if line.startswith((" (umask", "export "))]
    assert len(lines) == 2
    return "\n".join(lines) + "\n"


def as_on_the_page(line: str) -> str:
    line = re.sub(r"pvd_\S+", "pvd_…", line)
    line = re.sub(r"=[\d.]+:\d+$", "=192.168.1.10:1340", line)
    line = re.sub(r"0\.0\.0\.0:\d+ pid=\d+", "0.0.0.0:1340 pid=4711", line)
    return re.sub(r"\S+/tokens\.toml", "/home/lab/.local/state/pyvisa-daemon/tokens.toml", line)


def test_page_goes_as_shown(place):
    """What is printed; both lines pasted, and the instruments used; tokens made, and taken away."""
    assert [as_on_the_page(line) for line in place.printed] == PRINTED
    assert "MULTIMETER" in place.run(pasted(place) + USE)
    assert place.run(TOKENS.replace("2027", "2999")).count("pvd_") == 3
    rows = (place.run_dir / "tokens.toml").read_text()
    assert all(name in rows for name in ("alice", "wall", "bob"))
    if shutil.which("nc"):
        _, _, port = place.printed[-1].split()[1].partition(":")
        said = place.run(IN_TEXT.replace("192.168.1.10 1340", f"127.0.0.1 {port}"))
        assert said.startswith("ok lan use\n[")
    place.run(TAKE_AWAY, place.run_dir)
