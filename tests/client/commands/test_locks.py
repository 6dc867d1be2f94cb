"""`instruments lock`, `unlock` and `kick`, as processes: who has the lock, what COMMAND is told, how it all ends."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.tcp_instrument import TcpInstrument
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until

INSTRUMENTS = str(Path(sys.executable).with_name("instruments"))

#: A program that knows nothing of any lock: what it is given is the resource, and what to ask it.
PROGRAM = """
import sys, pyvisa
with pyvisa.ResourceManager("@daemon").open_resource(
    sys.argv[1], read_termination="\\n", write_termination="\\n", timeout=20000
) as meter:
    for question in sys.argv[2:]:
        print(meter.query(question), flush=True)
"""

#: One that says when it has begun, and whether it was interrupted; and how often.
INTERRUPTED = """
import signal, sys, time
signals = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: signals.append(number))
print("begins", flush=True)
while not signals:
    time.sleep(0.01)
time.sleep(0.5)
print([signal.Signals(number).name for number in signals], flush=True)
sys.exit(7)
"""


@pytest.fixture
def lan(daemon_factory: Callable[..., Daemon], instrument: TcpInstrument, tmp_path: Path) -> Daemon:
    """It has the instrument configured: else it would look for it on every network first, and that takes seconds."""
    file = tmp_path / "lab.toml"
    file.write_text(f'[[resource]]\nmatch = "{instrument.resource}"\n')
    return daemon_factory("--config", str(file))


class Commands:
    """Runs `instruments` beside this daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._environment = {**os.environ, "PYVISA_DAEMON_HOSTS": daemon.address}

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [INSTRUMENTS, *arguments], env=self._environment, capture_output=True, text=True, timeout=60
        )

    @contextlib.contextmanager
    def begins(self, *arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """One that goes on, in a session of its own; whatever is left of it is killed."""
        process = subprocess.Popen(
            [INSTRUMENTS, *arguments],
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def instruments(lan: Daemon) -> Commands:
    return Commands(lan)


def lock_of(lan: Daemon, instrument: TcpInstrument) -> dict[str, Any]:
    held: dict[str, Any] = lan.resource(instrument.resource).get("lock") or {}
    return held


def stranger(lan: Daemon, instrument: TcpInstrument) -> TextClient:
    client = lan.text()
    client.ask(f".#.open_resource {instrument.resource}")
    return client


def until(file: Path) -> list[str]:
    """A COMMAND that says that it has begun, and ends when there is such a file."""
    return ["sh", "-c", f"echo begins; while [ ! -e {file} ]; do sleep 0.1; done"]


def line_of(stream: Any) -> str:
    """The next line that a process says."""
    return str(stream.readline()).rstrip("\n")


def test_program_is_alone_with_the_instrument_and_works_unchanged(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands
) -> None:
    """Stock PyVISA; others are told what for. The exit code is the program's."""
    program = [sys.executable, "-c", PROGRAM, instrument.resource, "ECHO? 1", "SLOW? 1000,2"]
    arguments = [instrument.resource, "--reason", "calibration", "--", *program]
    with stranger(lan, instrument) as other, instruments.begins("lock", *arguments) as locked:
        assert locked.stdout is not None
        assert line_of(locked.stdout) == "1"
        refusal = other.ask(".#.query_resource ECHO? theirs")
        assert "VI_ERROR_RSRC_LOCKED" in refusal
        assert "(calibration)" in refusal
        assert len(lock_of(lan, instrument)["holders"]) == 2
        assert line_of(locked.stdout) == "2"
        assert locked.wait(DEADLINE) == 0
        assert other.ask(".#.query_resource ECHO? theirs") == "theirs"
    assert lan.audit(event="unlocked") == []


@pytest.mark.parametrize("code", [0, 5])
def test_exit_code_and_streams_are_the_command_s(instrument: TcpInstrument, instruments: Commands, code: int) -> None:
    """It finds the lock in its environment."""
    said = "import os, sys; print(os.environ['PYVISA_DAEMON_LOCK_RESOURCE'], len(os.environ['PYVISA_DAEMON_LOCK_KEY']))"
    command = [sys.executable, "-c", f"{said}; print('err', file=sys.stderr); sys.exit({code})"]
    done = instruments("lock", instrument.resource, "--", *command)
    assert (done.returncode, done.stdout, done.stderr) == (code, f"{instrument.resource} 22\n", "err\n")


def test_text_programs_share_the_lock_by_its_key(lan: Daemon, instrument: TcpInstrument, instruments: Commands) -> None:
    """And `instruments query` by itself."""
    text = (
        f"printf '.#.open_resource {instrument.resource}\\n.#.lock shared %s\\n.#.query_resource ECHO? text\\n' "
        f"$PYVISA_DAEMON_LOCK_KEY | {sys.executable} -c "
        f'\'import socket, sys; s = socket.create_connection(("{lan.host}", {lan.port})); '
        's.sendall(sys.stdin.buffer.read()); s.shutdown(1); print(s.makefile().read(), end="")\''
    )
    query = f"{INSTRUMENTS} query {instrument.resource} 'ECHO? query'"
    done = instruments("lock", instrument.resource, "--", "sh", "-c", f"{text}; {query}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2:] == ["text", "query"]


def test_program_opens_by_any_name_and_with_a_lock_of_its_own(daemon: Daemon) -> None:
    """An alias, a short name; the access modes and the locks of VISA, which are shared with nobody else's key."""
    program = """
import pyvisa
from pyvisa.constants import AccessModes
manager = pyvisa.ResourceManager("@daemon")
for name in ("multimeter", "GPIB::22", "GPIB0::22::INSTR"):
    for mode in AccessModes.no_lock, AccessModes.shared_lock, AccessModes.exclusive_lock:
        with manager.open_resource(name, access_mode=mode) as meter:
            with meter.lock_context():
                assert "MULTIMETER" in meter.query("*IDN?")
            assert "MULTIMETER" in meter.query("*IDN?")
with manager.open_resource("supply") as supply:
    supply.query("*IDN?")
print("done")
"""
    done = Commands(daemon)("lock", "multimeter", "--", sys.executable, "-c", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_program_shares_all_locks_that_it_runs_under(daemon: Daemon) -> None:
    """One instrument each, in either order."""
    program = """
import pyvisa
manager = pyvisa.ResourceManager("@daemon")
for name in ("supply", "multimeter", "temperature"):
    with manager.open_resource(name) as instrument:
        print(instrument.query("*IDN?").split(",")[1])
"""
    inner = [INSTRUMENTS, "lock", "supply", "--", sys.executable, "-c", program]
    done = Commands(daemon)("lock", "multimeter", "--", *inner)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines() if line] == ["POWER", "MULTIMETER", "TEMPERATURE"]


def test_lock_inside_a_lock_is_the_same_one(instrument: TcpInstrument, instruments: Commands) -> None:
    """It would wait for itself."""
    inner = [INSTRUMENTS, "lock", instrument.resource, "--timeout", "5", "--", "echo", "inside"]
    done = instruments("lock", instrument.resource, "--", *inner)
    assert (done.returncode, done.stdout, done.stderr) == (0, "inside\n", "")


def test_two_run_in_turn_and_the_second_is_told_whose_turn_it_is(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands, tmp_path: Path
) -> None:
    """First come, first served."""
    first = ["lock", instrument.resource, "--reason", "calibration", "--", *until(tmp_path / "go")]
    second = ["lock", instrument.resource, "--", "echo", "second"]
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(instruments.begins(*first, USER="anna"))
        assert line_of(one.stdout) == "begins"
        two = stack.enter_context(instruments.begins(*second))
        assert line_of(two.stderr) == (
            f"instruments: waiting for {instrument.resource}, held by anna/instruments (calibration), 1st in line"
        )
        (tmp_path / "go").touch()
        assert one.wait(DEADLINE) == 0
        assert two.wait(DEADLINE) == 0
        assert line_of(two.stdout) == "second"


def test_lock_that_is_not_to_be_had_in_time_ends_with_code_1(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands
) -> None:
    """COMMAND does not begin."""
    with stranger(lan, instrument) as other:
        other.ask(".#.lock reason mine")
        done = instruments("lock", instrument.resource, "--timeout", "0.5", "--", "echo", "never")
    assert (done.returncode, done.stdout) == (1, "")
    assert "VI_ERROR_TMO" in done.stderr.splitlines()[-1]
    assert "(mine)" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "code"), [("no-such-program", 127), pytest.param("pyproject.toml", 126, marks=pytest.mark.full)]
)
def test_command_that_cannot_be_run_ends_as_the_shell_has_it(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands, tmp_path: Path, command: str, code: int
) -> None:
    """Before anybody waits for a lock."""
    file = tmp_path / command
    if code == 126:
        file.write_text("no program")
    with stranger(lan, instrument) as other:
        other.ask(".#.lock")
        done = instruments("lock", instrument.resource, "--", str(file))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)


def test_command_that_turns_out_to_be_no_program_ends_as_the_shell_has_it(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands, tmp_path: Path
) -> None:
    """The lock is given back."""
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELFnothing")
    file.chmod(0o700)
    done = instruments("lock", instrument.resource, "--", str(file))
    assert done.returncode == 126
    assert not lock_of(lan, instrument)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("X", "--"), 2), (("X", "--ttl", "soon", "--", "true"), 2), (("GPIB0::5::INSTR", "--", "true"), 1)],
)
def test_its_own_failures_have_the_codes_of_instruments(
    instruments: Commands, arguments: tuple[str, ...], code: int
) -> None:
    done = instruments("lock", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_passed_on_and_the_command_ends_as_it_sees_fit(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    with instruments.begins("lock", instrument.resource, "--", *command) as locked:
        assert locked.stdout is not None
        assert line_of(locked.stdout) == "begins"
        locked.send_signal(number)
        assert line_of(locked.stdout) == f"['{number.name}']"
        assert locked.wait(DEADLINE) == 7
    wait_until(lambda: not lock_of(lan, instrument))


def test_command_that_a_signal_ends_has_the_code_of_the_shell(instrument: TcpInstrument, instruments: Commands) -> None:
    done = instruments("lock", instrument.resource, "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == 128 + signal.SIGTERM


def test_ctrl_c_on_a_terminal_comes_once(lan: Daemon, instrument: TcpInstrument) -> None:
    """The terminal tells both of us; COMMAND must not be interrupted in what it does because of the first."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYVISA_DAEMON_HOSTS"] = lan.address
        command = [INSTRUMENTS, "lock", instrument.resource, "--", sys.executable, "-c", INTERRUPTED]
        os.execv(INSTRUMENTS, command)
    said = b""
    with contextlib.suppress(OSError):  # the terminal is gone when nobody has it open
        while b"begins" not in said:
            said += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        while data := os.read(terminal, 1000):
            said += data
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"['SIGINT']" in said
    assert os.waitstatus_to_exitcode(status) == 7


def test_ctrl_c_while_it_waits_ends_it(lan: Daemon, instrument: TcpInstrument, instruments: Commands) -> None:
    """As the shell has it, without a traceback; and it waits no more."""
    with stranger(lan, instrument) as other:
        other.ask(".#.lock")
        with instruments.begins("lock", instrument.resource, "--", "echo", "never") as waiting:
            wait_until(lambda: lock_of(lan, instrument)["waiting"])
            waiting.send_signal(signal.SIGINT)
            _, errors = waiting.communicate(timeout=DEADLINE)
            assert waiting.returncode == 128 + signal.SIGINT
            assert "Traceback" not in errors
        wait_until(lambda: not lock_of(lan, instrument)["waiting"])


def test_lock_ends_when_it_is_killed(lan: Daemon, instrument: TcpInstrument, instruments: Commands) -> None:
    """COMMAND goes on, without the lock."""
    with instruments.begins("lock", instrument.resource, "--", "sh", "-c", "echo begins; sleep 60") as locked:
        assert locked.stdout is not None
        assert line_of(locked.stdout) == "begins"
        with stranger(lan, instrument) as other:
            other.send(b".#.lock 60000\n")
            wait_until(lambda: lock_of(lan, instrument)["waiting"])
            locked.kill()
            assert other.line() == b"ok"


@pytest.mark.parametrize(
    ("how", "kills"),
    [
        ("forced", False),
        ("not used", True),
        *(pytest.param(how, kills, marks=pytest.mark.full) for how in ("kicked", "ended") for kills in (False, True)),
    ],
)
def test_loss_of_the_lock_is_told_and_the_command_ended_if_it_is_to_be(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands, tmp_path: Path, how: str, kills: bool
) -> None:
    """However it was lost."""
    options = ["--kill-if-lost"] * kills + ["--ttl", "1"] * (how == "not used")
    with instruments.begins("lock", instrument.resource, *options, "--", *until(tmp_path / "go")) as locked:
        assert locked.stdout is not None
        assert locked.stderr is not None
        assert line_of(locked.stdout) == "begins"
        if how == "forced":
            assert instruments("unlock", instrument.resource).stdout == (
                f"{instrument.resource} at {lan.address} is unlocked: taken from 1 session, which will be told\n"
            )
        elif how == "kicked":
            [holder] = lock_of(lan, instrument)["holders"]
            done = instruments("kick", holder["client"])
            assert done.stdout == f"1 connection of {holder['client']} cut at {lan.address}\n"
        elif how == "ended":
            lan.end()
        said = line_of(locked.stderr)
        assert said.startswith("instruments: the lock is lost: ")
        why = {"forced": "has forced it open", "not used": "not used for the 1 s"}.get(how, "connection|SHUTTING_DOWN")
        assert re.search(why, said)
        if not kills:
            assert locked.poll() is None
            (tmp_path / "go").touch()
        assert locked.wait(DEADLINE) == (128 + signal.SIGTERM if kills else 0)


def test_program_inside_is_told_that_the_lock_is_lost(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands
) -> None:
    """By its next command, which fails, and of which the instrument hears nothing; nor can it open anew under it."""
    program = """
import sys, pyvisa
manager = pyvisa.ResourceManager("@daemon")
meter = manager.open_resource(sys.argv[1], read_termination="\\n", write_termination="\\n")
print(meter.query("ECHO? begins"), flush=True)
sys.stdin.readline()
for attempt in (lambda: meter.query("ECHO? blindly"), lambda: manager.open_resource(sys.argv[1])):
    try:
        attempt()
    except pyvisa.VisaIOError as error:
        print(error.token, flush=True)
"""
    arguments = [INSTRUMENTS, "lock", instrument.resource, "--", sys.executable, "-c", program, instrument.resource]
    environment = {**os.environ, "PYVISA_DAEMON_HOSTS": lan.address}
    with subprocess.Popen(
        arguments, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as locked:
        assert locked.stdout is not None
        assert line_of(locked.stdout) == "begins"
        assert "taken from 2 sessions" in instruments("unlock", instrument.resource).stdout
        assert "was not locked" in instruments("unlock", instrument.resource).stdout
        said, errors = locked.communicate("\n", timeout=DEADLINE)
    assert said.splitlines() == ["LOCK_LOST", "LOCK_LOST"]
    assert "the lock is lost" in errors
    assert instrument.history() == ["ECHO? begins"]


@pytest.mark.full
def test_use_by_the_program_inside_keeps_the_lock(
    lan: Daemon, instrument: TcpInstrument, instruments: Commands
) -> None:
    """And nothing else does."""
    questions = [f"SLOW? 500,{number}" for number in range(8)]
    program = [sys.executable, "-c", PROGRAM, instrument.resource, *questions]
    done = instruments("lock", instrument.resource, "--ttl", "2", "--", *program)
    assert (done.returncode, done.stderr) == (0, "")
    assert lan.audit(event="lease_over") == []


# With a safe state, which is for who is lost.

SAFE = ["SET OUTP OFF"]


@pytest.fixture
def careful(daemon_factory: Callable[..., Daemon], instrument: TcpInstrument, tmp_path: Path) -> Daemon:
    """A daemon in which the instrument has a safe state."""
    (tmp_path / "safe.toml").write_text(
        f"[[resource]]\nmatch = '{instrument.resource}'\nsafe-state = {json.dumps(SAFE)}\n"
    )
    return daemon_factory("--config", str(tmp_path / "safe.toml"))


#: Programs that share the lock and end well, and of which the instrument hears `SET` and a word.
ENDINGS = {
    "nothing": "pass",
    "PyVISA": "import pyvisa as v; v.ResourceManager('@daemon').open_resource(R, write_termination='\\n').write('SET')",
    "a with": "import client; s = client.SocketManager().open_socket()\nwith s: s.enter(R); s.write('SET x')",
    "no with": "import client; s = client.SocketManager().open_socket(); s.enter(R); s.write('SET x')",
    "instruments": "import subprocess; subprocess.run([I, 'query', R, 'SET x;ECHO? x'])",
    "failing": "raise SystemExit(3)",
}


@pytest.mark.parametrize(
    "program", ["PyVISA", "instruments", *(pytest.param(each, marks=pytest.mark.full) for each in ENDINGS)]
)
def test_orderly_end_of_what_runs_under_the_lock_is_no_loss(
    careful: Daemon, instrument: TcpInstrument, program: str
) -> None:
    """Whatever it speaks."""
    code = f"R, I = {instrument.resource!r}, {INSTRUMENTS!r}\n{ENDINGS[program]}"
    done = Commands(careful)("lock", instrument.resource, "--", sys.executable, "-c", code)
    assert (done.returncode, done.stderr) == (3 if program == "failing" else 0, "")
    with stranger(careful, instrument) as other:
        assert other.ask(".#.query_resource ECHO? end") == "end"
        assert lock_of(careful, instrument) == {}
    assert careful.audit(event="safe") == []
    assert not set(SAFE) & set(instrument.history())


@pytest.mark.parametrize("who", ["the lock", "the command"])
def test_end_by_a_signal_of_what_has_the_lock_is_a_loss(
    careful: Daemon, instrument: TcpInstrument, tmp_path: Path, who: str
) -> None:
    """The command need not have a connection of its own at that moment."""
    command = ["sh", "-c", "echo $$; sleep 60"]
    with Commands(careful).begins("lock", instrument.resource, "--", *command) as locked:
        pid = int(line_of(locked.stdout))
        os.kill(pid if who == "the command" else locked.pid, signal.SIGKILL)
        wait_until(lambda: instrument.history() == SAFE)
        assert locked.wait(DEADLINE) == (128 + signal.SIGKILL if who == "the command" else -signal.SIGKILL)


def test_same_name_at_another_daemon_is_not_locked(daemon_factory: Callable[..., Daemon]) -> None:
    """The program may use both."""
    first, second = daemon_factory("--demo"), daemon_factory("--demo")
    program = f"""
import pyvisa
for address in {[first.address, second.address]}:
    with pyvisa.ResourceManager(address + "@daemon").open_resource("GPIB::22") as meter:
        assert "MULTIMETER" in meter.query("*IDN?")
        input()
"""
    command = [INSTRUMENTS, "lock", "GPIB::22", "--", sys.executable, "-c", program]
    with subprocess.Popen(
        command, env={**os.environ, "PYVISA_DAEMON_HOSTS": first.address}, stdin=subprocess.PIPE, text=True
    ) as locked:
        assert locked.stdin is not None
        wait_until(lambda: len((first.resource("GPIB0::22::INSTR").get("lock") or {}).get("holders", ())) == 2)
        print(file=locked.stdin, flush=True)
        wait_until(lambda: second.resource("GPIB0::22::INSTR").get("sessions"))
        assert second.resource("GPIB0::22::INSTR")["lock"] is None
        print(file=locked.stdin, flush=True)
        assert locked.wait(DEADLINE) == 0


def test_status_shows_locks_and_clients(lan: Daemon, instrument: TcpInstrument, instruments: Commands) -> None:
    with stranger(lan, instrument) as other:
        other.ask(".#.hello ann")
        other.ask(".#.lock reason calibration")
        shown = instruments("status").stdout
        assert "exclusive: ann (calibration)" in shown
        assert "language" not in shown
        lines = instruments("status", "--clients").stdout.splitlines()
        assert [line.split()[1:] for line in lines if " ann " in line][-1] == ["ann", "text", instrument.resource]
        assert json.loads(instruments("status", "--json").stdout)["connections"]


@pytest.mark.parametrize("arguments", [("unlock", "TCPIP0::127.0.0.1::9::SOCKET"), ("kick", "nobody")])
def test_what_is_not_there_is_refused_in_one_line(instruments: Commands, arguments: tuple[str, ...]) -> None:
    done = instruments(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("timeout", ["nan", "-5"])
def test_time_that_is_none_is_wrong_usage(instruments: Commands, timeout: str) -> None:
    assert instruments("lock", "X", "--timeout", timeout, "--", "true").returncode == 2


def test_commands_fail_in_one_line_when_no_daemon_is_there(instruments: Commands) -> None:
    for arguments in (("lock", "X", "--", "true"), ("unlock", "X"), ("kick", "X")):
        done = instruments("--host", "127.0.0.1:9", *arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)


def test_help_says_what_the_command_finds(instruments: Commands) -> None:
    said = instruments("lock", "--help").stdout
    assert "PYVISA_DAEMON_LOCK_KEY" in said
    assert "127 it is not there" in said
