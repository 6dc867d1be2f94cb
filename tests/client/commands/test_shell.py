"""`instruments shell`: from a pipe, and on a terminal."""

import contextlib
import fcntl
import os
import pty
import re
import select
import stat
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from client.commands.shell_words import WORDS
from tests.client.commands.conftest import Lab
from tests.support.waiting import DEADLINE, wait_until

Instruments = Callable[..., Result]


def test_lines_from_a_pipe_are_asked_and_written(lab: Lab) -> None:
    """Answers on stdout and nothing else; empty lines and comments are for the reader; the last line needs no LF."""
    result = lab.instruments("shell", "scripted", said="ECHO? 1\r\nSET shell\n\n# ECHO? 2\nECHO? 3")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "1\n3\n", "")
    assert "SET shell" in lab.instrument.history()


def test_bytes_come_as_they_are_from_a_pipe(instruments: Instruments) -> None:
    """A block is none of the shell's business."""
    result = instruments("shell", "scripted", said="BLOCK? 256\n")
    assert result.stdout_bytes == b"#3256" + bytes(range(256)) + b"\n"


def test_exit_code_is_1_when_a_line_failed(instruments: Instruments) -> None:
    """The others are carried out all the same, unless told otherwise."""
    lines = "ECHO? 1\nSLOW? 5000,2\n.nonsense\nECHO? 3\n"
    result = instruments("shell", "scripted", "--timeout", "0.1", said=lines)
    assert (result.exit_code, result.stdout) == (1, "1\n3\n")
    failed, unknown = result.stderr.splitlines()
    assert failed.startswith("instruments: line 2: VI_ERROR_TMO")
    assert unknown == "instruments: line 3: .nonsense is no word of this shell; .help lists them"
    result = instruments("shell", "scripted", "--timeout", "0.1", "--stop", said=lines)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "1\n", 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (".timeout", "2 s"),
        (".timeout 0.5", "0.5 s"),
        (".timeout inf", "inf s"),
        (".termination", r"read \n, write \n"),
        (r".term \n \r\n", r"read \n, write \r\n"),
        (".write *CLS", "5 bytes"),
        (".query ECHO? 1", "1"),
        (".stb", "0"),
        (".lock 1", "locked; it ends with .unlock, or with this shell"),
        (".lo 1\n.unlock", "unlocked"),
        (".abort", "runs no command any more"),
        (".confirm it is well", "the next command that needs it is confirmed"),
        (".help stb", ".stb  the status byte, and what its bits mean"),
        (".clear", "cleared"),
        (".trigger", "triggered"),
        (".status", "ready, 1 sessions, 0 queued"),
        (".quit\n*IDN?", ""),
    ],
)
def test_words_do_what_their_help_says(instruments: Instruments, line: str, said: str) -> None:
    """Each may be shortened while it is one word's."""
    resource = "multimeter" if line in (".stb", ".clear", ".trigger", ".status") else "scripted"
    result = instruments("shell", resource, said=f"{line}\n")
    assert result.exit_code == 0, result.output
    assert (result.stdout.splitlines() or [""])[-1] == said


@pytest.mark.parametrize(
    "line", [".t", ".timeout soon", ".timeout -1", ".write", ".termination ü", ".termination a b c", ".", ".confirm"]
)
def test_word_that_cannot_be_meant_is_told_so(instruments: Instruments, line: str) -> None:
    """And sent nowhere."""
    result = instruments("shell", "scripted", said=f"{line}\n")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("instruments: line 1: ")


def test_help_lists_all_words(instruments: Instruments) -> None:
    said = instruments("shell", "scripted", said=".help\n").stdout
    assert [word for word in WORDS if f"\n{WORDS[word].usage}" not in said] == []


class Terminal:
    """A person at `instruments shell`."""

    def __init__(self, lab: Lab, resource: str, home: Path) -> None:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (30, 100))
        command = [str(Path(sys.executable).with_name("instruments")), "--host", lab.daemon.address, "shell", resource]
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(home), "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._descriptor, self._seen = ours, ""

    def types(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def sees(self, text: str) -> None:
        """It comes, behind what was seen before; colours and the like left out."""
        wait_until(lambda: text in self._more(), what=f"{text!r} on the terminal, where there is {self._seen!r}")
        self._seen = self._seen.partition(text)[2]

    def _more(self) -> str:
        if not select.select([self._descriptor], [], [], 0.1)[0]:
            return self._seen
        data = os.read(self._descriptor, 65536).decode(errors="replace")
        self._seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data)
        return self._seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)
        os.close(self._descriptor)


@pytest.fixture
def terminal(lab: Lab, tmp_path: Path) -> Iterator[Terminal]:
    with contextlib.closing(Terminal(lab, "scripted", tmp_path)) as one:
        one.sees("scripted>")
        yield one


def test_person_asks_is_told_and_leaves(lab: Lab, terminal: Terminal, tmp_path: Path) -> None:
    """What was typed is kept for the next time, for its owner only."""
    terminal.types("ECHO? one\r")
    terminal.sees("\none")
    terminal.sees("scripted>")
    terminal.types(".nonsense\r")
    terminal.sees("instruments: .nonsense is no word of this shell")
    terminal.sees("scripted>")
    terminal.types("BLOCK? 5000\r")
    terminal.sees(r"#45000\x00\x01\x02")
    terminal.sees("the first of 5006 bytes; `instruments capture` puts them into a file")
    terminal.sees("scripted>")
    terminal.types(".quit\r")
    assert terminal.process.wait(DEADLINE) == 0
    [history] = (tmp_path / "pyvisa-daemon").iterdir()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+ECHO? one\n" in history.read_text()


def test_person_may_leave_off_waiting_and_abort(lab: Lab, terminal: Terminal) -> None:
    """Ctrl-C ends no command; `.abort` does. Ctrl-D ends the shell."""
    terminal.types(".timeout 60\r")
    terminal.sees("60 s")
    terminal.sees("scripted>")
    terminal.types("SLOW? 60000,late\r")
    wait_until(lambda: lab.daemon.resource(lab.instrument.resource).get("state") == "busy", what="it runs")
    terminal.types("\x03")
    terminal.sees("not waited for any more")
    terminal.sees("scripted>")
    terminal.types(".abort\r")
    terminal.sees("runs no command any more")
    terminal.sees("scripted>")
    terminal.types("ECHO? in step\r")
    terminal.sees("\nin step")
    terminal.sees("scripted>")
    terminal.types("\x04")
    assert terminal.process.wait(DEADLINE) == 0
