"""The table of calls: what a child can be asked to do with its VISA session.

Runs in the child. A call is a function of (Exchange, *arguments) that returns a Result; it says what reaches the
instrument by `exchange.writing()` and `exchange.written()`, so that every failure has a proven `effect`.

What only passes through to the library is a row of `pyvisa_daemon.functions`. To add another call: a function here and
its row in CALLS; then its handlers in `front_proc`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from typing import NamedTuple, Protocol

from pyvisa.constants import ResourceAttribute, SerialTermination, StatusCode

from instrument_proc.failures import CallError
from instrument_proc.pipe import Argument, Attributes, State
from instrument_proc.visa_session import QUIET_MS, VisaSession
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import PIECE_SIZE
from pyvisa_daemon.functions import FUNCTIONS, Function
from pyvisa_daemon.program_message import BlockScanner

#: viRead's status where its count ended it: a plain number, for it is looked at with every read.
_MAX_COUNT = int(StatusCode.success_max_count_read)

#: viRead's count in the reads whose length nobody knows.
CHUNK = 1 << 16

_DIGITS = tuple(b"%d" % digit for digit in range(1, 10))


class Result(NamedTuple):
    """What a call gives: a VISA status that is no error, and a value or bytes."""

    status: int = StatusCode.success
    value: State | list[int] | None = None
    data: bytes = b""


class Exchange:
    """One order being carried out: the session, its data as it comes, and what the front is told meanwhile."""

    def __init__(self, session: VisaSession, data: Iterable[bytes], tell: "Teller") -> None:
        self.session = session
        self.data = data
        self.tell = tell
        self.effect = Effect.NONE
        #: An answer may come that nobody will have read.
        self.dirty = False

    def writing(self) -> None:
        """From here on the instrument may act."""
        self.effect = Effect.MAYBE
        self.dirty = True

    def written(self) -> None:
        """The whole message was handed over."""
        self.effect = Effect.DONE
        self.tell.written()

    def effect_of(self, error: CallError) -> Effect:
        """May the instrument have acted, now that the call failed? Not if its library cannot do such a thing."""
        if error.is_lacking and self.effect is Effect.MAYBE:
            return Effect.NONE
        return self.effect

    def write(self) -> int:
        """viWrite of the order's data: in one call where END belongs to the last byte, else piece by piece."""
        self.session.raise_if_closed()
        self.writing()
        if self.session.marks_end:
            count = self.session.write(b"".join(self.data))
        else:
            count = 0
            for index, piece in enumerate(self.data):
                if index:
                    self.tell.progress()
                count += self.session.write(piece)
        self.written()
        return count


class Teller(Protocol):
    """How the front learns of what a call does before it is done."""

    def progress(self) -> None:
        """More of a long message was handed over."""

    def written(self) -> None:
        """All of the message was handed over."""

    def piece(self, data: bytes) -> None:
        """More of the answer, its end not yet."""

    def happened(self, event: int, attributes: Attributes) -> None:
        """An event, from whatever thread."""


def write(exchange: Exchange) -> Result:
    """viWrite. The value is the number of bytes written."""
    count = exchange.write()
    exchange.dirty = False
    return Result(value=count)


def read(exchange: Exchange, count: int) -> Result:
    """viRead of at most `count` bytes, in pieces if they are many; the status tells how it ended."""
    exchange.dirty = True
    while True:
        data, status = exchange.session.read(min(count, PIECE_SIZE))
        count -= len(data)
        if status != _MAX_COUNT or count <= 0:
            break
        exchange.tell.piece(data)
    exchange.dirty = False
    return Result(status=status, data=data)


def read_on(exchange: Exchange, count: int) -> Result:
    """At most the next `count` bytes of an answer on a stream, of those that are here already: nothing is waited for,
    so nothing fails and nothing is late if it does not go on after all."""
    exchange.dirty = True
    gathered: list[bytes] = []
    size, status = 0, _MAX_COUNT
    while count and status == _MAX_COUNT and (arrived := exchange.session.arrived()):
        data, status = exchange.session.read(min(arrived, count, PIECE_SIZE))
        gathered.append(data)
        count, size = count - len(data), size + len(data)
        if size >= PIECE_SIZE:
            exchange.tell.piece(b"".join(gathered))
            gathered, size = [], 0
    exchange.dirty = False
    return Result(status, data=b"".join(gathered))


def read_on_block(exchange: Exchange, count: int) -> Result:
    """`read_on` within the data of a block, which may be any bytes: nothing but the count ends it."""
    with _termination_off(exchange.session):
        return read_on(exchange, count)


def write_read(exchange: Exchange, count: int) -> Result:
    """viWrite, then viRead of at most `count` bytes. `effect` is that of the write, whichever failed."""
    exchange.write()
    return read(exchange, count)


def read_message(exchange: Exchange) -> Result:
    """viRead to the end of the message."""
    exchange.dirty = True
    last = Result()
    for data, status in _message(exchange.session):
        if status is None:
            exchange.tell.piece(data)
        else:
            last = Result(status, data=data)
    exchange.dirty = False
    return last


def query(exchange: Exchange) -> Result:
    """viWrite, then viRead to the end of the message: nobody comes between."""
    exchange.write()
    return read_message(exchange)


def query_block(exchange: Exchange) -> Result:
    """viWrite, then the content of a block answer (IEEE 488.2, 8.7.9), or the raw bytes of any other."""
    exchange.write()
    chunks = _message(exchange.session)
    beginning = next(chunks)
    message = chain([beginning], chunks)
    block = _block(beginning[0])
    last = b""
    if block is not None:
        _give_content(exchange, message, block)
    else:
        last = _give_to_end(exchange, message, is_indefinite=beginning[0][:2] == b"#0")
    exchange.dirty = False
    return Result(data=last)


def _give_to_end(exchange: Exchange, message: "_Chunks", *, is_indefinite: bool) -> bytes:
    """Send `message` as it comes, but its last chunk, which is returned. Of a block of indefinite length neither the
    `#0` nor the LF before END is content."""
    start = 2 if is_indefinite else 0
    data = b""
    for chunk, status in message:
        data, start = chunk[start:], 0
        if status is None:
            exchange.tell.piece(data)
    return data.removesuffix(b"\n") if is_indefinite else data


def _give_content(exchange: Exchange, message: "_Chunks", block: range) -> None:
    """Send the content of the block in `message` as it comes; what is around it is dropped."""
    start, left = block.start, len(block)
    for data, _ in message:
        content = data[start : start + left]
        exchange.tell.piece(content)
        start, left = 0, left - len(content)
    if left:
        raise CallError(StatusCode.error_io, f"the instrument's block ended {left} bytes early")


#: The chunks of a message, each with None, and the last with the status that ended it.
_Chunks = Iterator[tuple[bytes, int | None]]


def _message(session: VisaSession) -> _Chunks:
    """To END, or to the termination character behind the blocks that the message may hold: one in a block is data."""
    data, status = session.read(CHUNK)
    if status != _MAX_COUNT and b"#" not in data:  # most are short, and without a block
        yield data, status
        return
    scanner = BlockScanner()
    while True:
        scanner.feed(data)
        while scanner.missing and not session.marks_end:
            yield data, None
            with _termination_off(session):
                data, status = session.read(min(scanner.missing, PIECE_SIZE))
            scanner.feed(data)
        if status != _MAX_COUNT and (session.marks_end or not scanner.is_in_block):
            yield data, status
            return
        yield data, None
        data, status = session.read(CHUNK)


def _block(beginning: bytes) -> range | None:
    """Where the content of a definite-length block lies in the message that begins like this; None if it is none."""
    if beginning[:1] != b"#" or beginning[1:2] not in _DIGITS:
        return None
    start = 2 + int(beginning[1:2])
    length = beginning[2:start]
    if len(length) < start - 2 or not length.isdigit():
        return None
    return range(start, start + int(length))


def _termination_off(session: VisaSession) -> AbstractContextManager[None]:
    """Within this, only counts end a read."""
    switches: list[tuple[int, State]] = [(ResourceAttribute.termchar_enabled, False)]
    if session.is_serial:
        switches.append((ResourceAttribute.asrl_end_in, int(SerialTermination.none)))
    return session.having(switches)


def clear(exchange: Exchange) -> Result:
    """viClear. Where a library has no device clear, what it would achieve is done by hand: both buffers are emptied."""
    exchange.writing()
    session, status = exchange.session, int(StatusCode.success)
    try:
        if session.is_socket:  # no device clear: emptying it does not cure an answer that is still on its way
            session.resynchronise()
        else:
            status = session.clear()
    except CallError as error:
        if not error.is_lacking:
            raise
        session.resynchronise()
    exchange.effect = Effect.DONE
    exchange.dirty = False
    return Result(status)


def read_stb(exchange: Exchange) -> Result:
    """viReadSTB. The value is the status byte. It is nothing that the instrument acts on."""
    value, status = exchange.session.call(FUNCTIONS["read_stb"], ())
    return Result(status, int(value) if isinstance(value, int) else None)


def poll(exchange: Exchange, timeout_ms: int) -> Result:
    """`read_stb` for the daemon itself, with a timeout of its own."""
    with exchange.session.having([(ResourceAttribute.timeout_value, timeout_ms)]):
        return read_stb(exchange)


def flush(exchange: Exchange, mask: int) -> Result:
    """viFlush. A library without it has no formatted buffers, so there is nothing in them."""
    try:
        return _passed(FUNCTIONS["flush"])(exchange, mask)
    except CallError as error:
        if not error.is_lacking:
            raise
        return Result()


def _passed(function: Function) -> Callable[..., Result]:
    """A row of `functions.FUNCTIONS`: the library's own method."""

    def call(exchange: Exchange, *arguments: Argument) -> Result:
        exchange.effect = Effect.MAYBE
        exchange.dirty = not function.is_aside
        try:
            value, status = exchange.session.call(function, arguments)
        except CallError as error:
            exchange.dirty = exchange.dirty and not error.is_lacking
            raise
        exchange.effect = Effect.DONE
        exchange.dirty = False
        return Result(status, data=value) if isinstance(value, bytes) else Result(status, value)

    return call


def enable_event(exchange: Exchange, event: int) -> Result:
    """viEnableEvent, for a handler that tells the front."""
    return Result(exchange.session.enable_event(event, exchange.tell.happened))


def disable_event(exchange: Exchange, event: int) -> Result:
    """viDisableEvent."""
    return Result(exchange.session.disable_event(event))


def get_attribute(exchange: Exchange, attribute: int) -> Result:
    """viGetAttribute."""
    return Result(value=exchange.session.get_attribute(attribute))


def set_attribute(exchange: Exchange, attribute: int, state: State | bytes) -> Result:
    """viSetAttribute."""
    return Result(exchange.session.set_attribute(attribute, state.decode() if isinstance(state, bytes) else state))


def resynchronise(exchange: Exchange, late_answers: int = 0, patience_ms: int = 0) -> Result:
    """No old answer is left afterwards, nor comes of those `late_answers` that come within `patience_ms`."""
    exchange.writing()
    exchange.session.resynchronise(late_answers, patience_ms / 1000, exchange.tell.progress)
    exchange.dirty = False
    return Result()


def read_ahead(exchange: Exchange, timeout_ms: int, missing: int = 0) -> Result:
    """`read_message` for a session that has not asked for it yet, with a timeout of its own; behind the `missing` bytes
    of the block in which that has stopped."""
    exchange.dirty = True
    with exchange.session.having([(ResourceAttribute.timeout_value, timeout_ms)]):
        if missing:
            _read_rest(exchange, missing)
        return read_message(exchange)


def _read_rest(exchange: Exchange, missing: int) -> None:
    """The `missing` bytes of a block, as far as they come: a library that gives nothing would be asked for ever."""
    with _termination_off(exchange.session):
        while missing:
            data, _ = exchange.session.read(min(missing, PIECE_SIZE))
            if not data:
                return
            exchange.tell.piece(data)
            missing -= len(data)


def read_rest(exchange: Exchange, wait_ms: int, terminations: int, character: int) -> Result:
    """What is here on a stream already, and what comes of it until `wait_ms` bring nothing, or so many terminations are
    there; for the end of what has begun it waits in any case. VI_SUCCESS_MAX_CNT if it is too much."""
    data, end = b"", bytes([character]) if character >= 0 else None
    if not wait_ms and exchange.session.waiting() == 0:
        return Result()
    exchange.dirty = True
    with _termination_off(exchange.session):
        while len(data) < PIECE_SIZE:
            is_whole = end is not None and data.count(end) >= terminations
            patience_ms = 0 if is_whole else max(wait_ms, QUIET_MS if data else 0)
            more = exchange.session.read_soon(PIECE_SIZE - len(data), patience_ms)
            if not more:
                break
            data += more
    exchange.dirty = False
    return Result(_MAX_COUNT if len(data) >= PIECE_SIZE else StatusCode.success, data=data)


#: name on the pipe -> function.
CALLS: dict[str, Callable[..., Result]] = {
    **{name: _passed(function) for name, function in FUNCTIONS.items()},
    "write": write,
    "read": read,
    "read_on": read_on,
    "read_on_block": read_on_block,
    "write_read": write_read,
    "read_message": read_message,
    "read_ahead": read_ahead,
    "read_rest": read_rest,
    "query": query,
    "query_block": query_block,
    "clear": clear,
    "read_stb": read_stb,
    "poll": poll,
    "flush": flush,
    "enable_event": enable_event,
    "disable_event": disable_event,
    "get_attribute": get_attribute,
    "set_attribute": set_attribute,
    "resynchronise": resynchronise,
}

#: Of these, those that only write: when they succeed the instrument may not have acted yet.
WRITES = frozenset({"write", "buffer_write"})
