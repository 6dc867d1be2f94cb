"""What is found in a log that somebody has worked on, and where."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.commands.log_verification import MOST, Verification
from pyvisa_daemon.audit_chain import Chain, digest_with

KEY = b"k" * 32


def log_of(count, key=b""):
    records = [json.dumps({"time": "t", "event": "command", "command": f"query {n}"}).encode() for n in range(count)]
    return Chain(digest_with(key)).linked(records)


def verified(lines, key=b"", anchors=(), file="a"):
    verification = Verification(key, anchors)
    for number, line in enumerate(lines, 1):
        verification.add(file, number, line)
    return verification.end(), verification


def places(findings):
    """The numbers of all lines that are named."""
    return {line for found in findings for line in range(found.line, found.line + found.lines)}


@pytest.mark.parametrize("key", [b"", KEY], ids=["no key", "key"])
@pytest.mark.parametrize("count", [1, 2, 200])
def test_log_is_sound_when_nobody_has_touched_it(key, count):
    """And its head is the daemon's."""
    lines, end = log_of(count, key)
    findings, verification = verified(lines, key, [end.head])
    assert findings == []
    assert (verification.lines, verification.first, verification.seq) == (count, 1, count)
    assert verification.head == end.head


def test_log_without_a_line_is_not_sound():
    """Somebody has emptied it."""
    findings, _ = verified([])
    assert [str(found) for found in findings] == ["the log: has no line at all"]


def edited(lines, at):
    return [*lines[:at], lines[at].replace(b"query", b"write"), *lines[at + 1 :]]


def removed(lines, at):
    return [*lines[:at], *lines[at + 1 :]]


def exchanged(lines, at):
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def doubled(lines, at):
    return [*lines[:at], lines[at], *lines[at:]]


def put_in(lines, at):
    return [*lines[:at], b'{"time":"t","event":"command"}', *lines[at:]]


def torn(lines, at):
    return [*lines[:at], lines[at][:-10], *lines[at + 1 :]]


def begun_anew(lines, at):
    return [*lines[:at], *log_of(len(lines) - at)[0]]


@pytest.mark.parametrize("work", [edited, removed, exchanged, doubled, put_in, torn, begun_anew])
@pytest.mark.parametrize("at", [1, 5, 8])
def test_tampering_is_found_where_it_was_done(work, at):
    """At the line itself or one beside it."""
    lines, _ = log_of(10)
    findings, _ = verified(work(lines, at))
    assert places(findings) & {at, at + 1, at + 2}
    assert places(findings) <= {at, at + 1, at + 2, at + 3}


@given(data=st.data(), count=st.integers(2, 30), is_keyed=st.booleans())
def test_any_change_of_bytes_is_found(data, count, is_keyed):
    """With a head that was noted, in the last line too."""
    key = KEY if is_keyed else b""
    lines, end = log_of(count, key)
    at = data.draw(st.integers(0, count - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (lines[at][place], ord("\n"))))
    changed = [*lines]
    changed[at] = lines[at][:place] + bytes([byte]) + lines[at][place + 1 :]
    findings, _ = verified(changed, key, [end.head])
    assert findings
    assert at == count - 1 or places(findings) & {at, at + 1, at + 2}


@given(data=st.data(), count=st.integers(2, 30))
def test_any_other_selection_or_order_of_the_lines_is_found(data, count):
    """Whatever was removed, moved or doubled, but for what is documented: a run of its first lines given alone."""
    lines, end = log_of(count)
    numbers = data.draw(st.lists(st.integers(0, count - 1), max_size=2 * count))
    is_an_end = numbers == list(range(count - len(numbers), count)) and bool(numbers)
    findings, verification = verified([lines[number] for number in numbers], anchors=[end.head])
    assert (not findings) == is_an_end
    assert findings or verification.first == count - len(numbers) + 1


def test_missing_newest_lines_are_found_by_a_head_only():
    """That is what it is noted for."""
    lines, end = log_of(10)
    assert verified(lines[:7])[0] == []
    [found] = verified(lines[:7], anchors=[end.head])[0]
    assert end.head in str(found)


def test_head_may_be_of_any_line():
    """It was noted a while ago."""
    lines, _ = log_of(10)
    _, earlier = log_of(4)
    assert verified(lines, anchors=[earlier.head])[0] == []


@pytest.mark.parametrize(("written", "checked"), [(KEY, b""), (b"", KEY), (KEY, b"x" * 32)])
def test_wrong_key_is_called_so(written, checked):
    """Not a hundred changed lines."""
    lines, _ = log_of(100, written)
    findings, _ = verified(lines, checked)
    assert len(findings) == 2
    assert "the key is another one, or missing" in str(findings[-1])


def test_lines_of_before_there_was_a_chain_are_found_once():
    """They prove nothing, but the chain behind them is sound."""
    old = [b'{"time":"t","event":"start"}'] * 50
    head = digest_with(b"")(old[-1])
    new, _ = Chain(digest_with(b""), 0, head).linked([b'{"event":"start"}'] * 3)
    [found] = verified([*old, *new])[0]
    assert (found.line, found.lines) == (1, 50)


def test_line_without_a_newline_at_the_end_is_torn():
    """The daemon always ends one."""
    lines, _ = log_of(2)
    verification = Verification()
    verification.add("a", 1, lines[0])
    verification.add("a", 2, lines[1][:-5], is_whole=False)
    assert "a:2: torn" in str(verification.end()[0])


def test_findings_are_limited_in_number():
    """Somebody has sorted a million lines backwards."""
    lines, _ = log_of(10 * MOST)
    findings, verification = verified(lines[::-1])
    assert len(findings) <= MOST + 1
    assert verification.more > 8 * MOST
