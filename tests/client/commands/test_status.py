"""`instruments status` and `list`, once and live, in a pipe and on a terminal."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import client
from client.commands import doctor
from client.commands.watching import Watch
from pyvisa_daemon import hosts
from tests.client.commands.test_commands import instruments
from tests.support.daemon import ROOT, Daemon
from tests.support.waiting import DEADLINE, wait_until

if sys.platform != "win32":
    import pty

COMMAND = [sys.executable, "-c", "from client.commands.main import main; main()"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One with the demo bench for all tests here."""
    daemon = Daemon(tmp_path_factory.mktemp("bench") / "run", "--demo")
    yield daemon
    try:
        daemon.end()
    finally:
        daemon.kill()


@contextlib.contextmanager
def started(*arguments: str, hosts: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    """`instruments` in a process of its own, ended afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYVISA_DAEMON_HOSTS": hosts, **options.pop("more", {})}
    process = subprocess.Popen([*COMMAND, *arguments], env=environment, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def on_terminal(*arguments: str, hosts: str, until: str = "", **more: str) -> tuple[str, int]:
    """What it shows on a terminal of 160 columns, and its exit code; Ctrl-C is pressed when `until` is shown."""
    ours, theirs = pty.openpty()
    variables = {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "40", **more}
    shown = b""
    with started(*arguments, hosts=hosts, stdin=theirs, stdout=theirs, stderr=theirs, more=variables) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                shown += data
                if until and until.encode() in shown:
                    process.send_signal(signal.SIGINT)
                    until = ""
        os.close(ours)
        return shown.decode(), process.wait(DEADLINE)


def test_status_shows_every_host_when_one_is_not_there(daemon: Daemon) -> None:
    """The live one, and of the other the reason; with --json a line of its own words for each."""
    client.tryIps = [daemon.address, "127.0.0.1:9"]
    shown, said = instruments("status"), instruments("status", "--json")
    assert shown.exit_code == said.exit_code == 0
    assert shown.stdout.splitlines()[0].startswith(f"daemon at {daemon.address}: version ")
    assert shown.stdout.splitlines()[-1].startswith("no instrument daemon answers at 127.0.0.1:9 (")
    live, dead = map(json.loads, said.stdout.splitlines())
    assert (live["address"], live["pid"]) == (daemon.address, daemon.pid)
    assert (dead["address"], dead["error"].split(" (")[0]) == (
        "127.0.0.1:9",
        "no instrument daemon answers at 127.0.0.1:9",
    )


def test_status_and_list_tell_who_holds_an_instrument_when_it_is_locked(daemon: Daemon) -> None:
    """And what for, and its state."""
    client.tryIps = [daemon.address]
    with client.SocketManager().open_socket() as socket:
        socket.hello("anna")
        socket.command("open_resource", "multimeter")
        socket.lock(0, reason="calibration")
        status, listed = instruments("status"), instruments("list", "--json")
    assert "exclusive: anna (calibration)" in status.stdout
    [row] = [row for row in json.loads(listed.stdout) if row["state"]]
    assert (row["resource"], row["host"], row["state"]) == ("GPIB0::22::INSTR", daemon.address, "ready")
    assert row["holder"] == "exclusive: anna (calibration)"
    assert len(json.loads(listed.stdout)) == 5


def test_status_is_coloured_when_on_a_terminal(daemon: Daemon) -> None:
    """With NO_COLOR it has none, and in a pipe nothing that a terminal would obey; a name is never obeyed."""
    with daemon.text() as user:
        user.ask(".#.open_resource GPIB0::22::INSTR")
        user.ask(".#.lock reason [red]\x1b]0;title\x07")
        coloured, code = on_terminal("status", hosts=daemon.address)
        colourless, _ = on_terminal("status", hosts=daemon.address, NO_COLOR="1")
        client.tryIps = [daemon.address]
        piped = instruments("status").stdout
    assert code == 0
    assert "\x1b[32mready" in coloured
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", colourless)
    assert "\x1b]0" not in coloured + colourless + piped
    assert "[red]" in coloured
    assert "\x1b" not in piped


def test_watch_ends_well_when_ctrl_c_is_pressed(daemon: Daemon) -> None:
    """The screen is given back, what was shown last stays, and nothing is said about the key."""
    shown, code = on_terminal("status", "--watch", hosts=daemon.address, until=f"pid {daemon.pid}")
    assert code == 0
    left = shown.rpartition("\x1b[?1049l")[2]
    assert f"pid {daemon.pid}" in left
    assert "Traceback" not in shown


def test_watch_goes_on_when_the_daemon_goes_away_and_comes_back(daemon_factory: Callable[..., Daemon]) -> None:
    """It says so while it is gone; another at the same address is then shown."""
    first = daemon_factory()
    with started(
        "status", "--watch", "--json", "--interval", "0.1", hosts=first.address, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        looks = map(json.loads, process.stdout)
        assert next(look for look in looks if "pid" in look)["pid"] == first.pid
        first.end()
        assert next(look for look in looks if "error" in look)["address"] == first.address
        second = daemon_factory("--port", str(first.port))
        assert next(look for look in looks if "pid" in look)["pid"] == second.pid
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0


def test_watch_tells_the_age_of_its_figures_when_the_daemon_is_stopped(daemon: Daemon) -> None:
    """A daemon that neither answers nor goes away."""
    watch = Watch(hosts.parse(daemon.address), 0.05)
    try:
        wait_until(lambda: watch.said().status, what="a status")
        assert watch.said().reason == ""
        os.kill(daemon.pid, signal.SIGSTOP)
        wait_until(lambda: "does not answer" in watch.said().reason, what="a word about its age")
        assert watch.said().status is not None
        os.kill(daemon.pid, signal.SIGCONT)
        wait_until(lambda: watch.said().reason == "", what="fresh figures")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
        watch.end()


@contextlib.contextmanager
def imposter(answer: bytes) -> Iterator[str]:
    """What listens and says the same to everybody and everything: its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=reply, args=(listening.accept()[0],), daemon=True).start()

        def reply(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                while connection.recv(4096):
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    "answer", [b"ok what?\n", b"ok 5\n", b"ok [1]\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\n"]
)
@pytest.mark.parametrize("command", ["list", "status", "doctor"])
def test_command_ends_in_lines_when_what_listens_is_no_daemon(
    answer: bytes, command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No traceback, not even of a thread."""
    monkeypatch.setattr(doctor, "search", lambda backends: None)
    with imposter(answer) as address:
        client.tryIps = [address]
        result = instruments(command)
    assert result.exit_code == (1 if command == "doctor" else 3)
    assert address in result.output
    assert "Traceback" not in result.output + capfd.readouterr().err


class Network:
    """What `client.discovery` finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.announced: list[SimpleNamespace] = []
        module = ModuleType("client.discovery")
        module.list_daemons = lambda timeout_s: self.announced  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "client.discovery", module)

    def announce(self, address: str, *, needs_token: bool = False, tls: bool = False) -> None:
        row = {"name": "lab", "address": address, "version": "1", "resources": 5}
        self.announced.append(SimpleNamespace(**row, needs_token=needs_token, tls=tls))


def test_list_asks_announced_daemons_when_told_to_discover(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beside the known ones, which are not asked twice. They see no token: anybody can announce anything."""
    monkeypatch.setenv("PYVISA_DAEMON_TOKEN", "pvd_that_is_nobodys_business")
    network = Network(monkeypatch)
    network.announce(daemon.address)
    client.tryIps = ["127.0.0.1:9?token_file="]
    listed = instruments("list", "--discover")
    assert listed.exit_code == 0
    assert client.tryIps[1] == f"{daemon.address}?token_file="
    listed_again = instruments("list", "--discover")
    assert len(client.tryIps) == 2
    for result in (listed, listed_again):
        names = [line.split()[:2] for line in result.stdout.splitlines()]
        assert names.count(["GPIB0::22::INSTR", daemon.address]) == 1


def test_list_only_tells_of_announced_daemons_when_they_want_a_token(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not connected to; and where nobody can listen, that is said."""
    network = Network(monkeypatch)
    network.announce("192.0.2.1:1340", needs_token=True)
    client.tryIps = [daemon.address]
    listed = instruments("list", "--discover")
    assert (listed.exit_code, len(client.tryIps)) == (0, 1)
    assert "192.0.2.1:1340 (lab) has 5 instruments and wants a token" in listed.stderr
    network.announced = []
    assert "no daemon is announced on this network" in instruments("list", "--discover").stderr
    monkeypatch.setitem(sys.modules, "client.discovery", None)
    assert instruments("list", "--discover").exit_code == 1


@pytest.mark.parametrize("command", ["list", "status"])
def test_command_says_nothing_when_its_reader_has_enough(command: str, daemon: Daemon, tmp_path: Path) -> None:
    """As with `| head`: no traceback, and nothing about a broken pipe."""
    reading, writing = os.pipe()
    os.close(reading)
    with started(command, hosts=daemon.address, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(DEADLINE) == 1
