"""Limits: how long what may take, and how much there may be. One table, for the TOML file's `[limits]` and the docs.

Pure. Runs in the front. The defaults are good for nearly every laboratory: a VISA call's own deadline is not here, it
is the session's timeout and the `grace`.

To add a limit: its row in ROWS and its field in Limits.
"""

from dataclasses import dataclass, replace
from typing import Any

from front_proc.configuration.setting_values import Setting, SettingsError, When, is_number, read_table


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
    safe_time: float
    queue_time: float
    queue_length: int
    clients: int
    reserved_clients: int
    line_time: float
    line_length: int
    output_pause: int
    output_length: int
    slow_reader_time: float
    silent_peer_time: float
    failures: int
    failure_window: float
    longest_backoff: float
    trial_time: float
    longest_offline: float
    strangers: int
    wrong_token_time: float
    confirm_time: float


def _seconds(value: Any) -> float:
    if not is_number(value) or not 0 < value < float("inf"):
        raise ValueError
    return float(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError
    return value


def _time(name: str, default: float, meaning: str, when: When = When.AT_ONCE) -> Setting:
    return Setting(name, _seconds, "seconds, more than 0", default, meaning, when=when)


def _number(name: str, default: int, meaning: str) -> Setting:
    return Setting(name, _count, "a whole number, 1 or more", default, meaning, when=When.AT_ONCE)


def _bytes(
    name: str, default: int, meaning: str, when: When = When.AT_ONCE, *, least: int = 1, most: int = 1 << 40
) -> Setting:
    def accept(value: Any) -> int:
        if not least <= _count(value) <= most:
            raise ValueError
        return _count(value)

    return Setting(name, accept, f"bytes, a whole number from {least} to {most}", default, meaning, when=when)


ROWS = (
    _time("start-time", 10.0, "from the spawn of a process until it has imported everything"),
    _time("open-time", 15.0, "for viOpen, and for the attributes set after it", When.OPEN),
    _time("begin-time", 2.0, "from handing a command to a process until its VISA call begins"),
    _time("search-time", 15.0, "for `list_resources`, in a process of its own", When.START),
    _time("resync-time", 5.0, "for emptying an instrument of old answers, beyond the wait for late ones"),
    _time("abort-time", 1.0, "for the device clear of an abort; then the process is killed"),
    _time("close-time", 5.0, "for viClose and the end of the process; then it gets SIGTERM"),
    _time("terminate-time", 1.0, "from SIGTERM until it gets SIGKILL"),
    _time("kill-time", 2.0, "from SIGKILL until a process that lives is called wedged"),
    _time("safe-time", 2.0, "for each message of a safe state, beyond the grace"),
    _time("queue-time", 120.0, "for a command to wait for its turn; then `QUEUE_TIMEOUT`"),
    _number("queue-length", 64, "commands of one client that may wait for one instrument"),
    _number("clients", 1000, "connections at once; from loopback a few more, to look and to stop"),
    _number("reserved-clients", 4, "how many more those are"),
    _time("line-time", 10.0, "for a line of the text protocol, or the wire's magic, once begun"),
    # Every command of the daemon's own fits into the least; the most is looked through in a few milliseconds.
    _bytes(
        "line-length",
        1 << 16,
        "of a line before its terminator; blocks do not count",
        When.CONNECT,
        least=1 << 10,
        most=1 << 24,
    ),
    _bytes(
        "output-pause",
        2 << 20,
        "replies that wait for a client; from so many on the instrument that answers waits, and it must go on reading",
        When.CONNECT,
    ),
    _bytes("output-length", 32 << 20, "replies that wait for a client; beyond it the client is cut"),
    _time(
        "slow-reader-time",
        10.0,
        "without a byte taken by a client for which more than `output-pause` waits; then the client is cut",
    ),
    _time(
        "silent-peer-time",
        30.0,
        "without a word from a client's machine, which is asked from half of it on; then the client is gone",
        When.CONNECT,
    ),
    _number("failures", 5, "failures of a process within the failure window; one more is too many"),
    _time("failure-window", 60.0, "failures older than this are forgotten at the next success"),
    _time("longest-backoff", 60.0, "a start waits 1, 2, 4 ... seconds, but no longer"),
    _time("trial-time", 300.0, "what is broken is tried again by the first command after this"),
    _time(
        "longest-offline", 10.0, "commands try to reach what is offline again after 1, 2, 4 ... seconds, but no later"
    ),
    _number("strangers", 64, "connections at once that have no rights yet; one more, and the oldest of them is cut"),
    _time("wrong-token-time", 1.0, "until a wrong token is answered; then the connection is closed"),
    _time("confirm-time", 60.0, "from a confirmation until the message that it is for", When.OPEN),
)

DEFAULTS = Limits(**{row.field: row.default for row in ROWS})


def read_limits(table: Any, file: str) -> Limits:
    """What `[limits]` in the TOML file comes to. Raises SettingsError."""
    if not isinstance(table, dict):
        raise SettingsError(f"{file}: limits: they stand below the line [limits]")
    limits = replace(DEFAULTS, **read_table(ROWS, table, f"{file}, [limits]", "limit"))
    if limits.output_pause > limits.output_length:
        raise SettingsError(
            f"{file}, [limits]: output-pause = {limits.output_pause} is more than output-length = "
            f"{limits.output_length}: nobody would be made to wait before being cut"
        )
    return limits
