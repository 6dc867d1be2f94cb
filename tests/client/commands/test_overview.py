"""A status in words: of today's daemon, of an older one, and of one that says nonsense."""

import pytest

from client.commands import overview
from client.commands.overview import COLUMNS, duration, headline, holder, troubles
from front_proc.process.lifecycle import State

ROW = {
    "resource": "GPIB0::22::INSTR",
    "state": "busy",
    "aliases": ["multimeter"],
    "pid": 4711,
    "restarts": 2,
    "queued": 3,
    "sessions": 2,
    "rate_per_s": 12.34,
    "latency_ms": {"p50": 0.42, "p99": 2.1},
    "memory_mb": 24.8,
    "running": {"client": "127.0.0.1:4", "name": "anna", "operation": "query", "for_s": 3.2},
    "lock": None,
    "hold": None,
    "last_error": None,
    "remedy": None,
}

#: What a daemon said before it knew aliases, rates, times and remedies.
OLD = {"resource": "GPIB0::22::INSTR", "state": "ready", "pid": 1, "restarts": 0, "queued": 0, "sessions": 1}


def shown(row: dict) -> dict[str, str]:
    return {column.heading: column.cell(row) for column in COLUMNS}


def lock(*holders: dict, kind: str = "exclusive", waiting: int = 0) -> dict:
    return {"lock": {"kind": kind, "holders": list(holders), "waiting": waiting}}


def test_columns_show_each_figure_when_the_daemon_says_it() -> None:
    """Everything that the row has, in people's units."""
    assert shown(ROW) == {
        "resource": "GPIB0::22::INSTR",
        "state": "busy",
        "alias": "multimeter",
        "held by": "",
        "running": "query of anna, 3.2 s",
        "queued": "3",
        "sessions": "2",
        "per s": "12.3",
        "p50/p99 ms": "0.4/2.1",
        "MB": "24.8",
        "restarts": "2",
        "pid": "4711",
    }


def test_columns_are_empty_when_the_daemon_is_older() -> None:
    """What it does not say is left out; the rest is there."""
    cells = shown(OLD)
    assert [cells[heading] for heading in ("alias", "running", "per s", "p50/p99 ms", "MB")] == [""] * 5
    assert (cells["state"], cells["pid"]) == ("ready", "1")


@pytest.mark.parametrize("value", [None, "x", 7, 1.5, True, [], [None], {}, {"p50": "x"}, {"holders": 3}])
def test_nothing_fails_when_a_value_is_of_another_kind(value: object) -> None:
    """It comes from somebody else."""
    row = dict.fromkeys(ROW, value)
    assert all(isinstance(cell, str) for cell in shown(row).values())
    status = dict.fromkeys(("version", "uptime_s", "clients", "rate_per_s", "audit", "resources", "connections"), value)
    assert headline("labpc:1340", status).startswith("daemon at labpc:1340: ")
    troubles({"resources": [row, value]})
    overview.warnings(status)
    overview.client_rows(status)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (lock({"name": "anna", "client": "a:1", "reason": "calibration"}), "exclusive: anna (calibration)"),
        (lock({"name": "-", "client": "a:1", "reason": ""}, waiting=2), "exclusive: a:1, 2 waiting"),
        (lock({"name": "a"}, {"name": "b"}, kind="shared"), "shared: a, b"),
        ({"hold": {"name": "bob", "client": "a:2", "for_s": 3}}, "bob (answer not read yet, 3.0 s)"),
        ({}, ""),
    ],
)
def test_holder_says_who_and_why_when_others_are_kept_out(row: dict, said: str) -> None:
    """By a lock, with its reason, or because an answer is not read yet."""
    assert holder(row) == said


def test_every_state_has_its_colour() -> None:
    """One without would be shown as if nothing were the matter, and its trouble as if it were not over."""
    assert set(map(str, State)) <= overview.STATE_STYLES.keys()


@pytest.mark.parametrize(
    ("width", "gone"),
    [
        (200, set()),
        (90, {"pid", "MB", "restarts", "sessions", "p50/p99 ms"}),
        (60, {"alias", "queued", "sessions", "per s", "p50/p99 ms", "restarts", "pid", "MB"}),
        (10, {"alias", "running", "queued", "sessions", "per s", "p50/p99 ms", "restarts", "pid", "MB"}),
    ],
)
def test_columns_go_by_rank_when_there_is_little_room(width: int, gone: set[str]) -> None:
    """What shows nothing goes first; who has the instrument, and its state, never."""
    left = overview.columns_of([ROW], width)
    assert {column.heading for column in COLUMNS} - {column.heading for column in left} == gone
    assert left == [column for column in COLUMNS if column in left]


def test_troubles_begin_with_what_does_not_work_when_some_is_over() -> None:
    """An error that is over is told, without a remedy to follow; a safe state that was not sent is trouble too."""
    over = {**OLD, "resource": "A", "last_error": "it hung", "remedy": "wait"}
    broken = {**OLD, "resource": "B", "state": "broken", "last_error": "no such\nboard", "remedy": "reset it"}
    unsafe = {**OLD, "resource": "C", "safe": {"state": "failed", "reason": "lost its lock"}}
    found = [(one.resource, one.text, one.is_over) for one in troubles({"resources": [over, broken, unsafe]})]
    assert found == [
        ("B", "no such board", False),
        ("C", "its safe state failed: lost its lock", False),
        ("A", "it hung", True),
    ]


def test_warnings_say_what_to_do_when_the_audit_log_fails_or_the_daemon_ends() -> None:
    """What else would be in a log only."""
    said = overview.warnings({"audit": {"failing": True, "file": "/var/audit.jsonl"}, "state": "draining"})
    assert [line.split(":")[0] for line in said] == ["its audit log cannot be written", "it is draining"]
    assert overview.warnings({"audit": {"failing": False}, "state": "serving"}) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (90000, "1 d 1 h"),
     (None, ""), (float("nan"), ""), (float("inf"), ""), (-1, ""), (True, "")],
)  # fmt: skip
def test_duration_has_two_units_at_most(seconds: object, said: str) -> None:
    assert duration(seconds) == said
