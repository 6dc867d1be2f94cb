"""Starting, ending, and everything that can be wrong with either: exit code and reason."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until

READY = re.compile(r"READY 127\.0\.0\.1:(\d+) pid=(\d+)\n")


def start(*options, **keywords):
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "supervisor.py", *map(str, options)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        **keywords,
    )


def end(port):
    with TextClient("127.0.0.1", port) as client:
        assert client.ask(".!.end_daemon") == "ended"


def gone(pid):
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", what=f"{pid} to end")


def test_daemonize_returns_when_it_serves(tmp_path):
    """One line on stdout, exit code 0, nothing of the caller's held open; a second one is refused by name."""
    started = start("--daemonize", "--port", 0, "--run-dir", tmp_path / "run", "--demo")
    ready = READY.fullmatch(started.stdout)
    assert ready is not None, started
    assert (started.returncode, started.stderr) == (0, "")
    port, pid = map(int, ready.groups())
    try:
        with TextClient("127.0.0.1", port) as client:
            assert client.ask_json(".#.status")["pid"] == pid
        second = start("--daemonize", "--port", 0, "--run-dir", tmp_path / "run", "--demo")
        assert (second.returncode, second.stdout) == (1, "")
        assert f"already running: process {pid}" in second.stderr
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "run" / "audit.jsonl").stat().st_mode & 0o777 == 0o600
    finally:
        end(port)
    gone(pid)
    again = start("--daemonize", "--port", 0, "--run-dir", tmp_path / "run", "--demo")
    port, pid = map(int, READY.fullmatch(again.stdout).groups())
    end(port)
    gone(pid)


@pytest.mark.parametrize("mode", [(), ("--daemonize",)])
def test_start_fails_when_the_port_is_taken(tmp_path, mode):
    """With the port in the reason, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = start("--port", port, "--run-dir", tmp_path / "run", *mode)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert str(port) in failed.stderr
    assert "--port" in failed.stderr


@pytest.mark.parametrize("mode", [(), ("--daemonize",)])
def test_start_fails_when_the_run_folder_cannot_be_made(tmp_path, mode):
    """A file is in the way."""
    (tmp_path / "file").write_text("")
    failed = start("--port", 0, "--run-dir", tmp_path / "file" / "run", *mode)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert str(tmp_path / "file" / "run") in failed.stderr


@pytest.mark.parametrize("mode", [(), ("--daemonize",)])
@pytest.mark.parametrize("library", ["bad.yaml@sim", "@nosuchbackend"])
def test_start_fails_when_the_library_cannot_be_loaded(tmp_path, mode, library):
    """The reason names the library, in one line."""
    if library.startswith("bad"):
        (tmp_path / "bad.yaml").write_text("spec: '1.1'\ndevices: [oh")
        library = str(tmp_path / library)
    failed = start("--port", 0, "--run-dir", tmp_path / "run", "--visa-library", library, *mode)
    assert (failed.returncode, failed.stdout) == (1, ""), failed
    assert library in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--port", "65536"], ["--port", "65536", "0 to 65535"]),
        (["--port", "http"], ["--port", "http"]),
        (["--linger", "-1"], ["--linger", "-1"]),
        (["--grace", "nan"], ["--grace", "nan"]),
        (["--nonsense"], ["--nonsense"]),
        (["--visa-library", "/nowhere/bench.yaml@sim"], ["--visa-library", "/nowhere/bench.yaml@sim", "FILE.yaml@sim"]),
        (["--config", "/nowhere.toml"], ["/nowhere.toml"]),
    ],
)
def test_bad_option_is_refused_by_name(tmp_path, options, named):
    """Exit code 2; the accepted values are told."""
    failed = start("--run-dir", tmp_path / "run", *options)
    assert (failed.returncode, failed.stdout) == (2, "")
    for word in named:
        assert word in failed.stderr
    assert not (tmp_path / "run").exists()


def test_options_stand_in_the_file_too(tmp_path):
    """And a wrong key or value is refused by its name, with what is accepted."""
    file = tmp_path / "daemon.toml"
    file.write_text(f'port = 0\nrun-dir = "{tmp_path / "run"}"\ndemo = true\nlinger = 0\ngrace = 1.5\n')
    daemon = Daemon(tmp_path / "unused", "--config", str(file), "--run-dir", str(tmp_path / "run"))
    try:
        with daemon.text() as client:
            assert "GPIB0::22::INSTR" in client.ask(".#.list_resources")
    finally:
        daemon.end()
        daemon.kill()
    for text, named in [("prot = 1340", "prot"), ("port = 'high'", "port"), ("demo = 1", "demo"), ("= 3", "TOML")]:
        file.write_text(text)
        failed = start("--config", file)
        assert failed.returncode == 2
        assert named in failed.stderr


def test_help_names_every_option():
    """And the exit codes."""
    shown = start("--help")
    assert shown.returncode == 0
    for option in [
        "host",
        "port",
        "visa-library",
        "demo",
        "daemonize",
        "run-dir",
        "audit-log",
        "linger",
        "grace",
        "config",
    ]:
        assert f"--{option}" in shown.stdout


def test_stop_signal_ends_it_orderly(daemon_factory, instrument):
    """SIGTERM: instruments are closed, exit code 0, nothing is left."""
    daemon = daemon_factory()
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        os.kill(daemon.pid, signal.SIGTERM)
        assert daemon.process.wait(DEADLINE) == 0
    daemon.assert_nothing_left()
    events = [record["event"] for record in daemon.audit()]
    assert events[0] == "start"
    assert events[-1] == "stop"
    assert "closed" in events


def test_end_is_bounded_while_an_instrument_hangs(daemon_factory, instrument):
    """`ended` comes, the process exits with 0, the hung child is gone."""
    daemon = daemon_factory("--grace", "60")
    with daemon.text() as client, daemon.text() as operator:
        client.ask(f".#.open_resource {instrument.resource}")
        client.send(b".#.query_resource BABBLE?\n")
        wait_until(lambda: daemon.resource(instrument.resource)["state"] == "busy")
        began = time.monotonic()
        assert operator.ask(".!.end_daemon") == "ended"
        assert daemon.process.wait(DEADLINE) == 0
        assert time.monotonic() - began < 20  # generous: the promise is 10 s
    daemon.assert_nothing_left()


def test_end_asked_twice_at_once_is_answered_twice(daemon_factory):
    """Both are told when it has ended."""
    daemon = daemon_factory("--demo")
    with daemon.text() as one, daemon.text() as two:
        one.ask(".#.open_resource GPIB0::22::INSTR")
        one.send(b".!.end_daemon\n")
        two.send(b".!.end_daemon\n")
        assert one.line() == b"ended"
    assert daemon.process.wait(DEADLINE) == 0


@pytest.mark.parametrize("doing", ["idle", "busy", "hung"])
def test_children_end_when_the_front_is_killed(daemon_factory, instrument, doing):
    """SIGKILL to the front: no process is left, whatever it did."""
    daemon = daemon_factory("--demo", "--grace", "60")
    name = instrument.resource
    if doing == "hung":
        with daemon.text() as client:
            name = client.ask_json(".#.list_resources")[-1]
    with daemon.text() as client:
        client.ask(".#.open_resource GPIB0::22::INSTR")
        assert client.ask(f".#.open_resource {name}") == name or doing != "hung"
        if doing == "busy":
            client.send(b".#.read_resource @GPIB0::22::INSTR\n")
        if doing == "hung":
            client.send(b".#.query_resource SYST:BABBLE?\n")
            wait_until(lambda: daemon.resource(name)["state"] == "busy")
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.process.wait(DEADLINE)
        daemon.assert_nothing_left()


def test_daemon_starts_again_after_it_was_killed(tmp_path):
    """A stale pid file means nothing."""
    first = Daemon(tmp_path / "run", "--demo")
    os.kill(first.pid, signal.SIGKILL)
    first.process.wait(DEADLINE)
    first.assert_nothing_left()
    first.kill()
    second = Daemon(tmp_path / "run", "--demo")
    second.end()
    second.kill()


def test_ten_starts_at_once_in_one_folder_give_one_daemon(tmp_path):
    """The others say that it is running."""
    command = [
        sys.executable,
        "supervisor.py",
        "--daemonize",
        "--port",
        "0",
        "--run-dir",
        str(tmp_path / "run"),
        "--demo",
    ]
    starts = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    results = [(start.communicate(timeout=60), start.returncode) for start in starts]
    ready = [out for (out, _), code in results if code == 0]
    assert len(ready) == 1, results
    assert all("already running" in err for (_, err), code in results if code != 0)
    port, pid = map(int, READY.fullmatch(ready[0]).groups())
    end(port)
    gone(pid)
