"""The chain through an audit log's lines, and the names of its rotated files."""

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvisa_daemon.audit_chain import BEGINNING, Chain, digest_with, link_of, rotated, rotated_name

KEY = bytes(range(32))
NAMES = st.text().filter(lambda name: name not in ("seq", "prev"))
RECORDS = st.lists(st.dictionaries(NAMES, st.text() | st.integers(), min_size=1).map(json.dumps), max_size=8)


def chained(records, key=b"", chain=None):
    lines, end = (chain or Chain(digest_with(key))).linked([record.encode() for record in records])
    return lines, end


@pytest.mark.parametrize("key", [b"", KEY], ids=["no key", "key"])
@given(records=RECORDS)
def test_line_says_its_number_and_the_digest_of_the_line_before(key, records):
    """As anybody can count it with the standard library."""
    lines, end = chained(records, key)
    before = BEGINNING
    for number, (record, line) in enumerate(zip(records, lines, strict=True), 1):
        fields = json.loads(line)
        assert list(fields)[-2:] == ["seq", "prev"]
        assert (fields.pop("seq"), fields.pop("prev")) == (number, before)
        assert fields == {**json.loads(record), **fields}
        before = (hmac.new(key, line, "sha256") if key else hashlib.sha256(line)).hexdigest()
    assert (end.seq, end.head) == (len(records), before)


@pytest.mark.parametrize("key", [b"", KEY], ids=["no key", "key"])
def test_digest_of_a_long_line_is_the_standard_librarys(key):
    """Though it is made of pieces, for which the interpreter's lock is kept."""
    for length in (0, 2047, 2048, 4094, 100_000):
        line = bytes(length)
        expected = hmac.new(key, line, "sha256") if key else hashlib.sha256(line)
        assert digest_with(key)(line) == expected.hexdigest()


def test_chain_shows_no_key():
    """Wherever it is printed."""
    assert KEY.hex() not in repr(Chain(digest_with(KEY)))
    assert "digest" not in repr(Chain(digest_with(KEY)))


@given(text=st.text())
def test_link_is_the_line_s_own_when_its_text_feigns_one(text):
    """What a client sends is quoted, so that it never ends the line."""
    feigned = json.dumps({"event": "command", "command": f'{text}","seq":7,"prev":"{"f" * 64}"}}'})
    assert link_of(feigned.encode()) is None
    [line], _ = chained([feigned])
    assert link_of(line) == (1, BEGINNING)


@given(records=RECORDS.filter(bool), cut=st.integers(min_value=0))
def test_chain_goes_on_behind_what_is_there(records, cut):
    """Whether all of the file is looked at or its end only, and though the last line is torn."""
    lines, end = chained(records)
    text = b"\n".join([*lines, b""])
    assert Chain(digest_with(b"")).behind(text, is_whole=True) == end
    begin = cut % max(1, len(text) - len(lines[-1]) - 1)  # before the newline that the last line follows
    found = Chain(digest_with(b"")).behind(text[begin:], is_whole=begin == 0)
    assert found == end
    torn = text + b'{"time":"2026'
    found = Chain(digest_with(b"")).behind(torn, is_whole=True)
    assert (found.seq, found.head) == (end.seq + 1, hashlib.sha256(b'{"time":"2026').hexdigest())


def test_chain_has_nothing_to_go_on_behind_when_no_line_is_one_of_a_chain():
    """An empty file, one of before there were chains, one of which too little was seen."""
    for text in (b"", b"\n", b'{"time":"x","event":"start"}\n', b"\0" * 100):
        assert Chain(digest_with(b"")).behind(text, is_whole=True) is None
    [line], _ = chained(['{"event":"start"}'])
    assert Chain(digest_with(b"")).behind(line + b"\n", is_whole=False) is None


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


def test_rotated_file_is_named_for_its_moment():
    """In UTC, to the microsecond."""
    assert rotated_name("audit.jsonl", NOON + 0.25, []) == "audit.jsonl.20261123T120000.250000Z"


@given(st.lists(st.floats(min_value=0, max_value=4e9), max_size=10))
def test_rotated_files_sort_in_the_order_of_rotation_whatever_the_clock_does(moments):
    """Several in one microsecond, and a clock that is set back; each has a name of its own."""
    names = []
    for moment in moments:
        names.append(rotated_name("audit.jsonl", moment, names))
    assert rotated("audit.jsonl", reversed(names)) == names
    assert len(set(names)) == len(names)


def test_rotated_files_are_the_daemon_s_own_only():
    """What others have made beside the log is neither read nor deleted."""
    others = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.gz", "audit.jsonl.20261123T120000.250000Z.gz", "x"]
    others.append("audit.jsonl.20261399T120000.250000Z")
    own = "audit.jsonl.20261123T120000.250000Z"
    assert rotated("audit.jsonl", [*others, own, "other.jsonl.20261123T120000.250000Z"]) == [own]
