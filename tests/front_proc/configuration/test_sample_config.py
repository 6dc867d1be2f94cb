"""--print-config: every setting is there, does nothing as it stands, and is accepted without its #."""

import re
import tomllib

import pytest

from front_proc.configuration import limits, resource_settings, settings
from front_proc.configuration.sample_config import sample
from front_proc.configuration.setting_values import SettingsError
from front_proc.configuration.toml_values import toml_value
from tests.support.daemon import ROOT

FILE = ROOT / "packaging" / "instrument-daemon.toml"

#: Without their #.
TABLES = tomllib.loads(re.sub("^# ", "", sample(), flags=re.MULTILINE))


def test_file_in_packaging_is_the_one_that_is_printed():
    """`instrument-daemon --print-config > packaging/instrument-daemon.toml` makes it anew."""
    assert FILE.read_text() == sample()


def test_file_as_it_stands_changes_nothing():
    assert tomllib.loads(sample()) == {}


def test_file_has_every_setting_in_the_order_of_the_tables():
    [row] = TABLES["resource"]
    assert list(row) == [key.name for key in resource_settings.KEYS]
    assert list(TABLES["limits"]) == [limit.name for limit in limits.ROWS]
    assert list(TABLES) == [*(option.name for option in settings.OPTIONS), "limits", "resource"]


@pytest.mark.parametrize(
    ("rows", "table"),
    [
        (settings.OPTIONS, TABLES),
        (limits.ROWS, TABLES["limits"]),
        (resource_settings.KEYS, TABLES["resource"][0]),
    ],
    ids=["options", "limits", "resource"],
)
def test_every_value_is_accepted_and_the_default_where_there_is_one(rows, table):
    for row in rows:
        value = row.taken_from_file(table[row.name], row.name)
        if row.example is None:
            assert value == row.accept(row.default)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (True, "true"),
        (60.0, "60.0"),
        (0.01, "0.01"),
        (100_000_000, "100000000"),
        ("a", '"a"'),
        (r"\r\n", r"'\r\n'"),
        (["a", 1], '["a", 1]'),
        ({}, "{}"),
        ({"VOLT": [0, 12]}, '{ "VOLT" = [0, 12] }'),
    ],
)
def test_value_is_written_as_toml_reads_it(value, written):
    assert toml_value(value) == written
    assert tomllib.loads(f"a = {written}")["a"] == value


def test_name_that_is_nearly_right_is_told_of():
    """Beside all there are."""
    with pytest.raises(SettingsError, match=r"is called 'queue-lenght' \(queue-length is\); there are start-time"):
        limits.read_limits({"queue-lenght": 1}, "lab.toml")
