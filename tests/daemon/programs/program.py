"""Starts one of the programs of this folder in a process of its own, and hears what it says."""

import json
import selectors
import subprocess
import sys
from typing import Any, Self

from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE


class Program:
    """`Program("two_calls", address, ...)`, started at once. `process` may be signalled."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", f"tests.daemon.programs.{module}", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.kill()

    def hears(self, deadline: float = DEADLINE) -> Any:
        """The next line that it says. AssertionError if there is none."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(deadline), "it says nothing"
        line = self.process.stdout.readline()
        assert line, f"it ended:\n{self.process.stderr.read().decode()}"
        return json.loads(line)

    def says(self, line: str) -> None:
        """Tell it to go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ends(self, deadline: float = DEADLINE) -> int:
        """Its exit code, once it has ended by itself."""
        return self.process.wait(deadline)

    def kill(self) -> None:
        """SIGKILL, if it still runs; nothing of it is left."""
        self.process.kill()
        self.process.wait(DEADLINE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
