"""A real child process, started as the front starts one, and the front's end of its pipe in a test's hands."""

import contextlib
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any, Self

import msgspec

from front_proc.process.child import _main_left_out as main_left_out
from instrument_proc import pipe
from instrument_proc.signs import Signs, Step
from instrument_proc.spawn import ChildSettings, run_child
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import PIECE_SIZE, pieces
from tests.support.waiting import DEADLINE, wait_until

_spawn = multiprocessing.get_context("spawn")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:  # closed meanwhile
        return []


class Answer:
    """All that a child reported on one order, in order; and how far it said that it was, at the end."""

    def __init__(self, reports: list[pipe.Report], step: Step) -> None:
        self.reports = reports
        self.step = step

    @property
    def end(self) -> Any:
        return self.reports[-1]

    @property
    def data(self) -> bytes:
        """The pieces and what the end has."""
        pieces = [report.data for report in self.reports if isinstance(report, pipe.Piece)]
        return b"".join([*pieces, self.end.data])

    @property
    def steps(self) -> list[str]:
        """The last sign of life, then the kinds of reports, several pieces being one step."""
        kinds = [self.step.name, *(type(report).__name__ for report in self.reports)]
        return [kind for index, kind in enumerate(kinds) if index == 0 or kind != kinds[index - 1]]


def error_of(answer: Answer) -> tuple[str, Effect, bool]:
    """TOKEN, effect and whether an answer may still come."""
    return answer.end.token, answer.end.effect, answer.end.dirty


class SpawnedChild:
    """One child. Every wait has a deadline."""

    def __init__(self, library: str, folder: Path) -> None:
        self._connection, theirs = _spawn.Pipe()
        death_reader, self.death = _spawn.Pipe(duplex=False)
        abort_reader, self._aborts = _spawn.Pipe(duplex=False)
        self._lock_file = str(folder / "resource.lock")
        self.log_file = folder / "daemon.log"
        self._library = library
        settings = ChildSettings(library, str(self.log_file))
        theirs_all = (theirs, death_reader, abort_reader)
        self.signs = Signs()
        self.process = _spawn.Process(target=run_child, args=(*theirs_all, self.signs, settings), daemon=True)
        with main_left_out():
            self.process.start()
        self.signs.close_descriptor()
        for end in theirs_all:
            end.close()
        self._last_ticket = 0
        self._feeder: threading.Thread | None = None
        self.warm = self.report()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.end()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def send(self, order: pipe.Order) -> None:
        self._connection.send_bytes(pipe.encode(order))

    def report(self) -> Any:
        assert self._connection.poll(DEADLINE), "the child says nothing"
        return pipe.decode_report(self._connection.recv_bytes())

    def has_said_something(self, seconds: float) -> bool:
        return self._connection.poll(seconds)

    def open(
        self,
        resource: str,
        attributes: pipe.Attributes | None = None,
        lock_file: str = "",
        library: str = "",
        events: list[int] | None = None,
    ) -> Any:
        lock_file, library = lock_file or self._lock_file, library or self._library
        self.send(pipe.Open(resource, library, lock_file, attributes or [], events or []))
        return self.report()

    def begin(self, call: str, *arguments: pipe.Argument, data: bytes = b"", attributes: Any = ()) -> int:
        """Order a call without waiting for its reports; its ticket. Long data follows as the child takes it."""
        self._last_ticket += 1
        is_long = len(data) > PIECE_SIZE
        order = pipe.Run(self._last_ticket, call, list(arguments), list(attributes))
        self.send(msgspec.structs.replace(order, **({"following": len(data)} if is_long else {"data": data})))
        if is_long:
            self._feeder = threading.Thread(target=self._feed, args=(data,))
            self._feeder.start()
        return self._last_ticket

    def _feed(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the child was killed before it had taken all
            for piece in pieces(data):
                self.send(pipe.Part(piece))

    def run(self, call: str, *arguments: pipe.Argument, data: bytes = b"", attributes: Any = ()) -> Answer:
        ticket = self.begin(call, *arguments, data=data, attributes=attributes)
        reports = [self.report()]
        while not isinstance(reports[-1], pipe.Done):
            reports.append(self.report())
        assert {report.ticket for report in reports if not isinstance(report, pipe.Happened)} == {ticket}
        self._join_feeder()
        return Answer(reports, self.signs.of(ticket)[0])

    def wait_until(self, step: Step, ticket: int) -> None:
        """It is so far with the order that it has."""
        wait_until(lambda: self.signs.of(ticket)[0] >= step, what=f"order {ticket} is {step.name}")

    def wait_until_it_idles(self) -> None:
        """It has had nothing to do for a while, and does not die with the front any more."""

        def is_armed() -> bool:
            folder = Path(f"/proc/{self.pid}/fdinfo")
            flags = [int(line.split()[1], 8) for file in folder.iterdir() for line in _lines(file) if "flags" in line]
            return any(each & os.O_ASYNC for each in flags)

        wait_until(lambda: not is_armed(), what="the child is idle")

    def _join_feeder(self) -> None:
        if self._feeder is not None:
            self._feeder.join(DEADLINE)
            assert not self._feeder.is_alive(), "the child does not take the data that it was given"

    def abort(self, ticket: int) -> None:
        """Have the call with this ticket cut short."""
        self._aborts.send_bytes(pipe.encode(pipe.Abort(ticket)))

    def hang_up(self) -> None:
        """The front is gone: all pipes close."""
        for end in (self._connection, self.death, self._aborts):
            end.close()

    def wait_until_it_sleeps(self) -> None:
        """It has done what it was told and waits: for an order, or in a call."""
        stat = Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", what="the child sleeps")

    def exit_code(self) -> int:
        """Its exit code, once it has ended."""
        self.process.join(DEADLINE)
        assert self.process.exitcode is not None, "the child lives on"
        return self.process.exitcode

    def end(self) -> None:
        if self.process.exitcode is None:
            self.process.kill()
        self.process.join(DEADLINE)
        self.process.close()
        self._join_feeder()
        for end in (self._connection, self.death, self._aborts):
            if not end.closed:
                end.close()
