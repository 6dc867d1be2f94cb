"""stop.py's watch over processes, with real ones that do not end as they should."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import psutil
import pytest

from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]

#: A daemon that says it ended, and lives on.
LIAR = """
import json, os, socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
connection.recv(1024)
connection.sendall(json.dumps({"version": "0", "pid": os.getpid()}).encode() + b"\\n")
connection.recv(1024)
connection.sendall(b"ended\\n")
time.sleep(600)
"""


@pytest.fixture
def stop_script() -> ModuleType:
    """scripts/stop.py as a module, with less patience."""
    spec = importlib.util.spec_from_file_location("stop_script", ROOT / "scripts" / "stop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.GONE_TIMEOUT = 0.3
    return module


@pytest.fixture
def liar() -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([sys.executable, "-c", LIAR], stdout=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_stop_fails_when_the_daemon_lives_on(stop_script, liar):
    """`ended` is a word; the pid is what counts."""
    port = int(liar.stdout.readline())
    with pytest.raises(stop_script.StopError, match=f"pid {liar.pid}.* lives on"):
        stop_script.stop("127.0.0.1", port)


def test_zombie_counts_as_gone(stop_script):
    """It is its parent's to reap, and holds nothing."""
    process = subprocess.Popen(SLEEPER)
    watched = stop_script.family(process.pid)
    assert stop_script.alive(watched) == [process.pid]
    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    assert stop_script.alive(watched) == []
    process.wait(DEADLINE)
    assert stop_script.alive(watched) == []


def test_other_process_is_not_mistaken_when_it_has_the_pid(stop_script):
    """A pid is used again; a start time is not."""
    process = subprocess.Popen(SLEEPER)
    assert stop_script.alive({process.pid: 1}) == []
    process.kill()
    process.wait(DEADLINE)


def test_family_holds_all_descendants(stop_script):
    """A child's child is the daemon's too."""
    code = f"import subprocess, sys; print(subprocess.Popen({SLEEPER!r}).pid, flush=True); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    grandchild = psutil.Process(int(parent.stdout.readline()))
    assert set(stop_script.family(parent.pid)) == {parent.pid, grandchild.pid}
    grandchild.kill()
    parent.communicate()


def test_family_is_empty_when_the_pid_is_unknown_here(stop_script):
    """As when the daemon is in another machine's or container's process table."""
    assert stop_script.family(2**22 + 1) == {}


def test_script_is_written_for_the_systems_python():
    """stop.sh sets nothing up, so stop.py must be read by an old Python, and stand on its library alone."""
    tree = ast.parse((ROOT / "scripts" / "stop.py").read_text(), feature_version=(3, 6))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    assert names <= set(sys.stdlib_module_names)
