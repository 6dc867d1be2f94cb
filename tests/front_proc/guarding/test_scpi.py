"""Units in canonical form, patterns as manuals write them, numbers in base units."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.guarding.guards import Guards
from front_proc.guarding.scpi import HEADER_LIMIT, PATH_LIMIT, Paths, Unparsable, command_of
from front_proc.guarding.scpi_numbers import readings
from front_proc.guarding.scpi_patterns import PatternError, pattern_of

# Units.


@pytest.mark.parametrize(
    ("unit", "nodes", "parameters", "is_query", "is_absolute"),
    [
        (b"volt 1", ("VOLT",), ("1",), False, False),
        (b" :Sour1:VOLT:lev\t1.5 V , ON ", ("SOUR1", "VOLT", "LEV"), ("1.5 V", "ON"), False, True),
        (b"*idn?", ("*IDN",), (), True, False),
        (b"\x00A_1:B2? MAX", ("A_1", "B2"), ("MAX",), True, False),
        (b"SCAN (@1,2:3),(4)", ("SCAN",), ("(@1,2:3)", "(4)"), False, False),
        (b"A #H1F,#q7,#B01", ("A",), ("#H1F", "#q7", "#B01"), False, False),
        (b"A ,", ("A",), ("", ""), False, False),
    ],
)
def test_unit_is_understood(unit, nodes, parameters, is_query, is_absolute):
    command = command_of(unit)
    assert command == (nodes, parameters, is_query, is_absolute, False)


@pytest.mark.parametrize("unit", [b"", b" \t", b"\x01"])
def test_empty_unit_is_none(unit):
    assert command_of(unit) is None


@pytest.mark.parametrize(
    "unit",
    [
        b"1",
        b"A::B",
        b"A:",
        b":",
        b"::A",
        b"A??",
        b"?",
        b"A-B",
        b"*",
        b"*A:B",
        b"A:*B",
        b"A,B",
        b"A(1)",
        b"\xb5V",
        b'"A"',
        b"A :B",
        b"A ?",
        b"A \x7f",
        b"A \xe9",
        b"A #Z",
        b"A #H",
        b"A (1",
        b"A 1)",
        b"A (1))(",
        b"A" * (HEADER_LIMIT + 1),
    ],
)
def test_unit_is_refused(unit):
    with pytest.raises(Unparsable):
        command_of(unit)


def test_header_may_be_as_long_as_the_standard_has_it():
    assert command_of(b"A" * HEADER_LIMIT)


def test_last_parameter_of_a_unit_that_is_cut_is_not_known():
    """The beginning of a number is another number; and of parentheses nothing can be said."""
    assert command_of(b"A 1,2,3", is_cut=True).parameters == ("1", "2")
    assert command_of(b"A 1,(2,3", is_cut=True).parameters == ("1",)


@given(st.binary(max_size=60), st.booleans())
def test_no_unit_raises_anything_else(unit, is_cut):
    """Whatever somebody writes."""
    with contextlib.suppress(Unparsable):
        command_of(unit, is_cut=is_cut)


def path_of(rule):
    return Paths(Guards(deny=(pattern_of(rule),)).path)


def headers(*units, rule="[A#:][C:][E:]G"):
    """What the last of them may be taken for."""
    paths = path_of(rule)
    for unit in units:
        found = paths.readings(command_of(unit))
    return sorted(header.rstrip(":") for header in found)


@pytest.mark.parametrize(
    ("units", "found"),
    [
        ((b"A:B", b"C"), ["A:C", "C"]),
        ((b"A:B", b":C"), ["C"]),
        ((b"A", b"C"), ["C"]),
        ((b"B:A", b"C"), ["C"]),
        ((b"A:B", b"*X", b"C"), ["A:C", "C"]),
        ((b"A:B", b"*X"), ["*X"]),
        ((b"A:B?", b"C:D", b"G"), ["A:C:G", "A:G", "C:G", "G"]),
        ((b"A:B", b":C:D", b"G"), ["A:G", "C:G", "G"]),
        ((b"A:B", b"X:Y", b"G"), ["A:G", "G"]),
    ],
)
def test_header_behind_a_semicolon_has_every_reading(units, found):
    """Under each path that the one before may have left, and from the root."""
    assert headers(*units) == found


def test_paths_that_matter_are_followed_up_to_a_limit():
    """Many units cost no more than few; what has too many readings cannot be judged."""
    assert headers(*[b"A:B"] * 100, b"G") == ["A:G", "G"]
    paths = path_of("A:G")
    found = [paths.readings(command_of(b"A%d:B" % number)) for number in range(PATH_LIMIT + 1)]
    assert found[-1] is None
    assert None not in found[:-1]


# Patterns.


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("*RST", ["*RST", "*rst"], ["*RST?", "RST", "*RSTX"]),
        (
            "SYSTem:PRESet",
            ["SYST:PRES", "system:preset", "SYST2:PRES", "SYSTE:PRES"],
            ["SYST:PRES?", "SYS:PRES", "PRES"],
        ),
        ("SYSTem:PRESet?", ["SYST:PRES?", "SYST:PRES? 1"], ["SYST:PRES"]),
        ("[SOURce#:]VOLTage[:LEVel]", ["VOLT 1", "SOUR3:VOLT:LEV 1", "VOLT:LEVEL 1"], ["SOUR:LEV 1", "VOLT:RANG 1"]),
        ("[:SENSe[:ALL]:]FUNC", ["FUNC 1", "SENS:FUNC 1", ":SENS:ALL:FUNC 1"], ["ALL:FUNC 1"]),
        ("CHANnel2:DISP", ["CHAN2:DISP 1", "CHANNEL02:DISP 1"], ["CHAN:DISP 1", "CHAN1:DISP 1", "CHAN22:DISP 1"]),
        ("OUTPut1", ["OUTP 1", "OUTP1 1", "OUTP01 1"], ["OUTP2 1", "OUTP11 1"]),
        ("P6V", ["P6V 1", "P6V2 1"], ["P 1", "P6 1"]),
        (
            "OUTP ON",
            ["OUTP ON", "OUTP 1", "OUTP 2.5", "OUTP #H1", "OUTP MAX", "OUTP", "OUTP (1)"],
            ["OUTP 0", "OUTP OFF"],
        ),
        ("OUTP OFF", ["OUTP off", "OUTP 0.4", "OUTP -0"], ["OUTP ON", "OUTP 1", "OUTP FOO"]),
        ("OUTP 1", ["OUTP ON", "OUTP 1.0", "OUTP 1000m"], ["OUTP OFF", "OUTP 2", "OUTP X"]),
        ("SOUR EXTernal", ["SOUR EXT", "SOUR external", "SOUR DEF"], ["SOUR EX", "SOUR 1", "SOUR IMM"]),
        ("SOUR CHANnel2", ["SOUR CHAN2"], ["SOUR CHAN1", "SOUR CHAN"]),
        ("FUNC SIN,5", ["FUNC SIN,5", "FUNC SIN , 5.0 V"], ["FUNC SIN,6", "FUNC SQU,5"]),
    ],
)
def test_pattern_fits(pattern, fits, fits_not):
    """As an instrument would take the command, and where nobody can tell."""
    for text, expected in [(text, True) for text in fits] + [(text, False) for text in fits_not]:
        command = command_of(text.replace("1000m", "1000 mV").encode())
        assert pattern_of(pattern).fits(command, path_of(pattern).readings(command)) is expected, text


@pytest.mark.parametrize(
    "text", ["", "?", ":", "volt", "vOLT", "A:", "A::B", "[A]", "A]", "[A", "A B?", "A,B", "A|B", "µ"]
)
def test_pattern_is_refused(text):
    with pytest.raises(PatternError):
        pattern_of(text)


@given(st.text(alphabet="AbC1:[]#?* ,\t", max_size=12))
def test_no_pattern_raises_anything_else(text):
    """Whatever stands in the file."""
    with contextlib.suppress(PatternError):
        pattern_of(text)


# Numbers.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12), ("+1.5", 1.5), ("-.5", -0.5), ("5.", 5), ("1.2E1", 12), ("1 e +1", 10), ("12000 mV", 12),
        ("12kv", 12e3),
        ("5 MHZ", 5e6), ("5 mohm", 5e6), ("5 MV", 0.005), ("5 MAV", 5e6), ("5 MA", 0.005), ("#HFF", 255), ("#q17", 15),
        ("#b101", 5), ("1E400", float("inf")), ("2 GHZ", 2e9), ("7 A", 7), ("1 EXA", 1e18),
    ],
)  # fmt: skip
def test_number_is_evaluated(text, expected):
    assert readings(text) == pytest.approx((expected,))


def test_ambiguous_suffix_has_both_readings():
    assert readings("5K") == (5, 5000)
    assert readings("2 PA") == (2e-12, 2)


@pytest.mark.parametrize(
    "text",
    ["", "MAX", "5X", "5 DBM", "1/2", "(5)", "5 M", "1_0", "#", "#HG", "#X1", "#H_1", "1E1234567", "٣", "5 V/S", '""'],
)
def test_what_is_no_number_has_no_reading(text):
    assert readings(text) == ()


@pytest.mark.parametrize("text", ["1" * 100_000, "1." + "1" * 100_000, "1" + " " * 100_000, "1E" + "1" * 100_000])
def test_what_looks_like_a_number_for_long_takes_no_time(text):
    """It is judged in the front, where everybody waits: in time that grows with its length, and no more than that."""
    assert readings(text + "!") == readings(text + " 1!") == ()


def test_unit_of_a_limit_is_the_only_one():
    assert readings("5 DBM", "DBM") == readings("5", "DBM") == (5,)
    assert readings("5 W", "DBM") == readings("5 A", "V") == ()
    assert readings("5 mV", "V") == (0.005,)
