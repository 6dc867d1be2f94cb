"""Starts the scripted instrument and asks it, on a connection of the test's own, what it executed."""

import json
import subprocess
import sys

from tests.support.daemon import ROOT
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE


class TcpInstrument:
    """A process that plays `tests.support.instrument`; `resource` is its name in VISA."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.support.instrument"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.resource = f"TCPIP0::127.0.0.1::{self.port}::SOCKET"

    def ask(self, message: str) -> str:
        with TextClient("127.0.0.1", self.port) as client:
            return client.ask(message)

    def history(self) -> list[str]:
        """Every message it executed, in order, whoever sent it."""
        history: list[str] = json.loads(self.ask("HISTORY?"))
        return history

    def count(self, beginning: str) -> int:
        """How many of them began like this."""
        return int(self.ask(f"COUNT? {beginning}"))

    def switch_off(self) -> None:
        """It is gone, and its port refuses connections."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(DEADLINE)
        finally:
            self._process.kill()
