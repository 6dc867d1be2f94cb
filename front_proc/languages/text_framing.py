"""The text protocol's framing: bytes in, requests out, however the bytes were cut.

Pure: no socket, no clock. Runs in the front. A request is a line; one whose verb takes a binary block may hold LF
inside the block and ends with the terminator behind it.

The front has one thread for everybody: what is longer than a piece is not copied as a whole, nor looked at in one go.
"""

import codecs
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator

import msgspec

from pyvisa_daemon.errors import Failure
from pyvisa_daemon.framing import PIECE_SIZE

#: Bytes of a block.
BLOCK_LIMIT = 1 << 26

#: What matters on the way to a block: whole quotations, a quote that is not ended, and what a block begins with.
_TOKENS = re.compile(rb"""\"[^\"]*\"|'[^']*'|[\"']|[ ,](?=#[1-9])""")

#: Bytes of a line that are enough to know its verb.
_VERB_SIZE = 64


class Request(msgspec.Struct, frozen=True):
    """One request: its line and the terminator that it came with (LF, CR LF or nothing).

    A block of more than PIECE_SIZE bytes is apart from the line that it ends. Whoever takes it may empty it."""

    line: bytes
    terminator: bytes
    block: bytearray | None = None


class RequestReader:
    """Puts requests together. `takes_block` says of the beginning of a line whether its verb takes a block; `longest`:
    bytes of a line before its terminator."""

    def __init__(self, takes_block: Callable[[bytes], bool], longest: int) -> None:
        self._takes_block = takes_block
        self._longest = longest
        self._buffer = bytearray()
        #: Where the block of the request under way begins and ends in the buffer, once its header is there.
        self._block: tuple[int, int] | None = None
        self._searched = 0
        #: Up to where there is no block in the line under way.
        self._looked = 0

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def is_in_block(self) -> bool:
        return self._block is not None

    def feed(self, data: bytes | memoryview) -> None:
        """More bytes."""
        self._buffer += data

    def next(self) -> Request | None:
        """The next whole request. Raises Failure (LINE_TOO_LONG, BAD_ARGUMENT) when framing is lost."""
        if self._block is None:
            self._look_for_block()
        return self._line() if self._block is None else self._line_with_block(*self._block)

    def rest(self) -> bytes:
        """What is there without a terminator."""
        return bytes(self._buffer)

    def take_rest(self) -> Request:
        """Accept what is there as a request without a terminator."""
        request = Request(bytes(self._buffer), b"")
        self._buffer.clear()
        self._searched = self._looked = 0
        return request

    def _line(self) -> Request | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            # One byte more may be the CR of the terminator.
            over = len(self._buffer) - self._longest
            if over > 1 or (over > 0 and self._buffer[-1:] != b"\r"):
                raise self._too_long()
            return None
        end -= self._buffer[end - 1 : end] == b"\r"
        request = self._take(end)
        if end > self._longest:
            raise self._too_long()
        return request

    def _too_long(self) -> Failure:
        return Failure("LINE_TOO_LONG", f"a line has at most {self._longest} bytes")

    def _take(self, end: int) -> Request:
        """The request whose terminator begins at `end`."""
        terminator = b"\n" if self._buffer[end : end + 1] == b"\n" else b"\r\n"
        line = bytes(self._buffer[:end])
        del self._buffer[: end + len(terminator)]
        self._searched = self._looked = 0
        return Request(line, terminator)

    def _take_with_block(self, start: int, end: int) -> Request:
        """`_take` for a long block: the buffer becomes the block, and the little that is behind it the buffer."""
        block, self._buffer = self._buffer, self._buffer[end:]
        behind = self._take(0)
        del block[end:]
        line = bytes(block[:start])
        del block[:start]
        return Request(line, behind.terminator, block)

    def _line_with_block(self, start: int, end: int) -> Request | None:
        if len(self._buffer) <= end:
            return None
        behind = bytes(self._buffer[end : end + 2])
        if behind == b"\r":
            return None
        if behind[:1] != b"\n" and behind != b"\r\n":
            raise Failure("BAD_ARGUMENT", "a block must be followed by the line's end")
        self._block = None
        return self._take_with_block(start, end) if end - start > PIECE_SIZE else self._take(end)

    def _look_for_block(self) -> None:
        """Note where the block of the line under way begins and ends, if it has one and its header is whole."""
        if self._buffer.find(b"#", 3) < 0:  # not that of the prefix
            return
        line_end = self._buffer.find(b"\n", self._searched)
        end = self._longest if line_end < 0 else min(line_end, self._longest)
        if not self._takes_block(bytes(self._buffer[: min(end, _VERB_SIZE)])):
            return
        start, self._looked = _find_block(self._buffer[:end] if line_end >= 0 else self._buffer, self._looked)
        if start is None or start >= self._longest:
            return
        block = block_end(bytes(self._buffer[: start + 11]), start)
        if block is None:
            return
        if block - start > BLOCK_LIMIT:
            raise Failure("LINE_TOO_LONG", f"a block has at most {BLOCK_LIMIT} bytes")
        self._block = (start, block)


def block_start(line: bytes) -> int | None:
    """Where a definite-length block begins: the first `#` and digit 1-9 after a blank or comma, outside quotes."""
    return _find_block(line, 0)[0]


def _find_block(line: bytes | bytearray, position: int) -> tuple[int | None, int]:
    """Where a block begins, looking from `position` on, which is outside quotes; and from where to look again when
    the line has grown."""
    for token in _TOKENS.finditer(line, position):
        if token.group()[:1] in (b" ", b","):
            return token.start() + 1, position
        if len(token.group()) == 1:
            return None, token.start()  # a quotation that has not ended yet
        position = token.end()
    return None, max(position, len(line) - 2)


def block_end(line: bytes, start: int) -> int | None:
    """Where the block that begins at `start` ends, by its header; None if that is not whole or not sound."""
    first = start + 2 + int(line[start + 1 : start + 2])
    digits = line[start + 2 : first]
    return first + int(digits) if len(digits) == first - start - 2 and digits.isdigit() else None


def as_block(data: bytes) -> bytes:
    """`data` as an IEEE 488.2 definite-length block."""
    return _block_header(len(data)) + data


def _block_header(size: int) -> bytes:
    length = str(size)
    return f"#{len(length)}{length}".encode()


def answer(data: bytes) -> bytes:
    """An instrument's answer as a reply: as it is, or as a block where a line could not carry it."""
    starts_like_block = data[:1] == b"#" and data[1:2].isdigit()
    if starts_like_block or b"\n" in data or not _is_text(data):
        return as_block(data)
    return data


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# The same for what came in pieces. Each is taken out when it is given, so that there never are two of a long answer.


def without_suffix(pieces: deque[bytes], suffix: bytes) -> deque[bytes]:
    """`pieces`, of which the last end without `suffix` if that is how they end."""
    end, size = list[bytes](), 0
    while pieces and size < len(suffix):
        end.append(pieces.pop())
        size += len(end[-1])
    pieces.append(b"".join(reversed(end)).removesuffix(suffix))
    return pieces


def long_block(pieces: deque[bytes]) -> Iterator[bytes]:
    """What `as_block` gives, piece by piece."""
    pieces.appendleft(_block_header(sum(map(len, pieces))))
    return _given(pieces)


def long_answer(pieces: deque[bytes]) -> Iterator[bytes]:
    """What `answer` gives, piece by piece; nothing, b"", after a look at one."""
    is_line = yield from _fits_a_line(pieces)
    yield from _given(pieces) if is_line else long_block(pieces)


def _fits_a_line(pieces: deque[bytes]) -> Generator[bytes, None, bool]:
    decode = codecs.getincrementaldecoder("utf-8")().decode
    beginning = b""
    try:
        for piece in pieces:
            beginning = (beginning + piece[:2])[:2]
            if b"\n" in piece or (beginning[:1] == b"#" and beginning[1:].isdigit()):
                return False
            decode(piece)
            yield b""
        decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _given(pieces: deque[bytes]) -> Iterator[bytes]:
    """Small ones go together."""
    while pieces:
        together = [pieces.popleft()]
        size = len(together[0])
        while pieces and size + len(pieces[0]) <= PIECE_SIZE:
            together.append(pieces.popleft())
            size += len(together[-1])
        yield b"".join(together)


_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\0": "\0", "\\\\": "\\"}
_ESCAPED = re.compile(r"\\(x[0-9a-fA-F]{2}|.)?")


def unescape(text: str) -> bytes:
    r"""A termination as typed: `\n`, `\r\n`, `\x04`, `none`. Raises Failure(BAD_ARGUMENT)."""
    if text == "none":
        return b""
    if not text.isascii():
        raise Failure("BAD_ARGUMENT", f"{text!r} is no termination: other bytes than ASCII are written \\xHH")

    def plain(match: re.Match[str]) -> str:
        escape = match.group()
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        if len(escape) == 4:
            return chr(int(escape[2:], 16))
        raise Failure("BAD_ARGUMENT", f"{escape!r} is no escape: \\n \\r \\t \\0 \\\\ \\xHH are")

    return _ESCAPED.sub(plain, text).encode("latin-1")


def escape(termination: bytes) -> str:
    r"""A termination as `unescape` takes it."""
    if not termination:
        return "none"
    if termination == b"none":
        return "\\x6eone"
    names = {value: key for key, value in _ESCAPES.items()}

    def escaped(character: str) -> str:
        is_plain = " " < character < "\x7f"
        return names.get(character) or (character if is_plain else f"\\x{ord(character):02x}")

    return "".join(map(escaped, termination.decode("latin-1")))
