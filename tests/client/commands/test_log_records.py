"""Records as people look for them and read them."""

import csv
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.commands.log_records import COLUMNS, OTHERS, Filter, Lines, cells, moment, record_of
from tests.docs.pages import examples
from tests.support.daemon import ROOT

NOW = datetime(2026, 11, 23, 14, 5, 6, 789000, UTC)

EXAMPLES = [
    json.loads(line)
    for example in examples("json", ROOT / "docs" / "reference" / "audit.md")
    for line in example.text.splitlines()
]

COMMAND = {
    "time": "2026-11-23T14:00:00.000000Z",
    "event": "command",
    "client": "127.0.0.1:45066",
    "name": "alice",
    "user": "lab",
    "resource": "GPIB0::22::INSTR",
    "command": "query *IDN?",
    "outcome": "ok",
    "effect": "done",
    "ran_ms": 1.5,
}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2026-11-23", "2026-11-23T00:00:00.000000Z"),
        ("2026-11-23T14:05", "2026-11-23T14:05:00.000000Z"),
        ("2026-11-23 14:05:06.5", "2026-11-23T14:05:06.500000Z"),
        ("2026-11-23T14:05:06Z", "2026-11-23T14:05:06.000000Z"),
        ("2026-11-23T15:05+01:00", "2026-11-23T14:05:00.000000Z"),
        ("30s", "2026-11-23T14:04:36.789000Z"),
        ("10m", "2026-11-23T13:55:06.789000Z"),
        ("2h", "2026-11-23T12:05:06.789000Z"),
        ("1.5d", "2026-11-22T02:05:06.789000Z"),
        ("today", "2026-11-23T00:00:00.000000Z"),
        ("yesterday", "2026-11-22T00:00:00.000000Z"),
    ],
)
def test_time_is_read_as_it_was_typed(typed, meant):
    """UTC, as the log has it."""
    assert moment(typed, NOW) == meant


@pytest.mark.parametrize("typed", ["", "soon", "10", "10 m", "5w", "23.11.2026", "2026-13-01", "-2h", "1e999d"])
def test_what_is_no_time_is_refused(typed):
    """Rather than guessed."""
    with pytest.raises((ValueError, OverflowError)):
        moment(typed, NOW)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"resource": "gpib0::22::instr"},
        {"resource": "GPIB0::*"},
        {"client": "127.0.0.1"},
        {"client": "127.0.0.1:45066"},
        {"client": "127.*"},
        {"user": "LAB"},
        {"name": "al?ce"},
        {"events": ["open", "command"]},
        {"outcomes": ["ok"]},
        {"since": "2026-11-23T14:00:00.000000Z"},
        {"until": "2026-11-23T14:00:00.000001Z"},
        {"resource": "*", "user": "*", "events": ["command"], "outcomes": ["ok", "failed"]},
    ],
)
def test_record_is_taken_when_all_that_is_wanted_fits(wanted):
    """Patterns in any case."""
    assert Filter(**wanted).takes(COMMAND)


@pytest.mark.parametrize(
    "wanted",
    [
        {"resource": "GPIB0::2"},
        {"client": "127.0.0.1:4506"},
        {"client": "127.0.0"},
        {"user": "alice"},
        {"name": "lab"},
        {"events": ["open"]},
        {"outcomes": ["failed"]},
        {"outcomes": ["VI_ERROR_TMO"]},
        {"since": "2026-11-23T14:00:00.000001Z"},
        {"until": "2026-11-23T14:00:00.000000Z"},
        {"resource": "*", "user": "nobody"},
    ],
)
def test_record_is_not_taken_when_one_thing_does_not_fit(wanted):
    """However much else does."""
    assert not Filter(**wanted).takes(COMMAND)


def test_failed_is_every_outcome_but_ok():
    """What has none has not failed."""
    failed = Filter(outcomes=["failed"])
    assert failed.takes({**COMMAND, "outcome": "VI_ERROR_TMO"})
    assert not failed.takes({key: value for key, value in COMMAND.items() if key != "outcome"})


def test_record_without_the_field_is_not_taken():
    """A `start` has no resource; a refused command's is null."""
    assert not Filter(resource="*").takes({"time": "t", "event": "start"})
    assert not Filter(resource="*").takes({**COMMAND, "resource": None})


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"17", b"{}", b'{"time":1,"event":"x"}', b'{"time":"t"}', b"\xff", b"\0" * 9]
)
def test_what_is_no_record_is_said_to_be_none(line):
    """A torn line, for one."""
    assert record_of(line) is None


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=4)))
def test_line_is_one_line_of_plain_text_whatever_is_in_the_record(fields):
    """Nothing that a terminal would obey."""
    said = Lines().line({**COMMAND, **fields, "time": "2026-11-23T14:00:00.000000Z", "event": "command"})
    assert said.isprintable()


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: record["event"])
def test_line_has_what_the_record_says(record):
    """When, what, who, which, and every field that is not of a command's own."""
    said = Lines().line(record)
    assert said.startswith(record["time"][:23])
    for key in ("event", "client", "resource", "command", "outcome", "error", "pid", "wait_s", "lost"):
        if record.get(key) not in (None, ""):
            assert str(record[key]) in said


def test_columns_stay_where_they_are():
    """From the first wide cell on, and a very wide one widens none."""
    lines = Lines()
    lines.line({**COMMAND, "name": "a" * 12})
    first, second = lines.line(COMMAND), lines.line({**COMMAND, "resource": None, "outcome": "QUEUE_FULL"})
    assert first.index("query") > 0
    assert first.index("GPIB0") == second.index(" -  ") + 1
    wide = Lines()
    wide.line({**COMMAND, "resource": "x" * 500})
    assert wide.line(COMMAND).index("query") < 140


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: record["event"])
def test_csv_has_every_field(record):
    """Those without a column of their own in the last one."""
    row = dict(zip([*COLUMNS, OTHERS], cells(record), strict=True))
    others = json.loads(row[OTHERS] or "{}")
    for key, value in record.items():
        if key in COLUMNS and value is not None:
            assert row[key] == str(value)
        elif key not in (*COLUMNS, "prev"):
            assert others[key] == value


@given(st.text())
def test_csv_cell_is_no_formula_and_one_line(text):
    """A client may call itself what it likes."""
    row = cells({**COMMAND, "name": text, "ran_ms": -1.5})
    cell = row[COLUMNS.index("name")]
    assert not re.match(r"[=+\-@\t\r\n]", cell)
    assert cell.isprintable()
    assert next(csv.reader([",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row)])) == row
    assert row[COLUMNS.index("ran_ms")] == "-1.5"


def test_reason_of_what_was_confirmed_is_shown():
    """It is what the record is for; and so with each event that has a command beside other things."""
    line = Lines().line({**COMMAND, "event": "confirmed", "reason": "the sample is out", "rule": 'deny "*RST"'})
    assert line.endswith(' reason=the sample is out rule=deny "*RST"')


def test_brackets_of_an_address_are_meant_as_they_stand():
    """Of IP version 6."""
    record = {**COMMAND, "client": "[::1]:5000"}
    for pattern in ("[::1]", "[::1]:5000", "[::1]:*", "*5000", "[*"):
        assert Filter(client=pattern).takes(record)
    assert not Filter(client="[:15]*").takes({**COMMAND, "client": "1.2.3.4:5"})
