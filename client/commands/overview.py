"""A daemon's status in words: what `instruments status` shows, live or once.

Pure: a status in, text out; `client.commands.status` prints it and `client.commands.watching` shows it live. What an
older daemon does not say is left out, and what is not as expected is shown as nothing, never a fault: it comes from
somebody else. To add a column: a row in COLUMNS.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

Row = dict[str, Any]

#: How a state is shown: all is well, something is under way, it cannot be used. The names are the daemon's.
WELL, MOVING, BAD = "green", "cyan", "bold red"
STATE_STYLES = {
    "ready": WELL,
    "busy": MOVING,
    "starting": MOVING,
    "opening": MOVING,
    "resync": MOVING,
    "aborting": "yellow",
    "killing": "yellow",
    "backoff": "yellow",
    "closing": "dim",
    "terminating": "dim",
    "closed": "dim",
    "offline": BAD,
    "broken": BAD,
    "wedged": BAD,
    "changed": BAD,
}


class Column(NamedTuple):
    """A heading, what stands under it for a resource (empty for nothing), and rich's style for that.

    `rank`: where there is little room, those with the highest go first. `is_foldable`: it may go on below instead.
    """

    heading: str
    cell: Callable[[Row], str]
    style: str = ""
    rank: int = 0
    is_foldable: bool = False

    def width(self, rows: list[Row]) -> int:
        """Characters that it needs."""
        widest = max([len(self.cell(row)) for row in rows], default=0)
        return max(len(self.heading), min(widest, FOLDED) if self.is_foldable else widest)


class Trouble(NamedTuple):
    """What went wrong last with a resource, and what to do about it. `is_over`: it works again."""

    resource: str
    text: str
    remedy: str
    is_over: bool


# Values of which nothing is sure.


def text_of(value: object) -> str:
    """On one line; empty for nothing."""
    return "" if value is None else " ".join(str(value).split())


def number(value: object, digits: int = 0) -> str:
    """With so many digits behind the point; empty for what is none."""
    return f"{value:.{digits}f}" if _is_number(value) else ""


def _is_number(value: object) -> TypeGuard[int | float]:
    """One that is a finite float, too: JSON has integers of any length."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _at(row: object, *keys: str) -> Any:
    """What stands there; None on the way to nothing."""
    found: Any = row
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def duration(seconds: object) -> str:
    """In at most two units; empty for what is no number."""
    if not _is_number(seconds) or seconds < 0:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, unit, below, lower in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit}" + (f" {rest} {lower}" if rest else "")
    return f"{whole} s"


# A resource.


def _who(row: object) -> str:
    """What a client calls itself; its address if it has not said."""
    name = text_of(_at(row, "name"))
    return text_of(_at(row, "client")) if name in ("", "-") else name


def holder(row: Row) -> str:
    """Who keeps others out, and what for: by a lock, or because the answer to a write is not read yet."""
    holders = [_with_reason(one) for one in _list(_at(row, "lock", "holders"))]
    if holders:
        waiting = _at(row, "lock", "waiting")
        shown = f"{text_of(_at(row, 'lock', 'kind'))}: {', '.join(holders)}"
        return f"{shown}, {waiting} waiting" if _is_number(waiting) and waiting else shown
    hold = _at(row, "hold")
    return f"{_who(hold)} (answer not read yet{_since(hold)})" if hold else ""


def aliases_of(row: Row) -> list[str]:
    return list(map(text_of, _list(_at(row, "aliases"))))


def every_alias(said: Row) -> dict[str, list[str]]:
    """resource -> its aliases, of all that a daemon's settings name, open or not."""
    found: dict[str, list[str]] = {}
    aliases = said.get("aliases")
    for alias, resource in aliases.items() if isinstance(aliases, dict) else ():
        found.setdefault(text_of(resource), []).append(text_of(alias))
    return found


def _with_reason(holder: object) -> str:
    reason = text_of(_at(holder, "reason"))
    return f"{_who(holder)} ({reason})" if reason else _who(holder)


def _since(row: object) -> str:
    since = duration(_at(row, "for_s"))
    return f", {since}" if since else ""


def _running(row: Row) -> str:
    running = _at(row, "running")
    return f"{text_of(_at(running, 'operation'))} of {_who(running)}{_since(running)}" if running else ""


def _latency(row: Row) -> str:
    p50, p99 = (number(_at(row, "latency_ms", key), 1) for key in ("p50", "p99"))
    return f"{p50}/{p99}" if p50 and p99 else ""


#: What is shown of a resource, from left to right.
COLUMNS = (
    Column("resource", lambda row: text_of(_at(row, "resource")), "bold"),
    Column("state", lambda row: text_of(_at(row, "state"))),
    Column("alias", lambda row: ", ".join(aliases_of(row)), "cyan", 2, True),
    Column("held by", holder, "yellow", 0, True),
    Column("running", _running, "", 1, True),
    Column("queued", lambda row: number(_at(row, "queued")), "", 4),
    Column("sessions", lambda row: number(_at(row, "sessions")), "", 6),
    Column("per s", lambda row: number(_at(row, "rate_per_s"), 1), "", 3),
    Column("p50/p99 ms", _latency, "", 5),
    Column("MB", lambda row: number(_at(row, "memory_mb"), 1), "", 8),
    Column("restarts", lambda row: number(_at(row, "restarts")), "", 7),
    Column("pid", lambda row: number(_at(row, "pid")), "dim", 9),
)

#: The narrowest that a foldable column becomes, and the blanks between two.
FOLDED, GAP = 24, 2


def resources(status: Row) -> list[Row]:
    return [row for row in _list(status.get("resources")) if isinstance(row, dict)]


def row_of(status: Row, resource: str) -> Row:
    """Of one, by its canonical name; empty if the daemon has no process for it."""
    return next((row for row in resources(status) if row.get("resource") == resource), {})


def columns_of(rows: list[Row], width: int) -> list[Column]:
    """Those that a terminal of so many characters has room for: what shows nothing goes first, then by rank."""
    columns = list(COLUMNS)

    def goes_next(column: Column) -> tuple[bool, int]:
        return not any(column.cell(row) for row in rows), column.rank

    while sum(column.width(rows) + GAP for column in columns) - GAP > width:
        column = max((column for column in columns if column.rank), key=goes_next, default=None)
        if column is None:
            break
        columns.remove(column)
    return columns


def style_of(column: Column, row: Row) -> str:
    """The state is shown by its colour."""
    if column.heading == "state":
        return STATE_STYLES.get(column.cell(row), "")
    return column.style


def troubles(status: Row) -> list[Trouble]:
    """What went wrong last with each resource; those that do not work first."""
    found = []
    for row in resources(status):
        error, remedy, state = (text_of(_at(row, key)) for key in ("last_error", "remedy", "state"))
        is_over = STATE_STYLES.get(state) in (WELL, MOVING)
        name = text_of(_at(row, "resource"))
        if error or (remedy and not is_over):
            found.append(Trouble(name, error or f"it is {state}", remedy, is_over))
        if _at(row, "safe", "state") in ("due", "failed"):
            found.append(_unsafe(name, row["safe"]))
    return sorted(found, key=lambda trouble: trouble.is_over)


def _unsafe(name: str, safe: Row) -> Trouble:
    why = f"its safe state {'is due' if safe['state'] == 'due' else 'failed'}: {text_of(safe.get('reason'))}"
    return Trouble(name, why, "look at the instrument itself, then send it again or forget it", False)


# The daemon.


def headline(address: object, status: Row) -> str:
    """One line: which daemon, and its particulars."""
    return f"daemon at {address}: {particulars(status)}"


def particulars(status: Row) -> str:
    """How long it runs, and how much it does."""
    parts = [
        f"version {text_of(status.get('version'))}",
        f"pid {text_of(status.get('pid'))}",
        f"up {duration(status.get('uptime_s'))}",
        counted(status.get("clients"), "client"),
    ]
    if rate := number(status.get("rate_per_s"), 1):
        parts.append(f"{rate} commands/s")
    if memory := number(status.get("memory_mb"), 0):
        parts.append(f"{memory} MB")
    if status.get("announced") is True:
        parts.append("announced on the network")
    return ", ".join(parts)


def counted(count: object, what: str) -> str:
    return f"{number(count)} {what}" + ("" if count == 1 else "s")


def warnings(status: Row) -> list[str]:
    """What is wrong with the daemon itself, with what to do."""
    said = []
    if _at(status, "audit", "failing"):
        file = text_of(_at(status, "audit", "file"))
        said.append(f"its audit log cannot be written: {file}; make room there, or mend its folder's rights")
    state = text_of(status.get("state"))
    if state not in ("", "serving"):
        said.append(f"it is {state}: it ends, and takes nothing new")
    return said


def client_rows(status: Row) -> list[list[str]]:
    """The daemon's connections, with a heading."""
    rows = [
        [*(text_of(_at(row, key)) for key in ("client", "name", "language")), _opened_by(row)]
        for row in _list(status.get("connections"))
    ]
    return [["client", "name", "language", "open"], *[[cell or "-" for cell in row] for row in rows]]


def _opened_by(row: object) -> str:
    return " ".join(map(text_of, _list(_at(row, "open"))))
