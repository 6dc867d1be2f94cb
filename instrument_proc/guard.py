"""Guards: a child never outlives its front, and two children never drive one instrument.

Runs in the child. What it relies on, all kernel behaviour that works even while C code holds the GIL for ever:

* SIGKILL by O_ASYNC on a death pipe of this child's own, whose write end only the front holds. Armed around calls that
  may hang; disarmed while idle, so that an idle child sees EOF on its pipe and closes its session cleanly.
* SIGALRM's default action bounds the clean close of an orphan.
* A flock per resource, freed when the process is truly gone.
* faulthandler on SIGUSR1: the front asks for the stacks of a hung child before it kills it.
"""

import contextlib
import errno
import faulthandler
import fcntl
import os
import signal
import sys

#: Linux's fcntl to choose the signal of O_ASYNC; not in Python's fcntl module.
_F_SETSIG = 10

#: Seconds an orphan has for viClose.
ORPHAN_CLOSE = 5


class ResourceBusyError(Exception):
    """Another process holds the resource's lock file; the text names its pid."""


def enter_process(log_file: str) -> None:
    """Make this process a proper child: a group of its own, deaf to the terminal, stacks on SIGUSR1 into `log_file`."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # stdout belongs to the daemon's READY line; a VISA library that prints does so on stderr.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    log = open(log_file, "a")  # noqa: SIM115 - open as long as the process lives: faulthandler writes to it
    faulthandler.register(signal.SIGUSR1, file=log, all_threads=True)


class DeathPipe:
    """The read end of a pipe that closes when the front dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)
        self._flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        self.is_armed = False
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, _F_SETSIG, signal.SIGKILL)

    def arm(self) -> None:
        """From now on the front's death is this process's death, at once."""
        self.is_armed = True
        fcntl.fcntl(self._fd, fcntl.F_SETFL, self._flags | os.O_ASYNC)
        # The signal comes for what happens after arming; what happened before is seen here.
        with contextlib.suppress(BlockingIOError):
            if os.read(self._fd, 1) == b"":
                os.kill(os.getpid(), signal.SIGKILL)

    def disarm(self) -> None:
        """The front's death is told by the end of the other pipe."""
        self.is_armed = False
        fcntl.fcntl(self._fd, fcntl.F_SETFL, self._flags)


def bound_orphan_close() -> None:
    """The front is gone: from now on the kernel ends this process after ORPHAN_CLOSE seconds."""
    signal.alarm(ORPHAN_CLOSE)


def lock_resource(lock_file: str) -> int:
    """Take the flock of a resource for as long as this process lives; the file then holds its pid.

    Raises ResourceBusyError if another process has it, OSError if the file cannot be made.
    """
    fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise ResourceBusyError(f"process {holder} still holds this instrument") from error
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
