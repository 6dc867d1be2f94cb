"""Starts the scripted instruments that have a VISA name of their own, each in a process of its own.

Each is asked what it executed on a raw socket of its own, behind the daemon's back.
"""

import json
import subprocess
import sys

from tests.support.daemon import ROOT
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE


class InstrumentProcess:
    """A module of this folder that says one line when it serves, and serves until its standard input ends."""

    def __init__(self, module: str) -> None:
        command = [sys.executable, "-m", f"tests.support.{module}"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.said = self._process.stdout.readline().decode().rstrip("\n")

    def switch_off(self) -> None:
        """It is gone, and what it listened on refuses connections."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(DEADLINE)
        finally:
            self._process.kill()


class ScriptedProcess(InstrumentProcess):
    """One that speaks as `tests.support.instrument` does; `resource` is its name in VISA."""

    def __init__(self, module: str) -> None:
        super().__init__(module)
        self.resource, _, port = self.said.partition(" ")
        self.port = int(port)

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


class Vxi11Instrument(ScriptedProcess):
    """A process that plays `tests.support.vxi11_instrument`: TCPIP0::127.0.0.1,PORT::inst0::INSTR."""

    def __init__(self) -> None:
        super().__init__("vxi11_instrument")
        #: Of VXI-11; `ask` goes to the other one.
        self.vxi11_port = int(self.resource.split("::")[1].partition(",")[2])


class SerialInstrument(ScriptedProcess):
    """A process that plays `tests.support.serial_instrument`: ASRL/dev/pts/N::INSTR, termination LF both ways."""

    def __init__(self) -> None:
        super().__init__("serial_instrument")


class KeysightInstrument(InstrumentProcess):
    """A process that plays `tests.support.keysight_instrument`. Raises OSError where its fixed ports are not free."""

    def __init__(self) -> None:
        super().__init__("keysight_instrument")
        if self.said != "ready":
            self.switch_off()
            raise OSError(self.said)
