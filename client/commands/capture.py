"""`instruments capture`: a binary block from an instrument into a file.

Runs in the user's process. The block comes over the wire, where an answer may have any length, and goes to the file
piece by piece, so it may be larger than the memory.
"""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, cast

import click
import pyvisa
from pyvisa.constants import ResourceAttribute, StatusCode
from pyvisa.resources import MessageBasedResource

from client.commands.capture_files import DATATYPES, FORMS, Form, NewFile, PartialValueError, form_of
from client.commands.reach import reach, resource_argument
from client.commands.terminal import REFUSED, end, plain
from client.commands.terms import Terms, terminations, with_terms
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.refusals import DaemonIOError

#: Bytes that are read at a time, and of those the first, in which a block says how long it is.
_PIECE, _FIRST = 1 << 20, 1024

#: Bytes before a block, at most: some instruments repeat the header of the command there.
_BEFORE_BLOCK = 64

_EPILOG = """\b
Examples:
  instruments capture scope 'CURV?' trace.npy --datatype b
  instruments capture scope 'CURV?' trace.csv --datatype h --big-endian
  instruments capture scope 'HARDC?' screen.png --timeout 60

\b
Datatypes, as Python's struct has them: b B h H i I q Q are integers of 1, 2, 4
and 8 bytes, capital ones without a sign; f and d are floats of 4 and 8 bytes.
"""


@click.command(epilog=_EPILOG)
@resource_argument
@click.argument("command")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--format", "form", type=click.Choice(list(FORMS)), help="Else by FILE's ending: .npy, .csv; or raw.")
@click.option(
    "--datatype", type=click.Choice(list(DATATYPES)), default="B", show_default=True, help="Of .npy and .csv."
)
@click.option("--big-endian", is_flag=True, help="The first byte of a value is its most significant.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@with_terms
@click.option("--json", "as_json", is_flag=True, help="Say what was done as one JSON document.")
def capture(
    resource: str,
    command: str,
    file: Path,
    form: str | None,
    datatype: str,
    big_endian: bool,
    force: bool,
    as_json: bool,
    **terms: Any,
) -> None:
    """Put an instrument's binary answer into a file.

    Asks RESOURCE for COMMAND; what goes into FILE is the content of the block that it answers with, or, in raw form,
    the whole answer if that is none. FILE is written under another name and gets its own when it is whole.
    """
    kind = form or form_of(file)
    try:
        with _ended_properly(), NewFile(file, may_replace=force) as new:
            began = time.monotonic()
            with _opened(resource, Terms(**terms)) as (instrument, daemon):
                made = FORMS[kind](new.file, datatype, big_endian)
                _transfer(instrument, command, made, needs_block=kind != "raw")
            made.finish()
            new.keep()
    except FileExistsError:
        end(REFUSED, f"{file} is there already; --force replaces it")
    except PartialValueError as error:
        end(REFUSED, f"nothing is written to {file}: {error}")
    except pyvisa.VisaIOError as error:
        raise _failure(error) from error
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        end(REFUSED, f"{file} cannot be written: {error.strerror or error}")
    said = {
        "resource": resource,
        "daemon": daemon,
        "file": str(file),
        "format": kind,
        "bytes": made.size,
        "values": made.values,
        "seconds": round(time.monotonic() - began, 3),
    }
    if as_json:
        click.echo(json.dumps(said))
    else:
        values = "" if made.values is None else f", {made.values} values"
        click.echo(plain(f"{file}: {made.size} bytes{values} from {resource} at {daemon} in {said['seconds']} s"))


@contextlib.contextmanager
def _ended_properly() -> Iterator[None]:
    """SIGTERM, and the end of the terminal, end with what Ctrl-C does: what was begun is taken away."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    ending = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in ending}
    for number in ending:
        if before[number] is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, before[number])


@contextlib.contextmanager
def _opened(resource: str, terms: Terms) -> Iterator[tuple[MessageBasedResource, str]]:
    """The instrument over the wire, at the daemon that has it, spoken to as `instruments query` would."""
    socket, name = reach(resource)
    with socket:
        terms.apply(socket)
        read, write = terminations(socket, None, None)
        timeout_ms = socket.timeout()
        manager = pyvisa.ResourceManager(f"{socket.address.entry}@daemon")
        instrument = cast(MessageBasedResource, manager.open_resource(name))
        try:
            instrument.timeout = timeout_ms
            instrument.write_termination = write or ""
            instrument.read_termination = read if _ends_by_character(name) else ""
            yield instrument, str(socket.address)
        finally:
            instrument.close()


def _ends_by_character(name: str) -> bool:
    """Others mark the END of a message."""
    return name.endswith("::SOCKET") or name.startswith("ASRL")


def _failure(error: pyvisa.VisaIOError) -> Failure:
    if isinstance(error, DaemonIOError):
        return Failure(error.token, error.text, error.effect, int(error.error_code))
    return Failure("VI_ERROR_SYSTEM_ERROR", str(error), status=int(error.error_code))


def _transfer(instrument: MessageBasedResource, command: str, form: Form, *, needs_block: bool) -> None:
    """The whole exchange. Raises VisaIOError, and ends if it is no block where one is needed."""
    instrument.write(command)
    instrument.get_visa_attribute(ResourceAttribute.termchar)  # raises what became of the write, which did not wait
    answer = _Answer(instrument)
    with _having_acted():
        answer.begin()
    if answer.head is None and needs_block:
        said = plain(answer.first[:40].decode(errors="backslashreplace"))
        end(REFUSED, f"the answer is no binary block, but begins with {said}; --format raw keeps it as it is")
    with _having_acted(), _progress(answer.head and answer.head.size) as advance:
        for piece in answer.pieces():
            form.add(piece)
            advance(len(piece))


@contextlib.contextmanager
def _having_acted() -> Iterator[None]:
    """What fails within is the reading: the command is with the instrument already."""
    try:
        yield
    except DaemonIOError as error:
        raise DaemonIOError(int(error.error_code), error.token, Effect.DONE, error.text) from error


class _Head(NamedTuple):
    """Where the content of a block begins in an answer; its size, None for one that goes on to the END."""

    start: int
    size: int | None


class _Answer:
    """One answer, as it is read: what comes before a block, the block, and what ends it."""

    def __init__(self, instrument: MessageBasedResource) -> None:
        self._instrument = instrument
        self._termination = instrument.read_termination or ""
        self._status = StatusCode.success_max_count_read
        self.first = b""
        #: None for an answer that is no block.
        self.head: _Head | None = None

    def begin(self) -> None:
        """As much of it as tells what it is."""
        is_known = False
        while not is_known and self._has_more:
            self.first += self._read(_FIRST)
            is_known, self.head = _head(self.first)
        if self.head is not None and not self._has_more and _is_text(self.first, self.head):
            self.head = None

    def pieces(self) -> Iterator[bytes]:
        """What is to be kept."""
        if self.head is None or self.head.size is None:
            yield from self._to_end(self.first[self.head.start if self.head is not None else 0 :])
        else:
            end = self.head.start + self.head.size
            yield self.first[self.head.start : end]
            yield from self._rest_of_block(end - len(self.first))
            self._end_after(self.first[end:])

    @property
    def _has_more(self) -> bool:
        return self._status == StatusCode.success_max_count_read

    @property
    def _is_at_character(self) -> bool:
        return self._status == StatusCode.success_termination_character_read

    def _rest_of_block(self, missing: int) -> Iterator[bytes]:
        if missing <= 0:
            return
        self._instrument.read_termination = ""  # it may be any byte of a block
        while missing > 0:
            piece = self._read(min(missing, _PIECE))
            missing -= len(piece)
            yield piece
        self._instrument.read_termination = self._termination

    def _end_after(self, rest: bytes) -> None:
        """What comes behind the block: a termination, if there is one. The data is whole without it."""
        is_ended = bool(self._termination) and rest.endswith(self._termination.encode())
        with contextlib.suppress(pyvisa.VisaIOError):
            while not is_ended and (self._has_more or self._is_at_character):
                self._read(_FIRST)
                is_ended = self._is_at_character

    def _to_end(self, piece: bytes) -> Iterator[bytes]:
        """All that comes, without the termination. Where a character is that, data which holds it ends there: there is
        nothing else to tell the end by."""
        while self._has_more:
            yield piece
            piece = self._read(_PIECE)
        is_raw = self.head is None and not self._termination  # END has ended it: a LF may be data
        yield piece if is_raw else piece.removesuffix((self._termination or "\n").encode())

    def _read(self, count: int) -> bytes:
        with self._instrument.ignore_warning(StatusCode.success_max_count_read):
            data, self._status = self._instrument.visalib.read(self._instrument.session, count)
        return data


def _is_text(data: bytes, head: _Head) -> bool:
    """Does an answer that is whole go on behind what would be a block in its midst? `probe #12 fitted` has none."""
    return head.size is not None and not data.startswith(b"#") and bool(data[head.start + head.size :].strip())


def _head(data: bytes) -> tuple[bool, _Head | None]:
    """Can it be said what an answer is that begins so, and the block that it has. IEEE 488.2, 8.7.9 and 8.7.10."""
    sign = data.find(b"#", 0, _BEFORE_BLOCK)
    if sign < 0:
        return len(data) >= _BEFORE_BLOCK, None
    digits = data[sign + 1 : sign + 2]
    if not digits.isdigit():
        return bool(digits), None
    start = sign + 2 + int(digits)
    length = data[sign + 2 : start]
    if len(data) < start:
        return False, None
    if digits == b"0":
        return True, _Head(start, None)
    return True, _Head(start, int(length)) if length.isdigit() else None


@contextlib.contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, which is gone when it is done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=size)
        yield lambda count: progress.advance(task, count)
