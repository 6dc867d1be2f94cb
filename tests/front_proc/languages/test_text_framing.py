"""The text protocol's framing, for every way in which bytes can be cut."""

import contextlib
import re
from collections import deque
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.languages import text_framing
from front_proc.languages.text_commands import takes_block
from front_proc.languages.text_framing import (
    Request,
    RequestReader,
    answer,
    as_block,
    block_start,
    escape,
    long_answer,
    long_block,
    unescape,
    without_suffix,
)
from pyvisa_daemon.errors import Failure

VERB = b".#.write_binary "
LINE_LIMIT = LIMITS.line_length

line_bytes = st.binary(max_size=40).filter(lambda data: b"\n" not in data and not data.endswith(b"\r"))
lines = line_bytes.filter(lambda line: not takes_block(line))
heads = st.sampled_from([b"DATA", b"@A::1::INSTR CURV", b'TEXT "#12"', b"TEXT '#15 ' ,", b"A B,C"])
terminators = st.sampled_from([b"\n", b"\r\n"])
cuts = st.lists(st.integers(1, 12), min_size=1)


def requests_of(chunks):
    """What a reader makes of `chunks`; ends with the Failure if framing is lost."""
    reader, found = RequestReader(takes_block, LINE_LIMIT), []
    for chunk in chunks:
        reader.feed(chunk)
        try:
            while (request := reader.next()) is not None:
                found.append((request.line + (request.block or b""), request.terminator))
        except Failure as failure:
            return [*found, failure.token]
    return found


def cut(data, lengths):
    """`data` in pieces of these lengths, over and over."""
    chunks, start, number = [], 0, 0
    while start < len(data):
        length = lengths[number % len(lengths)]
        chunks.append(data[start : start + length])
        start += length
        number += 1
    return chunks


@st.composite
def blocks(draw):
    """A line that carries a block, whatever is in it."""
    separator = draw(st.sampled_from([b" ", b","]))
    return VERB + draw(heads) + separator + as_block(draw(st.binary(max_size=30)))


@given(st.lists(st.tuples(st.one_of(lines, blocks()), terminators)), cuts)
@example([(VERB + b"D #11\n", b"\n")], [1])
@example([(VERB + b"D #11\r", b"\n")], [1])
@example([(VERB + b"D #12\r\n", b"\r\n")], [3])
def test_any_cutting_gives_the_same_requests(requests, lengths):
    """Lines and blocks, whole, byte by byte, and everything between; and blocks that are called long."""
    data = b"".join(line + terminator for line, terminator in requests)
    for long in (text_framing.PIECE_SIZE, 5):
        with patch.object(text_framing, "PIECE_SIZE", long):
            assert requests_of(cut(data, lengths)) == requests
            assert requests_of([data]) == requests


@given(st.lists(st.sampled_from([b".#.ping", VERB, b"#", b"1", b"5", b"\n", b"\r", b" ", b",", b'"', b"\xff"])), cuts)
@example([VERB, b" ", b"#", b"1", b"\n"], [1])
def test_any_cutting_of_nonsense_gives_the_same_requests(pieces, lengths):
    """Also what is malformed: requests, and at most one failure of the known kinds at their end."""
    data = b"".join(pieces)
    found = requests_of(cut(data, lengths))
    assert found == requests_of([data])
    assert all(isinstance(one, tuple) or one in ("LINE_TOO_LONG", "BAD_ARGUMENT") for one in found)


@given(st.lists(st.binary(max_size=50)))
def test_no_bytes_raise_anything_but_a_failure(chunks):
    """Whatever somebody sends."""
    requests_of(chunks)


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n"])
@pytest.mark.parametrize("length", [1, 4096, 65536, 70000])
def test_longest_line_is_accepted_and_one_byte_more_is_not(terminator, length):
    """65 536 bytes before the terminator, in one piece or in many."""
    fits = b"x" * LINE_LIMIT + terminator
    assert requests_of(cut(fits, [length]))[0] == (b"x" * LINE_LIMIT, terminator)
    assert requests_of(cut(b"x" + fits, [length])) == ["LINE_TOO_LONG"]


@pytest.mark.parametrize("length", [65_550, 200_000])
def test_head_before_a_block_is_bounded_as_a_line_is(length):
    """A line has at most 64 KiB; only the block has a length of its own."""
    data = VERB + b"x" * LINE_LIMIT + b" #12ab\n"
    assert requests_of(cut(data, [length])) == ["LINE_TOO_LONG"]


def test_line_that_is_too_long_is_noticed_before_its_end():
    """Nobody's memory is filled by a line without end."""
    assert requests_of([b"x" * LINE_LIMIT]) == []
    assert requests_of([b"x" * LINE_LIMIT, b"x\n"]) == ["LINE_TOO_LONG"]
    assert requests_of([b"x" * (LINE_LIMIT + 2)]) == ["LINE_TOO_LONG"]


def test_line_that_comes_byte_by_byte_is_not_looked_at_anew_with_each():
    """The front has one thread: 64 KiB in tiny pieces must not keep it from everybody else for seconds."""
    looked_at = 0

    def counting(head):
        nonlocal looked_at
        looked_at += len(head)
        return takes_block(head)

    reader = RequestReader(counting, LINE_LIMIT)
    line = VERB + b"x " * 2_000
    for byte in line:
        reader.feed(bytes([byte]))
        assert reader.next() is None
    assert looked_at < 100 * len(line)


def test_lines_before_a_line_that_is_too_long_are_requests():
    """What was whole is carried out."""
    assert requests_of([b".#.ping\n" + b"x" * 70000]) == [(b".#.ping", b"\n"), "LINE_TOO_LONG"]


def test_block_may_be_longer_than_a_line():
    """It says its own length."""
    line = VERB + b"D " + as_block(b"\n" * 100_000)
    assert requests_of(cut(line + b"\n", [999])) == [(line, b"\n")]


@pytest.mark.parametrize("is_long", [False, True])
def test_long_block_is_apart_from_its_line(is_long):
    """It is long, and nobody wants a copy."""
    reader, block = RequestReader(takes_block, LINE_LIMIT), as_block(bytes(text_framing.PIECE_SIZE - 8 + is_long))
    reader.feed(VERB + b"D " + block + b"\r\n.#.ping\n")
    request = reader.next()
    assert request.terminator == b"\r\n"
    assert (request.line, request.block) == ((VERB + b"D ", block) if is_long else (VERB + b"D " + block, None))
    assert reader.next() == Request(b".#.ping", b"\n")
    assert not reader


def test_block_that_is_absurdly_long_is_refused_before_it_is_sent():
    """Its header is enough."""
    assert requests_of([VERB + b"D #9999999999"]) == ["LINE_TOO_LONG"]


def test_block_must_be_followed_by_the_line_s_end():
    """Otherwise its length was wrong, and what follows cannot be trusted."""
    assert requests_of([VERB + b"D #12abc\n"]) == ["BAD_ARGUMENT"]
    assert requests_of([VERB + b"D #12ab\rx\n"]) == ["BAD_ARGUMENT"]


def test_other_commands_take_no_block():
    """A line feed ends them."""
    assert requests_of([b".#.write_resource D #12\n\n\n"])[0] == (b".#.write_resource D #12", b"\n")


@given(st.binary(max_size=30))
def test_what_is_not_terminated_is_kept_as_it_is(data):
    """It may be accepted as a request after a silence."""
    reader = RequestReader(takes_block, LINE_LIMIT)
    data = b".#.ping" + data.replace(b"\n", b"")
    reader.feed(data)
    assert reader.next() is None
    assert reader.rest() == data
    assert reader.take_rest() == Request(data, b"")
    assert not reader
    reader.feed(b".#.ping\n")
    assert reader.next() == Request(b".#.ping", b"\n")


@pytest.mark.parametrize(
    ("line", "start"),
    [
        (b"DATA #15hello", 5),
        (b"DATA,#15hello", 5),
        (b'DATA "a #15" #15hello', 13),
        (b"DATA 'a #15' #15hello", 13),
        (b'DATA "it""s #1" #15hello', 16),
        (b'DATA "it\'s" #15hello', 12),
        (b"DATA #0hello\n", None),
        (b"DATA #H20", None),
        (b"DATA#15hello", None),
        (b'DATA "a #15hello', None),
        (b"#15hello", None),
        (b"", None),
    ],
)
def test_block_begins_after_a_blank_or_comma_outside_quotes(line, start):
    """As IEEE 488.2 has it; a doubled quote stays inside."""
    assert block_start(line) == start


# Replies.


def content(block):
    header = re.match(rb"#([1-9])", block)
    length = block[2 : 2 + int(header[1])]
    data = block[2 + int(header[1]) :]
    assert int(length) == len(data)
    return data


@given(st.binary())
@example(b"x" * 100_000)
def test_block_gives_back_what_was_put_in(data):
    """`#`, one digit, that many digits, the bytes."""
    assert content(as_block(data)) == data


@given(st.one_of(st.binary(), st.text().map(str.encode), st.sampled_from([b"#15", b"#", b"#a", b"a\n", b"", b"\xff"])))
def test_answer_is_unambiguous(data):
    """A reply that begins with `#` and a digit always is a block; any other is one line of text, as it was."""
    reply = answer(data)
    if re.match(rb"#[0-9]", reply):
        assert content(reply) == data
    else:
        assert reply == data
        assert b"\n" not in reply
        reply.decode("utf-8")


@st.composite
def cut_answers(draw):
    """An answer, in pieces of any sizes, some of them empty."""
    texts = st.text(alphabet="#15aé€𝄞\n").map(str.encode)
    data = draw(st.one_of(st.binary(), texts, texts.map(lambda text: text.replace(b"\n", b""))))
    ends = sorted(draw(st.lists(st.integers(0, len(data)))))
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@given(cut_answers(), st.integers(1, 10))
@example(["é".encode()[:1], "é".encode()[1:]], 10)
@example(["é".encode()[:1]], 10)
@example([b"", b"#", b"1"], 10)
@example([b"x#", b"1"], 10)
def test_answer_in_pieces_is_what_it_is_in_one(pieces, size):
    """However it was cut; and nothing is put together that is longer than a piece, nor kept twice."""
    whole = b"".join(pieces)
    longest = max(size, len(as_block(whole)) - len(whole), *map(len, pieces))
    for reply, in_pieces in ((answer(whole), long_answer), (as_block(whole), long_block)):
        left, given = deque(pieces), []
        with patch.object(text_framing, "PIECE_SIZE", size):
            for piece in in_pieces(left):
                given.append(piece)
                assert sum(map(len, given)) + sum(map(len, left)) <= len(reply)
        assert b"".join(given) == reply
        assert max(map(len, given), default=0) <= longest
        assert not left


def test_small_pieces_of_a_long_answer_go_together():
    """Each turn of the loop costs."""
    assert len(list(long_block(deque([b"x"] * 1000)))) == 1


@given(st.lists(st.sampled_from([b"", b"\r", b"\n", b"a", b"ab\r\n"])), st.sampled_from([b"", b"\n", b"\r\n", b"aaa"]))
def test_suffix_is_taken_off_pieces_as_off_the_whole(pieces, suffix):
    """Also where it is cut."""
    assert b"".join(without_suffix(deque(pieces), suffix)) == b"".join(pieces).removesuffix(suffix)


# Terminations.


@given(st.binary(max_size=4))
@example(b"none")
@example(b"\\n")
def test_termination_is_shown_as_it_is_typed(termination):
    """One word of printable ASCII, and the same bytes when it is typed again."""
    shown = escape(termination)
    assert re.fullmatch(r"[!-~]+", shown)
    assert unescape(shown) == termination


@given(st.text(max_size=6))
@example("\\")
@example("\\x4")
@example("€")
@example("é")
def test_termination_that_makes_no_sense_is_refused(text):
    """Nothing else is raised, and no character silently becomes another."""
    with contextlib.suppress(Failure):
        termination = unescape(text)
        assert b"?" not in termination or "?" in text or "\\x3" in text.lower()


@pytest.mark.parametrize(
    ("typed", "bytes_"),
    [
        ("\\n", b"\n"),
        ("\\r\\n", b"\r\n"),
        ("none", b""),
        ("\\x04", b"\x04"),
        ("\\\\", b"\\"),
        ("\\0", b"\0"),
        (";", b";"),
    ],
)
def test_termination_is_typed_with_escapes(typed, bytes_):
    """As the protocol's page says."""
    assert unescape(typed) == bytes_
