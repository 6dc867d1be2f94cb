"""The audit log and the daemon's own log: structlog's JSON lines, written by a thread of their own.

Runs in the front. A record costs the event loop one append to a queue; a full disk or a stalled file can neither fail
nor delay a request. Records that find the queue full are counted and the gap itself is recorded.
The writer gathers what comes within a few milliseconds: were it woken by each record, it would take the interpreter's
lock from the event loop in the middle of every command.
To rotate a file it is renamed, and then comes `reopen`: what was put before goes to the old one, what follows to a new.

Events of the audit: EVENTS. To add one: a row there and a call of `Audit.record`.
"""

import contextlib
import errno
import io
import os
import queue
import threading
import time
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog

#: event -> what it tells. The reference page is checked against this.
EVENTS = {
    "start": "the daemon serves",
    "stop": "the daemon ends",
    "connect": "a client connected",
    "disconnect": "a client left",
    "rejected": "a connection was closed for what it sent, or because there were too many",
    "open": "a client opened a resource",
    "close": "a client closed a resource",
    "command": "a command ended",
    "confirm": "a client gave its reason for the next message that needs one",
    "confirmed": "a message that needs a reason was let through for the one given",
    "opened": "an instrument's process has its session open",
    "hung": "an instrument's process gave no answer by its deadline",
    "crashed": "an instrument's process ended by itself",
    "killed": "an instrument's process was killed and is gone",
    "wedged": "an instrument's process cannot be killed",
    "restarted": "a new process has the instrument open again",
    "backoff": "an instrument failed again; its next start waits",
    "broken": "an instrument failed too often and is left alone",
    "unreachable": "an instrument could not be reached",
    "closed": "an instrument's process closed its session and ended",
    "gap": "records were lost because the writer fell behind or could not write",
}

#: Records waiting for the writer at most.
QUEUE_LIMIT = 100_000

#: Seconds in which the writer lets records gather, and how many it makes lines of before the event loop has a turn.
GATHER_TIME = 0.005
BATCH = 64


#: What a record tells, or what gives it: the writer's thread then asks for it, some milliseconds later.
Fields = dict[str, Any] | Callable[[], dict[str, Any]]

#: When, what, and all else.
_Record = tuple[float, str, Fields]


def _moment_first(_: Any, __: str, record: MutableMapping[str, Any]) -> dict[str, Any]:
    """When and what come first in the line, for those who read it."""
    return {"time": record.pop("time"), "event": record.pop("event"), **record}


def _json(record: dict[str, Any], **_: Any) -> bytes:
    return msgspec.json.encode(record)


class _WholeLines(io.FileIO):
    """A file that takes lines whole or not at all: a full disk leaves none torn, and none for later."""

    def write(self, lines: Any) -> int:
        """All of `lines`. Raises OSError."""
        begin = os.fstat(self.fileno()).st_size
        left = memoryview(lines)
        try:
            while left:
                left = left[super().write(left) or 0 :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fileno(), begin)
            raise
        return len(lines)


class _Lines:
    """Records as structlog's JSON lines, on their way to a file."""

    def __init__(self) -> None:
        self._text = io.BytesIO()
        self._count = 0
        self._second, self._text_of_second = -1, ""
        self._logger = structlog.wrap_logger(
            structlog.BytesLogger(self._text),
            processors=[_moment_first, structlog.processors.JSONRenderer(serializer=_json)],
        ).bind()

    def __len__(self) -> int:
        return self._count

    def _stamp(self, moment: float) -> str:
        """Seconds of the epoch as RFC 3339 has them: most are of the same second as those before."""
        second, microsecond = divmod(int(moment * 1e6), 10**6)
        if second != self._second:
            self._second, self._text_of_second = second, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
        return f"{self._text_of_second}.{microsecond:06d}Z"

    def add(self, moment: float, event: str, fields: Fields) -> bool:
        """One more. False if that cannot be: a field that JSON does not know, a time that no calendar has."""
        try:
            self._logger.msg(event, time=self._stamp(moment), **(fields() if callable(fields) else fields))
        except Exception:  # whoever gives the fields may do anything: it costs this record, not the writer
            return False
        self._count += 1
        return True

    def take(self) -> bytes:
        """All of them, which are no longer here."""
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        self._count = 0
        return text


class LogWriter:
    """A file that a thread writes: `put` never blocks and never fails."""

    def __init__(self, file: Path, followers: Sequence[int] = ()) -> None:
        """Open `file` for appending, readable by its owner only. Raises OSError.

        `followers` are file descriptors that are to lead to the file as well: a daemon's stdout and stderr.
        """
        self.path = file
        self._followers = followers
        self._take(self._opened())
        #: One for good: structlog keeps a lock for each that it was ever given.
        self._lines = _Lines()
        self._records: queue.SimpleQueue[_Record | Future[None] | None] = queue.SimpleQueue()
        #: Records that found the queue full, ever; those that came to the writer and no further; those told.
        self._dropped = 0
        self._unwritten = 0
        self._told = 0
        self._thread = threading.Thread(target=self._write, name=f"writer of {file.name}", daemon=True)
        self._thread.start()

    def put(self, event: str, fields: Fields) -> None:
        """One record, stamped now."""
        if self._records.qsize() >= QUEUE_LIMIT:
            self._dropped += 1
        else:
            self._records.put((time.time(), event, fields))

    def reopen(self) -> Future[None]:
        """Go on in a file of the same name, which may be a new one by now; the future says when that is done.

        It raises OSError if the file cannot be opened, or the writer is too far behind; the old one is then kept.
        """
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # whoever waits may give up, and the writer will still answer
        if self._records.qsize() >= QUEUE_LIMIT:
            done.set_exception(OSError(errno.ENOBUFS, "its writer is too far behind", str(self.path)))
        else:
            self._records.put(done)
        return done

    def close(self, limit: float = 2.0) -> None:
        """Write what waits, for `limit` seconds at most."""
        self._records.put(None)
        self._thread.join(limit)

    def _opened(self) -> _WholeLines:
        self.path.touch(mode=0o600, exist_ok=True)
        return _WholeLines(self.path, "ab")

    def _take(self, file: _WholeLines) -> None:
        self._file = file
        for descriptor in self._followers:
            os.dup2(file.fileno(), descriptor)

    def _write(self) -> None:
        try:
            is_over = False
            while not is_over:
                record = self._records.get()
                time.sleep(GATHER_TIME)
                is_over = self._write_from(record)
        finally:
            self._file.close()

    def _write_from(self, record: _Record | Future[None] | None) -> bool:
        """Write all that waits, of which `record` is the first. Is it the end?"""
        lines = self._lines
        while record is not None:
            if isinstance(record, Future):
                self._write_all()
                self._change_file(record)
            elif not lines.add(*record):
                self._unwritten += 1
            if len(lines) >= BATCH:
                self._write_all()
            try:
                record = self._records.get_nowait()
            except queue.Empty:
                break
        self._write_all()
        return record is None

    def _change_file(self, done: Future[None]) -> None:
        try:
            file = self._opened()
        except OSError as error:
            done.set_exception(error)
            return
        self._file.close()
        self._take(file)
        done.set_result(None)

    def _write_all(self) -> None:
        """What was gathered: into the file, or it is lost like what found the queue full."""
        count, text = len(self._lines), self._lines.take()
        told, lost = self._told, self._dropped + self._unwritten
        if lost > told and self._lines.add(time.time(), "gap", {"lost": lost - told}):
            told, text = lost, self._lines.take() + text
        try:
            self._file.write(text)
        except OSError:
            self._unwritten += count
        else:
            self._told = told


class Audit:
    """What happened, for the record."""

    def __init__(self, file: Path) -> None:
        """Raises OSError."""
        self._writer = LogWriter(file)

    def record(self, event: str, **fields: Any) -> None:
        """One line. `event` is a row of EVENTS."""
        assert event in EVENTS, event
        self._writer.put(event, fields)

    def note(self, event: str, fields: Callable[[], dict[str, Any]]) -> None:
        """`record` for what comes with every command: its fields are asked for by the writer's thread."""
        assert event in EVENTS, event
        self._writer.put(event, fields)

    def reopen(self) -> Future[None]:
        """As `LogWriter.reopen`."""
        return self._writer.reopen()

    def close(self) -> None:
        """Flush, bounded."""
        self._writer.close()
