"""systemd's notification protocol: what a service manager is told, with a test in its place."""

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from front_proc.service_manager import ServiceManager
from tests.daemon.started import start
from tests.support.daemon import Daemon
from tests.support.waiting import DEADLINE, wait_until

WATCHDOG_USEC = 400_000


class Manager:
    """The other end of NOTIFY_SOCKET: a list of the messages that came, each with its fields."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(DEADLINE)
        self.messages = []

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.socket.close()

    def environment(self, **more):
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(WATCHDOG_USEC), **more}

    def next(self):
        message = dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))
        self.messages.append(message)
        return message

    def wait_for(self, **fields):
        """The next message that has these."""
        while True:
            message = self.next()
            if fields.items() <= message.items():
                return message

    def drop_all(self):
        """What has come so far is of no interest."""
        self.socket.setblocking(False)
        try:
            while True:
                self.next()
        except BlockingIOError:
            self.socket.settimeout(DEADLINE)

    def is_silent(self, seconds):
        self.socket.settimeout(seconds)
        try:
            self.next()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(DEADLINE)
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    address = str(tmp_path / "notify") if request.param == "path" else f"@pyvisa-daemon-test-{os.getpid()}"
    with Manager(address) as manager:
        yield manager


def test_manager_hears_of_readiness_of_every_tick_and_of_the_end(manager, daemon_factory):
    """In this order; no tick comes from a daemon that stands still."""
    daemon = daemon_factory("--demo", environment=manager.environment())
    first = manager.next()
    assert first["READY"] == "1"
    assert first["STATUS"] == f"serving on {daemon.address}, instruments open: 0, clients: 0"
    for _ in range(5):
        manager.wait_for(WATCHDOG="1")
    with daemon.text() as client:
        client.ask(".#.open_resource GPIB0::22::INSTR")
        manager.wait_for(STATUS=f"serving on {daemon.address}, instruments open: 1, clients: 1")
    os.kill(daemon.pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(daemon.pid).status() == "stopped")
    manager.drop_all()
    assert manager.is_silent(3 * WATCHDOG_USEC / 1e6)
    os.kill(daemon.pid, signal.SIGCONT)
    manager.wait_for(WATCHDOG="1")
    daemon.end()
    manager.wait_for(STOPPING="1")
    assert [message for message in manager.messages if "READY" in message] == [first]


def test_manager_hears_of_a_reload_when_it_is_done(daemon_factory, tmp_path):
    """As Type=notify-reload wants it: the time on the monotonic clock lies behind the signal's."""
    with Manager(str(tmp_path / "notify")) as manager:
        daemon = daemon_factory(environment=manager.environment())
        manager.wait_for(READY="1")
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        (daemon.run_dir / "audit.jsonl").rename(daemon.run_dir / "audit.jsonl.1")
        os.kill(daemon.pid, signal.SIGHUP)
        reloading = manager.wait_for(RELOADING="1")
        assert int(reloading["MONOTONIC_USEC"]) >= began
        manager.wait_for(READY="1")
        assert (daemon.run_dir / "audit.jsonl").exists()


def test_manager_hears_that_the_daemon_drains(daemon_factory, tmp_path):
    """In its status, before it stops."""
    with Manager(str(tmp_path / "notify")) as manager:
        daemon = daemon_factory("--demo", environment=manager.environment())
        with daemon.text() as client:
            client.ask(".#.open_resource GPIB0::22::INSTR")
            client.ask(".!.drain")
            manager.wait_for(STATUS=f"draining on {daemon.address}, instruments open: 1, clients: 1")
        manager.wait_for(STOPPING="1")
        assert daemon.process.wait(DEADLINE) == 0


def test_no_process_of_the_daemon_inherits_the_manager(daemon_factory, tmp_path):
    """A child that ticks, or says that it is ready, would speak for the front."""
    with Manager(str(tmp_path / "notify")) as manager:
        daemon = daemon_factory("--demo", environment=manager.environment())
        children = daemon.children()
        assert len(children) >= 2
        for child in children:
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & child.environ().keys()


def test_watchdog_of_another_process_gets_no_ticks(daemon_factory, tmp_path):
    """It is for WATCHDOG_PID, such as a shell that started this one; readiness is told all the same."""
    with Manager(str(tmp_path / "notify")) as manager:
        daemon_factory(environment=manager.environment(WATCHDOG_PID=str(os.getpid())))
        manager.wait_for(READY="1")
        assert manager.is_silent(3 * WATCHDOG_USEC / 1e6)


def test_watchdog_s_signal_leaves_the_stacks_of_what_was_stuck(daemon_factory):
    """In the journal, which is where stderr goes; and no process is left."""
    daemon = daemon_factory()
    os.kill(daemon.pid, signal.SIGABRT)
    assert daemon.process.wait(DEADLINE) == -signal.SIGABRT
    daemon.assert_nothing_left()
    assert "Fatal Python error: Aborted" in daemon.stderr
    assert "command.py" in daemon.stderr


def test_daemon_outlives_its_manager(tmp_path):
    """Nobody is there to be told: neither at the start nor while it serves."""
    gone = Manager(str(tmp_path / "notify"))
    daemon = Daemon(tmp_path / "run", environment=gone.environment())
    try:
        gone.wait_for(WATCHDOG="1")
        gone.socket.close()
        Path(gone.address).unlink()
        assert daemon.process.poll() is None
        assert daemon.status()["state"] == "serving"
        daemon.end()
        assert "Traceback" not in daemon.stderr
    finally:
        daemon.kill()


def test_manager_that_does_not_read_stops_nothing(tmp_path):
    """Its socket is full: a tick is lost, and the loop does not wait for it."""
    with Manager(str(tmp_path / "notify")) as deaf:
        teller = ServiceManager(deaf.address)
        for number in range(10_000):
            teller.ready(f"{number}")
        deaf.drop_all()
        assert 0 < len(deaf.messages) < 10_000
        teller.stopping()
        deaf.wait_for(STOPPING="1")
        teller.close()


@pytest.mark.parametrize(
    ("variables", "is_there", "watchdog_s"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": ""}, False, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, False, None),
        ({"NOTIFY_SOCKET": "/run/notify"}, True, None),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "30000000"}, True, 30.0),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "0"}, True, None),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "soon"}, True, None),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, True, None),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, True, 1.0),
        ({"WATCHDOG_USEC": "1000000"}, False, None),
    ],
)
def test_manager_is_whom_the_environment_names(variables, is_there, watchdog_s):
    """And it is taken out of there, whatever it says."""
    environment = {"HOME": "/home/lab", **variables}
    manager = ServiceManager.from_environment(environment)
    assert (manager.is_there, manager.watchdog_s) == (is_there, watchdog_s)
    assert environment == {"HOME": "/home/lab"}
    manager.close()


def test_daemonize_is_refused_under_a_service_manager(manager, tmp_path):
    """It would wait for a process that has ended: exit code 2 and what to do, and nothing is made."""
    refused = start("--daemonize", "--port", 0, "--run-dir", tmp_path / "run", environment=manager.environment())
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--daemonize" in refused.stderr
    assert "NOTIFY_SOCKET" in refused.stderr
    assert not (tmp_path / "run").exists()
