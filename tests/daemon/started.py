"""The command as users start it: to its end, or into the background."""

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

from tests.support.daemon import MARKER, ROOT, Daemon
from tests.support.waiting import wait_until

READY = re.compile(r"READY (127\.0\.0\.1):(\d+) pid=(\d+)\n")


def start(*options, environment=None, **keywords):
    """Run the command to its end; with --daemonize that is soon."""
    return subprocess.run(
        [sys.executable, "supervisor.py", *map(str, options)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        **keywords,
    )


class BackgroundDaemon(Daemon):
    """One that was started with --daemonize: a process that is nobody's child. Ends with its `with`."""

    def __init__(self, run_dir: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.run_dir = run_dir
        self.token = ""
        self._marker = uuid.uuid4().hex
        self.started = start(
            "--daemonize",
            "--port",
            0,
            "--run-dir",
            run_dir,
            *options,
            environment={MARKER: self._marker, **(environment or {})},
        )
        ready = READY.fullmatch(self.started.stdout)
        assert ready is not None, self.started
        self.host, self.port, self.pid = ready[1], int(ready[2]), int(ready[3])

    def __enter__(self) -> "BackgroundDaemon":
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        try:
            if kind is None:
                self.end()
        finally:
            self.kill()

    @property
    def is_running(self) -> bool:
        return psutil.pid_exists(self.pid) and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE

    def end(self) -> None:
        """`.!.end_daemon`, if it has not ended; then nothing of it is left."""
        if self.is_running:
            with self.text() as client:
                client.send(b".!.end_daemon\n")
                assert client.everything() == b"ended\n"
        self.wait()
        self.assert_nothing_left()

    def wait(self) -> None:
        """Until it has ended."""
        wait_until(lambda: not self.is_running, what=f"{self.pid} to end")

    def kill(self) -> None:
        for process in self.family():
            process.kill()
