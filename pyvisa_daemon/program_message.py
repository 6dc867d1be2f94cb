"""What an instrument is asked, and where a block lies in what it answers (IEEE 488.2, 7 and 8).

Runs in every process: the client's end, the front and the child must judge alike. Pure: no PyVISA, no socket, no clock.

    MessageLexer    what one session writes: how many answers it asks for, whether its last message has ended
    BlockScanner    one answer as it is read: whether a termination character in it is data of a block
    SpanLexer       what is written, for who must understand it: what is text, and where strings and blocks lie

All take bytes in chunks of any size; how they were cut makes no difference. To let another byte mean something: its
row in `_WITHOUT_END`. One file, though a long one: two readers of strings and blocks would come to differ.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

_CR, _LF = b"\r\n"
_APOSTROPHE, _QUOTE, _QUERY, _NUMBER_SIGN = b"'\"?#"
_SEMICOLON = ord(";")

#: IEEE 488.2, 7.4.1.2; with LF, behind which a message begins.
_WHITE_SPACE = bytes(range(0x21))

#: What comes behind a string or a block that is one: the end, a separator, the second of doubled quotation marks.
_MAY_FOLLOW = frozenset(_WHITE_SPACE + b",;)'\"")

#: Bytes without which an answer has neither block nor string.
_ANSWER_MARKS = (b"#", b'"', b"'")

_LETTER_OR_DIGIT = frozenset(byte for byte in range(256) if bytes([byte]).isalnum() or byte >= 0x80 or byte == ord("_"))

#: The longest header of a block without its `#`: a digit, and as many digits as that says.
_HEADER = 10


def contains_query(message: bytes) -> bool:
    """May this message make the instrument answer? Yes when in doubt: that costs time, never correctness."""
    return b"?" in message


def count_answers(message: bytes) -> int:
    """How many answers may follow this whole write: one for each line with a query. `MessageLexer` knows better what
    a session has written before."""
    lexer = MessageLexer(marks_end=False)
    return lexer.feed(message) + lexer.feed(b"\n")  # LF: nothing follows that could close a string


class _State(IntEnum):
    """Where in a message the next byte is."""

    ELEMENT = 0  # outside; behind white space or a comma, or nothing yet: a data element may begin, so `#` is a block's
    WORD = auto()  # outside; behind a letter or digit: a quotation mark here may be free text's (it's)
    OTHER = auto()  # outside; behind anything else
    APOSTROPHES = auto()  # in a '...' string
    QUOTES = auto()  # in a "..." string
    AFTER_STRING = auto()  # just behind one. Doubled quotation marks in a string are taken for two without a gap
    HEADER = auto()  # behind the `#` of what may be a block
    BLOCK = auto()  # in the data of a block of definite length
    AFTER_BLOCK = auto()  # just behind that
    INDEFINITE = auto()  # in the data of a block of indefinite length, which only the message's end ends
    DOUBT = auto()  # behind CR in a string: for some instruments that ended the message, others are still in the string
    LOST = auto()  # in doubt, and perhaps in a block: not even LF is certain to end the message


class _Message(IntEnum):
    """What the message under way has asked so far."""

    NONE = 0  # there is none: nothing came behind the last end
    QUIET = auto()  # nothing
    PERHAPS = auto()  # there is a `?` in a string, or a block: nothing, if they are what they seem
    SUSPECT = auto()  # its quotation marks do not pair as they should: any `?` counts
    ASKS = auto()  # for an answer, which was counted


class _Event(IntEnum):
    """What happens to a message."""

    BYTES = 0
    QUERY = auto()  # a `?` outside strings and blocks
    INSIDE = auto()  # a `?` in a string, or a block, which is not looked into
    MISPAIRED = auto()  # a quotation mark touches a word from outside; something other than a separator is behind data
    END = auto()
    UNCLOSED = auto()  # its end, in a string or block


def _moves(row: str) -> tuple[tuple[_Message, int], ...]:
    return tuple((_Message[move.rstrip("+")], move.count("+")) for move in row.split())


#: _MESSAGES[event][what the message has asked]: what it asks now; + where that is an answer more.
_MESSAGES = {
    #                         NONE     QUIET    PERHAPS  SUSPECT  ASKS
    _Event.BYTES: _moves("    QUIET    QUIET    PERHAPS  SUSPECT  ASKS"),
    _Event.QUERY: _moves("    ASKS+    ASKS+    ASKS+    ASKS+    ASKS"),
    _Event.INSIDE: _moves("   PERHAPS  PERHAPS  PERHAPS  ASKS+    ASKS"),
    _Event.MISPAIRED: _moves("SUSPECT  SUSPECT  ASKS+    SUSPECT  ASKS"),
    _Event.END: _moves("      NONE     NONE     NONE     NONE     NONE"),
    _Event.UNCLOSED: _moves(" NONE     NONE     NONE+    NONE     NONE"),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A state: what each byte that matters in it does to the message, and the next state; and how to find one."""

    on: dict[int, tuple[_Event, _State]]
    marks: re.Pattern[bytes]


def _row(on: dict[int, tuple[_Event, _State]]) -> _Row:
    return _Row(on, re.compile(b"[%b]" % re.escape(bytes(on)) if on else b"(?!)"))


def _outside(quotation: _Event, number_sign: _State) -> _Row:
    return _row(
        {
            _QUERY: (_Event.QUERY, _State.OTHER),
            _APOSTROPHE: (quotation, _State.APOSTROPHES),
            _QUOTE: (quotation, _State.QUOTES),
            _NUMBER_SIGN: (_Event.BYTES, number_sign),
            _CR: (_Event.END, _State.ELEMENT),
            _LF: (_Event.END, _State.ELEMENT),
        }
    )


def _string(state: _State, quotation_mark: int) -> _Row:
    return _row(
        {
            _QUERY: (_Event.INSIDE, state),
            quotation_mark: (_Event.BYTES, _State.AFTER_STRING),
            _CR: (_Event.UNCLOSED, _State.DOUBT),
            _LF: (_Event.UNCLOSED, _State.ELEMENT),
        }
    )


#: The states in which single bytes matter, for an interface without END: LF is certain to end a message, CR may.
_WITHOUT_END = {
    _State.ELEMENT: _outside(_Event.BYTES, _State.HEADER),
    _State.WORD: _outside(_Event.MISPAIRED, _State.OTHER),
    _State.OTHER: _outside(_Event.BYTES, _State.OTHER),
    _State.APOSTROPHES: _string(_State.APOSTROPHES, _APOSTROPHE),
    _State.QUOTES: _string(_State.QUOTES, _QUOTE),
    _State.INDEFINITE: _row({_CR: (_Event.END, _State.DOUBT), _LF: (_Event.END, _State.ELEMENT)}),
    _State.DOUBT: _row(
        {
            _QUERY: (_Event.QUERY, _State.DOUBT),
            _NUMBER_SIGN: (_Event.BYTES, _State.LOST),
            _CR: (_Event.END, _State.DOUBT),
            _LF: (_Event.END, _State.ELEMENT),
        }
    ),
    _State.LOST: _row(
        {_QUERY: (_Event.QUERY, _State.LOST), _CR: (_Event.END, _State.LOST), _LF: (_Event.END, _State.LOST)}
    ),
}

#: With END only that is certain, so LF is what CR is; and nothing in a block of indefinite length matters.
_WITH_END = {state: _row({**row.on, _LF: row.on[_CR]}) for state, row in _WITHOUT_END.items()}
_WITH_END[_State.INDEFINITE] = _row({})

#: In an answer only blocks are looked for, and the strings that may hold what looks like one.
_IN_ANSWER = {
    state: _row({byte: move for byte, move in row.on.items() if byte not in b"?\r\n"})
    for state, row in _WITHOUT_END.items()
}

#: For who must know every unit: a `?` means nothing, `;` does.
_IN_UNITS = {
    state: _row(
        {byte: row.on[_LF] if byte == _CR else move for byte, move in row.on.items() if byte != _QUERY}
        | ({_SEMICOLON: (_Event.BYTES, _State.OTHER)} if state <= _State.OTHER else {})
    )
    for state, row in _WITHOUT_END.items()
    if state <= _State.QUOTES
} | {_State.INDEFINITE: _row({})}

_OUTSIDE = frozenset((_State.ELEMENT, _State.WORD, _State.OTHER))
_IN_BLOCK = frozenset((_State.HEADER, _State.BLOCK, _State.AFTER_BLOCK))
_UNCLOSED_AT_END = frozenset((_State.APOSTROPHES, _State.QUOTES, _State.BLOCK))


def _behind_each_byte(separators: bytes) -> tuple[_State, ...]:
    states = dict.fromkeys(range(256), _State.OTHER)
    states |= dict.fromkeys(_LETTER_OR_DIGIT, _State.WORD) | dict.fromkeys(separators, _State.ELEMENT)
    return tuple(states.values())


#: The state behind each byte outside. In a program message a header comes behind `:` and `;`, not data (7.3.3); in an
#: answer data may: instruments can leave headers out.
_BEHIND = _behind_each_byte(_WHITE_SPACE + b",")
_BEHIND_IN_ANSWER = _behind_each_byte(_WHITE_SPACE + b",:;")


def _header(sign: bytes) -> tuple[_State, int, int]:
    """What the bytes behind `#` (`_HEADER` or more, or all there are) make of it: the state behind; how many of them
    belong to it; how many bytes of data follow, or are missing of an unfinished header."""
    digits = sign[: len(sign) - len(sign.lstrip(b"0123456789"))]
    if digits[:1] == b"0":
        return _State.INDEFINITE, 1, 0
    size = 1 + int(digits[:1] or b"0")
    if digits and len(digits) >= size:
        length = int(digits[1:size])
        return _State.BLOCK if length else _State.AFTER_BLOCK, size, length
    if len(digits) < len(sign):  # a number (#H20), or text
        return _State.WORD if digits else _State.OTHER, len(digits), 0
    return _State.HEADER, len(digits), size - len(digits)


class _Lexer:
    """Goes through bytes by a table of rows; what it sees on the way is `_turn`'s."""

    def __init__(self, rows: dict[_State, _Row], behind: tuple[_State, ...]) -> None:
        self._rows = rows
        self._behind = behind
        self._state = _State.ELEMENT
        #: What came of an unfinished header, behind the `#`.
        self._sign = b""
        #: Bytes still to come of the data of a block of definite length.
        self._left = 0

    def _turn(self, event: _Event) -> None:
        """`event` happens to the message under way."""

    def _go_through(self, data: bytes) -> None:
        position, size = 0, len(data)
        while position < size:
            position = _STEPS.get(self._state, _Lexer._to_next_mark)(self, data, position)

    def _to_next_mark(self, data: bytes, position: int) -> int:
        found = self._rows[self._state].marks.search(data, position)
        at = found.start() if found else len(data)
        if at > position and self._state in _OUTSIDE:
            self._state = self._behind[data[at - 1]]
        if found is None:
            self._turn(_Event.BYTES)
            return at
        event, self._state = self._rows[self._state].on[data[at]]
        self._turn(event)
        return at + 1

    def _after_data(self, data: bytes, position: int) -> int:
        if data[position] not in _MAY_FOLLOW:
            self._turn(_Event.MISPAIRED)
        self._state = _State.OTHER
        return position

    def _in_header(self, data: bytes, position: int) -> int:
        known = len(self._sign)
        sign = self._sign + data[position : position + _HEADER]
        self._state, size, left = _header(sign)
        self._sign, self._left = (sign, 0) if self._state is _State.HEADER else (b"", left)
        if left and self._state is _State.BLOCK:
            self._turn(_Event.INSIDE)
        return position + size - known

    def _in_block(self, data: bytes, position: int) -> int:
        end = min(position + self._left, len(data))
        self._left -= end - position
        if not self._left:
            self._state = _State.AFTER_BLOCK
        return end


_STEPS: dict[_State, Callable[[_Lexer, bytes, int], int]] = {
    _State.AFTER_STRING: _Lexer._after_data,
    _State.AFTER_BLOCK: _Lexer._after_data,
    _State.HEADER: _Lexer._in_header,
    _State.BLOCK: _Lexer._in_block,
}


#: A whole message of one query, in which nothing else has a meaning.
_PLAIN_QUERY = re.compile(rb"[^\"'#\r\n;?]*\?[^\"'#\r\n;?]*\n")


class MessageLexer(_Lexer):
    """What one session writes, as program messages. After a device clear, or a write of which nobody knows how much
    arrived, begin with a new one.

    `marks_end`: the interface has END (GPIB, USB, VXI-11, HiSLIP). END ends a message there; LF and CR are taken as
    separating messages, but may be data of a string. Without END (SOCKET, serial) LF ends a message, and CR may.

    Whatever is no message of IEEE 488.2, or can be read in two ways, counts as a query: that costs time, never
    correctness. A `?` counts
    - in a string that its message's end leaves unclosed, and in the other strings of that message;
    - in a string that touches a letter or digit outside it: free text (it's ok?), or `TEXT"ok?"`; and in all the
      strings of that message;
    - anywhere behind CR (with END, also LF) in a string, until the message has ended for certain. Without END and
      behind a `#` nothing is certain any more: this lasts.
    A block of definite length counts, whatever its data, which is not looked at,
    - when END comes before it is whole;
    - when something else than a separator follows it, as behind a channel's number (`CH #14:A?;B`);
    - when a string of its message counts so.
    A `#` is text behind anything but white space or a comma, and without all its digits. Elsewhere it is believed to
    be a block's: that an instrument takes `CH #11?` for a query, or a query behind `#0` for one, nobody can know.
    """

    def __init__(self, *, marks_end: bool) -> None:
        super().__init__(_WITH_END if marks_end else _WITHOUT_END, _BEHIND)
        self._marks_end = marks_end
        self._message = _Message.NONE
        self._answers = 0

    @property
    def is_unfinished(self) -> bool:
        """Was a part of a message written that has not ended? CR ends one here: some instruments wait for no more."""
        return self._message is not _Message.NONE

    def feed(self, data: bytes, *, ends: bool = True) -> int:
        """How many answers more `data` asks for; `ends`: END goes with its last byte, if the interface has END.

        An answer is counted with the `?` that asks for it; one in doubt when doubt arises, which is with the end of its
        message or, for a block, with the byte behind it.
        """
        is_new = self._message is _Message.NONE and self._state is _State.ELEMENT
        if is_new and (ends or not self._marks_end) and _PLAIN_QUERY.fullmatch(data):
            return 1  # most are so, and this is at memory's speed
        self._answers = 0
        self._go_through(data)
        if ends and data and self._marks_end:
            self._turn(_Event.UNCLOSED if self._state in _UNCLOSED_AT_END else _Event.END)
            self._state, self._sign, self._left = _State.ELEMENT, b"", 0
        return self._answers

    def _turn(self, event: _Event) -> None:
        self._message, answers = _MESSAGES[event][self._message]
        self._answers += answers


class BlockScanner(_Lexer):
    """Where the blocks of definite length lie in ONE answer (8.7.9), for who reads it by a termination character: that
    may be any byte of a block.

    A character that was the last byte of a read did not end the answer if it `is_in_block`. Then read the bytes that
    are `missing`, with the termination off, and feed them, until none are; then the termination counts again. None may
    be missing at once, where it was the last byte of the block: the answer goes on all the same.
    """

    def __init__(self) -> None:
        super().__init__(_IN_ANSWER, _BEHIND_IN_ANSWER)

    @property
    def is_in_block(self) -> bool:
        """Is the last byte that came one of a block, or of what may be its header?"""
        return self._state in _IN_BLOCK

    @property
    def promised(self) -> int:
        """Bytes that are certain to come, because the whole header of a block says so."""
        return self._left

    @property
    def missing(self) -> int:
        """Bytes to come of the block, or, while not all of that has come, of what may be its header."""
        return _header(self._sign)[2] if self._state is _State.HEADER else self._left

    def feed(self, data: bytes) -> None:
        """The answer's next bytes."""
        if data and self._state in _OUTSIDE and not any(mark in data for mark in _ANSWER_MARKS):
            self._state = self._behind[data[-1]]  # at memory's speed
        else:
            self._go_through(data)


class Span(Enum):
    """What a stretch of a program message is."""

    TEXT = auto()  # outside strings and blocks, without separators
    SEPARATOR = auto()  # one byte: `;`, CR or LF, outside too
    STRING = auto()  # a string begins here; its content is not told
    BLOCK = auto()  # a block of definite length; nor is its data
    INDEFINITE = auto()  # a block that only END ends
    BROKEN = auto()  # this cannot be read: the bytes say why; what follows means nothing


class SpanLexer(_Lexer):
    """A program message as its spans, for who must understand what is written and refuses what can be read in two ways
    (front_proc's guards). What `MessageLexer` has doubts about is BROKEN here; so is a `#` that begins neither a block
    nor a number, and a string or block in the place of a header."""

    def __init__(self) -> None:
        super().__init__(_IN_UNITS, _BEHIND)
        self._is_mispaired = False
        #: The quotation mark of the string that ended with the last byte: another one goes on with it.
        self._closed = 0

    @property
    def is_inside(self) -> bool:
        """Is the next byte one of a string or block, or of what may be a block's header?"""
        return self._state not in _OUTSIDE and self._state not in (_State.AFTER_STRING, _State.AFTER_BLOCK)

    @property
    def promised(self) -> int:
        """Bytes to come that are certain to be a block's data."""
        return self._left

    @property
    def is_indefinite(self) -> bool:
        """Is it in a block that only END ends?"""
        return self._state is _State.INDEFINITE

    def feed(self, data: bytes) -> Iterator[tuple[Span, bytes]]:
        """The spans of the message's next bytes; a text may come in parts."""
        position, size = 0, len(data)
        while position < size:
            state, begin = self._state, position
            position = _STEPS.get(state, _Lexer._to_next_mark)(self, data, position)
            if state in _OUTSIDE:
                yield from self._text(state, data[begin:position])
            elif state is _State.HEADER:
                yield from self._begun()
            elif state in (_State.APOSTROPHES, _State.QUOTES):
                if data[position - 1] in b"\r\n":
                    yield Span.BROKEN, b"the line ends within a string"
                elif self._state is _State.AFTER_STRING:
                    self._closed = data[position - 1]
            elif self._is_mispaired:
                yield Span.BROKEN, b"no separator behind a string or block"

    def _text(self, state: _State, span: bytes) -> Iterator[tuple[Span, bytes]]:
        mark = span[-1] if span[-1] in _MARKS else 0
        text = span[:-1] if mark else span
        if text:
            state, self._closed = _BEHIND[text[-1]], 0
            yield Span.TEXT, text
        if not mark:
            return
        closed, self._closed = self._closed, 0
        if mark in (_SEMICOLON, _CR, _LF):
            yield Span.SEPARATOR, span[-1:]
        elif mark == _NUMBER_SIGN:
            if state is not _State.ELEMENT:
                yield Span.BROKEN, b"a # where neither a block nor a number can begin"
        elif state is _State.ELEMENT:
            yield Span.STRING, b""
        elif mark != closed:
            yield Span.BROKEN, b"a quotation mark where no string can begin"

    def _begun(self) -> Iterator[tuple[Span, bytes]]:
        """Behind the `#` of what may be a block."""
        if self._state is _State.INDEFINITE:
            yield Span.INDEFINITE, b""
        elif self._state in (_State.BLOCK, _State.AFTER_BLOCK):
            yield Span.BLOCK, b""
        elif self._state is _State.WORD:
            yield Span.BROKEN, b"a block without its length"
        elif self._state is _State.OTHER:
            yield Span.TEXT, b"#"

    def _turn(self, event: _Event) -> None:
        self._is_mispaired = event is _Event.MISPAIRED


_MARKS = frozenset((_APOSTROPHE, _QUOTE, _NUMBER_SIGN, _SEMICOLON, _CR, _LF))
