"""A log that a thread of its own writes: the audit log, and the daemon's own.

Runs in the front. A record costs the event loop one append to a queue; a full disk or a stalled file can neither fail
nor delay a request. Records that find the queue full are counted and the gap itself is recorded.
The writer gathers what comes within a few milliseconds: were it woken by each record, it would take the interpreter's
lock from the event loop in the middle of every command.
To rotate a file somebody renames it, and then comes `reopen`: what was put before goes to the old one, what follows to
a new. Or the writer rotates it by itself, before a batch that would make it too big. With a chain, each line says which
one it follows, over all files; only what was written counts.
"""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from front_proc.record.log_file import LogFile, Rotation, is_torn, resumed, rotate
from front_proc.record.log_lines import Fields, LogLines
from pyvisa_daemon.audit_chain import Chain

#: Records waiting for the writer at most, and from how many on it has failed to keep up.
QUEUE_LIMIT = 100_000
QUEUE_HIGH = QUEUE_LIMIT * 9 // 10

#: From how many on nobody is read from who puts more of them there than any instrument would let through.
QUEUE_SLOW = QUEUE_LIMIT // 10

#: Seconds in which the writer lets records gather, and how many it makes lines of before the event loop has a turn.
GATHER_TIME = 0.005
BATCH = 64

#: Seconds between attempts to write again when no record comes, and until a write that does not end is a failure.
RETRY_TIME = 1.0
STALL_TIME = 5.0

#: Seconds after a rotation that failed until the next attempt: till then the file grows.
ROTATION_RETRY_TIME = 60.0

#: When, what, and all else.
_Record = tuple[float, str, Fields]

_NEVER = Rotation()


def _untold(event: str, fields: dict[str, Any]) -> None:
    """For a log of which nobody else needs to know anything."""


class LogWriter:
    """A file that a thread writes: `put` never blocks and never fails."""

    def __init__(
        self,
        file: Path,
        followers: Sequence[int] = (),
        *,
        chain: Chain | None = None,
        rotation: Rotation = _NEVER,
        tell: Callable[[str, dict[str, Any]], None] = _untold,
    ) -> None:
        """Open `file` for appending, readable by its owner only. Raises OSError.

        `followers` are file descriptors that are to lead to the file as well: a daemon's stdout and stderr. `chain`
        is where a chain begins if no file goes before. `tell` is told of anchors and troubles, in any thread.
        """
        self.path = file
        self.chain = chain
        self._followers = followers
        self._rotation = rotation
        self._tell = tell
        #: What ends a line that a crash has torn.
        self._mend = b""
        if chain is not None:
            self.chain = resumed(chain, self._real_path)
        self._take(self._opened())
        if not self._is_claimed:
            self._file.close()
            raise OSError(errno.EBUSY, "another daemon writes it, and a chain has one end", str(file))
        #: One for good: structlog keeps a lock for each that it was ever given.
        self._lines = LogLines()
        self._records: queue.SimpleQueue[_Record | Future[None] | None] = queue.SimpleQueue()
        #: Records that found the queue full, ever; those that came to the writer and no further; those told.
        self._dropped = 0
        self._unwritten = 0
        self._told = 0
        #: Has the last write failed? When did the one begin that goes on (monotonic; 0 if none does)?
        self._has_failed = False
        self._writing_since = 0.0
        self._no_rotation_before = 0.0
        self._thread = threading.Thread(target=self._write, name=f"writer of {file.name}", daemon=True)
        self._thread.start()

    @property
    def _real_path(self) -> Path:
        """Its name may be a link, which stays one when the file is rotated."""
        return Path(os.path.realpath(self.path))

    @property
    def behind(self) -> int:
        """Records that wait for the writer."""
        return self._records.qsize()

    @property
    def is_failing(self) -> bool:
        """Is it unlikely that what is put now will be in the file?"""
        since = self._writing_since
        is_stalled = since > 0 and time.monotonic() - since > STALL_TIME
        is_behind = self._records.qsize() >= QUEUE_HIGH
        return self._has_failed or is_stalled or is_behind or not self._thread.is_alive()

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

    def rotate_by(self, rotation: Rotation) -> None:
        """That is when it rotates by itself from now on."""
        self._rotation = rotation

    def close(self, limit: float = 2.0) -> None:
        """Write what waits, for `limit` seconds at most; what is lost by that is told, for no gap will tell of it."""
        self._records.put(None)
        self._thread.join(limit)
        if self._thread.is_alive():
            lost = f"{self.behind} records or more"
            self._tell("trouble", {"error": f"{self.path}: the end did not wait for {lost}, which are lost"})

    def tell_anchor(self, file: Path) -> None:
        """How far the chain is, where it is not kept: what is cut off the end of `file` later can be missed then."""
        if self.chain is not None and self.chain.seq:
            self._tell("anchor", {"file": str(file), "seq": self.chain.seq, "head": self.chain.head})

    def _opened(self) -> LogFile:
        file = LogFile(self.path)
        self._mend = b"\n" if self.chain is not None and is_torn(self._real_path) else b""
        return file

    def _take(self, file: LogFile) -> None:
        self._file = file
        self._is_claimed = self.chain is None or file.claim()
        for descriptor in self._followers:
            os.dup2(file.fileno(), descriptor)

    def _write(self) -> None:
        try:
            is_over = False
            while not is_over:
                try:
                    record = self._records.get(timeout=RETRY_TIME if self._has_failed else None)
                except queue.Empty:
                    self._write_all()
                    continue
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
        self._writing_since = time.monotonic()  # a file system that is not there may keep us
        try:
            file = self._opened()
        except OSError as error:
            done.set_exception(error)
            return
        finally:
            self._writing_since = 0.0
        self.tell_anchor(self.path)
        self._file.close()
        self._take(file)
        done.set_result(None)

    def _write_all(self) -> None:
        """What was gathered: into the file, or it is lost like what found the queue full."""
        count, lines = len(self._lines), self._lines.take()
        told, lost = self._told, self._dropped + self._unwritten
        if lost > told and self._lines.add(time.time(), "gap", {"lost": lost - told}):
            told, lines = lost, self._lines.take() + lines
        if not lines:
            return
        chain = self.chain
        if chain is not None:
            lines, chain = chain.linked(lines)
        self._writing_since = time.monotonic()
        try:
            text = b"\n".join((*lines, b""))
            self._rotate_if_due(len(text))
            try:
                self._file.write(self._mend + text)
            except FileNotFoundError:
                self._begin_anew()
                self._file.write(self._mend + text)
        except OSError:
            self._unwritten += count
            self._has_failed = True
        else:
            self._told, self.chain = told, chain
            self._mend = b""
            self._has_failed = False
        finally:
            self._writing_since = 0.0

    def _begin_anew(self) -> None:
        """In a file of the same name, for the old one was removed; its number says in each line what is missing."""
        file = self._opened()
        self._file.close()
        self._take(file)
        self._tell("trouble", {"error": f"{self.path} was removed, and with it what was in it; a new one is begun"})

    def _rotate_if_due(self, coming: int) -> None:
        """What cannot be rotated is written on, and rotated later."""
        file, now = self._file, time.time()
        if not self._rotation.is_due(file.size, file.begun, coming, now) or not file.is_regular:
            return
        if time.monotonic() < self._no_rotation_before:
            return
        try:
            self._rotate(self._real_path)
        except (OSError, ValueError, OverflowError) as error:  # the latter two: a time that no calendar has
            self._no_rotation_before = time.monotonic() + ROTATION_RETRY_TIME
            reason = getattr(error, "strerror", None) or error
            self._tell("trouble", {"error": f"{self.path} cannot be rotated, and grows: {reason}"})

    def _rotate(self, path: Path) -> None:
        renamed = rotate(path, self._rotation) if self._file.is_at(path) else path
        try:
            file = self._opened()
        except OSError:
            if renamed != path:
                renamed.rename(path)
            raise
        self.tell_anchor(renamed)
        self._file.close()
        self._take(file)
