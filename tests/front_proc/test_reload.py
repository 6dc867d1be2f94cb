"""What of changed settings counts when: every row of every table, and what stays until the next start."""

from dataclasses import replace

import pytest

from front_proc.configuration import limits
from front_proc.configuration.resource_settings import ResourceSettings
from front_proc.configuration.setting_values import When
from front_proc.configuration.settings import OPTIONS, read_settings
from front_proc.reload import changes, running

SETTINGS = read_settings([])
OTHER = object()

every_option = pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.name)
every_limit = pytest.mark.parametrize("row", limits.ROWS, ids=lambda row: row.name)


def test_same_settings_are_no_change():
    assert changes(SETTINGS, SETTINGS) == []
    assert running(SETTINGS, SETTINGS) == SETTINGS


@every_option
def test_changed_option_is_told_and_counts_when_its_row_says_so(row):
    """What takes a new start stays as it was, and is told again the next time."""
    now = replace(SETTINGS, **{row.field: OTHER})
    [change] = changes(SETTINGS, now)
    assert (change.setting, change.when) == (row.name, row.when)
    is_kept = getattr(running(SETTINGS, now), row.field) is not OTHER
    assert is_kept == (row.when is When.START)


@every_limit
def test_changed_limit_is_told_and_counts_when_its_row_says_so(row):
    """The same."""
    now = replace(SETTINGS, limits=replace(limits.DEFAULTS, **{row.field: OTHER}))
    [change] = changes(SETTINGS, now)
    assert (change.setting, change.when) == (f"limits.{row.name}", row.when)
    is_kept = getattr(running(SETTINGS, now).limits, row.field) is not OTHER
    assert is_kept == (row.when is When.START)


def test_guards_count_at_once():
    """They are told apart from what else a row says."""
    plain = ResourceSettings("GPIB*", given={"timeout": 5})
    guarded = ResourceSettings("GPIB*", given={"timeout": 5, "read_only": True})
    alone = ResourceSettings("USB*", given={"read_only": True})

    def told(*rows):
        now = replace(SETTINGS, resources=rows)
        return [(change.setting, change.when) for change in changes(replace(SETTINGS, resources=(plain,)), now)]

    assert told(guarded) == told(plain, alone) == [("[[resource]], guards", When.AT_ONCE)]
    assert told(alone) == [("[[resource]], guards", When.AT_ONCE), ("[[resource]]", When.OPEN)]
    assert told(replace(plain, name="dmm")) == [("[[resource]]", When.OPEN)]


def test_other_rows_count_at_the_next_open():
    """Whichever they are."""
    now = replace(SETTINGS, resources=(ResourceSettings("GPIB*"),))
    [change] = changes(SETTINGS, now)
    assert (change.setting, change.when) == ("[[resource]]", When.OPEN)
    assert running(SETTINGS, now).resources == now.resources
