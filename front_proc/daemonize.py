"""Becoming a daemon, and being the only one in a run folder.

Linux. The readiness pipe lets the command return only when the daemon serves, or fail with the reason why it does not.
"""

import contextlib
import fcntl
import os
import sys
from pathlib import Path
from typing import NoReturn


class StartError(Exception):
    """The daemon cannot start: the text says why and what to do."""


def make_run_folder(folder: Path) -> None:
    """The run folder and its locks folder, for their owner only. Raises StartError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"the run folder {folder} cannot be made: {error.strerror}") from error
    try:
        (folder / "locks").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StartError(f"{error.filename} cannot be made: {error.strerror}; --run-dir takes another") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartError(f"the run folder {folder} is not writable; --run-dir takes another")


class PidFile:
    """A file that says who runs. Its flock is what counts: it is never unlinked, and a stale number means nothing."""

    def __init__(self, file: Path) -> None:
        """Take it. Raises StartError if another daemon has it."""
        try:
            self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"{file} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._fd, 64).decode("ascii", "replace").split()
            pid = holder[0] if holder else "unknown"
            raise StartError(
                f"already running: process {pid} uses the run folder {file.parent}; --run-dir takes another"
            ) from error

    def write(self, address: str) -> None:
        """Say who runs, and where it listens."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()} {address}\n".encode(), 0)


class Readiness:
    """How a start tells its outcome: to the terminal, or over a pipe to the command that waits for it."""

    def ready(self, line: str, remarks: str = "") -> None:
        """It serves; `remarks` are lines for stderr."""
        sys.stderr.write(remarks)
        sys.stderr.flush()
        sys.stdout.write(line)
        sys.stdout.flush()

    def failed(self, code: int, reason: str) -> None:
        """It does not, and the command shall exit with `code`, from 1 to 9."""
        sys.stderr.write(reason)
        sys.stderr.flush()


class _OverPipe(Readiness):
    """The outcome is one digit, the command's exit code, and what the command prints: remarks, NUL, and the rest."""

    def __init__(self, writer: int) -> None:
        self._writer = writer

    def ready(self, line: str, remarks: str = "") -> None:
        self._tell(0, f"{remarks}\0{line}")

    def failed(self, code: int, reason: str) -> None:
        self._tell(code, reason)

    def _tell(self, code: int, words: str) -> None:
        # Whoever waited may have been interrupted meanwhile; what becomes of the daemon does not depend on that.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._writer, f"{code}{words}".encode())
        os.close(self._writer)


def go_to_background(log_file: Path) -> Readiness:
    """Become a daemon by a double fork; only the daemon returns.

    The process that was called waits for the outcome, prints it, and exits: with 0 if the daemon serves, else with the
    code that the daemon gives. From here on nothing of the caller's is held: who reads its output to the end must not
    wait for the daemon's end. A log file that cannot be written is such an outcome.
    """
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        _await_outcome(reader)
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    readiness = _OverPipe(writer)
    try:
        _leave_the_terminal(log_file)
    except OSError as error:
        readiness.failed(1, f"instrument-daemon: {log_file} cannot be written: {error.strerror}\n")
        os._exit(1)
    return readiness


def _await_outcome(reader: int) -> NoReturn:
    with os.fdopen(reader) as pipe:
        code, words = pipe.read(1), pipe.read()
    if code == "0":
        remarks, _, line = words.partition("\0")
        sys.stderr.write(remarks)
        sys.stderr.flush()
        sys.stdout.write(line)
        sys.stdout.flush()
        os._exit(0)
    sys.stderr.write(words or "the daemon ended while it started; its log says more\n")
    sys.stderr.flush()
    os._exit(int(code or 1))


def _leave_the_terminal(log_file: Path) -> None:
    """What is printed goes to the log from now on. Raises OSError."""
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(nothing)
    os.close(log)
