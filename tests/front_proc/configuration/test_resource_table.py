"""The table of rows: which rows are for whom, who wins, who is listed, whose alias is what."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.configuration.resource_settings import GUARDS, KEYS, HoldKind, HoldRule, IdentityRule, read_rows
from front_proc.configuration.resource_table import ResourceTable
from front_proc.configuration.settings import read_settings
from tests.docs.pages import examples
from tests.support.daemon import ROOT

VOLTMETER, SOURCE = "GPIB0::22::INSTR", "GPIB0::5::INSTR"
SCOPE = "TCPIP0::192.168.0.2::inst0::INSTR"


def table(*rows, library="@py"):
    """A row is a mapping, or only its match."""
    rows = [{"match": row} if isinstance(row, str) else row for row in rows]
    return ResourceTable(read_rows(rows, "lab.toml"), library)


def fits(match, resource):
    return table({"match": match, "deadline": 7}).of(resource).deadline == 7


def test_resource_without_a_row_has_the_defaults():
    """The daemon's library, and what holds without any setting."""
    assert asdict(table("GPIB0::1::INSTR", library="@ivi").of(VOLTMETER)) == {
        "library": "@ivi",
        "termination": (b"\n", b"\n"),
        "timeout": None,
        "hold": asdict(HoldRule(HoldKind.QUERY)),
        "deadline": 0.0,
        "srq_poll": 0.1,
        "safe_state": (),
        "safe_at_stop": False,
        "read_only": False,
        "deny": (),
        "confirm": (),
        "limit": (),
        "identity": IdentityRule.NONE,
    }


def test_guards_of_all_rows_that_match_hold_together():
    """A narrower row cannot loosen what a wider one forbids."""
    rows = table(
        {"match": "*", "deny": ["*RST"], "read-only": True, "limit": {"VOLTage": [0, 30]}},
        {"match": "GPIB*", "deny": ["SYSTem:PRESet"], "confirm": ["OUTPut ON"], "limit": {"VOLTage": [0, 12]}},
        {"match": VOLTMETER, "deny": [], "confirm": [], "limit": {}, "read-only": False},
    )
    effective = rows.of(VOLTMETER)
    assert [pattern.text for pattern in effective.deny] == ["*RST", "SYSTem:PRESet"]
    assert [pattern.text for pattern in effective.confirm] == ["OUTPut ON"]
    assert [limit.ranges[0].high for limit in effective.limit if limit.ranges[0]] == [30, 12]
    assert effective.read_only
    assert rows.of(SCOPE).confirm == ()
    assert not table().of(SCOPE).guards


@pytest.mark.parametrize(
    "match", ["GPIB0::22::INSTR", "gpib0::22::instr", "*", "gpib*", "GPIB::*", "gpib::22::*", "*::[12]2::*"]
)
@pytest.mark.parametrize("case", [str.upper, str.lower])
def test_row_is_for_whom_its_match_fits(match, case):
    """By canonical name, in any case; VISA's default for a board is 0."""
    assert fits(match, case(VOLTMETER))


@pytest.mark.parametrize(
    "match", ["GPIB0::2?::INSTR", "GPIB[!1]::22::INSTR", "*::INSTR", "[G]PIB*", "GPIB0::22::INST?"]
)
def test_pattern_is_read_as_a_shell_reads_it(match):
    """`*`, `?`, `[...]` and `[!...]`."""
    assert fits(match, VOLTMETER)


@pytest.mark.parametrize(
    "match",
    [
        "GPIB0::5::INSTR",
        "GPIB0",
        "GPIB0?",
        "GPIB1::*",
        "GPIB0::[13]2::*",
        "GPIB0::22::INSTRX",
        "PIB0::22::INSTR",
        "*GPIB::22::*",
        "GPIB[!0]::*",
    ],
)
def test_row_is_for_nobody_else(match):
    """The whole name has to fit."""
    assert not fits(match, VOLTMETER)


def test_name_is_no_pattern_and_no_regular_expression():
    """A dot is a dot."""
    assert fits("ASRL/dev/tty.1::INSTR", "ASRL/dev/tty.1::INSTR")
    assert not fits("ASRL/dev/tty.1::INSTR", "ASRL/dev/ttyX1::INSTR")


def test_later_row_wins_key_by_key():
    """The general first, then the exception; a key that the later row has not is the earlier one's."""
    rows = table(
        {"match": "*", "library": "@ivi", "timeout": 5000},
        {"match": VOLTMETER, "timeout": 100, "deadline": 9},
        {"match": "TCPIP*", "library": "@py"},
    )
    assert (rows.of(VOLTMETER).library, rows.of(VOLTMETER).timeout, rows.of(VOLTMETER).deadline) == ("@ivi", 100, 9)
    assert (rows.of(SCOPE).library, rows.of(SCOPE).timeout, rows.of(SCOPE).deadline) == ("@py", 5000, 0)


def test_example_in_the_reference_means_what_it_says(tmp_path):
    """The general first, then the exception."""
    [example] = examples("toml", ROOT / "docs" / "reference" / "settings.md")
    file = tmp_path / "lab.toml"
    file.write_text(example.text)
    rows = ResourceTable(read_settings(["--config", str(file)]).resources, "@py")
    assert (rows.of(VOLTMETER).library, rows.of(SCOPE).library) == ("@ivi", "@py")
    assert rows.of("ASRL/dev/ttyUSB0").termination == (b"\r\n", b"\r")
    assert rows.resource_of("scope") == "TCPIP::192.168.0.2::INSTR"
    plain, smu = (rows.of(f"TCPIP0::192.168.0.{number}::5025::SOCKET") for number in (41, 42))
    assert (smu.deadline, smu.hold, smu.srq_poll) == (plain.deadline, plain.hold, 0)
    assert (plain.deadline, plain.srq_poll) == (60, 0.1)
    assert plain.hold.answers(b"print(smua.measure.i())", 0) == 1
    assert plain.hold.answers(b"sprint()", 0) == 0
    supply = rows.of("TCPIP::192.168.0.3::INSTR")
    assert (supply.safe_state, supply.safe_at_stop) == ((b"OUTP OFF", b"VOLT 0"), True)


VALUES = {
    "library": st.sampled_from(["@py", "@ivi", "@other"]),
    "termination": st.sampled_from(["\n", "none", ["\r", "\n"]]),
    "timeout": st.integers(0, 5) | st.just("inf"),
    "hold": st.sampled_from(["query", "always", "print"]),
    "deadline": st.integers(0, 5),
    "srq-poll": st.integers(0, 5),
    "safe-state": st.sampled_from([[], ["OUTP OFF"], ["OUTP OFF", "VOLT 0"]]),
    "safe-at-stop": st.booleans(),
    "identity": st.sampled_from(["check", "none"]),
}
matches = st.sampled_from(["*", "GPIB*", "*::INSTR", "TCPIP*", VOLTMETER, VOLTMETER.lower(), SOURCE, SCOPE])
some_rows = st.lists(
    st.builds(lambda match, given: {"match": match} | given, matches, st.fixed_dictionaries({}, optional=VALUES)),
    max_size=6,
)


@given(some_rows, st.sampled_from([VOLTMETER, SOURCE, SCOPE]))
def test_effective_value_is_that_of_the_last_row_that_matches_and_has_the_key(rows, resource):
    """Or the default: for every key, whatever the rows."""
    effective = table(*rows, library="@daemon").of(resource)
    default = table(library="@daemon").of(resource)
    for key in KEYS:
        if key.name in VALUES:
            written = [row[key.name] for row in rows if key.name in row and fits(row["match"], resource)]
            expected = key.accept(written[-1]) if written else getattr(default, key.field)
            assert getattr(effective, key.field) == expected, key.name


def test_random_rows_try_every_key():
    """A new key needs its values above, unless all its rows hold together."""
    assert {key.name for key in KEYS if key.field not in GUARDS} - {"match", "name"} == set(VALUES)


# Who is listed, and who searches.


def test_resources_by_name_are_listed_in_the_order_of_the_file():
    """Each once, as it is first written; patterns name nobody."""
    assert table(SCOPE, "GPIB*", VOLTMETER, SCOPE.upper(), VOLTMETER).listed == (SCOPE, VOLTMETER)
    assert table("GPIB*").listed == ()


def test_spelling_is_the_configured_one():
    """So that what differs by nothing but case is one resource; others are left alone."""
    rows = table(SCOPE)
    assert rows.spelling(SCOPE.upper()) == SCOPE
    assert rows.spelling("gpib0::22::INSTR") == "gpib0::22::INSTR"


def test_libraries_of_patterns_search_too():
    """Each once, the daemon's first; that of a row by name would find nothing that is not listed."""
    rows = table(
        {"match": "GPIB*", "library": "@ivi"},
        {"match": SCOPE, "library": "@named"},
        {"match": "TCPIP*", "library": "@py"},
        {"match": "USB*", "library": "@ivi"},
    )
    assert rows.libraries == ("@py", "@ivi")
    assert table({"match": "*", "library": "@ivi"}).libraries == ("@py", "@ivi")


# Aliases.


def test_alias_is_found_in_any_case():
    """And only a whole one."""
    rows = table({"match": VOLTMETER, "name": "Dmm"}, {"match": SCOPE, "name": "scope"})
    assert [rows.resource_of(alias) for alias in ("Dmm", "DMM", "dmm", "SCOPE")] == [VOLTMETER] * 3 + [SCOPE]
    assert rows.resource_of("dm") is None
    assert rows.resource_of(VOLTMETER) is None


def test_resource_has_all_its_aliases():
    """As they are written, in the order of the file."""
    rows = table({"match": VOLTMETER, "name": "DMM"}, {"match": SCOPE, "name": "s"}, {"match": VOLTMETER, "name": "hp"})
    assert rows.aliases_of(VOLTMETER) == rows.aliases_of(VOLTMETER.lower()) == ["DMM", "hp"]
    assert rows.aliases_of(SOURCE) == []


def test_aliases_of_one_resource_in_two_spellings_lead_to_one_name():
    """The first row's."""
    rows = table(SCOPE, {"match": SCOPE.upper(), "name": "scope"})
    assert rows.resource_of("scope") == SCOPE
    assert rows.aliases_of(SCOPE) == ["scope"]


def test_later_row_takes_an_alias_over():
    """The bench's rows come before the file's, which are somebody's own."""
    bench, own = (
        read_rows([{"match": VOLTMETER, "name": "multimeter"}], "bench"),
        {"match": SOURCE, "name": "MULTIMETER"},
    )
    rows = ResourceTable([*bench, *read_rows([own], "lab.toml")], "@py")
    assert rows.resource_of("multimeter") == SOURCE
    assert rows.aliases_of(VOLTMETER) == []
    assert rows.listed == (VOLTMETER, SOURCE)
