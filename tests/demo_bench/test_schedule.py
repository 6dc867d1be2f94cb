"""Schedules as people write them: what is read of them, and what is said of one that is not accepted."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo_bench.faults import KINDS, Fault
from demo_bench.schedule import KEYS, Schedule, ScheduleError, keys_of, read_option, read_schedule

VALUES = {
    "on": st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1).filter(str.strip),
    "after": st.integers(0, 1000),
    "every": st.integers(1, 1000),
    "times": st.integers(1, 1000),
    "seconds": st.integers(1, 1000) | st.floats(0.001, 1000),
    "bytes": st.integers(1, 1000),
}


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row as a table: a kind, and some of what it may say."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    optional = {name: VALUES[name] for name in keys_of(kind) if name != "kind"}
    return {"kind": kind, **draw(st.fixed_dictionaries({}, optional=optional))}


def toml(row: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in row.items()]
    return "\n".join(["[[fault]]", *lines, ""])


def quoted(value: Any) -> str:
    return "'" + str(value).replace("'", "'\"'\"'") + "'"


#: The cores may be busy.
UNHURRIED = settings(deadline=None)

FILE = """
identity = "ACME,METER 7,1,1.0"

[answers]
"MEAS:VOLT?" = "+1.2345E+00"

[[fault]]
kind = "late"
on = "MEAS*"
every = 10

[[fault]]
kind = "crash"
seconds = 1
after = 3
times = 1
"""


def test_schedule_is_read_from_a_file():
    """Defaults are those of the keys, and of the kind."""
    assert read_schedule(FILE, "a.toml") == Schedule(
        "ACME,METER 7,1,1.0",
        {"MEAS:VOLT?": "+1.2345E+00"},
        (Fault("late", "MEAS*", every=10, seconds=3.0), Fault("crash", after=3, times=1, seconds=1.0)),
    )


def test_schedule_is_an_instrument_without_faults_when_the_file_is_empty():
    """Everything may be left out."""
    assert read_schedule("", "a.toml") == Schedule()
    assert Schedule().identity.count(",") == 3


@UNHURRIED
@given(rows())
def test_option_means_what_the_row_in_a_file_does(row):
    """Key by key; in an option a value with blanks is quoted."""
    words = [row["kind"], *(f"{key}={quoted(value)}" for key, value in row.items() if key != "kind")]
    [fault] = read_schedule(toml(row), "a.toml").faults
    assert read_option(" ".join(words), "--fault 1") == fault
    assert all(getattr(fault, key) == value for key, value in row.items())


@UNHURRIED
@given(st.lists(rows(), max_size=4))
def test_faults_are_kept_in_the_order_of_the_file(given_rows):
    """It matters: of those that are due, the first has the message."""
    faults = read_schedule("".join(map(toml, given_rows)), "a.toml").faults
    assert [fault.kind for fault in faults] == [row["kind"] for row in given_rows]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("answer", "a.toml: not a TOML file: Expected '='"),
        ("answer = 1", "a.toml: a schedule has no 'answer'; it has identity, [answers] and [[fault]]"),
        ("identity = 1", "a.toml: identity = 1 is not text in quotes, on one line"),
        ("answers = 1", 'a.toml: answers stand under the line [answers], each as "MESSAGE" = "ANSWER"'),
        ("[answers]\n'A?' = 1.5", "a.toml, [answers]: 'A?' = 1.5 is not text in quotes, on one line"),
        ("[answers]\n'A?' = \"1\\n\"", "a.toml, [answers]: 'A?' = '1\\n' is not text in quotes, on one line"),
        ("[answers]\nA.B = '1'", "a.toml, [answers]: 'A' = {'B': '1'} is not text in quotes, on one line"),
        ("[answers]\n'A?;B?' = '1'", "a.toml, [answers]: 'A?;B?' is not one command on one line, without ';'"),
        ("[answers]\n' ' = '1'", "a.toml, [answers]: ' ' is not one command on one line, without ';'"),
        ("[fault]\nkind = 'late'", "a.toml: each fault begins with the line [[fault]]"),
        ("[[fault]]\nkind = 'late'\n[[fault]]", "a.toml, [[fault]] 2: kind is missing: it is one of slow, late, "),
        ("[[fault]]\nkind = 'lat'", "a.toml, [[fault]] 1: kind = 'lat' is not one of slow, late, partial, "),
        (
            "[[fault]]\nkind = 'late'\nbytes = 1",
            "a.toml, [[fault]] 1: a late fault has no 'bytes'; it has kind, on, after, every, times, seconds",
        ),
        (
            "[[fault]]\nkind = 'drop'\nsecond = 1",
            "a.toml, [[fault]] 1: a drop fault has no 'second'; it has kind, on, after, every, times",
        ),
    ],
)
def test_file_is_refused_in_one_sentence_when_it_is_wrong(text, said):
    """It names the file and the row, and what is accepted."""
    with pytest.raises(ScheduleError) as refusal:
        read_schedule(text, "a.toml")
    assert str(refusal.value).startswith(said)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("on", value) for value in ("''", "' '", '"A\\n"', "1", "['A*']")),
        *(("after", value) for value in ("-1", "1.0", "'1'", "true", "1_000_000_001")),
        *(("every", value) for value in ("0", "1.5", "'1'", "true")),
        *(("times", value) for value in ("0", "inf", "'1'", "true")),
        *(("seconds", value) for value in ("0", "-1", "inf", "nan", "'1'", "true", "86401")),
        *(("bytes", value) for value in ("0", "1.0", "'1'", "true", "1_000_001")),
    ],
)
def test_value_is_refused_when_its_key_does_not_accept_it(key, value):
    """Numbers stand without quotes, and true is not 1."""
    kind = "garbage" if key == "bytes" else "late"
    accepted = next(each.accepted for each in KEYS if each.name == key)
    with pytest.raises(ScheduleError, match=rf"^a.toml, \[\[fault\]\] 1: {key} = .* is not {accepted}$"):
        read_schedule(f"[[fault]]\nkind = '{kind}'\n{key} = {value}", "a.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "kind is missing: it is one of slow, late"),
        ("on=MEAS* every=2", "kind = 'on=MEAS*' is not one of slow, late"),
        ("late 3", "'3' is not key=value, with each key once"),
        ("late every=2 every=3", "'every=3' is not key=value, with each key once"),
        ("late kind=drop", "'kind=drop' is not key=value, with each key once"),
        ("late every=x", "every = 'x' is not a whole number from 1"),
        ("late every=1.0", "every = 1.0 is not a whole number from 1"),
        ("late seconds=", "seconds = '' is not seconds, more than 0"),
        ("late bytes=3", "a late fault has no 'bytes'; it has kind, on, after, every, times, seconds"),
        ("late on='A", '"late on=\'A": No closing quotation'),
    ],
)
def test_option_is_refused_in_one_sentence_when_it_is_wrong(text, said):
    """As a row of a file is."""
    with pytest.raises(ScheduleError) as refusal:
        read_option(text, "--fault 2")
    assert str(refusal.value).startswith(f"--fault 2: {said}")
