"""What `instruments simulate` tells: a line for each message, a record for programs, and the sum at the end.

Runs in the simulating process. Touches its standard output and one file, and no socket.
To add a field to the record: a row in `_fields`, and its line in the documentation.
"""

import contextlib
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from demo_bench.faults import Fault

#: What is told of a message, in characters: it may be a waveform.
LONGEST = 200


class JournalError(Exception):
    """The record cannot be written: the text says which and why."""


@dataclass(frozen=True, slots=True)
class Executed:
    """A message that was executed: what it should be answered, the error that is in it, and the fault that has it."""

    connection: int
    message: str
    answer: bytes | None
    error: str | None
    fault: Fault | None


class Journal:
    """`record`: a file that is written anew, or None. `is_quiet`: no line for each message."""

    def __init__(self, record: Path | None, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._messages = 0
        self._faults: Counter[str] = Counter()
        self._name = record
        try:
            self._record = None if record is None else record.open("w", encoding="utf-8")
        except OSError as error:
            raise JournalError(f"{record} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._record is not None:
            self._record.close()

    def ready(self, resource: str) -> None:
        _print(f"READY {resource}")

    def note(self, executed: Executed) -> None:
        """A message was executed; what it is answered, or not, follows now."""
        now = datetime.now(UTC)
        self._messages += 1
        if executed.fault is not None:
            self._faults[executed.fault.kind] += 1
        if self._record is not None:
            self._write(json.dumps({"time": _in_utc(now), **_fields(executed)}))
        if not self._is_quiet:
            _print(f"{now.astimezone():%H:%M:%S}.{now.microsecond // 1000:03}  {_row(executed)}")

    def is_back(self) -> None:
        """After a crash."""
        if not self._is_quiet:
            now = datetime.now()
            _print(f"{now:%H:%M:%S}.{now.microsecond // 1000:03}  {'-':>3}  it can be reached again")

    def sum_up(self) -> None:
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self._faults.items()))
        _print(f"messages executed: {self._messages}; faults: {faults or 'none'}")

    def _write(self, line: str) -> None:
        assert self._record is not None
        try:
            self._record.write(line + "\n")
            self._record.flush()
        except OSError as error:
            with contextlib.suppress(OSError):  # what could not be written cannot be written now either
                self._record.close()
            raise JournalError(f"{self._name} cannot be written: {error.strerror}") from error


def _fields(executed: Executed) -> dict[str, int | str | None]:
    answer = executed.answer
    return {
        "connection": executed.connection,
        "message": _shortened(executed.message),
        "answer": None if answer is None else _shortened(answer.decode("utf-8", "replace")),
        "error": executed.error,
        "fault": None if executed.fault is None else executed.fault.kind,
    }


def _row(executed: Executed) -> str:
    message = _shortened(executed.message).encode("unicode_escape").decode()
    said = [str(each) for each in (executed.error, executed.fault) if each is not None]
    return f"{executed.connection:>3}  {message:<24}  {', '.join(said) or 'ok'}"


def _in_utc(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def _print(line: str) -> None:
    """Whoever reads may have enough (`| head`): the instrument goes on without."""
    try:
        print(line, flush=True)
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
