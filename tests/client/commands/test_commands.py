"""`instruments`, as a person types it: lines, exit codes, and one line of what is wrong."""

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result
from pyvisa.errors import VisaIOError

import client
from client.commands import terminal
from client.commands.main import COMMANDS, main
from pyvisa_daemon.errors import ERRORS, Failure
from tests.support.daemon import Daemon
from tests.support.tcp_instrument import TcpInstrument


def instruments(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def assert_fails(result: Result, code: int, said: str) -> None:
    """This exit code, and one line on stderr that holds what was said."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert code == 2 or result.stderr.count("\n") == 1


def test_list_names_resource_and_host_when_daemons_answer(daemon: Daemon) -> None:
    """One aligned line for each resource, with the daemon that has it; dead hosts are told of on stderr."""
    client.tryIps = ["127.0.0.1:9", daemon.address]
    result = instruments("list")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["GPIB0::22::INSTR", daemon.address, "multimeter", "-", "-"] in lines
    assert {host for _, host, *_ in lines} == {daemon.address}
    assert result.stderr.startswith("instruments: no instrument daemon answers at 127.0.0.1:9 (")


def test_status_shows_daemon_and_instruments_when_asked(daemon: Daemon) -> None:
    """For people a table, for programs the daemon's JSON."""
    with client.SocketManager().open_socket(daemon.address) as socket:
        socket.command("open_resource", "GPIB0::22::INSTR")
        table = instruments("--host", daemon.address, "status")
        said = instruments("--host", daemon.address, "status", "--json")
    assert table.exit_code == said.exit_code == 0
    assert f"pid {daemon.pid}" in table.stdout.splitlines()[0]
    assert table.stdout.splitlines()[2].split()[:2] == ["GPIB0::22::INSTR", "ready"]
    status = json.loads(said.stdout)
    assert (status["pid"], len(status["resources"])) == (daemon.pid, 1)


def test_query_prints_the_answer_when_asked(daemon: Daemon) -> None:
    """At the daemon that has it."""
    result = instruments("--host", daemon.address, "query", "GPIB0::22::INSTR", "*IDN?")
    assert (result.exit_code, result.stdout) == (0, "DEMO BENCH,MULTIMETER,DM000022,1.0\n")


def test_query_asks_the_next_daemon_when_one_cannot_find_it(
    daemon_factory: Callable[..., Daemon], instrument: TcpInstrument
) -> None:
    """A name that nobody lists, at the second of two daemons. What is no text comes byte for byte."""
    client.tryIps = [daemon_factory("--demo").address, daemon_factory().address]
    result = instruments("query", instrument.resource, "BLOCK? 10")
    assert (result.exit_code, result.stdout_bytes) == (0, b"#210" + bytes(range(10)) + b"\n")


def test_query_fails_in_one_line_when_nobody_has_the_resource(daemon: Daemon) -> None:
    """Exit code 1, the daemon's reason, a name that is like it, and where to look."""
    result = instruments("--host", daemon.address, "query", "GPIB0::5::INSTR", "*IDN?")
    assert_fails(result, 1, "VI_ERROR_RSRC_NFOUND effect=none")
    assert "; did you mean GPIB0::22::INSTR? " in result.stderr
    assert "`instruments list`" in result.stderr


@pytest.mark.parametrize("arguments", [("list",), ("status",), ("query", "GPIB0::22::INSTR", "*IDN?")])
def test_commands_fail_in_one_line_when_no_daemon_is_there(arguments: tuple[str, ...]) -> None:
    """Exit code 3, the host that was tried, and what to do."""
    result = instruments("--host", "127.0.0.1:9", *arguments)
    assert_fails(result, 3, "127.0.0.1:9")
    assert result.stderr.endswith("; `instruments doctor` looks closer\n")


@pytest.mark.parametrize("arguments", [("--host", "a:b", "list"), ("query", "X"), ("lsit",), ("list", "--jsno")])
def test_wrong_usage_ends_with_code_2_when_typed(arguments: tuple[str, ...]) -> None:
    """A bad host, a missing argument, an unknown command or option."""
    assert_fails(instruments(*arguments), 2, "Error: ")


def test_mistyped_command_is_guessed_when_one_is_like_it() -> None:
    """Options are, too."""
    assert "there is no command 'stauts'; did you mean status?" in instruments("stauts").stderr
    assert "`instruments --help` lists them" in instruments("xyzzy").stderr
    assert "Did you mean" in instruments("list", "--jsno").stderr


class Broken:
    """A subcommand that raises what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: BaseException = Exception()
        module = ModuleType("client.commands.broken")
        module.broken = click.Command("broken", callback=self._fail)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "client.commands.broken", module)
        monkeypatch.setitem(COMMANDS, "broken", ("broken", "broken"))

    def _fail(self) -> None:
        raise self.error


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    monkeypatch.delenv("PYVISA_DAEMON_DEBUG", raising=False)
    return Broken(monkeypatch)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (Failure("QUEUE_FULL", "no place is left"), 1, "QUEUE_FULL effect=none: no place is left"),
        (VisaIOError(-1073807339), 1, "VI_ERROR_TMO"),
        (ConnectionError("nobody there"), 3, "nobody there"),
        (PermissionError(13, "Permission denied", "there"), 1, "Permission denied: 'there'"),
        (ZeroDivisionError("by\nzero"), 1, "a fault of instruments itself: ZeroDivisionError: by zero; please report"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_a_command_raises_ends_in_one_line_when_it_fails(
    error: BaseException, code: int, said: str, broken: Broken
) -> None:
    """With the exit code of its kind; nothing but that of Ctrl-C, which whoever pressed it knows of."""
    broken.error = error
    result = instruments("broken")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == (1 if said else 0)


@pytest.mark.parametrize("way", ["option", "variable"])
def test_traceback_is_shown_when_debugging(way: str, broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """By --debug or PYVISA_DAEMON_DEBUG; the line and the exit code are as ever."""
    broken.error = ZeroDivisionError("by zero")
    if way == "variable":
        monkeypatch.setenv("PYVISA_DAEMON_DEBUG", "1")
    result = instruments(*(["--debug"] if way == "option" else []), "broken")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "a fault of instruments itself" in result.stderr.splitlines()[-1]


def test_remedy_is_added_when_the_daemon_does_not_say_it(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, not twice."""
    row = SimpleNamespace(**{name: getattr(ERRORS["QUEUE_FULL"], name) for name in ("token", "status", "meaning")})
    row.remedy = "Wait for an answer."
    monkeypatch.setitem(ERRORS, "QUEUE_FULL", row)
    broken.error = Failure("QUEUE_FULL", "no place is left")
    assert instruments("broken").stderr.endswith("no place is left. Wait for an answer.\n")
    broken.error = Failure("QUEUE_FULL", "no place is left. Wait for an answer.")
    assert instruments("broken").stderr.count("Wait for an answer") == 1


def test_help_has_examples_when_asked() -> None:
    """What a person tries first."""
    result = instruments("--help")
    assert result.exit_code == 0
    assert "instruments query TCPIP::192.168.1.189::INSTR '*IDN?'" in result.stdout
    assert "Exit codes: 0 done" in result.stdout


def test_table_is_printed_when_stdout_cannot_say_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe on Windows has a code page of its own, and a reason may have any letter."""
    stream = io.TextIOWrapper(io.BytesIO(), "cp1252", newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.print_table([["10 k\u03a9", "\u00b5"]])
    stream.flush()
    assert stream.buffer.getvalue() == b"10 k\\u03a9  \xb5\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", ["main", "listing", "status", "watching", "doctor"])
def test_module_loads_nothing_heavy_when_imported(module: str) -> None:
    """rich waits for a terminal; what only the daemon needs is never loaded."""
    program = f"import sys, client.commands.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not set(said.stdout.split()) & {"rich", "zeroconf", "structlog", "psutil", "front_proc", "pyvisa_py", "usb"}


def test_ctrl_c_ends_a_command_when_it_waits() -> None:
    """With the exit code that shells give it, and nothing to read."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = "from client.commands.main import main; main()"
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", program, "--host", host, "status"], stderr=subprocess.PIPE, text=True
        )
        with process, silent.accept()[0]:  # and say nothing
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert process.stderr.read() == ""
        assert process.returncode == terminal.INTERRUPTED


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such shell")
@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-"])
def test_command_is_done_when_the_caller_has_closed_a_stream(daemon: Daemon, closed: str) -> None:
    """As some that run programs by the clock do: Python has no stream there at all."""
    program = f"set -f; {Path(sys.executable).with_name('instruments')} --host {daemon.address}"
    for words in ("status", "shell GPIB0::22::INSTR", "query GPIB0::22::INSTR *IDN?"):
        command = f"{program} {words} {closed}"
        done = subprocess.run(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [("completion", "bash"), ("token", "ann", "--file", "tokens.toml")])
def test_commands_that_ask_no_daemon_work_when_a_host_is_mistyped(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    client.tryIps = ["labpc:x"]
    assert instruments(*arguments).exit_code == 0
    assert instruments("list").exit_code == terminal.WRONG_USAGE


def test_table_and_errors_show_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    """What a daemon says of others may be anything."""
    terminal.print_table([["name", "open"], ["\x1b[31mbob", "a\n\u202eb"]])
    with pytest.raises(SystemExit):
        terminal.end(1, "held by \x1b]0;title\x07\nbob")
    said = capsys.readouterr()
    assert said.out == "name         open\n\\x1b[31mbob  a\\n\\u202eb\n"
    assert said.err == "instruments: held by \\x1b]0;title\\x07 bob\n"
