"""Records of an audit log as people look for them and read them: filters, times, lines, cells.

Pure. What a record's fields mean stands in docs/reference/audit.md; a field that is not known here is shown too.
To add a filter: a field of Filter, a test in `Filter.takes`, an option in `client.commands.log`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from client.commands.terminal import plain

Record = dict[str, Any]

#: Columns of the CSV, in order; what a record has beside them stands in the last one, as JSON.
COLUMNS = (
    *("time", "event", "seq", "client", "name", "user", "resource", "generation", "command", "outcome", "effect"),
    *("waited_ms", "ran_ms", "bytes", "error", "pid", "death", "process", "wait_s", "lost"),
)
OTHERS = "others"
_IN_COLUMNS = frozenset({*COLUMNS, "prev"})

#: What has a column of its own in the lines for people, or is no news to them.
_OWN_PLACE = frozenset(
    {"time", "event", "seq", "prev", "client", "name", "user", "resource", "command", "outcome", "effect", "ran_ms"}
)

_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DAYS = {"today": 0, "yesterday": 1}

#: What a spreadsheet may take for a formula at the beginning of a cell.
_FORMULA = ("=", "+", "-", "@")


def moment(text: str, now: datetime) -> str:
    """A time as it was typed, as records have it: UTC, if no offset is given. Raises ValueError."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        when = now - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
    elif text in _DAYS:
        when = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=_DAYS[text])
    else:
        when = datetime.fromisoformat(text)
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S.%f}Z"


@dataclass(frozen=True)
class Filter:
    """Which records are wanted: all that are given must fit. Of `events` and `outcomes` one must."""

    resource: str | None = None
    client: str | None = None
    user: str | None = None
    name: str | None = None
    events: Sequence[str] = ()
    outcomes: Sequence[str] = ()
    since: str = ""
    until: str = ""
    #: The fields that must match a pattern, with it; made of the above once, for there are many records.
    _patterns: list[tuple[str, str]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for name in ("resource", "client", "user", "name"):
            pattern = getattr(self, name)
            if pattern is not None:
                # The address of a client has brackets, which `fnmatch` would take for a choice of letters.
                self._patterns.append((name, pattern.lower().replace("[", "[[]")))

    def takes(self, record: Record) -> bool:
        """Is it wanted?"""
        if self.events and record["event"] not in self.events:
            return False
        if self.outcomes and not self._has_outcome(record.get("outcome")):
            return False
        if not self.since <= record["time"] or (self.until and record["time"] >= self.until):
            return False
        return all(_fits(record.get(name), pattern, name) for name, pattern in self._patterns)

    def _has_outcome(self, outcome: object) -> bool:
        is_failed = outcome is not None and outcome != "ok"
        return outcome in self.outcomes or (is_failed and "failed" in self.outcomes)


def _fits(value: object, pattern: str, name: str) -> bool:
    """Does it match, in any case? A client may be named without its port."""
    if not isinstance(value, str):
        return False
    value = value.lower()
    return fnmatchcase(value, pattern) or (name == "client" and fnmatchcase(value.rpartition(":")[0], pattern))


def record_of(line: bytes) -> Record | None:
    """A line as a record; None if it is none."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("time"), str):
        return None
    return record if isinstance(record.get("event"), str) else None


class Lines:
    """Records as aligned lines: a column is as wide as its widest cell so far, up to a limit."""

    _LIMITS = (24, 11, 34, 36, 26)

    def __init__(self) -> None:
        self._widths = [24, 11, 16, 16, 7]

    def line(self, record: Record) -> str:
        """When, what, who, which instrument, how it ended, and all the rest."""
        cells = [record["time"][:23] + "Z", record["event"], _who(record), record.get("resource") or "-"]
        cells = [plain(cell) for cell in (*cells, _ending(record))]
        for column, cell in enumerate(cells):
            self._widths[column] = max(self._widths[column], min(len(cell), self._LIMITS[column]))
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)]
        return "  ".join([*padded, _rest(record)]).rstrip()


def _who(record: Record) -> str:
    """The token's name or what the client calls itself, and where it is."""
    names = [str(record[key]) for key in ("user", "name") if record.get(key)]
    return " ".join(["/".join(names), str(record.get("client", ""))]).strip() or "-"


def _ending(record: Record) -> str:
    outcome = record.get("outcome")
    if outcome is None:
        return "-"
    return str(outcome) if outcome == "ok" else f"{outcome} {record.get('effect', '')}".rstrip()


def _rest(record: Record) -> str:
    words = [plain(record["command"])] if "command" in record else []
    if "ran_ms" in record:
        words.append(f"({plain(record['ran_ms'])} ms)")
    shown = {} if record["event"] == "command" else record  # of a command that would be more than anybody reads
    return " ".join([*words, *(f"{key}={plain(value)}" for key, value in shown.items() if key not in _OWN_PLACE)])


def cells(record: Record) -> list[str]:
    """A record's row in the CSV."""
    others = {key: value for key, value in record.items() if key not in _IN_COLUMNS}
    row = [_cell(record.get(name)) for name in COLUMNS]
    return [*row, plain(json.dumps(others)) if others else ""]


def _cell(value: object) -> str:
    """Text that a spreadsheet would take for a formula has an apostrophe in front."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    text = plain(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
