"""docs/how-to/read-and-verify-the-log.md: its commands run, on the log of a daemon, and say what the page says."""

import contextlib
import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from client.commands.log_files import with_rotated
from client.commands.terminal import NO_DAEMON
from front_proc.configuration.settings import read_settings
from tests.docs.pages import examples
from tests.support.daemon import ROOT
from tests.support.waiting import wait_until

PAGE = ROOT / "docs" / "how-to" / "read-and-verify-the-log.md"

#: Two lines of the page that need what not every machine has.
TOOLS = ("jq", "openssl")


@pytest.fixture
def place(daemon_factory, tmp_path):
    """A daemon whose log was rotated, and what the page's commands find around them."""
    daemon = daemon_factory("--demo", "--audit-rotate-size", "10kB")
    with daemon.text() as client:
        client.ask(".#.hello alice")
        client.ask(".#.open_resource multimeter")
        for _ in range(100):
            assert "MULTIMETER" in client.ask(".#.query_resource *IDN?")
    daemon.wait_for_audit(event="disconnect")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    program = bin_ / "instruments"
    program.write_text(f"#!{sys.executable}\nfrom client.commands.main import main\nmain()\n")
    program.chmod(0o700)
    packed = daemon.run_dir / "audit.jsonl.20261122T235959.000000Z.gz"
    packed.write_bytes(gzip.compress(with_rotated(daemon.run_dir / "audit.jsonl")[0].read_bytes()))
    return daemon, bin_


def run(command: str, place) -> subprocess.CompletedProcess:
    daemon, bin_ = place
    head = daemon.status()["audit"]["head"]
    command = re.sub(r"\b[0-9a-f]{64}\b", head, command)
    command = command.replace("/var/lib/instrument-daemon", str(daemon.run_dir)).replace("labpc", daemon.address)
    command = command.replace("/etc/", f"{bin_}/").replace("audit.jsonl.20*", "audit.jsonl.20*Z")
    environment = {
        **os.environ,
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYVISA_DAEMON_HOSTS": daemon.address,
    }
    options = {"cwd": daemon.run_dir, "env": environment}
    return wait_until(lambda: _run_once(command, options), what="the daemon to be found within a second")


def _run_once(command: str, options: dict) -> subprocess.CompletedProcess | None:
    """None where the machine was too busy for a daemon to answer in time. What follows the log is ended by Ctrl-C."""
    arguments = ["bash", "-euc", command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
        if "--follow" in command:
            wait_until(lambda: process.poll() is not None or _reads_the_log(process.pid), what="it to read the log")
            process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    done = subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)
    return None if done.returncode == NO_DAEMON else done


def _reads_the_log(pid: int) -> bool:
    """Has it come so far? Its shell has become it."""
    with contextlib.suppress(psutil.Error):
        return any(Path(file.path).name == "audit.jsonl" for file in psutil.Process(pid).open_files())
    return False


def test_commands_of_the_page_run(place):
    """Each ends well, and the page's first one shows something."""
    scripts = [example.text for example in examples("sh", PAGE)]
    assert len(scripts) >= 7
    for script in scripts:
        if any(tool in script and shutil.which(tool) is None for tool in TOOLS):
            continue
        for command in [script] if script.startswith("cd ") else script.splitlines():
            done = run(command, place)
            assert (done.returncode, done.stderr) == (0, ""), command
            if "verify" in command:
                assert done.stdout.startswith("sound: "), command
    assert "query *IDN?" in run("instruments log --event command --last 20", place).stdout


def test_settings_of_the_page_are_accepted(tmp_path):
    """Those that stand there as a file has them."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"audit-[a-z-]+ = ", line)]
    assert len(lines) >= 3
    for line in lines:
        Path(tmp_path / "settings.toml").write_text(line + "\n")
        assert read_settings(["--config", str(tmp_path / "settings.toml")])
