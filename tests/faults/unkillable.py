"""Processes that SIGKILL does not end, in three ways that ask different things of the machine.

    DeadFilesystem   a FUSE filesystem that answers nothing: whoever looks a file up there sleeps in the kernel (state
                     D) until it is released, as in a driver or on a network disk that is gone. Root and /dev/fuse
    Freezer          a frozen control group of version 1 (in version 2, SIGKILL ends a frozen process). Root
    ExitTrace        held by a tracer on its way out. Nothing but leave to trace one's own

A child gets stuck by the stubborn library's `message`; `hold(pid)` makes that process unkillable then, `release()` lets
it die. Use each in a `with`: whatever is held is released at its end. WAYS has those that this machine offers.
"""

import contextlib
import ctypes
import os
import select
import struct
import threading
from pathlib import Path
from typing import Self

from tests.support.waiting import DEADLINE, wait_until

_libc = ctypes.CDLL(None, use_errno=True)

_FREEZER = Path("/sys/fs/cgroup/freezer")
_TRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")

#: linux/capability.h
_CAP_SYS_PTRACE, _CAP_SYS_ADMIN = 19, 21

#: sys/mount.h, sys/ptrace.h
_MNT_DETACH = 2
_PTRACE_SEIZE, _PTRACE_O_TRACEEXIT = 0x4206, 0x40

#: linux/fuse.h: the headers of a request and of its answer, the answer to FUSE_INIT since 7.23, and any request's size.
_REQUEST, _ANSWER, _INIT_ANSWER = struct.Struct("=IIQ"), struct.Struct("=IiQ"), struct.Struct("=IIIIHHIIHH32x")
_REQUEST_SIZE = 1 << 17


class Way:
    """What all three have in common."""

    #: What has the stubborn library get stuck, or wait to be held.
    message = "HANG-FREE"

    def __init__(self, folder: Path) -> None:
        """`folder` is a temporary one of the test's. Raises OSError if the machine refuses after all."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()

    def hold(self, pid: int) -> None:
        """From now on SIGKILL does not end it."""
        raise NotImplementedError

    def release(self) -> None:
        """From now on it does; also if nothing is held."""
        raise NotImplementedError


class DeadFilesystem(Way):
    @staticmethod
    def is_there() -> bool:
        return _has_capability(_CAP_SYS_ADMIN) and os.access("/dev/fuse", os.R_OK | os.W_OK)

    def __init__(self, folder: Path) -> None:
        mount = folder / "dead"
        mount.mkdir()
        self._device: int | None = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        _checked(_libc.mount(b"dead", os.fsencode(mount), b"fuse", 0, options.encode()))
        # From now on it is nobody's but ours, and gone with this process, however that ends.
        self._root = os.open(mount, os.O_PATH | os.O_DIRECTORY)
        _checked(_libc.umount2(os.fsencode(mount), _MNT_DETACH))
        _, _, unique = _REQUEST.unpack_from(self._next_request())
        answer = _INIT_ANSWER.pack(7, 31, 1 << 16, 0, 12, 9, 1 << 16, 1, 0, 0)
        os.write(self._device, _ANSWER.pack(_ANSWER.size + len(answer), 0, unique) + answer)
        self.message = f"STAT /proc/{os.getpid()}/fd/{self._root}/file"

    def hold(self, pid: int) -> None:
        """A question that nobody has taken yet would be withdrawn by SIGKILL."""
        self._next_request()

    def _next_request(self) -> bytes:
        assert self._device is not None
        assert select.select([self._device], [], [], DEADLINE)[0], "nobody asks the filesystem"
        return os.read(self._device, _REQUEST_SIZE)

    def release(self) -> None:
        if self._device is not None:
            os.close(self._device)  # all that is asked there fails now
            os.close(self._root)
            self._device = None


class Freezer(Way):
    @staticmethod
    def is_there() -> bool:
        return os.access(_FREEZER / "cgroup.procs", os.W_OK)

    def __init__(self, folder: Path) -> None:
        self._group = _FREEZER / f"unkillable-{os.getpid()}"
        self._group.mkdir()

    def hold(self, pid: int) -> None:
        self._write("cgroup.procs", str(pid))
        self._write("freezer.state", "FROZEN")
        wait_until(lambda: self._read("freezer.state") == "FROZEN", what="it is frozen")

    def release(self) -> None:
        if self._group.exists():
            self._write("freezer.state", "THAWED")
            for pid in self._read("cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    (_FREEZER / "cgroup.procs").write_text(pid)
            wait_until(lambda: not self._read("cgroup.procs"), what="nobody is in the group")
            self._group.rmdir()

    def _read(self, file: str) -> str:
        return (self._group / file).read_text().strip()

    def _write(self, file: str, text: str) -> None:
        (self._group / file).write_text(text)


class ExitTrace(Way):
    @staticmethod
    def is_there() -> bool:
        scope = int(_TRACE_SCOPE.read_text()) if _TRACE_SCOPE.exists() else 0
        return scope < 2 or (scope == 2 and _has_capability(_CAP_SYS_PTRACE))

    def __init__(self, folder: Path) -> None:
        self._release = threading.Event()
        self._tracer: threading.Thread | None = None

    def hold(self, pid: int) -> None:
        results: list[OSError | None] = []
        self._tracer = threading.Thread(target=self._trace, args=(pid, results), daemon=True)
        self._tracer.start()
        (error,) = wait_until(lambda: results)
        if error is not None:
            raise error

    def _trace(self, pid: int, results: list[OSError | None]) -> None:
        """The end of the thread that traces is the end of the trace."""
        try:
            _checked(_libc.ptrace(_PTRACE_SEIZE, pid, None, ctypes.c_void_p(_PTRACE_O_TRACEEXIT)))
        except OSError as error:
            results.append(error)
        else:
            results.append(None)
            self._release.wait()

    def release(self) -> None:
        self._release.set()
        if self._tracer is not None:
            self._tracer.join()


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return bool(effective >> number & 1)


#: The last is the emergency way: it leaves a process in no state that a laboratory knows.
WAYS: list[type[Way]] = [way for way in (DeadFilesystem, Freezer, ExitTrace) if way.is_there()]
