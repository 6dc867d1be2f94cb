"""The table of calls: what a child can be asked to do with its VISA session.

Runs in the child. A call is a function of (Exchange, *arguments) that returns a Result; it says what reaches the
instrument by `exchange.writing()` and `exchange.written()`, so that every failure has a proven `effect`.

To add a call: a function here and its row in CALLS; then its handlers in `front_proc`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyvisa.constants import ResourceAttribute, SerialTermination, StatusCode

from instrument_proc.libraries import CallError, VisaSession
from instrument_proc.pipe import State
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import PIECE_SIZE

#: viRead's count in the reads whose length nobody knows.
CHUNK = 1 << 16


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


def _chunks(session: VisaSession) -> Iterator[tuple[bytes, StatusCode]]:
    """viRead until the message ends: at END or at the termination character."""
    while True:
        data, status = session.read(CHUNK)
        yield data, status
        if status != StatusCode.success_max_count_read:
            return


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
    last, status = b"", StatusCode.success
    for data, status in _chunks(exchange.session):  # noqa: B007 - the last status is the answer
        if last:
            exchange.piece(last)
        last = data
    exchange.dirty = False
    return Result(status=status, data=last)


def query(exchange: Exchange) -> Result:
    """viWrite, then viRead to the end of the message: nobody comes between."""
    exchange.write()
    return read_message(exchange)


def query_block(exchange: Exchange) -> Result:
    """viWrite, then the content of a block answer (IEEE 488.2, 8.7.9), or the raw bytes of any other."""
    exchange.write()
    session = exchange.session
    return _block_to_end(exchange) if session.marks_end else _block_by_count(exchange)


def _block_to_end(exchange: Exchange) -> Result:
    """The interface marks END: read it all, then look."""
    message = b"".join(data for data, _ in _chunks(exchange.session))
    exchange.dirty = False
    return Result(data=exchange.give(_content(message)))


def _content(message: bytes) -> bytes:
    if message[:1] != b"#" or not message[1:2].isdigit():
        return message
    digits = int(message[1:2])
    if digits == 0:
        return message[2:].removesuffix(b"\n")
    header = 2 + digits
    if not message[2:header].isdigit() or len(message) < header + int(message[2:header]):
        raise CallError(StatusCode.error_io, "the instrument's block is shorter than its header says")
    return message[header : header + int(message[2:header])]


def _block_by_count(exchange: Exchange) -> Result:
    """A termination character ends messages: it must be off while a block's bytes go by, and counts do the work."""
    session = exchange.session
    ends_by_character = _Termination(session)
    with ends_by_character.off():
        head = _exactly(session, 1)
        if head == b"#":
            head += _exactly(session, 1)
        is_block = len(head) == 2 and head[1:] in b"123456789"
        if is_block:
            digits = _exactly(session, int(head[1:]))
            if not digits.isdigit():
                raise CallError(StatusCode.error_io, f"the instrument's block header has no length: {digits!r}")
            left = int(digits)
            while left:
                data = _exactly(session, min(left, PIECE_SIZE))
                exchange.piece(data)
                left -= len(data)
    is_whole = not is_block and head == ends_by_character.character
    tail = b"" if is_whole else read_message(exchange).data
    exchange.dirty = False
    return Result() if is_block else Result(data=head + tail)


def _exactly(session: VisaSession, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk, _ = session.read(count - len(data))
        data += chunk
    return data


class _Termination:
    """The session's termination character, to be switched off and back on."""

    def __init__(self, session: VisaSession) -> None:
        self._session = session
        self.character = bytes([int(session.get_attribute(ResourceAttribute.termchar))])
        self._switches: list[tuple[ResourceAttribute, State]] = [(ResourceAttribute.termchar_enabled, False)]
        if session.is_serial:
            self._switches.append((ResourceAttribute.asrl_end_in, int(SerialTermination.none)))

    def off(self) -> "_Switched":
        return _Switched(self._session, self._switches)


class _Switched:
    """Attributes changed for the length of a `with`."""

    def __init__(self, session: VisaSession, changes: list[tuple[ResourceAttribute, State]]) -> None:
        self._session = session
        self._changes = changes
        self._before: list[tuple[int, State]] = []

    def __enter__(self) -> None:
        for attribute, state in self._changes:
            self._before.append((attribute, self._session.get_attribute(attribute)))
            self._session.set_attribute(attribute, state)

    def __exit__(self, *_: object) -> None:
        for attribute, state in self._before:
            self._session.set_attribute(attribute, state)


def clear(exchange: Exchange) -> Result:
    """viClear. Where a library has no device clear, what it would achieve is done by hand: both buffers are emptied."""
    exchange.writing()
    try:
        exchange.session.clear()
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
