"""A real daemon in a process of its own, on a free port, with a temporary run folder.

Everything it starts inherits a marker in its environment, so that what it leaves behind is found wherever it went.
"""

import json
import os
import re
import selectors
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

from front_proc.record.log_writer import GATHER_TIME
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until

ROOT = Path(__file__).resolve().parents[2]
MARKER = "PYVISA_DAEMON_TESTED"
READY = re.compile(r"READY (?P<host>.+):(?P<port>\d+) pid=(?P<pid>\d+)")
TLS = re.compile(r"TLS (?P<host>.+):(?P<port>\d+) certificate=(?P<certificate>.+) sha256=(?P<sha256>[0-9A-F:]+)")
START_DEADLINE = 60.0


class Daemon:
    """Started by its constructor, ended by `end`. `options` are those of supervisor.py."""

    def __init__(self, run_dir: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.run_dir = run_dir
        #: What its clients here show first, where it lets nobody in without.
        self.token = ""
        self._marker = uuid.uuid4().hex
        self._said = run_dir.with_name(run_dir.name + ".stderr")
        command = [sys.executable, "supervisor.py", "--port", "0", "--run-dir", str(run_dir), *options]
        with self._said.open("w") as stderr:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, MARKER: self._marker, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                bufsize=0,  # what has come is seen by select()
            )
        line = self._line()
        #: What it says of its TLS port: host, port, certificate, sha256; None if it has none.
        self.tls = TLS.fullmatch(line)
        ready = READY.fullmatch(self._line() if self.tls else line)
        if ready is None:
            self.kill()
            raise AssertionError(f"the daemon did not start:\n{self.stderr}")
        self.host, self.port, self.pid = ready["host"], int(ready["port"]), int(ready["pid"])

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def stderr(self) -> str:
        return self._said.read_text()

    def text(self) -> TextClient:
        """A new connection."""
        client = TextClient(self.host, self.port)
        if self.token:
            reply = client.ask(f".#.auth {self.token}")
            assert reply.startswith("ok "), reply
        return client

    def status(self) -> dict[str, Any]:
        with self.text() as client:
            status: dict[str, Any] = client.ask_json(".#.status")
            return status

    def resource(self, name: str) -> dict[str, Any]:
        """What `status` says of one resource; empty if it says nothing."""
        return next((row for row in self.status()["resources"] if row["resource"] == name), {})

    def audit(self, **fields: Any) -> list[dict[str, Any]]:
        """The audit log's records so far, or those of them in which all of `fields` are as given."""
        time.sleep(4 * GATHER_TIME)  # what was put by now is written, unless the machine is very busy
        path = self.run_dir / "audit.jsonl"
        written, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")  # the rest comes later
        records = [json.loads(line) for line in written.splitlines()]
        return [record for record in records if all(record.get(name) == value for name, value in fields.items())]

    def wait_for_audit(self, **fields: Any) -> dict[str, Any]:
        """The first audit record in which all of `fields` are as given, as soon as it is there."""
        return wait_until(lambda: self.audit(**fields), what=f"an audit record with {fields}")[0]

    def family(self) -> list[psutil.Process]:
        """The daemon and whatever it started that lives on, wherever that went; zombies are gone."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def children(self) -> list[psutil.Process]:
        return [process for process in self.family() if process.pid != self.pid]

    def end(self) -> None:
        """`.!.end_daemon`; then the daemon exits with code 0 and nothing of it is left."""
        if self.process.poll() is None:
            with self.text() as client:
                client.send(b".!.end_daemon\n")
                reply = client.everything()
            assert reply == b"ended\n", reply
            assert self.process.wait(DEADLINE) == 0
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        wait_until(lambda: not self.family(), what=f"no process left, but there is {self.family()}")

    def kill(self) -> None:
        """Whatever is left of it."""
        if self.process.stdout is not None:
            self.process.stdout.close()
        for process in self.family():
            process.kill()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)

    def _line(self) -> str:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(START_DEADLINE):
                return ""
        return self.process.stdout.readline().decode().rstrip("\n")

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            is_marked = process.environ().get(MARKER) == self._marker
            return is_marked and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False
