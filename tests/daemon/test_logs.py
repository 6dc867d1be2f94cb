"""SIGHUP: a daemon's logs are rotated under it, in the foreground and in the background."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

from tests.daemon.started import BackgroundDaemon
from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until


@pytest.fixture(params=["foreground", "background"])
def rotating_daemon(request, tmp_path):
    """One that a service or a script has started: its stdin is no terminal."""
    if request.param == "background":
        with BackgroundDaemon(tmp_path / "run") as daemon:
            yield daemon
        return
    daemon = Daemon(tmp_path / "run")
    try:
        yield daemon
        daemon.end()
    finally:
        daemon.kill()


def log_of(daemon, **fields):
    """The records of daemon.log in which all of `fields` are as given; what others print there is none."""
    lines = (daemon.run_dir / "daemon.log").read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return [record for record in records if all(record.get(name) == value for name, value in fields.items())]


def rotate(daemon, number):
    """As logrotate does it."""
    for name in ("audit.jsonl", "daemon.log"):
        (daemon.run_dir / name).rename(daemon.run_dir / f"{name}.{number}")
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: (daemon.run_dir / "daemon.log").exists() and len(log_of(daemon, event="reopened")) == 2)


def test_rotation_loses_no_record_and_doubles_none(rotating_daemon):
    """Of commands that go on meanwhile; each is in one of the files, and both logs go on in new ones."""
    daemon, sent = rotating_daemon, 0
    with daemon.text() as client:
        for number in range(1, 5):
            for _ in range(50):
                client.send(f".#.nonsense{sent}\n".encode())
                sent += 1
            rotate(daemon, number)
        for _ in range(sent):
            client.line()
    daemon.end()
    files = [daemon.run_dir / f"audit.jsonl.{number}" for number in range(1, 5)] + [daemon.run_dir / "audit.jsonl"]
    records = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert [row["command"] for row in records if row["event"] == "command"] == [
        *(f".#.nonsense{number}" for number in range(sent)),
        ".!.end_daemon",
    ]
    assert [row["event"] for row in records if row["event"] in ("start", "stop")] == ["start", "stop"]
    assert files[0].stat().st_mode & 0o777 == files[-1].stat().st_mode & 0o777 == 0o600


def test_log_that_cannot_be_opened_anew_is_kept_and_says_so(rotating_daemon, tmp_path):
    """The run folder has been moved away: records go on into the old files."""
    daemon = rotating_daemon
    daemon.run_dir = (tmp_path / "run").rename(tmp_path / "elsewhere")
    os.kill(daemon.pid, signal.SIGHUP)
    troubles = wait_until(lambda: len(log_of(daemon, event="trouble")) == 2 and log_of(daemon, event="trouble"))
    for file in ("audit.jsonl", "daemon.log"):
        assert any(f"{tmp_path / 'run' / file} cannot be opened anew" in row["error"] for row in troubles)
    with daemon.text() as client:
        client.ask(".#.nonsense")
    daemon.wait_for_audit(command=".#.nonsense")


def test_what_is_printed_follows_the_log_in_the_background(tmp_path):
    """stdout and stderr, which lead to daemon.log there; and so do those of processes that start later."""
    with BackgroundDaemon(tmp_path / "run", "--demo") as daemon:
        rotate(daemon, 1)
        log = str(daemon.run_dir / "daemon.log")
        assert stdout_and_stderr(daemon.pid) == [log, log]
        with daemon.text() as client:
            client.ask(".#.open_resource multimeter")
            older = daemon.resource("GPIB0::22::INSTR")["pid"]
            assert stdout_and_stderr(older) == [f"{log}.1"] * 2
            client.ask(".!.restart GPIB0::22::INSTR")
            newer = wait_until(lambda: {daemon.resource("GPIB0::22::INSTR")["pid"]} - {older, None}).pop()
        assert stdout_and_stderr(newer) == [log, log]


def stdout_and_stderr(pid):
    return [os.readlink(f"/proc/{pid}/fd/{descriptor}") for descriptor in (1, 2)]


# In the foreground on a terminal.


class OnTerminal:
    """A daemon whose controlling terminal is a test's."""

    def __init__(self, run_dir, *, is_hangup_ignored=False):
        self.run_dir = run_dir
        self.master, terminal = pty.openpty()

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            # Also where whoever runs the tests has it ignored.
            signal.signal(signal.SIGHUP, signal.SIG_IGN if is_hangup_ignored else signal.SIG_DFL)

        self.process = subprocess.Popen(
            [sys.executable, "supervisor.py", "--port", "0", "--run-dir", str(run_dir)],
            cwd=ROOT,
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(terminal)
        address = self.process.stdout.readline().split()[1]
        self.pid, self.port = self.process.pid, int(address.rpartition(":")[2])

    def hang_up(self):
        os.close(self.master)
        self.master = None

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        if self.master is not None:
            self.hang_up()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        self.process.stdout.close()


def test_daemon_ends_orderly_with_its_terminal(tmp_path):
    """The window is closed, the connection to the machine is lost."""
    with OnTerminal(tmp_path / "run") as daemon:
        daemon.hang_up()
        assert daemon.process.wait(DEADLINE) == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "audit.jsonl").read_text().splitlines()]
    assert events == ["start", "stop"]


def test_daemon_outlives_its_terminal_if_started_so(tmp_path):
    """By nohup and the like: then SIGHUP rotates, whoever sent it."""
    with OnTerminal(tmp_path / "run", is_hangup_ignored=True) as daemon:
        daemon.hang_up()
        wait_until(lambda: len(log_of(daemon, event="reopened")) == 2)
        with TextClient("127.0.0.1", daemon.port) as client:
            assert client.ask(".!.end_daemon") == "ended"
        assert daemon.process.wait(DEADLINE) == 0
