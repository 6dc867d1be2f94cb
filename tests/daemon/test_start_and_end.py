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

from tests.daemon.started import READY, BackgroundDaemon, start
from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until

BOTH_MODES = pytest.mark.parametrize("mode", [(), ("--daemonize",)], ids=["foreground", "background"])
IN_BOTH = pytest.mark.parametrize("kind", [Daemon, BackgroundDaemon], ids=["foreground", "background"])


def killed(daemon):
    """The front only, and by no word of ours."""
    os.kill(daemon.pid, signal.SIGKILL)
    if isinstance(daemon, BackgroundDaemon):
        daemon.wait()
    else:
        daemon.process.wait(DEADLINE)
    daemon.assert_nothing_left()
    daemon.kill()


def test_daemonize_returns_when_it_serves(tmp_path):
    """One line on stdout, one on stderr that says who is admin, exit code 0, nothing of the caller's held open; what it
    makes is its owner's only."""
    with BackgroundDaemon(tmp_path / "run", "--demo") as daemon:
        assert daemon.started.returncode == 0
        assert re.fullmatch("instrument-daemon: every process of this machine is admin[^\n]+\n", daemon.started.stderr)
        assert daemon.status()["pid"] == daemon.pid
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
        for name in ("audit.jsonl", "daemon.log", "daemon.pid"):
            assert (tmp_path / "run" / name).stat().st_mode & 0o777 == 0o600
    with BackgroundDaemon(tmp_path / "run", "--demo") as again:
        assert again.pid != daemon.pid


@BOTH_MODES
def test_second_start_in_one_folder_is_refused_by_name(tmp_path, mode):
    """The first is the other way round; the port of the second is another."""
    first = (Daemon if mode else BackgroundDaemon)(tmp_path / "run")
    try:
        second = start("--port", 0, "--run-dir", tmp_path / "run", *mode)
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr.count("\n") == 1
        assert f"already running: process {first.pid} uses the run folder {tmp_path / 'run'}" in second.stderr
        first.end()
    finally:
        first.kill()


@BOTH_MODES
def test_pid_file_of_a_live_process_that_is_no_daemon_means_nothing(tmp_path, mode):
    """Its number was given to somebody else since: it is the lock that counts. Its content is replaced."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "daemon.pid").write_text(
        f"{os.getpid()} 127.0.0.1:1340\n" + "and much more that is stale\n" * 9
    )
    daemon = (BackgroundDaemon if mode else Daemon)(tmp_path / "run")
    try:
        assert (tmp_path / "run" / "daemon.pid").read_text() == f"{daemon.pid} {daemon.address}\n"
        daemon.end()
    finally:
        daemon.kill()


@BOTH_MODES
def test_start_fails_when_the_port_is_taken(tmp_path, mode):
    """With the port in the reason, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = start("--port", port, "--run-dir", tmp_path / "run", *mode)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert str(port) in failed.stderr
    assert "--port" in failed.stderr


@BOTH_MODES
def test_start_fails_when_the_run_folder_cannot_be_made(tmp_path, mode):
    """A file is in the way."""
    (tmp_path / "file").write_text("")
    failed = start("--port", 0, "--run-dir", tmp_path / "file" / "run", *mode)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert str(tmp_path / "file" / "run") in failed.stderr


@BOTH_MODES
@pytest.mark.parametrize("name", ["audit.jsonl", "daemon.log", "daemon.pid", "locks"])
def test_start_fails_when_a_file_cannot_be_written(tmp_path, name, mode):
    """Something else is in its place; the reason is one line that names it."""
    (tmp_path / "run").mkdir()
    if name == "locks":
        (tmp_path / "run" / name).write_text("")
    else:
        (tmp_path / "run" / name).mkdir()
    failed = start("--port", 0, "--run-dir", tmp_path / "run", *mode)
    assert (failed.returncode, failed.stdout) == (1, ""), failed
    assert str(tmp_path / "run" / name) in failed.stderr
    assert failed.stderr.count("\n") == 1


@BOTH_MODES
def test_start_fails_when_the_folder_of_the_audit_log_is_missing(tmp_path, mode):
    """It is not made: a mistake in its name would go unseen."""
    file = tmp_path / "missing" / "audit.jsonl"
    failed = start("--port", 0, "--run-dir", tmp_path / "run", "--audit-log", file, *mode)
    assert (failed.returncode, failed.stdout) == (1, ""), failed
    assert f"{file} cannot be written: No such file or directory" in failed.stderr


@BOTH_MODES
def test_start_fails_when_a_row_names_what_is_no_resource(tmp_path, mode):
    """That is a wrong setting, though only a VISA library can tell: exit code 2, and the row."""
    file = tmp_path / "lab.toml"
    file.write_text("[[resource]]\nmatch = 'nonsense'\n")
    failed = start("--port", 0, "--run-dir", tmp_path / "run", "--config", file, *mode)
    assert (failed.returncode, failed.stdout) == (2, ""), failed
    assert f"{file}, [[resource]] 1: match = 'nonsense'" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_start_that_ends_without_a_word_is_a_failed_start(tmp_path):
    """The command says where to look."""
    script = "import os; from pathlib import Path; from front_proc import daemonize\n"
    script += f"daemonize.go_to_background(Path({str(tmp_path / 'log')!r})); os._exit(0)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "its log says more" in done.stderr


@BOTH_MODES
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


@BOTH_MODES
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
def test_bad_option_is_refused_by_name(tmp_path, options, named, mode):
    """Exit code 2; the accepted values are told."""
    failed = start("--run-dir", tmp_path / "run", *mode, *options)
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


@IN_BOTH
def test_end_is_bounded_while_an_instrument_hangs(tmp_path, instrument, kind):
    """`ended` comes, the process exits, the hung child is gone."""
    daemon = kind(tmp_path / "run", "--grace", "60")
    try:
        with daemon.text() as client, daemon.text() as operator:
            client.ask(f".#.open_resource {instrument.resource}")
            client.send(b".#.query_resource BABBLE?\n")
            wait_until(lambda: daemon.resource(instrument.resource)["state"] == "busy")
            began = time.monotonic()
            assert operator.ask(".!.end_daemon") == "ended"
            daemon.end()
            assert time.monotonic() - began < 20  # generous: the promise is 10 s
        assert daemon.audit()[-1]["event"] == "stop"
    finally:
        daemon.kill()


def test_end_asked_twice_at_once_is_answered_twice(daemon_factory):
    """Both are told when it has ended."""
    daemon = daemon_factory("--demo")
    with daemon.text() as one, daemon.text() as two:
        one.ask(".#.open_resource GPIB0::22::INSTR")
        one.send(b".!.end_daemon\n")
        two.send(b".!.end_daemon\n")
        assert one.line() == b"ended"
    assert daemon.process.wait(DEADLINE) == 0


def test_stop_signal_that_comes_twice_ends_it_once(daemon):
    """Whichever comes first, and with a command under way, which may come to its end."""
    with daemon.text() as client:
        client.ask(".#.open_resource GPIB0::22::INSTR")
        client.ask(".#.timeout 1000")
        client.send(b".#.read_resource\n")
        wait_until(lambda: daemon.resource("GPIB0::22::INSTR")["state"] == "busy")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(daemon.pid, number)
        assert b"VI_ERROR_TMO" in client.line()
        assert daemon.process.wait(DEADLINE) == 0
    daemon.assert_nothing_left()
    assert [record["event"] for record in daemon.audit()].count("stop") == 1


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


@IN_BOTH
def test_daemon_starts_again_after_it_was_killed(tmp_path, kind):
    """A stale pid file means nothing, and the audit log goes on behind what was written."""
    first = kind(tmp_path / "run", "--demo")
    first.wait_for_audit(event="start")
    killed(first)
    second = kind(tmp_path / "run", "--demo")
    try:
        second.end()
        assert [record["event"] for record in second.audit() if "address" in record] == ["start", "start", "stop"]
    finally:
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
    _, port, pid = READY.fullmatch(ready[0]).groups()
    with TextClient("127.0.0.1", int(port)) as client:
        assert client.ask(".!.end_daemon") == "ended"
    wait_until(lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie")


def test_death_of_a_process_is_told_though_whoever_started_the_daemon_ignored_such_signals(daemon_factory, instrument):
    """A shell's `trap "" CHLD` is inherited; the kernel would then reap the children, and nobody know of it."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        daemon = daemon_factory()
    finally:
        signal.signal(signal.SIGCHLD, before)
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        os.kill(daemon.resource(instrument.resource)["pid"], signal.SIGKILL)
        record = daemon.wait_for_audit(event="crashed", resource=instrument.resource)
        assert record["death"] == "killed by SIGKILL"
        wait_until(lambda: daemon.resource(instrument.resource)["generation"] == 2)
