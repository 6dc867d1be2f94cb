"""Limits: how long what may take, and how much there may be. One table, for the TOML file's `[limits]` and the docs.

Pure. Runs in the front. The defaults are good for nearly every laboratory: a VISA call's own deadline is not here, it
is the session's timeout and the `grace`.

To add a limit: its row in ROWS and its field in Limits.
"""

from dataclasses import dataclass
from typing import Any

from front_proc.setting_values import Setting, SettingsError, is_number, named

_SECONDS = "seconds, more than 0"
_COUNT = "a whole number, 1 or more"


@dataclass(frozen=True)
class Limits:
    """Times in seconds."""

    start_time: float
    open_time: float
    begin_time: float
    search_time: float
    resync_time: float
    abort_time: float
    close_time: float
    terminate_time: float
    kill_time: float
    queue_time: float
    queue_length: int
    clients: int
    line_time: float
    silent_peer_time: float
    failures: int
    failure_window: float
    longest_backoff: float
    trial_time: float
    longest_offline: float


def _seconds(value: Any) -> float:
    if not is_number(value) or not 0 < value < float("inf"):
        raise ValueError
    return float(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError
    return value


ROWS = (
    Setting("start-time", _seconds, _SECONDS, 10.0, "from the spawn of a process until it has imported everything"),
    Setting("open-time", _seconds, _SECONDS, 15.0, "for viOpen, and for the attributes set after it"),
    Setting("begin-time", _seconds, _SECONDS, 2.0, "from handing a command to a process until its VISA call begins"),
    Setting("search-time", _seconds, _SECONDS, 15.0, "for `list_resources`, in a process of its own"),
    Setting(
        "resync-time",
        _seconds,
        _SECONDS,
        5.0,
        "for emptying an instrument of old answers, beyond the wait for late ones",
    ),
    Setting("abort-time", _seconds, _SECONDS, 1.0, "for the device clear of an abort; then the process is killed"),
    Setting("close-time", _seconds, _SECONDS, 5.0, "for viClose and the end of the process; then it gets SIGTERM"),
    Setting("terminate-time", _seconds, _SECONDS, 1.0, "from SIGTERM until it gets SIGKILL"),
    Setting("kill-time", _seconds, _SECONDS, 2.0, "from SIGKILL until a process that lives is called wedged"),
    Setting("queue-time", _seconds, _SECONDS, 120.0, "for a command to wait for its turn; then `QUEUE_TIMEOUT`"),
    Setting("queue-length", _count, _COUNT, 64, "commands of one client that may wait for one instrument"),
    Setting("clients", _count, _COUNT, 1000, "connections at once; from loopback a few more, to look and to stop"),
    Setting("line-time", _seconds, _SECONDS, 10.0, "for a line of the text protocol, or the wire's magic, once begun"),
    Setting(
        "silent-peer-time",
        _seconds,
        _SECONDS,
        30.0,
        "without a word from a client's machine, which is asked from half of it on; then the client is gone",
    ),
    Setting("failures", _count, _COUNT, 5, "failures of a process within the failure window; one more is too many"),
    Setting("failure-window", _seconds, _SECONDS, 60.0, "failures older than this are forgotten at the next success"),
    Setting("longest-backoff", _seconds, _SECONDS, 60.0, "a start waits 1, 2, 4 ... seconds, but no longer"),
    Setting("trial-time", _seconds, _SECONDS, 300.0, "what is broken is tried again by the first command after this"),
    Setting(
        "longest-offline",
        _seconds,
        _SECONDS,
        10.0,
        "commands try to reach what is offline again after 1, 2, 4 ... seconds, but no later",
    ),
)

DEFAULTS = Limits(**{row.field: row.default for row in ROWS})


def read_limits(table: Any, file: str) -> Limits:
    """What `[limits]` in the TOML file comes to. Raises SettingsError."""
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: limits: they stand below the line [limits]")
    given: dict[str, Any] = {row.field: row.default for row in ROWS}
    for key, value in table.items():
        row = named(ROWS, key)
        if row is None:
            names = ", ".join(row.name for row in ROWS)
            raise SettingsError(f"{file}, [limits]: no limit is called {key!r}; there are {names}")
        given[row.field] = row.taken(value, f"{file}, [limits]: {key} = ")
    return Limits(**given)
