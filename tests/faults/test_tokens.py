"""Strangers, wrong tokens, and who does what its role does not allow: real daemons, and programs as users have them.

Most of this happens on loopback, where these daemons ask for a token as they do everywhere else.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from pyvisa_daemon import tokens, wire
from pyvisa_daemon.framing import FrameReader
from tests.daemon.started import start
from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.fault(55)

METER = "GPIB0::22::INSTR"
SUPPLY = "USB0::0x0957::0x0407::PS000407::0::INSTR"
TEMPERATURE = "ASRL1::INSTR"

#: Seconds that a wrong token is answered late.
LATE = 1.0


class TokenDaemon:
    """A daemon with the demo bench that asks everybody for a token, and some that it knows."""

    def __init__(self, folder: Path, *options: str, strangers: int = 64, line_time: float = 10.0) -> None:
        self.file = folder / "tokens.toml"
        self.tokens: dict[str, str] = {}
        self.add("admin", "admin")
        self.add("user", "use")
        self.add("observer", "observe")
        self.add("limited", "observe", {"GPIB0::*": "use", "temperature": "none"})
        config = folder / "daemon.toml"
        config.write_text(f"[limits]\nstrangers = {strangers}\nline-time = {line_time}\n")
        fixed = ("--demo", "--loopback", "token", "--token-file", str(self.file), "--config", str(config))
        self.daemon = Daemon(folder / "run", *fixed, *options)
        self.daemon.token = self.tokens["admin"]

    def add(self, name: str, role: str, resources: dict[str, str] | None = None) -> None:
        self.tokens[name] = tokens.new_token()
        tokens.add_row(self.file, tokens.row(name, self.tokens[name], role, resources or {}))

    def takes_away(self, name: str) -> None:
        head, *rows = self.file.read_text().split("[[token]]")
        self.file.write_text(head + "".join(f"[[token]]{row}" for row in rows if f'name = "{name}"' not in row))
        os.kill(self.daemon.pid, signal.SIGHUP)

    def stranger(self) -> TextClient:
        return TextClient(self.daemon.host, self.daemon.port)

    def text(self, name: str) -> TextClient:
        client = self.stranger()
        assert client.ask(f".#.auth {self.tokens[name]}").startswith(f"ok {name} ")
        return client

    def kept_by(self, name: str) -> Path:
        """The file in which a user keeps the token."""
        file = self.file.with_name(f"{name}.token")
        file.touch(0o600)
        file.write_text(self.tokens[name] + "\n")
        return file

    def specification(self, name: str) -> str:
        return f"{self.daemon.address}?token_file={self.kept_by(name)}"


@pytest.fixture
def make_guarded(tmp_path):
    with ExitStack() as stack:

        def make(*options: str, **limits) -> TokenDaemon:
            guarded = TokenDaemon(tmp_path, *options, **limits)
            stack.callback(guarded.daemon.kill)
            stack.callback(guarded.daemon.end)
            return guarded

        yield make


@pytest.fixture
def guarded(make_guarded):
    return make_guarded()


# Where it listens.


@pytest.mark.parametrize("mode", [(), ("--daemonize",)], ids=["foreground", "background"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_daemon_for_other_machines_does_not_start_without_tokens(tmp_path, host, mode):
    """Exit code 1, one line that says what would do, nothing left."""
    refused = start("--demo", "--host", host, "--port", 0, "--run-dir", tmp_path / "run", *mode)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1
    assert all(word in refused.stderr for word in ("--lan", "instruments token", "--allow"))
    assert not (tmp_path / "run" / "audit.jsonl").exists()


def test_daemon_does_not_start_with_a_token_file_that_others_may_read(tmp_path):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "tokens.toml"
    tokens.add_row(file, tokens.row("ann", tokens.new_token(), "use", {}))
    file.chmod(0o640)
    refused = start("--demo", "--port", 0, "--run-dir", tmp_path / "run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"chmod 600 {file}" in refused.stderr


def test_allowed_address_needs_no_token_and_may_not_end_the_daemon(tmp_path):
    """It uses the instruments."""
    guarded = TokenDaemon(tmp_path, "--host", "0.0.0.0", "--allow", "127.0.0.0/8")
    try:
        with guarded.stranger() as client:
            assert client.ask(f".#.open_resource {METER}") == METER
            assert client.ask(".#.query_resource *IDN?").startswith("DEMO BENCH")
            assert client.ask(".!.end_daemon").startswith(".#.error FORBIDDEN effect=none ")
        guarded.daemon.end()
    finally:
        guarded.daemon.kill()


class LanDaemon:
    """One that was started with --lan, and what it said before READY."""

    def __init__(self, run_dir: Path) -> None:
        command = [sys.executable, "supervisor.py", "--demo", "--lan", "--port", "0", "--run-dir", str(run_dir)]
        self._said = run_dir.with_name("lan.stderr")
        with self._said.open("w") as stderr:
            self.process = subprocess.Popen(
                [*command, "--loopback", "token"], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        self.said = ""
        while not (line := self._line()).startswith("READY "):
            assert line, self._said.read_text()
            self.said += line
        self.port = re.fullmatch(r"READY 0\.0\.0\.0:(\d+) pid=\d+\n", line)[1]

    def _line(self) -> str:
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(DEADLINE)
        return self.process.stdout.readline()

    @property
    def stderr(self) -> str:
        return self._said.read_text()

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(DEADLINE) == 0
        self.process.stdout.close()


def test_one_paste_is_all_that_another_machine_needs(tmp_path):
    """What --lan prints is run by a shell as it stands; then instruments answer. A second start prints no token."""
    daemon, home = LanDaemon(tmp_path / "run"), tmp_path / "home"
    home.mkdir()
    try:
        [token] = re.findall(r"pvd_[\w-]{43}", daemon.said)
        [*_, keep, export] = re.findall(r"^ ?[(e].*(?:token\)|:\d+)$", daemon.said, re.MULTILINE)
        export = re.sub(r"=.*:", "=127.0.0.1:", export)  # a test's machine may have no network
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYVISA_", "XDG_"))}
        instruments = Path(sys.executable).with_name("instruments")
        done = subprocess.run(
            ["sh", "-c", f"{keep}\n{export}\n{instruments} query multimeter '*IDN?'"],
            env=environment | {"HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.stderr) == ("DEMO BENCH,MULTIMETER,DM000022,1.0\n", "")
        kept = home / ".config" / "pyvisa-daemon" / "token"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert kept.read_text() == token + "\n"
    finally:
        daemon.end()
    before = (tmp_path / "run" / "tokens.toml").read_text()
    again = LanDaemon(tmp_path / "run")
    again.end()
    assert (tmp_path / "run" / "tokens.toml").read_text() == before
    assert "pvd_" not in again.said
    assert str(tmp_path / "run" / "tokens.toml") in again.said
    for file in (tmp_path / "run").rglob("*"):
        assert file.is_dir() or token not in file.read_text(errors="replace")
    assert token not in daemon.stderr + again.stderr


# Tokens.


def hello(guarded, **credentials):
    """The daemon's answer to a program's hello, and the seconds that it took."""
    with guarded.stranger() as client:
        began = time.monotonic()
        client.send(wire.MAGIC + wire.encode(wire.Hello(wire.VERSION, credentials=credentials)))
        [answer] = FrameReader().feed(client.everything())
        return wire.decode_answer(answer), time.monotonic() - began


def test_wrong_token_is_answered_late_and_ends_the_connection(guarded):
    """In either language; on record with the address, and without the token."""
    wrong = tokens.new_token()
    with guarded.stranger() as client:
        began = time.monotonic()
        client.send(f".#.auth {wrong}\n.#.ping\n".encode())
        reply = client.everything()
        assert time.monotonic() - began >= LATE
        assert re.fullmatch(rb"\.#\.error AUTH_FAILED effect=none [^\n]+\n", reply)
        ours = f"127.0.0.1:{client.socket.getsockname()[1]}"
    assert guarded.daemon.wait_for_audit(event="rejected", outcome="AUTH_FAILED")["client"] == ours
    refused, seconds = hello(guarded, token=wrong)
    assert (refused.token, seconds >= LATE) == ("AUTH_FAILED", True)
    refused, _ = hello(guarded)
    assert refused.token == "FORBIDDEN"
    wait_until(lambda: len(guarded.daemon.audit(event="rejected")) >= 3, what="all three are on record")
    assert len(guarded.daemon.audit(event="rejected")) == 3


def test_token_is_nowhere_but_where_its_owner_keeps_it(guarded, tmp_path):
    """Shown well, wrongly, misspelt, too late and by programs: in no file of the daemon's, no output, no audit, no
    reply, nor in what PyVISA logs."""
    daemon, shown, replies = guarded.daemon, guarded.tokens["user"], []
    wrong = tokens.new_token()
    lines = [
        *(f".#.auth {token}" for token in (shown, wrong)),
        *(f"{line}{shown}" for line in (".#.auth  ", ".#.AUTH ", ".#. auth ", ".#.auth\t", ".#.auth x ", ".!.auth ")),
        *(f"{line}{shown}" for line in ("...auth ", "...au ", "...a ", ".#.authority ")),
        f".#.auth {shown} {wrong}",
    ]
    for line in lines:
        for first in ("", f".#.auth {shown}\n", f"...auth {shown}\n"):
            with guarded.stranger() as client:
                client.send(f"{first}{line}\n.#.ping\n".encode())
                client.end_sending()
                replies.append(client.everything())
    replies.append(repr(hello(guarded, token=wrong)[0]).encode())
    program = (
        "import sys, logging, pyvisa\n"
        "pyvisa.log_to_screen()\n"
        "rm = pyvisa.ResourceManager(sys.argv[1] + '@daemon')\n"
        "meter = rm.open_resource('multimeter', read_termination='\\n')\n"
        "print(rm, repr(rm), rm.visalib, meter, repr(meter), meter.query('*IDN?'), vars(rm.visalib))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, guarded.specification("user")], cwd=ROOT, capture_output=True, text=True
    )
    assert "MULTIMETER" in done.stdout, done.stderr
    wait_until(lambda: len(daemon.audit(event="rejected", outcome="AUTH_FAILED")) >= 2)
    daemon.end()
    places = [file.read_text(errors="replace") for file in daemon.run_dir.rglob("*") if file.is_file()]
    places += [daemon.stderr, done.stdout, done.stderr, guarded.file.read_text(), b"".join(replies).decode()]
    assert len(places) > 6
    for token in (shown, wrong):
        assert [place for place in places if token[4:] in place] == []


def test_program_without_a_token_is_told_where_to_put_one(guarded, tmp_path):
    """PyVISA's as well as `instruments`; and nothing is opened behind the daemon's back."""
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(tmp_path / "none"),
        "PYVISA_DAEMON_HOSTS": guarded.daemon.address,
    }
    for program in (
        "import pyvisa; pyvisa.ResourceManager('@daemon')",
        f"import client; client.open_resource('{METER}')",
    ):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert "wants a token" in done.stderr
        assert str(tmp_path / "none" / "pyvisa-daemon" / "token") in done.stderr
    instruments = [str(Path(sys.executable).with_name("instruments")), "query", METER, "*IDN?"]
    done = subprocess.run(instruments, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "wants a token" in done.stderr


# Roles.


def test_observer_sees_and_writes_nothing(guarded):
    """Not by text, not through PyVISA; the instrument has heard nothing."""
    with guarded.text("observer") as client, guarded.text("user") as user:
        assert user.ask(f".#.open_resource {SUPPLY}") == SUPPLY
        assert user.ask(".#.write_resource VOLT 1.5") == "9"
        assert SUPPLY in client.ask_json(".#.list_open_resources")
        assert client.ask_json(".!.status")["resources"][0]["resource"] == SUPPLY
        for line in (
            f".#.open_resource {SUPPLY}",
            f".#.use {SUPPLY}",
            f".#.write_resource @{SUPPLY} VOLT 3",
            ".#.write_resource VOLT 3",
            ".#.write_binary VOLT #11x",
            ".#.lock 0",
            ".#.clear",
            f".#.abort {SUPPLY}",
            f".#.reset {SUPPLY}",
            f".!.restart {SUPPLY}",
            "...write VOLT 3",
        ):
            assert client.ask(line).startswith(".#.error FORBIDDEN effect=none "), line
        manager = pyvisa.ResourceManager(f"{guarded.specification('observer')}@daemon")
        assert METER in manager.list_resources("?*")
        with pytest.raises(pyvisa.VisaIOError) as refused:
            manager.open_resource(SUPPLY)
        assert refused.value.error_code == StatusCode.error_no_permission
        assert (refused.value.token, refused.value.effect) == ("FORBIDDEN", "none")
        manager.close()
        assert user.ask(".#.query_resource VOLT?") == "1.5000"
    denied = wait_until(lambda: guarded.daemon.audit(event="denied", user="observer"))
    assert {"resource", "command", "client"} <= denied[0].keys()


def test_user_works_and_ends_nothing(guarded):
    """It opens, asks, locks and aborts; ending, draining, restarting and resetting take an admin, from wherever."""
    with guarded.text("user") as user, guarded.text("admin") as admin:
        assert user.ask(f".#.open_resource {METER}") == METER
        assert user.ask(".#.lock 0") == "ok"
        assert user.ask(".#.query_resource *IDN?").startswith("DEMO BENCH")
        assert user.ask(f".#.abort {METER}") == "ok"
        for line in (".!.end_daemon", ".!.drain", f".!.restart {METER}", f".#.reset {METER}"):
            assert user.ask(line).startswith(".#.error FORBIDDEN effect=none that takes the role admin"), line
        assert admin.ask(f".!.restart {METER}") == "ok"
        assert admin.ask(f".#.reset {METER}") == "ok"
        commands = [record["command"] for record in guarded.daemon.audit(event="command", user="user")]
        assert ".#.auth" in commands
    with guarded.text("admin") as admin:
        admin.send(b".!.end_daemon\n")
        assert admin.everything() == b"ended\n"
    assert guarded.daemon.process.wait(DEADLINE) == 0


def test_role_may_differ_from_resource_to_resource(guarded):
    """By pattern and by alias; what is barred is not to be seen, under whatever name."""
    with guarded.text("limited") as limited, guarded.text("user") as user:
        user.ask(f".#.open_resource {TEMPERATURE}")
        assert limited.ask(".#.open_resource multimeter") == METER
        assert limited.ask(".#.query_resource *IDN?").startswith("DEMO BENCH")
        assert limited.ask(".#.open_resource supply").startswith(
            f".#.error FORBIDDEN effect=none that takes the role use on {SUPPLY}"
        )
        for name in ("temperature", TEMPERATURE, "ASRL1"):
            assert limited.ask(f".#.open_resource {name}").startswith(".#.error FORBIDDEN effect=none ")
        assert TEMPERATURE not in limited.ask_json(".#.list_resources")
        assert TEMPERATURE not in limited.ask_json(".#.list_open_resources")
        assert TEMPERATURE not in json.dumps(limited.ask_json(".#.status"))
        assert TEMPERATURE in user.ask_json(".#.list_resources")
    manager = pyvisa.ResourceManager(f"{guarded.specification('limited')}@daemon")
    assert TEMPERATURE not in manager.list_resources("?*")
    with pytest.raises(pyvisa.VisaIOError):
        manager.open_resource("temperature")
    manager.open_resource("multimeter").close()
    manager.close()


def test_token_that_is_taken_away_ends_its_connections(guarded):
    """At the SIGHUP: its lock is free, its programs learn of it, others go on."""
    with guarded.text("limited") as limited, guarded.text("user") as user:
        for client in (limited, user):
            client.ask(f".#.open_resource {METER}")
        assert limited.ask(".#.lock 0") == "ok"
        manager = pyvisa.ResourceManager(f"{guarded.specification('limited')}@daemon")
        meter = manager.open_resource(METER)
        guarded.takes_away("limited")
        assert limited.everything() == b""
        assert user.ask(".#.lock 10000") == "ok"
        with pytest.raises(pyvisa.VisaIOError) as lost:
            meter.query("*IDN?")
        assert lost.value.error_code == StatusCode.error_connection_lost
        with pytest.raises(pyvisa.VisaIOError, match="AUTH_FAILED"):
            manager.open_resource(METER)
        assert user.ask(".#.query_resource *IDN?").startswith("DEMO BENCH")
    assert guarded.daemon.wait_for_audit(event="tokens", count=3)
    manager.close()


def test_stop_script_shows_an_admins_token_where_one_is_wanted(guarded):
    """Without one, or with another's, it says what is missing; the daemon lives on."""
    stop = [str(ROOT / "scripts" / "stop.sh"), "--port", str(guarded.daemon.port)]
    for options, said in (
        ((), "wants a token: --token-file"),
        (("--token-file", str(guarded.kept_by("user"))), "FORBIDDEN"),
        (("--token-file", str(guarded.file)), "does not take the token"),
        (("--token-file", "missing"), "could not be shown"),
    ):
        done = subprocess.run([*stop, *options], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
    stop += ["--token-file", str(guarded.kept_by("admin"))]
    done = subprocess.run(stop, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert guarded.daemon.process.wait(DEADLINE) == 0


# Strangers.


def test_strangers_keep_nobody_out_and_are_not_kept(make_guarded):
    """More of them than there may be, all silent; who has a token comes in at once, and they are gone after a while."""
    guarded = make_guarded(strangers=10, line_time=3.0)
    with ExitStack() as stack:
        strangers = [stack.enter_context(guarded.stranger()) for _ in range(100)]
        with guarded.text("user") as user:
            assert user.ask(f".#.open_resource {METER}") == METER
            assert user.ask_json(".#.status")["clients"] <= 11
            for stranger in strangers:
                stranger.everything()
            wait_until(lambda: user.ask_json(".#.status")["clients"] == 1)
            assert user.ask(".#.query_resource *IDN?").startswith("DEMO BENCH")


def test_flood_of_wrong_tokens_costs_others_nothing(make_guarded):
    """A hundred at once wait for their answers, and somebody works meanwhile."""
    guarded = make_guarded(strangers=200)
    with ExitStack() as stack, guarded.text("user") as user:
        user.ask(f".#.open_resource {METER}")
        strangers = [stack.enter_context(guarded.stranger()) for _ in range(100)]
        for stranger in strangers:
            stranger.send(f".#.auth {tokens.new_token()}\n".encode())
        for _ in range(50):
            assert user.ask(".#.query_resource *IDN?").startswith("DEMO BENCH")
        assert all(b"AUTH_FAILED" in stranger.everything() for stranger in strangers)
