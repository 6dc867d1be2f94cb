"""From the files of an audit log to stdout: which files, which records, in which form.

Runs in the user's process, for `client.commands.log`. To add a form: a method of Output and its row in the table there.
"""

import contextlib
import csv
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path

import click

from client.commands.log_files import Followed, Line, with_rotated
from client.commands.log_records import COLUMNS, OTHERS, Filter, Lines, Record, cells, record_of
from client.text_socket import SocketManager

#: Gives the lines of a file from its beginning, or what has come since.
Source = Callable[[], Iterable[Line]]


def unreadable(error: OSError) -> str:
    name = getattr(error, "filename", None) or "a file"
    hint = "; it is for its owner only: try it as that user, or with sudo" if isinstance(error, PermissionError) else ""
    return f"{name} cannot be read: {getattr(error, 'strerror', None) or error}{hint}"


def log_here(since: str) -> tuple[list[Path], Followed]:
    """The log of the first live daemon: its rotated files, but those of before `since`, and what is being written.

    That is opened first: so nothing is missing if it is rotated by the time that the others have been read.
    """
    with SocketManager().open_socket() as connection:
        said = connection.status().get("audit")
        address = connection.address
    if not isinstance(said, dict):
        raise click.UsageError(f"the daemon at {address} does not say where its log is; name the file")
    file = Path(str(said.get("file")))
    if not _is_here(address.host):
        raise click.UsageError(
            f"the daemon at {address} runs on another machine, and its log is {file} there: run this command there"
        )
    try:
        written = Followed(file)
        rotated = list(takewhile(lambda one: not written.is_at(one), with_rotated(file)[:-1]))
    except OSError as error:
        raise click.UsageError(unreadable(error)) from error
    compact = since.replace("-", "").replace(":", "")
    return [one for one in rotated if one.name.removeprefix(f"{file.name}.") >= compact], written


def _is_here(host: str) -> bool:
    """Is that an address of this machine? Those of others cannot be bound."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind(address)
    except OSError:
        return False
    return True


class Reading:
    """Lines in, those records out that are wanted."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._bad = 0
        self._first_bad = ""

    def records(self, sources: list[Source], last: int | None) -> Iterable[tuple[Line, Record]]:
        """All of them, or the newest `last`: then no more files are read than are needed."""
        if last is None:
            return (one for source in sources for one in self._matching(source()))
        found: deque[tuple[Line, Record]] = deque()
        for source in reversed(sources):
            if len(found) == last:
                break
            found.extendleft(reversed(deque(self._matching(source()), maxlen=last - len(found))))
        return found

    def _matching(self, source: Iterable[Line]) -> Iterator[tuple[Line, Record]]:
        for line in source:
            record = record_of(line.content)
            if record is None:
                self._first_bad = self._first_bad or f"{line.file}:{line.number}"
                self._bad += 1
            elif self._wanted.takes(record):
                yield line, record

    def tell_bad_lines(self) -> None:
        if self._bad:
            what = "line is no record" if self._bad == 1 else "lines are no records"
            click.echo(f"instruments: {self._bad} {what}; see {self._first_bad}", err=True)


class Output:
    """stdout, in one of the forms."""

    def __init__(self, form: str | None) -> None:
        self._stream = sys.stdout.buffer
        self._encoding = sys.stdout.encoding or "utf-8"
        self._lines = Lines()
        self._text: Callable[[Line, Record], str | bytes] = self._readable
        if form is not None:
            self._text = {"csv": self._csv, "json": self._json}[form]
        if form == "csv":
            self._write(_comma_separated([*COLUMNS, OTHERS]))

    def show(self, records: Iterable[tuple[Line, Record]]) -> None:
        for line, record in records:
            self._write(self._text(line, record))
        with _to_stdout():
            self._stream.flush()

    def _write(self, text: str | bytes) -> None:
        line = text if isinstance(text, bytes) else text.encode(self._encoding, "backslashreplace")
        with _to_stdout():
            self._stream.write(line + b"\n")

    def _readable(self, line: Line, record: Record) -> str | bytes:
        return self._lines.line(record)

    def _csv(self, line: Line, record: Record) -> str | bytes:
        return _comma_separated(cells(record))

    def _json(self, line: Line, record: Record) -> str | bytes:
        return line.content


@contextlib.contextmanager
def _to_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads it has enough
    except OSError as error:
        raise click.ClickException(f"stdout cannot be written: {error.strerror}") from error


class _Row:
    """A file for csv: what was written to it last."""

    def write(self, text: str) -> None:
        self.text = text


_row = _Row()
_writer = csv.writer(_row, lineterminator="")


def _comma_separated(row: list[str]) -> str:
    _writer.writerow(row)
    return _row.text
