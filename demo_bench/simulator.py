"""An instrument that fails by schedule, on loopback TCP: what `instruments simulate` runs until it is interrupted.

Runs in a process of its own. Touches sockets, and the journal. What it is to do about a message comes from `faults`.

    Improvised   an instrument that knows what a schedule's answers say, and takes everything else for a setting
    Simulator    serves one, and carries out the steps of its faults
    run          the whole run

It does not go with `instrument.serve`, which knows no reset and no restart: a real power cut is no orderly close.
To add a step: a class in `faults` and a case in `_perform`.
"""

import asyncio
import contextlib
import itertools
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo_bench.faults import Close, Course, Restart, Send, Step, StopReading, Wait
from demo_bench.generator import RECEIVE_BUFFER, SEGMENT
from demo_bench.instrument import Handler, Instrument, Link
from demo_bench.journal import Executed, Journal
from demo_bench.schedule import Schedule, ScheduleError, read_option, read_schedule
from demo_bench.scpi import Command, ScpiError, block, commands, spellings


class SimulationError(Exception):
    """It cannot go on: the text says why."""


class Improvised(Instrument):
    """Answers as its schedule says. Any other command without `?` is accepted, and its parameter kept as a setting."""

    def __init__(self, schedule: Schedule) -> None:
        self.identity = schedule.identity
        self._answers: dict[str, bytes] = {}
        self._queries: dict[str, str] = {}
        for asked, answer in schedule.answers.items():
            header, _, parameters = " ".join(asked.split()).lstrip(":").partition(" ")
            # A header in small letters has no short form to be told from the long one.
            spelled = spellings(header.upper() if header.islower() else header)
            self._queries |= dict.fromkeys(spelled, spelled[-1])
            self._answers |= {f"{each} {parameters}".strip().upper(): answer.encode() for each in spelled}
        self._kept: dict[str, bytes] = {}
        super().__init__()

    def table(self) -> dict[str, Handler]:
        return super().table() | {"*RST": self._forget} | dict.fromkeys(self._queries, self._improvise)

    async def answer(self, link: Link, message: bytes) -> bytes | None:
        for command in commands(message):
            self._table.setdefault(command.header, self._improvise)
        return await super().answer(link, message)

    def last_error(self) -> ScpiError | None:
        return self._errors[-1] if self._errors else None

    async def _improvise(self, link: Link, command: Command) -> bytes | None:
        in_full = f"{command.header} {' '.join(command.argument.upper().split())}"
        if command.argument and in_full in self._answers:
            return self._answers[in_full]
        is_query = command.header.endswith("?")
        query = command.header if is_query else command.header + "?"
        setting = self._queries.get(query, query)
        if is_query and setting in self._kept:
            return self._kept[setting]
        if command.header in self._answers:
            return self._answers[command.header]
        if is_query:
            raise ScpiError(-113, "Undefined header")
        if command.block or command.argument:
            self._kept[setting] = block(command.block) if command.block else command.argument.encode()
        return None

    async def _forget(self, link: Link, command: Command) -> None:
        self._kept.clear()


class _CrashError(Exception):
    """The instrument is gone for so many seconds, in the middle of what it does."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Simulator:
    """One run of a schedule. All connections share the instrument, its settings, and the count of messages."""

    def __init__(self, schedule: Schedule, seed: int, journal: Journal) -> None:
        self._schedule = schedule
        self._course = Course(schedule.faults, seed)
        self._journal = journal
        self._instrument = Improvised(schedule)
        self._numbers = itertools.count(1)
        self._connections: set[socket.socket] = set()

    async def run(self, port: int) -> None:
        """Serve until cancelled. Raises SimulationError; JournalError in a group."""
        listener = self._bound(port)
        port = listener.getsockname()[1]
        try:
            listener.listen()
            self._journal.ready(f"TCPIP0::127.0.0.1::{port}::SOCKET")
            while True:
                seconds = await self._serve_until_crash(listener)
                # Nobody may find the instrument there who has seen it crash: first the listener, then the connections.
                # One that is bound and does not listen refuses connections, and nobody else gets its port.
                listener.close()
                listener = self._bound(port)
                self._reset_connections()
                self._instrument = Improvised(self._schedule)
                await asyncio.sleep(seconds)
                listener.listen()
                self._journal.is_back()
        finally:
            listener.close()
            self._reset_connections()

    def _bound(self, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if any(fault.kind == "deaf" for fault in self._schedule.faults):
            # Whoever writes to it shall soon find no room, on Linux after some 0.5 MB; see `instrument.listen`.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            if hasattr(socket, "TCP_MAXSEG"):
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            listener.close()
            raise SimulationError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from error
        listener.setblocking(False)
        return listener

    async def _serve_until_crash(self, listener: socket.socket) -> float:
        """Accept connections until a fault ends it all; for how many seconds."""
        loop = asyncio.get_running_loop()
        seconds = 0.0
        try:
            async with asyncio.TaskGroup() as conversations:
                loop.add_reader(listener, self._accept, listener, conversations)
                try:
                    await asyncio.Event().wait()
                finally:
                    loop.remove_reader(listener)
        except* _CrashError as crashes:
            seconds = max(crash.seconds for crash in crashes.exceptions if isinstance(crash, _CrashError))
        return seconds

    def _accept(self, listener: socket.socket, conversations: asyncio.TaskGroup) -> None:
        """Not `sock_accept`: cancelled at the wrong moment it loses a connection, which then just falls silent."""
        with contextlib.suppress(OSError):  # it has left again
            connection, _ = listener.accept()
            self._connections.add(connection)
            conversations.create_task(self._converse(next(self._numbers), connection))

    async def _converse(self, number: int, connection: socket.socket) -> None:
        """Until the other side leaves, or a fault closes the connection; in a crash it stays open for the moment."""
        link = Link(connection)
        with contextlib.suppress(OSError):
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                await _perform(link, await self._execute(number, link, await link.message()))
        self._connections.remove(connection)
        connection.close()

    def _reset_connections(self) -> None:
        """As when the power fails: closing with a linger time of 0 s sends RST and no FIN."""
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        while self._connections:
            with self._connections.pop() as connection, contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def _execute(self, number: int, link: Link, message: bytes) -> Iterator[Step]:
        """The steps that answer a message, which is done and told by then."""
        text = message.decode("utf-8", "replace").strip()
        if not text:
            return iter(())
        before = self._instrument.last_error()
        answer = await self._instrument.answer(link, message)
        error = self._instrument.last_error()
        fault = self._course.fault_for(text, is_answered=answer is not None)
        said = None if error is None or error is before else str(error)
        self._journal.note(Executed(number, text, answer, said, fault))
        return self._course.steps(fault, answer)


async def _perform(link: Link, steps: Iterator[Step]) -> None:
    for step in steps:
        match step:
            case Send(data):
                await link.send(data)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case StopReading():
                await link.stop_reading()
            case Close():
                raise ConnectionAbortedError("closed by a fault")
            case Restart(seconds):
                raise _CrashError(seconds)


# The run.


def schedule_of(file: Path | None, options: Sequence[str]) -> Schedule:
    """What a file says, if there is one, and what options say. These come first. Raises ScheduleError."""
    given = tuple(read_option(option, f"--fault {number}") for number, option in enumerate(options, 1))
    if file is None:
        return Schedule(faults=given)
    try:
        read = read_schedule(file.read_text("utf-8-sig"), str(file))
    except OSError as error:
        raise ScheduleError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScheduleError(f"{file}: not a TOML file: {error}") from error
    return Schedule(read.identity, read.answers, given + read.faults)


def run(schedule: Schedule, port: int, seed: int, journal: Journal) -> None:
    """Run until SIGINT or SIGTERM. Raises SimulationError, or JournalError."""

    async def until_signalled() -> None:
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(NotImplementedError):  # on Windows Ctrl-C becomes KeyboardInterrupt
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await Simulator(schedule, seed, journal).run(port)

    try:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # on Windows not the default
            runner.run(until_signalled())
    except (asyncio.CancelledError, KeyboardInterrupt):
        journal.sum_up()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
