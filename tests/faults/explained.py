"""Which errors may come of what was done to an instrument, and when: the judge of the soak.

Pure but for the clock. Each fault has a time; it is settled by the first command that began after it and succeeded.
From then on it explains nothing any more, except to a session that has had no command since: that one is told of the
new process once.
"""

import threading
import time
from dataclasses import dataclass

_AFTERWARDS = {"SESSION_RESET", "WRITE_FAILED"}
_AGAIN = {"INSTRUMENT_BACKOFF", "INSTRUMENT_BROKEN"}

#: Seconds, of the soak's limits. Who restarts what is in back-off has it work before that is over, but only for those
#: who have it open: whoever opens it anew meanwhile is still told of the back-off.
LONGEST_BACKOFF = 0.5 * 1.2

#: What was done -> the tokens of errors that may come of it.
TOKENS = {
    "crash": {"INSTRUMENT_CRASHED"} | _AFTERWARDS | _AGAIN,
    "hang": {"INSTRUMENT_HUNG"} | _AFTERWARDS | _AGAIN,
    "restart": {"INSTRUMENT_CRASHED"} | _AFTERWARDS,
    "abort": {"COMMAND_ABORTED"} | _AFTERWARDS,
    "drop": {"VI_ERROR_CONN_LOST"} | _AFTERWARDS,
    "silence": {"VI_ERROR_TMO"},
    "lock": {"VI_ERROR_RSRC_LOCKED"},
    "reset": set(),
}


@dataclass
class Fault:
    """Times are monotonic seconds; None while it is not over, or has not been survived yet."""

    kind: str
    began: float
    over: float | None = None
    settled: float | None = None

    def may_cause(self, token: str, since: float, until: float) -> bool:
        """An error of a command between these two."""
        is_late = self.settled is not None and self.settled < since
        return token in TOKENS[self.kind] and self.began <= until and not is_late


class Account:
    """What was done to one instrument. Used from several threads."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._lock = threading.Lock()

    def begins(self, kind: str) -> Fault:
        """Something is done to it from now on, until `over`."""
        fault = Fault(kind, time.monotonic())
        with self._lock:
            self.faults.append(fault)
        return fault

    def over(self, fault: Fault) -> None:
        with self._lock:
            fault.over = time.monotonic()

    def succeeded(self, began: float) -> None:
        """A command that began then has succeeded just now."""
        with self._lock:
            for fault in self.faults:
                if fault.settled is None and fault.over is not None and fault.over < began:
                    fault.settled = time.monotonic()

    def explains(self, token: str, began: float, last_began: float) -> bool:
        """An error of a command that began then; `last_began` is when its session was last told something."""
        now, since = time.monotonic(), last_began if token in _AFTERWARDS else began
        if token in _AGAIN:
            since -= LONGEST_BACKOFF
        with self._lock:
            return any(fault.may_cause(token, since, now) for fault in self.faults)
