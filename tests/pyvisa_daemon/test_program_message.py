"""Program messages and blocks: what counts as a query, however it is spelled and cut; and where an answer ends.

The lexer is held against two others: `by_hand` makes the same decisions, with all bytes before it; `by_the_book` is
an instrument that knows IEEE 488.2, strings and blocks, and nothing of doubt: none of its queries may be missed.
"""

import io
import itertools
import re
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyvisa_daemon.program_message import BlockScanner, MessageLexer, Span, SpanLexer, contains_query, count_answers

#: Stands for END in a list of bytes.
END = -1

WITH, WITHOUT, BOTH = (True,), (False,), (True, False)

#: A write (its last byte with END, on an interface that has it), on which interfaces, and how many answers follow.
SPELLINGS: list[tuple[bytes, tuple[bool, ...], int]] = [
    # Plain ones.
    (b"*IDN?\n", BOTH, 1),
    (b"*IDN?\r\n", BOTH, 1),
    (b"*IDN?\r", BOTH, 1),
    (b"*IDN?", BOTH, 1),
    (b"VOLT 1\n", BOTH, 0),
    (b"\n", BOTH, 0),
    (b"", BOTH, 0),
    (b"?\n", BOTH, 1),
    (b"MEAS:VOLT? (@101)\n", BOTH, 1),
    (b"MEAS? 1,#H20\n", BOTH, 1),
    # One answer for a message, however many queries it has; LF and CR are between messages.
    (b"*IDN?;*OPC?\n", BOTH, 1),
    (b"VOLT 1;*OPC?\n", BOTH, 1),
    (b"A?\nB?\n", BOTH, 2),
    (b"A?\nB\nC?", BOTH, 2),
    (b"A?\r\nB?\r\n", BOTH, 2),
    (b"A?\rB?\r", BOTH, 2),
    (b"\n\r\n\n", BOTH, 0),
    # Strings.
    (b'DISP "ok?"\n', BOTH, 0),
    (b"DISP 'ok?'\n", BOTH, 0),
    (b'DISP "say ""why?"" now?"\n', BOTH, 0),
    (b"DISP 'it''s ok?'\n", BOTH, 0),
    (b'DISP "it\'s ok?"\n', BOTH, 0),
    (b'DISP "a?";*IDN?\n', BOTH, 1),
    (b'DISP "a?","b?";*OPC\n', BOTH, 0),
    (b'DISP ("a?")\n', BOTH, 0),
    (b'DISP "";X?\n', BOTH, 1),
    (b'DISP "#15";X?\n', BOTH, 1),
    (b'DISP "\xe4?"\n', BOTH, 0),
    (b"CONF (@101);:FUNC 'VOLT?',(@1)\n", BOTH, 0),
    # Strings that are none, or perhaps none.
    (b"DISP:TEXT it's ok?\n", BOTH, 1),
    (b"DISP:TEXT it's ok\n", BOTH, 0),
    (b"DISP:TEXT it's ok?\nVOLT 1\n", BOTH, 1),
    (b"DISP:TEXT it's\nVOLT 1\n*IDN?\n", BOTH, 1),
    (b"DISP:TEXT it's;*IDN?;DISP:TEXT it's\n", BOTH, 1),
    (b"DISP 'twas;*IDN?;DISP 'tis\n", BOTH, 1),
    (b"DISP 'a?' b'\n", BOTH, 1),
    (b'DISP:TEXT"ok?"\n', BOTH, 1),
    (b'DISP:TEXT"ok"\n', BOTH, 0),
    (b"DISP 5'ok?'\n", BOTH, 1),
    (b"DISP a_'ok?'\n", BOTH, 1),
    (b"DISP \xe9'ok?'\n", BOTH, 1),
    (b'DISP "a\\"b?"\n', BOTH, 1),
    (b'DISP "a?', WITH, 1),
    (b'DISP "a?', WITHOUT, 0),
    (b'DISP "a?\nb"\n', BOTH, 1),
    (b'DISP "a\nb";X?;DISP "c\nd"', WITH, 1),
    (b'DISP "a\rb";X?;DISP "c\rd"\n', BOTH, 1),
    (b"DISP it's\rDISP 'x?'\nDISP 'x?'\n", WITHOUT, 1),
    (b"DISP it's\rDISP 'x?'\nDISP 'x?'\n", WITH, 2),
    (b'DISP it\'s\rA #12\n";B?;"\n', BOTH, 1),
    (b"DISP it's #1\r*IDN?\r", BOTH, 1),
    # Blocks of definite length.
    (b"CURV #15ab?de\n", BOTH, 0),
    (b"CURV 1,#15ab?de\n", BOTH, 0),
    (b"CURV\t#15ab?de\n", BOTH, 0),
    (b"#15ab?de\n", BOTH, 0),
    (b"\n#15ab?de\n", BOTH, 0),
    (b"CURV #15a\n?'\";X?\n", BOTH, 1),
    (b"CURV #15\"'\r\n?,#13?\n?\n", BOTH, 0),
    (b"CURV #6000003?\n?;X?\n", BOTH, 1),
    (b"CURV #10;X?\n", BOTH, 1),
    (b"CURV #10\n#11?\n", BOTH, 0),
    (b"CURV #9000000001?\n", BOTH, 0),
    (b"CURV #212" + 12 * b"?" + b";*OPC?\n", BOTH, 1),
    (b"CURV #15ab?de\r\nX?\r\n", BOTH, 1),
    (b"CURV #2100ab", WITHOUT, 0),
    # Blocks that are none, or perhaps none.
    (b"CURV #2100ab", WITH, 1),
    (b"CURV #13ab?x\n", BOTH, 1),
    (b"CURV #13ab? x\n", BOTH, 0),
    (b"CH #14:A?;B\n", BOTH, 1),
    (b"CURV #13ab?;DISP 'a\n", BOTH, 1),
    (b"A #H2F,#Q17,#B101\n", BOTH, 0),
    (b"A #H2F?\n", BOTH, 1),
    (b"A #\nB?\n", BOTH, 1),
    (b"A #?\n", BOTH, 1),
    (b"A #3?\n", BOTH, 1),
    (b"A #31?5abcd\n", BOTH, 1),
    (b"A #21", BOTH, 0),
    (b"A #3'ok?'\n", BOTH, 1),
    (b"A #'ok?'\n", BOTH, 0),
    (b"CH#15:A?\n", BOTH, 1),
    (b"A:#15ab?de\n", BOTH, 1),
    (b"A;#15ab?de\n", BOTH, 1),
    (b"A##15ab?de\n", BOTH, 1),
    (b"A #14abcd#15ab?de\n", BOTH, 1),
    # Blocks of indefinite length.
    (b"CURV #0ab?c\n", BOTH, 0),
    (b"CURV #0ab\nc?d\n", WITH, 0),
    (b"CURV #0ab\nC?\n", WITHOUT, 1),
    (b"CURV #0ab\r*IDN?\r", WITHOUT, 1),
    (b"CURV #0\"'#19\n", BOTH, 0),
]


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    """`data` cut at these positions; none of the pieces is empty."""
    return [data[start:end] for start, end in itertools.pairwise([0, *sorted(positions), len(data)]) if start < end]


def fed(lexer: MessageLexer, data: bytes, positions: Iterable[int] = (), *, ends: bool = True) -> int:
    """How many answers one write asks for that comes cut at these positions: END, if any, goes with its last byte."""
    *first, last = cut(data, positions) or [b""]
    return sum(lexer.feed(chunk, ends=False) for chunk in first) + lexer.feed(last, ends=ends)


@pytest.mark.parametrize(
    ("message", "marks_end", "answers"),
    [(message, marks_end, answers) for message, interfaces, answers in SPELLINGS for marks_end in interfaces],
)
def test_lexer_counts_answers_when_spelled_so(message: bytes, marks_end: bool, answers: int) -> None:
    """Whole, byte by byte, and cut at every single place; what END has ended leaves nothing behind."""
    for positions in ([], range(len(message)), *([at] for at in range(len(message)))):
        lexer = MessageLexer(marks_end=marks_end)
        assert fed(lexer, message, positions) == answers
        if marks_end:
            assert not lexer.is_unfinished
            assert [lexer.feed(b'#15ab?de,"?"'), lexer.feed(b"*IDN?")] == [0, 1]


def test_answer_is_counted_with_the_bytes_that_ask_for_it() -> None:
    """Once, with the first query of its message; in doubt with what brings the doubt."""
    lexer = MessageLexer(marks_end=False)
    assert [lexer.feed(chunk) for chunk in (b"*ID", b"N?", b";*OPC?", b"\nVOLT 1;*OPC?;A?\n")] == [0, 1, 0, 1]
    assert [lexer.feed(chunk) for chunk in (b"A 'b?", b"c", b"\n")] == [0, 0, 1]
    assert [lexer.feed(chunk) for chunk in (b"A #13b?c", b"d")] == [0, 1]


@pytest.mark.parametrize(
    ("writes", "marks_end", "is_unfinished"),
    [
        ([], False, False),
        ([b"VOLT 1\n"], False, False),
        ([b"VOLT 1\r"], False, False),
        ([b"VOLT 1\r", b"\n"], False, False),
        ([b"*IDN?"], False, True),
        ([b"*IDN?", b"\n"], False, False),
        ([b"*IDN?\nV"], False, True),
        ([b"A 'b"], False, True),
        ([b"A '"], False, True),
        ([b"A 'b\n"], False, False),
        ([b"DISP it's\r"], False, False),
        ([b"DISP it's\rA"], False, True),
        ([b"DISP it's\rA\r"], False, False),
        ([b"#"], False, True),
        ([b"CURV #"], False, True),
        ([b"CURV #2"], False, True),
        ([b"CURV #15ab\nc"], False, True),
        ([b"CURV #15ab\ncd"], False, True),
        ([b"CURV #15ab\ncd\n"], False, False),
        ([b"CURV #0ab"], False, True),
        ([b"CURV #0ab\n"], False, False),
        ([b"A"], True, True),
        ([b"A\n"], True, False),
        ([b"CURV #0ab\n"], True, True),
        ([b"CURV #15ab\n"], True, True),
    ],
)
def test_message_is_unfinished_when_its_end_was_not_written(
    writes: list[bytes], marks_end: bool, is_unfinished: bool
) -> None:
    """END, where there is one, always ends it."""
    lexer = MessageLexer(marks_end=marks_end)
    for write in writes:
        lexer.feed(write, ends=False)
    assert lexer.is_unfinished is is_unfinished
    lexer.feed(b"\x00", ends=True)
    assert lexer.is_unfinished is not marks_end


def test_end_is_of_no_account_when_nothing_is_written_with_it() -> None:
    """A write of no bytes sends no END."""
    lexer = MessageLexer(marks_end=True)
    lexer.feed(b"*IDN", ends=False)
    assert lexer.feed(b"", ends=True) == 0
    assert lexer.is_unfinished


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        (b"", 0),
        (b"VOLT 1", 0),
        (b"*IDN?", 1),
        (b"*IDN?;*OPC?\r\n", 1),
        (b"A?\nB\nC?\n", 2),
        (b"DISP 'ok?'", 0),
        (b"DISP 'ok?", 1),
        (b"DISP it's ok?\n", 1),
        (b"CURV #15a?\n?b\nA?", 1),
    ],
)
def test_answers_of_a_whole_write_are_counted_by_line(message: bytes, answers: int) -> None:
    """Its own end is the last line's."""
    assert count_answers(message) == answers


@pytest.mark.parametrize(("message", "may"), [(b"*IDN?", True), (b"DISP 'ok?'", True), (b"VOLT 1\n", False)])
def test_message_may_be_a_query_when_a_question_mark_is_anywhere(message: bytes, may: bool) -> None:
    """The coarse judgement knows no strings."""
    assert contains_query(message) is may


class Asked:
    """Counts the messages that ask."""

    def __init__(self) -> None:
        self.answers = 0
        self.end()

    def end(self) -> None:
        self.has_begun = self.has_asked = self.might_ask = self.is_odd = False

    def query(self) -> None:
        self.answers += not self.has_asked
        self.has_asked = True

    def inside(self) -> None:
        self.might_ask = True
        if self.is_odd:
            self.query()

    def odd(self) -> None:
        self.is_odd = True
        if self.might_ask:
            self.query()


class ByHand:
    """The lexer's decisions with all bytes, and END, in view: no tables, nothing to be remembered from one chunk to
    the next."""

    def __init__(self, stream: list[int], marks_end: bool) -> None:
        self._rest = stream[::-1]
        self._marks_end = marks_end
        self._asked = Asked()
        self._before = ord(" ")
        while self._rest:
            byte = self._rest.pop()
            self._asked.has_begun = True
            if byte in (END, *b"\r\n"):
                self._asked.end()
            if byte == ord("?"):
                self._asked.query()
            may_be_block = self._before <= ord(" ") or self._before == ord(",")
            may_be_text = self._before >= 0x80 or chr(self._before).isalnum() or self._before == ord("_")
            self._before = byte if byte != END else ord(" ")
            if byte in (*b"'\"",):
                self._string(byte, may_be_text)
            elif byte == ord("#") and may_be_block:
                self._block()

    @property
    def result(self) -> tuple[int, bool]:
        return self._asked.answers, self._asked.has_begun

    def _string(self, quotation_mark: int, may_be_text: bool) -> None:
        if may_be_text:
            self._asked.odd()
        while self._rest:
            byte = self._rest.pop()
            if byte == quotation_mark:
                return self._behind_data()
            if byte == ord("?"):
                self._asked.inside()
            if byte in (END, *b"\r\n"):
                self._asked.odd()
                return self._perhaps_ended(byte)
        return None

    def _behind_data(self) -> None:
        self._before = ord(")")
        if self._rest and self._rest[-1] not in (END, *range(33), *b"',;)\""):
            self._asked.odd()

    def _block(self) -> None:
        ahead = "".join(chr(byte) if byte >= 0 else "END" for byte in self._rest[-1:-11:-1])
        if ahead[:1] == "0":
            while self._rest:
                byte = self._rest.pop()
                if byte == END or (byte in b"\r\n" and not self._marks_end):
                    return self._perhaps_ended(byte)
        elif header := re.match("|".join(f"{size}[0-9]{{{size}}}" for size in range(1, 10)), ahead):
            del self._rest[-len(header[0]) :]
            self._data(int(header[0][1:]))
        return None

    def _data(self, length: int) -> None:
        if length:
            self._asked.inside()
        for _ in range(length):
            if not self._rest:
                return None
            if self._rest[-1] == END:
                return self._asked.odd()
            self._rest.pop()
        return self._behind_data()

    def _perhaps_ended(self, byte: int) -> None:
        """To where the message has ended for certain."""
        self._asked.end()
        self._before = ord(" ")
        certain = {END} if self._marks_end else {*b"\n"}
        while self._rest and byte not in certain:
            byte = self._rest.pop()
            self._asked.has_begun = True
            if byte == ord("?"):
                self._asked.query()
            if byte == ord("#"):
                certain = {END}
            if byte in (END, *b"\r\n"):
                self._asked.end()


def by_the_book(stream: list[int], in_text: bytes, in_strings: bytes, in_indefinite: bytes) -> int:
    """How many messages ask, for an instrument that takes these bytes for the end of a message in text, in a string,
    and in a block of indefinite length. END always is one."""
    ends = {"text": in_text, "'": in_strings, '"': in_strings, "indefinite": in_indefinite, "block": b""}
    place, answers, has_asked, header, left, before = "text", 0, False, "", 0, ord(" ")
    for byte in stream:
        if place == "header":
            header += chr(byte) if byte >= 0 else "END"
            if header == "0":
                place = "indefinite"
                continue
            if re.fullmatch("[1-9][0-9]*", header):
                left = int(header[1:] or "0")
                if len(header) == int(header[0]) + 1:
                    place = "block" if left else "text"
                    before = ord(")")
                continue
            place = "text"
        if byte == END or byte in ends[place]:
            place, has_asked, before = "text", False, ord(" ")
        elif place == "block":
            left -= 1
            place = "block" if left else "text"
        elif place == "text":
            if byte == ord("?"):
                answers += not has_asked
                has_asked = True
            elif byte in b"'\"":
                place = chr(byte)
            elif byte == ord("#") and before in b"," + bytes(range(33)):
                place, header = "header", ""
            before = byte
        elif chr(byte) == place:
            place, before = "text", ord(")")
    return answers


#: Instruments of the book on interfaces with END and without: what ends messages in text, strings, indefinite blocks.
BOOKS = {
    True: [(b"\n", b"", b""), (b"\n", b"\n", b""), (b"\r\n", b"", b""), (b"\r\n", b"\r\n", b""), (b"", b"", b"")],
    False: [(b"\n", b"\n", b"\n"), (b"\r\n", b"\r\n", b"\r\n")],
}

spelled = b"""? ' " # #1 #13 #15 #210 #0 #H2 1 7 , ; : a _ ) *IDN? it's "b" 'c?' \xff""".split()
tokens = st.sampled_from([*spelled, b" ", b" ", b"\t", b"\0", b"\r", b"\n", b"\n", b"\r\n"])
noise = st.one_of(st.lists(tokens, max_size=25).map(b"".join), st.binary(max_size=20))
places = st.lists(st.integers(0, 60), max_size=12)
writes = st.lists(st.tuples(noise, st.booleans()), max_size=5)
Writes = list[tuple[bytes, bool]]


def as_stream(writes: Writes, marks_end: bool) -> list[int]:
    return [byte for data, ends in writes for byte in (*data, *([END] if ends and data and marks_end else []))]


def within(data: bytes, places: list[int]) -> list[int]:
    return [place for place in places if place < len(data)]


@given(writes, st.booleans(), places)
def test_lexer_decides_the_same_however_writes_are_cut(writes: Writes, marks_end: bool, places: list[int]) -> None:
    """Answers and unfinished messages, write by write."""
    whole, pieces = MessageLexer(marks_end=marks_end), MessageLexer(marks_end=marks_end)
    for data, ends in writes:
        assert fed(whole, data, ends=ends) == fed(pieces, data, within(data, places), ends=ends)
        assert whole.is_unfinished is pieces.is_unfinished


@given(writes, st.booleans())
def test_lexer_decides_as_by_hand_when_all_is_in_view(writes: Writes, marks_end: bool) -> None:
    """Whatever is written, sense or not."""
    lexer = MessageLexer(marks_end=marks_end)
    answers = sum(fed(lexer, data, ends=ends) for data, ends in writes)
    assert (answers, lexer.is_unfinished) == ByHand(as_stream(writes, marks_end), marks_end).result


@given(writes, st.booleans())
@example([(b'a\'\r#12\n";B?;"\n', False)], False)
@example([(b"A 'b\n';C?;'d\ne'", True)], True)
def test_lexer_misses_no_query_of_an_instrument_by_the_book(writes: Writes, marks_end: bool) -> None:
    """A `?` outside strings and blocks is never missed, whichever bytes its instrument takes for the end."""
    lexer = MessageLexer(marks_end=marks_end)
    answers = sum(fed(lexer, data, ends=ends) for data, ends in writes)
    answers += lexer.feed(b"\n", ends=True)  # what is in doubt counts by then
    stream = as_stream([*writes, (b"\n", True)], marks_end)
    assert all(answers >= by_the_book(stream, *book) for book in BOOKS[marks_end])


def as_block(data: bytes) -> bytes:
    return b"#%d%d%b" % (len(str(len(data))), len(data), data)


blocks = st.one_of(st.binary(max_size=120), noise).map(as_block)
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12).map(str.encode)
strings = st.one_of(
    st.one_of(printable, st.just(b"?'\"")).map(lambda text: b'"%b"' % text.replace(b'"', b'""')),
    st.one_of(printable, st.just(b"?'\"")).map(lambda text: b"'%b'" % text.replace(b"'", b"''")),
)
plain = st.sampled_from([b"1", b"-2.5E-3", b"ON", b"#H2F", b"#Q17", b"#B101", b"(@1,3:5)", b"5 V"])
data_elements = st.lists(st.one_of(plain, strings, blocks), max_size=4).map(b",".join)


@st.composite
def program_messages(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A message as IEEE 488.2 has them, and does it ask?"""
    queries = draw(st.lists(st.booleans(), min_size=1, max_size=3))
    headers = st.sampled_from([b"*IDN", b"MEAS:VOLT", b":CURV", b"D2"])
    units = [draw(headers) + b"?" * query + b" " + draw(data_elements) for query in queries]
    return b";".join(units), any(queries)


@given(st.lists(st.tuples(program_messages(), st.sampled_from([b"\n", b"\r\n"])), max_size=4), st.booleans(), places)
def test_each_valid_message_is_one_answer_when_it_asks(
    messages: list[tuple[tuple[bytes, bool], bytes]], marks_end: bool, places: list[int]
) -> None:
    """No more and no fewer, in a write of its own and many in one; blocks and strings hold what they like."""
    single = MessageLexer(marks_end=marks_end)
    for (message, asks), end in messages:
        assert fed(single, message + end, within(message, places)) == asks
        assert not single.is_unfinished
    together = b"".join(message + end for (message, _), end in messages)
    assert fed(MessageLexer(marks_end=marks_end), together) == sum(asks for (_, asks), _ in messages)


@given(st.lists(program_messages(), max_size=4), st.binary(max_size=40))
def test_end_alone_ends_messages_when_the_interface_has_it(messages: list[tuple[bytes, bool]], data: bytes) -> None:
    """Also one whose block has no length."""
    lexer = MessageLexer(marks_end=True)
    assert [lexer.feed(message) for message, _ in messages] == [asks for _, asks in messages]
    assert [lexer.feed(b"CURV #0" + data), lexer.feed(b"*IDN?")] == [0, 1]


# Blocks in answers.


@pytest.mark.parametrize(
    ("answer", "missing", "is_in_block"),
    [
        (b"", 0, False),
        (b"1.25\n", 0, False),
        (b"#", 1, True),
        (b"#2", 2, True),
        (b"#21", 1, True),
        (b"#9", 9, True),
        (b"#212", 12, True),
        (b"#15\n", 4, True),
        (b"#15abcd", 1, True),
        (b"#15abc\n", 1, True),
        (b"#15abcd\n", 0, True),
        (b"#15abcde\n", 0, False),
        (b"#10", 0, True),
        (b"#10\n", 0, False),
        (b"#9000000002\n", 1, True),
        (b"CURV #15\n", 4, True),
        (b"1.0,#15\n", 4, True),
        (b":A:#15\n", 4, True),
        (b"A;#15\n", 4, True),
        (b"\n#15\n", 4, True),
        (b"#13\n\n\n,#15\n", 4, True),
        (b"#13\n\n\n#15\n", 0, False),
        (b"A#15\n", 0, False),
        (b"##15\n", 0, False),
        (b"#\n", 0, False),
        (b"#2\n", 0, False),
        (b"#H15\n", 0, False),
        (b"#1x,#15\n", 4, True),
        (b"#015,#15\n", 0, False),
        (b'"', 0, False),
        (b'"a"', 0, False),
        (b'"#15\n', 0, False),
        (b"'a,#15\n", 0, False),
        (b'"a",#15\n', 4, True),
        (b'"a""b ",#15\n', 4, True),
        (b'"a""b ,#15\n', 0, False),
        (b'#11",#15\n', 4, True),
        (b'"it\'s",#15\n', 4, True),
    ],
)
def test_scanner_knows_blocks_when_an_answer_was_read_so_far(answer: bytes, missing: int, is_in_block: bool) -> None:
    """Whole, byte by byte, and cut at every single place."""
    for places in ([], range(len(answer)), *([at] for at in range(len(answer)))):
        scanner = BlockScanner()
        for chunk in cut(answer, places):
            scanner.feed(chunk)
        assert (scanner.missing, scanner.is_in_block) == (missing, is_in_block)


def block_by_hand(answer: bytes) -> tuple[int, bool]:
    """What is missing of the last block, and whether the last byte is in it, with the whole answer in view."""
    at, may_begin = 0, True
    while at < len(answer):
        byte = answer[at : at + 1]
        end = None
        if byte in b"'\"":
            at = answer.find(byte, at + 1) + 1 or len(answer)
        elif byte == b"#" and may_begin:
            sign = answer[at + 1 : at + 11]
            if sign[:1] == b"0":
                break
            if not sign:
                end = at + 2
            elif b"1" <= sign[:1] <= b"9":
                size = int(sign[:1])
                length = sign[1 : 1 + size]
                if all(digit in b"0123456789" for digit in length):
                    end = at + 2 + size + (int(length) if len(length) == size else 0)
            at = end or at + 1
        else:
            at += 1
        if end is not None and end >= len(answer):
            return end - len(answer), True
        may_begin = byte <= b" " or byte in (b",", b":", b";")
    return 0, False


@given(noise, places)
def test_scanner_decides_as_by_hand_however_an_answer_is_cut(answer: bytes, places: list[int]) -> None:
    """Whatever is answered, sense or not."""
    scanner = BlockScanner()
    for chunk in cut(answer, within(answer, places)):
        scanner.feed(chunk)
    assert (scanner.missing, scanner.is_in_block) == block_by_hand(answer)


def read_answer(interface: io.BytesIO, termination: bytes) -> bytes:
    """As a child reads from an interface without END: to the termination, and with that off while bytes are missing."""
    scanner, answer = BlockScanner(), b""
    while scanner.is_in_block or not answer:
        if missing := scanner.missing:
            chunk = interface.read(missing)
            assert len(chunk) == missing
        else:
            chunk = b"".join(iter(lambda: interface.read(1), termination)) + termination
        scanner.feed(chunk)
        answer += chunk
    return answer


answers = st.builds(
    lambda header, elements: header + elements,
    st.sampled_from([b"", b"CURV ", b":WFMP:", b"A 1;"]),
    st.lists(st.one_of(plain, strings, blocks), min_size=1, max_size=4).map(b",".join),
)


@given(st.lists(answers, max_size=4), st.sampled_from([b"\n", b"\r"]))
def test_each_answer_is_read_to_its_end_when_its_blocks_hold_the_termination(
    answers: list[bytes], termination: bytes
) -> None:
    """Never less than one, never any of the next."""
    interface = io.BytesIO(b"".join(answer + termination for answer in answers))
    assert [read_answer(interface, termination) for _ in answers] == [answer + termination for answer in answers]


# Spans.


def spans(*pieces: bytes) -> list[tuple[Span, bytes]]:
    """Texts that follow each other joined; what comes behind BROKEN means nothing."""
    lexer, found = SpanLexer(), []
    for span, text in itertools.chain.from_iterable(map(lexer.feed, pieces)):
        if found and span is Span.TEXT is found[-1][0]:
            found[-1] = (span, found[-1][1] + text)
        else:
            found.append((span, text))
        if span is Span.BROKEN:
            break
    return found


def words(data: bytes) -> str:
    """The spans in short: text as it is, S for a string, B for a block, I for one without length, ! for broken."""
    signs = {Span.STRING: "S", Span.BLOCK: "B", Span.INDEFINITE: "I", Span.BROKEN: "!"}
    return "".join(signs.get(span) or text.decode() for span, text in spans(data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"A 1;:B 2\r\n", "A 1;:B 2\r\n"),
        (b"A 'x;''y' , \"z\";B", "A S , S;B"),
        (b"A #13a;b;B #10;C", "A B;B B;C"),
        (b"A #0;B", "A I"),
        (b"A #HFF,#b1", "A #HFF,#b1"),
        (b"A#15abcde", "A!"),
        (b"A 1#15", "A 1!"),
        (b"A #2x", "A !"),
        (b"A #13abcd", "A B!"),
        (b"A it's", "A it!"),
        (b"A 'x'y", "A S!"),
        (b"A 'x'\"y\"", "A S!"),
        (b"A 'x\ny'", "A S!"),
        (b"'A'", "S"),
        (b"A;'B'", "A;!"),
    ],
)
def test_spans_are_told(data: bytes, expected: str) -> None:
    """What is text and what is not; what can be read in two ways is broken."""
    assert words(data) == expected


@given(
    st.lists(st.sampled_from([b"A", b" ", b"'", b'"', b"#", b"1", b"3", b"0", b";", b",", b"\n", b"\r", b"H"])),
    st.integers(1, 5),
)
def test_spans_are_the_same_however_they_are_cut(bits: list[bytes], size: int) -> None:
    """Whatever the pieces are."""
    data = b"".join(bits)
    assert spans(*(data[at : at + size] for at in range(0, len(data), size))) == spans(data)
