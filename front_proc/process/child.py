"""The mechanics of one child process as the front sees it: its pipe, its pidfd, signals. No policy.

Runs in the front and never blocks it: the pipe is a transport of the event loop and frames are put together here;
death is told by the pidfd; nothing is ever joined. `Process.start` takes 1 to 2 ms and is kept off the request path by
the pool of warm spares.

A child tells its owner three things: `on_report` (a message), `on_garbage` (it sent what is none), `on_death` (the
process is gone and its pipe drained), each exactly as it happens; the owner may change, as when a spare is taken.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import cast

import msgspec
import psutil

from front_proc.serving.spool import LongMessage
from instrument_proc import pipe
from instrument_proc.signs import Signs
from instrument_proc.spawn import ChildSettings, run_child
from pyvisa_daemon.framing import FrameError, FrameReader, keep_freed_memory, pieces

#: Seconds between asking a hung child for its stacks and killing it; a SIGKILL in the same instant loses them.
DUMP_TIME = 0.01

#: Seconds after a death that its pipe may still be drained: a grandchild may keep it open.
DRAIN_TIME = 0.2

#: Seconds that a process may live on without its pipe: a large one that dies closes that first.
SILENT_TIME = 1.0

#: Seconds by which a timer may be late before the front itself must have been stopped.
LATE = 0.2

#: Bytes on their way to a child that are held here.
WRITE_HIGH = 1 << 20

_spawn = multiprocessing.get_context("spawn")

#: One buffer for all pipes: what `recv_into` filled is used up before anything else runs.
_buffer = memoryview(bytearray(1 << 18))

keep_freed_memory()


class ChildProcess(asyncio.BufferedProtocol):
    """One child. Made by `start_child`."""

    def __init__(self, settings: ChildSettings) -> None:
        ours, theirs = _spawn.Pipe()
        death_reader, self._death = _spawn.Pipe(duplex=False)
        abort_reader, self._abort = _spawn.Pipe(duplex=False)
        theirs_all = (theirs, death_reader, abort_reader)
        try:
            #: How far it is with its order; they outlive it.
            self.signs = Signs()
            self._process = _spawn.Process(target=run_child, args=(*theirs_all, self.signs, settings), daemon=True)
            try:
                with _main_left_out():
                    self._process.start()
            except BaseException:
                self.signs.end()
                raise
            finally:
                self.signs.close_descriptor()
        except BaseException:
            for end in (ours, self._death, self._abort, *theirs_all):
                end.close()
            raise
        # Our copies of the child's ends must go, or its death would give no EOF and ours no signal.
        for end in theirs_all:
            end.close()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self._pipe: Connection = ours
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # no descriptor left for it: then it must not be left over either
            self._process.kill()
            self._process.join()
            self.signs.end()
            for end in (ours, self._death, self._abort):
                end.close()
            raise
        self._frames = FrameReader()
        self._is_garbled = False
        self._transport: asyncio.Transport | None = None
        #: What is left of a long message, and whether the pipe is full of it.
        self._following: Iterator[bytes] = iter(())
        self._is_full = False
        self._is_dead = False
        self._is_drained = False
        self._is_told = False
        #: Once it is dead: its exit code, negative for a signal.
        self.exit_code: int | None = None
        #: Set when the process is gone.
        self.gone = asyncio.Event()
        self.on_report: Callable[[pipe.Report], None] = _ignore
        self.on_garbage: Callable[[str], None] = _ignore
        self.on_death: Callable[[], None] = lambda: None

    async def connect(self) -> None:
        """Hand pipe and pidfd to the event loop."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, self._died)
        ours = socket.socket(fileno=os.dup(self._pipe.fileno()))
        self._pipe.close()
        await loop.connect_accepted_socket(lambda: self, ours)

    def send(self, order: pipe.Order) -> None:
        """Give the child an order. One to a dead child is dropped: its death is told."""
        if self._transport is not None:
            self._transport.write(pipe.encode_framed(order))

    def run(self, order: pipe.Run, data: bytes | LongMessage) -> None:
        """`send` for a Run with its data: what is too long for one frame follows as fast as the child takes it."""
        if isinstance(data, bytes) and len(data) <= 1 << 16:
            self.send(msgspec.structs.replace(order, data=data) if data else order)
            return
        self.send(msgspec.structs.replace(order, following=len(data)))
        self._following = pieces(data) if isinstance(data, bytes) else data.pieces()
        self._feed()

    def _feed(self) -> None:
        try:
            while not self._is_full and (piece := next(self._following, None)) is not None:
                self.send(pipe.Part(piece))
        except OSError as error:  # it has been told of more than it will get: nothing can be said to it any more
            self._following = iter(())
            self.on_garbage(f"its message cannot be read from the disk: {error.strerror}")

    def pause(self) -> None:
        """Take no more reports for now: whoever they are for does not keep up."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take reports again."""
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def abort(self, ticket: int) -> None:
        """Have it cut short the order with this number, by a device clear, if it still has it."""
        if not self._is_dead:
            with contextlib.suppress(OSError):  # it dies: nothing is left to be cut short
                self._abort.send_bytes(pipe.encode(pipe.Abort(ticket)))

    def terminate(self) -> None:
        """SIGTERM; and SIGCONT, for a stopped process takes no other signal."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def dump_and_kill(self) -> None:
        """Ask for the stacks of all its threads, then kill it."""
        self._signal(signal.SIGUSR1)
        asyncio.get_running_loop().call_later(DUMP_TIME, self.kill)

    def kill(self) -> None:
        """SIGKILL to it, and to the group that it made if it still leads it."""
        if self._is_dead:
            return
        self._kill_group()
        self._signal(signal.SIGKILL)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)

    @property
    def is_alive(self) -> bool:
        return not self._is_dead

    def describe_death(self) -> str:
        """How it ended, in words."""
        code = self.exit_code
        if code is None or code >= 0:
            return f"exited with code {code}"
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"

    def describe_state(self) -> str:
        """What the kernel says of it while it lives: its state, and where in the kernel it waits."""
        try:
            process = psutil.Process(self.pid)
            state = process.status()
            waits = Path(f"/proc/{self.pid}/wchan").read_text("ascii", "replace")
        except (psutil.Error, OSError):
            return "gone"
        return f"{state} in {waits}" if waits not in ("", "0") else state

    def _signal(self, number: signal.Signals) -> None:
        if not self._is_dead:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    # The transport's callbacks.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(WRITE_HIGH)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._feed()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_garbled:
            return  # nothing that it says can be believed any more
        garbage: Exception | None = None
        try:
            messages: Sequence[bytes | memoryview] = self._frames.feed(_buffer[:nbytes])
        except FrameError as error:
            garbage, messages = error, error.frames  # what it said before is as good as ever
        try:
            for message in messages:
                self.on_report(pipe.decode_report(message))
        except pipe.DecodeError as error:
            garbage = error
        if garbage is not None:
            self._is_garbled = True
            self.on_garbage(str(garbage))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._is_drained = True
        self._transport = None
        if not self._is_dead:
            asyncio.get_running_loop().call_later(SILENT_TIME, self._judge_silence)
        self._tell_death()

    def _judge_silence(self) -> None:
        if not self._is_dead:
            self.on_garbage("it closed its pipe and lives on")

    # The process's end.

    def _died(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._kill_group()  # what it started may hold the instrument, and its lock
        self._is_dead = True
        # Reaps it. multiprocessing may have done so already, at the start of another process; it kept the code.
        self.exit_code = self._process.exitcode
        self._death.close()
        self._abort.close()
        self.signs.end()
        self.gone.set()
        if self._is_drained:
            self._tell_death()
        else:
            loop.call_later(DRAIN_TIME, self._give_up_draining)

    def _give_up_draining(self) -> None:
        if not self._is_drained:
            self._is_drained = True
            if self._transport is not None:
                self._transport.abort()
            self._tell_death()

    def _tell_death(self) -> None:
        if self._is_dead and self._is_drained and not self._is_told:
            self._is_told = True
            with contextlib.suppress(ValueError):  # reaped by somebody else
                self._process.close()
            self.on_death()


def _ignore(_: object) -> None:
    pass


@contextlib.contextmanager
def _main_left_out() -> Iterator[None]:
    """Within this, a process that is started does not first execute our main module, in which it would find nothing
    that it needs: the installed command's imports half of the front, 4 MB and 0.04 s of processor time."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


async def start_child(settings: ChildSettings) -> ChildProcess:
    """A new child, not yet warm. Raises OSError if the machine has no process or descriptor left."""
    child = ChildProcess(settings)
    try:
        await child.connect()
    except BaseException:  # nobody would ever know of it
        child.kill()
        raise
    return child
