"""Rows of `[[resource]]`: what each key accepts, what is said of what it does not, and what an alias may be."""

import contextlib
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa import rname

from front_proc.configuration.resource_settings import (
    DEFAULTS,
    KEYS,
    EffectiveSettings,
    HoldKind,
    HoldRule,
    IdentityRule,
    ResourceSettings,
    read_rows,
)
from front_proc.configuration.setting_values import SettingsError
from front_proc.guarding.guards import Limit, Range
from front_proc.guarding.scpi_patterns import pattern_of
from front_proc.serving.sessions import VI_TMO_INFINITE
from tests.support.daemon import ROOT

BENCH = f"{ROOT / 'demo_bench' / 'bench.yaml'}@sim"

#: key -> (value as TOML has it, as it is understood).
RIGHT = {
    "match": [
        ("GPIB0::22::INSTR", "GPIB0::22::INSTR"),
        ("tcpip::10.0.0.*", "tcpip::10.0.0.*"),
        ("GPIB0::[!1]?::[]]*", "GPIB0::[!1]?::[]]*"),
        ("ASRL/dev/ttyUSB0", "ASRL/dev/ttyUSB0"),
    ],
    "name": [(alias, alias) for alias in ("dmm", "DMM-2", "5V_psu", "bench.3", "Ölbad", "usb-scope", "_", "COM1")],
    "library": [("@py", "@py"), ("@ivi", "@ivi"), (BENCH, BENCH)],
    "termination": [
        ("\\n", (b"\n", b"\n")),
        ("\n", (b"\n", b"\n")),
        ("none", (b"", b"")),
        ("\\x04", (b"\x04", b"\x04")),
        (["\\r\\n", "\\r"], (b"\r\n", b"\r")),
        (["none", "\n"], (b"", b"\n")),
    ],
    "timeout": [
        (0, 0),
        (2500.0, 2500),
        (4294967294, 4294967294),
        ("inf", VI_TMO_INFINITE),
        (float("inf"), VI_TMO_INFINITE),
    ],
    "hold": [
        ("query", HoldRule(HoldKind.QUERY)),
        ("always", HoldRule(HoldKind.ALWAYS)),
        ("Always", HoldRule(HoldKind.ALWAYS)),
        ("print|ask", HoldRule(HoldKind.PATTERN, re.compile(b"print|ask"))),
        ("µ", HoldRule(HoldKind.PATTERN, re.compile("µ".encode()))),
    ],
    "deadline": [(0, 0.0), (60, 60.0), (0.5, 0.5)],
    "srq-poll": [(0, 0.0), (0.01, 0.01), (2, 2.0)],
    "safe-state": [([], ()), (["OUTP OFF", "VOLT 0"], (b"OUTP OFF", b"VOLT 0")), (["µ"], ("µ".encode(),))],
    "safe-at-stop": [(True, True), (False, False)],
    "identity": [("check", IdentityRule.CHECK), ("none", IdentityRule.NONE)],
    "read-only": [(True, True), (False, False)],
    "deny": [([], ()), (["*RST", "SYSTem:PRESet?"], (pattern_of("*RST"), pattern_of("SYSTem:PRESet?")))],
    "confirm": [(["OUTPut[:STATe] ON"], (pattern_of("OUTPut[:STATe] ON"),))],
    "limit": [
        ({}, ()),
        ({"VOLTage": [0, 12]}, (Limit(pattern_of("VOLTage"), (Range(0.0, 12.0),)),)),
        (
            {"APPLy": [[0, 12], [], [-1.5, 1, "a"]]},
            (Limit(pattern_of("APPLy"), (Range(0.0, 12.0), None, Range(-1.5, 1.0, "A"))),),
        ),
    ],
}

#: key -> (value, what is said beside the value and what is accepted).
WRONG = {
    "match": [(value, "") for value in ("", 5, True, ["GPIB*"], "GPIB 0", "GPIB0\n", "GPIB0\0", "GPIB\u00a00")]
    + [(value, "bracket") for value in ("GPIB[01", "GPIB]", "GPIB[]", "GPIB[!]*", "GPIB0::[1]]")],
    "name": [(value, "") for value in ("", 5, ["dmm"], "my dmm", "dmm@lab", "a::b", "dmm\n", "-dmm", "dmm?", "a/b")]
    + [(value, "VISA") for value in ("ASRL1", "asrl-pump", "GPIB0", "usb", "TCPIP1", "PRLGX-TCPIP", "vicp")],
    "library": [(value, "") for value in ("", 1, "missing.yaml@sim", ["@py"])],
    "termination": [(value, "") for value in ("", 10, [], ["\n"], ["\n", "\n", "\n"], ["\n", 10], ["\n", ""], True)]
    + [("\\q", "escape"), ("é", "ASCII"), (["\n", "\\"], "escape")],
    "timeout": [(value, "") for value in (-1, 4294967295, 0.5, "2000", "", True, float("-inf"), float("nan"), [1])],
    "hold": [(value, "") for value in ("", True, 1, ["print"], "*")] + [("(", "unterminated"), ("[[a]", "nested")],
    "deadline": [(value, "") for value in (-1, "60", True, float("inf"), float("nan"), [60])],
    "srq-poll": [(value, "") for value in (-0.1, 0.001, "0.1", True, False, float("inf"), float("nan"))],
    "safe-state": [(value, "") for value in ("OUTP OFF", 0, True, [""], [" "], [1], [["OUTP OFF"]])]
    + [(["OUTP OFF", "VOLT?"], "answer"), (["OUTP OFF\n"], "termination"), (["\0"], "termination")],
    "safe-at-stop": [(value, "") for value in (0, 1, "true", "", None)],
    "identity": [(value, "") for value in ("", "yes", True, False, 1, ["check"])],
    "read-only": [(value, "") for value in (1, 0, "true", None, [])],
    "deny": [(value, "") for value in ("*RST", [1], {"*RST": 1})] + [(["volt"], "upper case"), (["A["], "counterpart")],
    "confirm": [(value, "") for value in ("OUTP ON", 5)] + [(["OUTPut:"], "colon"), (["[OUTPut]"], "left out")],
    "limit": [(value, "") for value in (5, ["VOLTage"])]
    + [({"VOLTage": value}, "no range") for value in (5, [], [1], [2, 1], [0, "12"], [0, True], [[0, 1], [1]])]
    + [({"VOLTage": [0, 1, "XYZ"]}, "no unit"), ({"VOLTage?": [0, 1]}, "behind"), ({"VOLTage 1": [0, 1]}, "behind")],
}

NAME = "GPIB0::22::INSTR"


def row(**keys):
    """One row, for a resource by name unless told otherwise."""
    [read] = read_rows([{"match": NAME} | keys], "lab.toml")
    return read


def refusal(*tables):
    """What is said of these rows."""
    with pytest.raises(SettingsError) as raised:
        read_rows(list(tables), "lab.toml")
    return str(raised.value)


def understood(key, read):
    return {"match": read.match, "name": read.name}.get(key, read.given.get(key.replace("-", "_")))


def test_every_key_is_tried_here():
    """A new key needs its rows above; what is no key's is nobody's."""
    names = [key.name for key in KEYS]
    assert set(names) == set(RIGHT) == set(WRONG)
    assert {key.field for key in KEYS} - {"match", "name"} == set(EffectiveSettings.__dataclass_fields__)
    assert set(DEFAULTS) == set(EffectiveSettings.__dataclass_fields__)


@pytest.mark.parametrize(("key", "value", "meaning"), [(key, *pair) for key in RIGHT for pair in RIGHT[key]])
def test_key_accepts(key, value, meaning):
    """As written in TOML."""
    assert understood(key, row(**{key: value})) == meaning


def test_key_may_be_written_with_either_stroke():
    """As the daemon's own settings."""
    assert row(srq_poll=1).given == row(**{"srq-poll": 1}).given == {"srq_poll": 1.0}


@pytest.mark.parametrize(("key", "value", "reason"), [(key, *pair) for key in WRONG for pair in WRONG[key]])
def test_key_refuses_and_says_what_it_accepts(key, value, reason):
    """With file, row, key and value."""
    said = refusal({"match": "GPIB*"}, {"match": NAME} | {key: value})
    accepted = next(setting.accepted for setting in KEYS if setting.name == key)
    assert said.startswith(f"lab.toml, [[resource]] 2: {key} = {value!r} is not {accepted}")
    assert reason in said


def test_row_has_only_what_was_written():
    """Defaults are nobody's who has not asked: an earlier row may have."""
    assert row() == ResourceSettings(NAME, None, {}, "lab.toml, [[resource]] 1")


def test_row_without_a_match_is_refused():
    """It would be for nobody, or for all."""
    assert "[[resource]] 1: match is missing" in refusal({"name": "dmm"})


def test_unknown_key_is_refused_with_all_that_there_are():
    """A typing error must not silently be a default."""
    said = refusal({"match": NAME, "time-out": 5})
    assert "[[resource]] 1: no setting of a resource is called 'time-out'" in said
    assert all(key.name in said for key in KEYS)


@pytest.mark.parametrize("tables", [{"match": NAME}, 5, "GPIB*", [5], [{"match": NAME}, "GPIB*"], None])
def test_anything_but_rows_is_refused(tables):
    """`[resource]`, with one pair of brackets, would be one table."""
    with pytest.raises(SettingsError, match=r"lab\.toml: resource: .*\[\[resource\]\]"):
        read_rows(tables, "lab.toml")


def test_no_rows_are_no_rows():
    """`resource = []`."""
    assert read_rows([], "lab.toml") == ()


# Aliases.


@pytest.mark.parametrize("match", ["GPIB*", "GPIB0::2?::INSTR", "GPIB0::[12]::INSTR"])
def test_alias_of_a_pattern_is_refused(match):
    """Which of them would it be?"""
    said = refusal({"match": match, "name": "dmm"})
    assert "[[resource]] 1: name = 'dmm'" in said
    assert repr(match) in said


@pytest.mark.parametrize(("first", "second"), [("dmm", "dmm"), ("dmm", "DMM"), ("straße", "STRASSE")])
def test_alias_that_another_row_has_is_refused(first, second):
    """Whatever the case, and though both mean the same resource; the other row is named."""
    other = {"match": "GPIB0::1::INSTR"}
    said = refusal(other, {"match": NAME, "name": first}, other, {"match": NAME, "name": second})
    assert said == f"lab.toml, [[resource]] 4: name = {second!r} is the alias of [[resource]] 2 already"


def test_resource_may_have_two_aliases():
    """In two rows."""
    rows = read_rows([{"match": NAME, "name": "dmm"}, {"match": NAME, "name": "hp"}], "lab.toml")
    assert [row.name for row in rows] == ["dmm", "hp"]


@given(
    st.sampled_from([*sorted(rname._INTERFACE_TYPES), ""]).flatmap(
        lambda interface: st.tuples(
            st.sampled_from([interface, interface.lower()]),
            st.text(string.ascii_letters + string.digits + "-._:", max_size=8),
        ).map("".join)
    )
)
def test_alias_is_never_a_name_that_visa_can_parse(name):
    """Else it would mean one thing here and another in a program without the daemon."""
    with contextlib.suppress(SettingsError):
        row(name=name)
        with pytest.raises((rname.InvalidResourceName, IndexError)):  # the latter: PyVISA for `VICP`
            rname.ResourceName.from_string(name)


# Hold rules.


@pytest.mark.parametrize(
    ("hold", "message", "asked", "answers"),
    [
        ("query", b"*IDN?\n", 1, 1),
        ("query", b"*RST\n", 0, 0),
        ("query", b"A?\nB?\n", 2, 2),
        ("always", b"*RST\n", 0, 1),
        ("always", b"A?\nB?\n", 2, 2),
        (r"^print\(", b"print(1)\n", 0, 1),
        (r"^print\(", b'print("a?\nb?")\n', 2, 2),
        (r"^print\(", b"*IDN?\n", 1, 0),
        ("(?i)mea", b"xMEAs \xff", 0, 1),
    ],
)
def test_hold_rule_says_how_many_answers_a_message_brings(hold, message, asked, answers):
    """A pattern replaces the rule of the question mark."""
    assert row(hold=hold).given["hold"].answers(message, asked) == answers


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
)


@given(st.sampled_from([key.name for key in KEYS]), values)
def test_no_value_raises_anything_but_a_settings_error(key, value):
    """Whatever stands in the file."""
    with contextlib.suppress(SettingsError):
        row(**{key: value})
