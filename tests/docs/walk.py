"""A page that is done from its top to its bottom, as its reader would do it, in one folder and with one daemon.

What stands before a block as `NAME`: is a file, and the block is what is in it. The kinds of blocks:

    console    a command behind `$ `, and below it what it prints; `…` stands for anything. A command that starts the
               daemon does so, with the options that are there, but on a free port and in a run folder of its own
    sh         commands that must end well
    python     a program that must end well and without a warning, unless it is a file
    text       a conversation, if its first line sends something, held as in `test_examples`; else words
    others     files, or words

1340 is the daemon's port in all of them, 5340 and 5341 are the demo bench's, whatever they are here. A command whose
program this machine has not is passed over, and is in `passed_over`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient

TURN = re.compile(r"(\w*)([<>]) (.*)")

_BLOCK = re.compile(r"([^\n]*)\n\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./-]+)`(?: \([^)]*\))?:$")
_STARTS, _STOPS = ("scripts/start.sh", "instrument-daemon"), ("scripts/stop.sh",)

#: Words of the shell itself that a command may begin with.
_BUILT_IN = ("(", "for", "exec", "export")


class Block(NamedTuple):
    """`file` is empty for what is none; `line` is the page's."""

    line: int
    file: str
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """In their order."""
    text = page.read_text("utf-8")
    for match in _BLOCK.finditer(text):
        named = _FILE.search(match[1])
        yield Block(text.count("\n", 0, match.start(2)) + 1, named[1] if named else "", match[2], match[3])


def agrees(said: str, shown: str) -> bool:
    """Is `said` what is shown? Blanks count as one, for how wide a column is depends on what else is in it."""
    expected = ".*".join(re.escape(_narrow(part)) for part in shown.split("…"))
    return re.fullmatch(expected, _narrow(said), re.DOTALL) is not None


def _narrow(text: str) -> str:
    return re.sub(r" +", " ", re.sub(r" *\n", "\n", text))


class Walk:
    """`start` starts a daemon with options."""

    def __init__(self, page: Path, folder: Path, start: Callable[..., Daemon]) -> None:
        self.page, self.folder, self._start = page, folder, start
        self.daemon: Daemon | None = None
        self.passed_over: list[str] = []
        #: What is shown -> what it is here.
        self._ports: dict[str, str] = {}

    def to_the_end(self) -> None:
        for block in blocks(self.page):
            if block.file:
                (self.folder / block.file).write_text(self.here(block.text))
            elif block.language == "console":
                self.session(block)
            elif block.language == "sh":
                self.run(self.here(block.text), block)
            elif block.language == "python":
                self.run(f"python -W error -c {shlex.quote(self.here(block.text))}", block)
            elif block.language == "text" and TURN.fullmatch(block.text.split("\n")[0]):
                self.conversation(block)

    def here(self, text: str) -> str:
        """As it is said to this daemon."""
        for shown, real in self._ports.items():
            text = re.sub(rf"\b{shown}\b", real, text)
        return text

    def as_shown(self, text: str) -> str:
        """As the page has it."""
        for shown, real in self._ports.items():
            text = re.sub(rf"\b{real}\b", shown, text)
        return text.replace(str(self.folder), "~")

    def session(self, block: Block) -> None:
        for turn in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, shown = turn.partition("\n")
            while command.endswith("\\"):
                more, _, shown = shown.partition("\n")
                command = f"{command}\n{more}"
            if command.startswith(_STARTS):
                said = self.started(shlex.split(command)[1:])
            elif command.startswith(_STOPS):
                assert self.daemon is not None
                self.daemon.end()
                continue
            elif (said := self.run(self.here(command), block, shown)) is None:
                continue
            assert agrees(self.as_shown(said), shown), f"{self.page.name}:{block.line}: $ {command}\n{said!r}"

    def started(self, options: list[str]) -> str:
        """What the daemon says when it serves."""
        files = [str(self.folder / option) if (self.folder / option).is_file() else option for option in options]
        files = [option.replace(*library) if (library := self._simulated(option)) else option for option in files]
        self.daemon = self._start(*files)
        self._ports = {"1340": str(self.daemon.port)}
        with self.daemon.text() as client:
            bench = [name for name in client.ask_json(".#.list_resources") if name.endswith("::SOCKET")]
        if "--demo" in options:
            real = [name.split("::")[2] for name in bench]
            self._ports |= dict(zip(("5340", "5341"), real, strict=True))
        return f"READY {self.daemon.address} pid={self.daemon.pid}\n"

    def _simulated(self, option: str) -> tuple[str, str] | None:
        """A library that is a file of the page's: its name, and its path."""
        name, _, library = option.partition("@")
        return (name, str(self.folder / name)) if library == "sim" and (self.folder / name).is_file() else None

    def run(self, command: str, block: Block, shown: str = "") -> str | None:
        """What it prints, on stderr too. It must end well, unless an error is shown."""
        words = shlex.split(command, comments=True)
        program = next(word for word in words if "=" not in word)
        if shutil.which(program, path=self.environment["PATH"]) is None and program not in _BUILT_IN:
            self.passed_over.append(program)
            return None
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        is_well = done.returncode == 0 or "instruments: " in shown or "Error" in shown
        assert is_well, f"{self.page.name}:{block.line}: $ {command}\n{done.stdout}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        hosts = {"PYVISA_DAEMON_HOSTS": self.daemon.address} if self.daemon else {}
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), **hosts}

    def conversation(self, block: Block) -> None:
        assert self.daemon is not None
        clients: dict[str, TextClient] = {}
        with ExitStack() as stack:
            for line in block.text.splitlines():
                turn = TURN.fullmatch(line)
                assert turn, line
                name, direction, text = turn.groups()
                if name not in clients:
                    clients[name] = stack.enter_context(self.daemon.text())
                if direction == ">":
                    clients[name].send(self.here(text).encode() + b"\n")
                else:
                    said = self.as_shown(clients[name].reply().decode())
                    assert agrees(said, text), f"{self.page.name}:{block.line}: {line}\n{said}"
