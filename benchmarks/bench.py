"""What a measure is given: a folder for this run, daemons to measure, and `check`, which counts wrong answers.

A daemon is started as its users start it, supervisor.py in a process of its own, with its audit log and its deadlines,
and with bytecode that is there.
"""

import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psutil

from benchmarks.pinning import pinned
from benchmarks.processes import writing_bytecode

ROOT = Path(__file__).resolve().parents[1]
READY = re.compile(r"READY (?P<host>.+):(?P<port>\d+) pid=(?P<pid>\d+)")
TLS = re.compile(r"TLS (?P<address>.+) certificate=(?P<certificate>.+) sha256=.+")

#: Seconds until a daemon serves, and until it is gone.
START_TIME = 60.0
END_TIME = 20.0

#: So many wrong answers are told in words; all are counted.
TOLD = 50


class DaemonUnderTest:
    """A daemon that serves. `address` is `host:port`; `pid` the front's; `tls` what a PyVISA program is told of its TLS
    port, if it has one."""

    def __init__(self, process: "subprocess.Popen[str]", run_dir: Path) -> None:
        self.process = process
        self.run_dir = run_dir
        line = _first_line(process)
        tls = TLS.fullmatch(line)
        self.tls = f"{tls['address']}?ca_file={tls['certificate']}" if tls else ""
        if tls and process.stdout is not None:
            line = process.stdout.readline().rstrip("\n")  # said in the same moment
        ready = READY.fullmatch(line)
        if ready is None:
            raise RuntimeError("the daemon did not start; what it said is above")
        self.host, self.port, self.pid = ready["host"], int(ready["port"]), int(ready["pid"])
        self.address = f"{self.host}:{self.port}"

    def children(self) -> list[psutil.Process]:
        """All processes below the front: instruments, the warm spare, and what they started."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def pids(self) -> list[int]:
        """All of its processes."""
        return [self.pid, *(child.pid for child in self.children())]

    def end(self) -> None:
        """`.!.end_daemon`, and wait until it has ended."""
        with suppress(OSError), socket.create_connection((self.host, self.port), END_TIME) as connection:
            connection.sendall(b".!.end_daemon\n")
            while connection.recv(4096):
                pass
        self.process.wait(END_TIME)


class Bench:
    """One run. `is_quick`: two minutes for everything. `peers`: only these are compared, and direct; None: all.

    `wrong`: what was not as it must be, in words; `missing`: peers that are not there, and why.
    """

    def __init__(
        self,
        folder: Path,
        is_quick: bool = False,
        peers: Collection[str] | None = None,
        voice: TextIO | None = None,
    ) -> None:
        self.folder = folder
        self.is_quick = is_quick
        self.peers = peers
        self.wrong: list[str] = []
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}
        self.wrong_count = 0
        self.checked = 0
        self._voice = voice or sys.stderr
        self._daemons = 0
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Progress, for whoever waits."""
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=self._voice, flush=True)

    def note(self, text: str) -> None:
        """Something that whoever reads the report must know. Said once."""
        if text not in self.notes:
            self.notes.append(text)

    def check(self, ok: bool, what: str) -> None:
        """`what` must be so; if it is not, the run fails in the end."""
        self.checked += 1
        if not ok:
            self.wrong_count += 1
            if len(self.wrong) < TOLD:
                self.wrong.append(what)
                self.say(f"WRONG: {what}")

    @contextmanager
    def daemon(self, *options: str, cpu: int | None = None) -> Iterator[DaemonUnderTest]:
        """A daemon with these options of supervisor.py, it and its processes on `cpu`; ended with the context."""
        self._daemons += 1
        run_dir = self.folder / f"run{self._daemons}"
        command = [sys.executable, "supervisor.py", "--port", "0", "--run-dir", str(run_dir), *options]
        with pinned(cpu):
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=writing_bytecode(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        family: list[psutil.Process] = []
        try:
            daemon = DaemonUnderTest(process, run_dir)
            yield daemon
            family = daemon.children()
            daemon.end()
        finally:
            _kill_what_is_left(process, family)


def _first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().rstrip("\n") if selector.select(START_TIME) else ""


def _kill_what_is_left(process: "subprocess.Popen[str]", family: list[psutil.Process]) -> None:
    if process.stdout is not None:
        process.stdout.close()
    with suppress(psutil.NoSuchProcess):
        family += psutil.Process(process.pid).children(recursive=True)
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    if process.poll() is None:
        process.kill()
    process.wait()
