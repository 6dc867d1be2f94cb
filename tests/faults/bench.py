"""The bench of every fault: a daemon, GOOD on a sibling, instruments to be hurt, and a book of what was sent.

    TCP          scripted loopback instruments (tests/support/instrument.py), which count what they execute
    STUBBORN     resources of the library in backends/, which hangs, dies and raves on command, and counts too
    SIM          pyvisa-sim

The book is closed with the test: no instrument has executed more than it was sent, nor anything of which the daemon
said `effect=none`.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.good import Good
from tests.support.daemon import Daemon
from tests.support.instrument_process import ScriptedProcess
from tests.support.tcp_instrument import TcpInstrument
from tests.support.text_client import TextClient

BACKENDS = Path(__file__).with_name("backends")
EFFECT = re.compile(r"\.#\.error (\w+) effect=(none|maybe|done) ")

#: pyvisa-sim's own default bench has it.
SIM = "GPIB0::8::INSTR"


@dataclass
class Sent:
    """One command, and what the daemon said of it: "" while there is no reply, else the effect of its failure."""

    resource: str
    message: str
    effect: str | None = ""


class FaultClient(TextClient):
    """A text client whose commands to instruments go into the bench's book."""

    def __init__(self, bench: "Bench") -> None:
        super().__init__(bench.daemon.host, bench.daemon.port)
        self._bench = bench
        self._waiting: list[Sent] = []
        self.resource = ""

    def open(self, resource: str, timeout_ms: int | None = None) -> "FaultClient":
        """Open a resource and make it the current one."""
        reply = self.ask(f".#.open_resource {resource}")
        assert reply == resource, reply
        self.resource = resource
        if timeout_ms is not None:
            self.ask(f".#.timeout {timeout_ms}")
        return self

    def begin(self, verb: str, message: str) -> None:
        """Send `query` or `write` with a message, and do not wait."""
        sent = Sent(self.resource, message)
        self._bench.book.append(sent)
        self._waiting.append(sent)
        self.send(f".#.{verb}_resource {message}\n".encode())

    def outcome(self) -> str:
        """The reply to the oldest command that was begun."""
        line = self.line().decode()
        failure = EFFECT.match(line)
        self._waiting.pop(0).effect = failure[2] if failure else None
        return line

    def query(self, message: str) -> str:
        self.begin("query", message)
        return self.outcome()

    def write(self, message: str) -> str:
        self.begin("write", message)
        return self.outcome()


@dataclass
class Figures:
    """What one fault cost, in seconds where nothing else is said."""

    seen: dict[str, float | int | str] = field(default_factory=dict)

    def note(self, name: str, value: float | int | str) -> None:
        """One figure; the worst of several with the same name."""
        before = self.seen.get(name)
        if isinstance(value, float):
            value = round(value, 4)
        if isinstance(before, int | float) and isinstance(value, int | float):
            value = max(before, value)
        self.seen[name] = value

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """How long what is within takes: `error` and `recovered` have columns of their own in the table."""
        began = time.monotonic()
        yield
        self.note(name, time.monotonic() - began)


class Bench:
    """One daemon and what is around it. `limits` and `settings` go into its TOML file, `rows` are more of it.

    `modules` is a folder of modules that it finds before those that are installed.
    """

    def __init__(
        self,
        start: Callable[..., Daemon],
        instrument: Callable[[], TcpInstrument],
        folder: Path,
        *,
        limits: dict[str, float] | None = None,
        settings: dict[str, float] | None = None,
        rows: str = "",
        modules: Path | None = None,
    ) -> None:
        self._journal = folder / "executed.jsonl"
        self._journal.touch()
        self._instrument = instrument
        self._instruments: list[TcpInstrument | ScriptedProcess] = []
        self._clients: list[FaultClient] = []
        self.book: list[Sent] = []
        self.figures = Figures()
        config = folder / "bench.toml"
        config.write_text(_toml(limits or {}, {"grace": 0.3, **(settings or {})}, rows))
        self._options = ("--config", str(config))
        folders = [str(BACKENDS)] if modules is None else [str(modules), str(BACKENDS)]
        self._environment = {"PYTHONPATH": os.pathsep.join(folders), "STUBBORN_JOURNAL": str(self._journal)}
        self.daemon = start(*self._options, environment=self._environment)
        self._later_daemons: list[Daemon] = []
        #: False where the fault is one that GOOD's own connection does not survive.
        self.is_good_to_survive = True
        self.good = Good(self.daemon, self._instrument().resource)

    def daemon_again(self) -> None:
        """The daemon is gone: another one in the same run folder takes its place, and has a GOOD of its own."""
        self.good.ends()
        self.daemon = Daemon(self.daemon.run_dir, *self._options, environment=self._environment)
        self._later_daemons.append(self.daemon)
        self.good = Good(self.daemon, self._instrument().resource)
        self.is_good_to_survive = True

    # Instruments.

    def tcp(self) -> TcpInstrument:
        """Another scripted instrument."""
        instrument = self._instrument()
        self._instruments.append(instrument)
        return instrument

    def watch(self, instrument: TcpInstrument | ScriptedProcess) -> str:
        """An instrument of another kind, whose owner switches it off, is in the book too; its name."""
        self._instruments.append(instrument)
        return instrument.resource

    def stubborn(self, name: str = "a") -> str:
        """A resource of the stubborn library; `name` chooses what is wrong with it, see backends/."""
        return f"TCPIP0::{name}.stubborn::inst0::INSTR"

    def executed(self, resource: str) -> list[str]:
        """All messages that a resource has executed."""
        for instrument in self._instruments:
            if instrument.resource == resource:
                return instrument.history()
        lines = map(json.loads, self._journal.read_text().splitlines())
        return [line["message"] for line in lines if line["resource"] == resource]

    # Clients.

    def client(self, resource: str | None = None, timeout_ms: int | None = None) -> FaultClient:
        """A new connection, with a resource open on it; it is closed at the end of the test at the latest."""
        client = FaultClient(self)
        self._clients.append(client)
        return client if resource is None else client.open(resource, timeout_ms)

    def recovers(self, client: FaultClient, deadline: float = 20.0) -> str:
        """Ask until there is an answer, as a script would that goes on; the time until then is a figure."""
        end = time.monotonic() + deadline
        with self.figures.timed("recovered"):
            for number in range(10_000):
                answer = client.query(f"ECHO? recovered-{id(client)}-{number}")
                if not answer.startswith(".#.error"):
                    return answer
                assert time.monotonic() < end, f"it does not recover: {answer}"
                time.sleep(0.02)
        raise AssertionError

    # The end.

    def closes(self) -> dict[str, Any]:
        """GOOD's report and the book's."""
        try:
            for client in self._clients:
                client.close()
            report = self.good.ends()
            if self.is_good_to_survive:
                assert report["failures"] == [], report
                assert report["asked"] > 0
            self._balance()
            for daemon in self._later_daemons:
                daemon.end()
        finally:
            for daemon in self._later_daemons:
                daemon.kill()
        return report

    def _balance(self) -> None:
        """Fault 25, in every test."""
        for resource in {sent.resource for sent in self.book if sent.resource != SIM}:
            sent = [entry for entry in self.book if entry.resource == resource]
            allowed = Counter(entry.message for entry in sent if entry.effect != "none")
            known = {entry.message for entry in sent}
            executed = Counter(message for message in self._executed_at_the_end(resource) if message in known)
            assert executed <= allowed, f"{resource} executed {executed - allowed} beyond what it may have"

    def _executed_at_the_end(self, resource: str) -> list[str]:
        try:
            return self.executed(resource)
        except OSError:
            return []  # switched off, and its book is gone with it


def _toml(limits: dict[str, float], settings: dict[str, float], rows: str) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    lines += ["[limits]", *(f"{name} = {value}" for name, value in limits.items())]
    lines += ["[[resource]]", "match = 'TCPIP0::*.stubborn::*'", "library = '@stubborn'"]
    lines += ["[[resource]]", "match = 'GPIB0::*'", "library = '@sim'", rows]
    return "\n".join(lines)
