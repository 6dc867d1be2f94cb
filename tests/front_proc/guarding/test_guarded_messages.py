"""Messages of a guarded resource, unit by unit: what is found in them, and when they are whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.guarding.guard_settings import limits, patterns
from front_proc.guarding.guarded_messages import UNIT_LIMIT, GuardedMessages
from front_proc.guarding.guards import Guards

GUARDS = Guards(
    deny=patterns(["*RST", "SYSTem:PRESet"]),
    confirm=patterns(["OUTPut ON"]),
    limit=limits({"VOLTage": [0, 12], "POWer": [-100, 10, "DBM"]}),
)


def found(*pieces, marks_end=False, is_ended=False):
    """`ok`, or by what rule it is refused; `more` if it goes on."""
    messages = GuardedMessages(GUARDS, marks_end=marks_end)
    for piece in pieces:
        messages.read(piece)
    if not is_ended and not messages.is_whole and messages.unreadable is None:
        return "more"
    messages.end()
    verdict = messages.refusal or messages.unconfirmed
    return "ok" if verdict is None else verdict.rule.split()[0]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", "ok"),
        (b" \r\n", "ok"),
        (b"VOLT 1;\n", "ok"),
        (b"VOLT 1\n*RST\nVOLT 2\n", "deny"),
        (b"SYST:BEEP\nPRES\n", "ok"),
        (b"SYST:BEEP\rPRES\n", "ok"),  # to an instrument without CR: a parameter
        (b"SYST:BEEP;\rPRES\n", "deny"),  # to that, the path goes on
        (b"OUTP\rON\n", "confirm"),
        (b"VOLT 1\rVOLT 2\r", "ok"),
        (b"VOLT 1\rE1\n", "ok"),
        (b"VOLT 2\rE1\n", "limit"),
        (b"POW 5 DBM\n", "ok"),
        (b"POW 1 W\n", "limit"),
        (b"OUTP ON;VOLT 99\n", "limit"),
        (b"TEXT 'a\n", "what"),
        (b"TEXT 'a\r'\n", "what"),
        (b"DATA #0abc\n", "what"),
        (b"VOLT\x80 1\n", "what"),
    ],
)
def test_line_is_judged(message, expected):
    """Without END."""
    assert found(message) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"VOLT 1", "ok"),
        (b"VOLT 1\n", "ok"),
        (b"SYST:BEEP;\nPRES", "deny"),
        (b"SYST:BEEP;\rX\nPRES", "ok"),
        (b"SYST:BEEP\n;PRES", "deny"),
        (b":SYST:BEEP\n:X:Y;PRES", "deny"),  # to an instrument without LF: an error, and the path is SYST
        (b"X:Y\nOUTP\rON", "confirm"),
        (b"DATA #0*RST\n*RST", "ok"),
        (b"DATA #0", "ok"),
        (b"DATA #15abc", "what"),
        (b"DATA #2", "what"),
        (b"TEXT 'a", "what"),
    ],
)
def test_message_with_end_is_judged(message, expected):
    """Whether LF and CR end one there, nobody knows."""
    assert found(message, marks_end=True, is_ended=True) == expected


@pytest.mark.parametrize("message", [b"V", b"VOLT 1;", b"A;\n B", b"TEXT 'a", b"DATA #1", b"DATA #15ab", b";", b"A\rB"])
def test_message_goes_on(message):
    assert found(message) == "more"


@pytest.mark.parametrize("blanks", [UNIT_LIMIT - 1, UNIT_LIMIT, 5 * UNIT_LIMIT])
@pytest.mark.parametrize("before", [b"", b"*CLS;", b"A\r"])
@pytest.mark.parametrize("unit", [b"*RST", b"SYST:BEEP;PRES", b"*RST;VOLT 1"])
def test_white_space_in_front_of_a_unit_hides_nothing(blanks, before, unit):
    """However much of it there is, and in what pieces it comes."""
    message = before + b" \t" * blanks + unit + b"\n"
    assert found(message) == found(message, marks_end=True, is_ended=True) == "deny"
    assert found(*(message[at : at + 700] for at in range(0, len(message), 700))) == "deny"


def test_what_cannot_be_told_behind_what_is_kept_of_a_unit_is_refused():
    """Whatever byte it ends with."""
    for size in range(UNIT_LIMIT - 10, UNIT_LIMIT):
        assert found(b"TEXT ".ljust(size, b"a") + b"\xe9,b,c,d,e,f,g,h,i,j\n") == "what"


messages = st.lists(
    st.sampled_from(
        [
            b"*RST",
            b"SYST:",
            b"BEEP",
            b"PRES",
            b"VOLT",
            b" ",
            b"1",
            b"3E1",
            b"OUTP",
            b"ON",
            b";",
            b":",
            b"?",
            b",",
            b"'",
            b'"',
            b"#15;*RST",
            b"#0",
            b"#",
            b"\r",
            b"\n",
            b"\r\n",
            b"\xe9",
            b"(",
            b")",
            b"kV",
            b"\x00",
        ]
    ),
    max_size=12,
).map(b"".join)


@given(messages, st.integers(1, 7), st.booleans(), st.booleans())
def test_cuts_make_no_difference(message, size, marks_end, is_ended):
    """Whatever the pieces are."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    assert found(*pieces, marks_end=marks_end, is_ended=is_ended) == found(
        message, marks_end=marks_end, is_ended=is_ended
    )


def test_many_units_leave_nothing_behind():
    """What is kept does not grow with what is written."""
    reading = GuardedMessages(GUARDS, marks_end=True)
    for _ in range(500):
        reading.read(b"A:B;C:D\rE:F\n" + b"X" * 100 + b",")
    assert len(reading._readings) <= 4
    assert all(len(each.text) <= 1024 for each in reading._readings)
