"""The audit log: the table of its events, its chain over restarts and rotations, and no secret in it."""

import ast
import re

from front_proc.audit import EVENTS
from tests.support.daemon import ROOT

# The table of events.


def recorded_events():
    """(file, event) of every `audit.record("...")` in the source; an event in a variable counts for all it may be."""
    for path in sorted((ROOT / "front_proc").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "record"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield path.name, node.args[0].value


def test_every_recorded_event_is_in_the_table():
    """And so in the reference page."""
    found = list(recorded_events())
    assert len(found) > 10
    assert [row for row in found if row[1] not in EVENTS] == []


def test_every_event_of_the_table_is_recorded_somewhere():
    """The reference promises no record that never comes."""
    source = "".join(path.read_text() for path in (ROOT / "front_proc").glob("*.py") if path.name != "audit.py")
    own = {"gap"}  # the writer's own
    assert [event for event in EVENTS if event not in own and f'"{event}"' not in source] == []


def test_no_field_of_a_record_can_hold_a_secret():
    """Tokens and keys are never arguments of a record."""
    for path in sorted((ROOT / "front_proc").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
                said = " ".join(keyword.arg or "" for keyword in node.keywords)
                assert not re.search("credential|password|secret|access_key|auth", said)
