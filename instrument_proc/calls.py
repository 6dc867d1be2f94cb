"""The table of calls: what a child can be asked to do with its VISA session.

Runs in the child. A call is a function of (Exchange, *arguments) that returns a Result; it says what reaches the
instrument by `exchange.writing()` and `exchange.written()`, so that every failure has a proven `effect`.

To add a call: a function here and its row in CALLS; then its handlers in `front_proc`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from pyvisa.constants import ResourceAttribute, SerialTermination, StatusCode

from instrument_proc.libraries import CallError, VisaSession
from instrument_proc.pipe import State
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import PIECE_SIZE

#: viRead's count in the reads whose length nobody knows.
CHUNK = 1 << 16

_DIGITS = tuple(b"%d" % digit for digit in range(1, 10))


@dataclass(frozen=True, slots=True)
class Result:
    """What a call gives: a VISA status that is no error, and a value or bytes."""

    status: int = StatusCode.success
    value: State | None = None
    data: bytes = b""


class Exchange:
    """One order being carried out: the session, its data, and what the front is told meanwhile."""

    def __init__(
        self, session: VisaSession, data: bytes, written: Callable[[], None], piece: Callable[[bytes], None]
    ) -> None:
        self.session = session
        self.data = data
        self.piece = piece
        self.effect = Effect.NONE
        #: An answer may come that nobody will have read.
        self.dirty = False
        self._tell_written = written

    def writing(self) -> None:
        """From here on the instrument may act."""
        self.effect = Effect.MAYBE
        self.dirty = True

    def written(self) -> None:
        """The whole message was handed over."""
        self.effect = Effect.DONE
        self._tell_written()

    def effect_of(self, error: CallError) -> Effect:
        """May the instrument have acted, now that the call failed? Not if its library cannot do such a thing."""
        if error.status == StatusCode.error_nonsupported_operation and self.effect is Effect.MAYBE:
            return Effect.NONE
        return self.effect

    def write(self) -> int:
        """viWrite of the order's data, in one call: END belongs to its last byte."""
        self.writing()
        count = self.session.write(self.data)
        self.written()
        return count

    def give(self, data: bytes) -> bytes:
        """Send all of `data` but its last piece ahead; returns that one, for the Result."""
        start = 0
        while len(data) - start > PIECE_SIZE:
            self.piece(data[start : start + PIECE_SIZE])
            start += PIECE_SIZE
        return data[start:]


def write(exchange: Exchange) -> Result:
    """viWrite. The value is the number of bytes written."""
    count = exchange.write()
    exchange.dirty = False
    return Result(value=count)


def read(exchange: Exchange, count: int) -> Result:
    """One viRead of at most `count` bytes; the status tells how it ended."""
    exchange.dirty = True
    data, status = exchange.session.read(count)
    exchange.dirty = False
    return Result(status=status, data=exchange.give(data))


def read_message(exchange: Exchange) -> Result:
    """viRead to the end of the message."""
    exchange.dirty = True
    last = b""
    for last, is_end in _message(exchange.session):
        if not is_end:
            exchange.piece(last)
    exchange.dirty = False
    return Result(data=last)


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


def _give_to_end(exchange: Exchange, message: Iterator[tuple[bytes, bool]], *, is_indefinite: bool) -> bytes:
    """Send `message` as it comes, but its last chunk, which is returned. Of a block of indefinite length neither the
    `#0` nor the LF before END is content."""
    start = 2 if is_indefinite else 0
    data = b""
    for chunk, is_end in message:
        data, start = chunk[start:], 0
        if not is_end:
            exchange.piece(data)
    return data.removesuffix(b"\n") if is_indefinite else data


def _give_content(exchange: Exchange, message: Iterator[tuple[bytes, bool]], block: range) -> None:
    """Send the content of the block in `message` as it comes; what is around it is dropped."""
    start, left = block.start, len(block)
    for data, _ in message:
        content = data[start : start + left]
        exchange.piece(content)
        start, left = 0, left - len(content)
    if left:
        raise CallError(StatusCode.error_io, f"the instrument's block ended {left} bytes early")


def _message(session: VisaSession) -> Iterator[tuple[bytes, bool]]:
    """The chunks of one message, each with whether it is the last: to END, or to the termination character behind a
    block that the message may begin with."""
    data, status = session.read(CHUNK)
    block = None if session.marks_end else _block(data)
    if block is not None and len(data) <= block.stop:
        # The character that ends messages may be any byte of a block: it is off while the rest goes by.
        with _termination_off(session):
            missing = block.stop - len(data)
            while missing:
                yield data, False
                data, _ = session.read(min(missing, PIECE_SIZE))
                missing -= len(data)
        status = StatusCode.success_max_count_read
    while status == StatusCode.success_max_count_read:
        yield data, False
        data, status = session.read(CHUNK)
    yield data, True


def _block(beginning: bytes) -> range | None:
    """Where the content of a definite-length block lies in the message that begins like this; None if it is none."""
    if beginning[:1] != b"#" or beginning[1:2] not in _DIGITS:
        return None
    start = 2 + int(beginning[1:2])
    length = beginning[2:start]
    if len(length) < start - 2 or not length.isdigit():
        return None
    return range(start, start + int(length))


@contextmanager
def _termination_off(session: VisaSession) -> Iterator[None]:
    """Within this, only counts end a read."""
    switches: list[tuple[ResourceAttribute, State]] = [(ResourceAttribute.termchar_enabled, False)]
    if session.is_serial:
        switches.append((ResourceAttribute.asrl_end_in, int(SerialTermination.none)))
    before = [(attribute, session.get_attribute(attribute)) for attribute, _ in switches]
    try:
        for attribute, state in switches:
            session.set_attribute(attribute, state)
        yield
    finally:
        for attribute, state in before:
            session.set_attribute(attribute, state)


def clear(exchange: Exchange) -> Result:
    """viClear. Where a library has no device clear, what it would achieve is done by hand: both buffers are emptied."""
    exchange.writing()
    session = exchange.session
    try:
        # A raw socket has no device clear: emptying it does not cure an answer that is still on its way.
        session.resynchronise() if session.is_socket else session.clear()
    except CallError as error:
        if error.status != StatusCode.error_nonsupported_operation:
            raise
        exchange.session.resynchronise()
    exchange.effect = Effect.DONE
    exchange.dirty = False
    return Result()


def read_stb(exchange: Exchange) -> Result:
    """viReadSTB. The value is the status byte."""
    return Result(value=exchange.session.read_stb())


def assert_trigger(exchange: Exchange, protocol: int) -> Result:
    """viAssertTrigger."""
    exchange.effect = Effect.MAYBE
    exchange.session.assert_trigger(protocol)
    exchange.effect = Effect.DONE
    return Result()


def get_attribute(exchange: Exchange, attribute: int) -> Result:
    """viGetAttribute."""
    return Result(value=exchange.session.get_attribute(attribute))


def set_attribute(exchange: Exchange, attribute: int, state: State) -> Result:
    """viSetAttribute."""
    return Result(status=exchange.session.set_attribute(attribute, state))


def resynchronise(exchange: Exchange) -> Result:
    """No old answer is left afterwards."""
    exchange.writing()
    exchange.session.resynchronise()
    exchange.dirty = False
    return Result()


#: name on the pipe -> function.
CALLS: dict[str, Callable[..., Result]] = {
    "write": write,
    "read": read,
    "read_message": read_message,
    "query": query,
    "query_block": query_block,
    "clear": clear,
    "read_stb": read_stb,
    "assert_trigger": assert_trigger,
    "get_attribute": get_attribute,
    "set_attribute": set_attribute,
    "resynchronise": resynchronise,
}
