"""The scripts as a person runs them, from another folder than the project's."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import READY, ROOT

Script = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """`script("stop.sh", "--port", "1340")` runs scripts/stop.sh and gives what it said and its exit code."""

    def run(name: str, *options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [ROOT / "scripts" / name, *options],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


class Started:
    """What start.sh said of a daemon."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        ready = READY.fullmatch(done.stdout.strip())
        assert done.returncode == 0, done
        assert ready, done
        self.port, self.pid = ready["port"], int(ready["pid"])


@pytest.fixture
def started(script: Script, tmp_path: Path) -> Iterator[Started]:
    """A daemon that start.sh started with the demo bench; stop.sh stops it if the test did not."""
    daemon = Started(script("start.sh", "--demo", "--port", "0", "--run-dir", str(tmp_path / "run")))
    yield daemon
    assert script("stop.sh", "--port", daemon.port).returncode == 0
