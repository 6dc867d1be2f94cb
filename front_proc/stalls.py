"""Stalls of the event loop, on record in the daemon's log with what the loop was doing at the time.

Runs in the front: a timer on the loop says that it turns, a thread looks whether it did. Whatever blocks the loop
delays every client and every deadline, and afterwards nobody can tell what it was; so the thread takes the stack
during the stall. A process that was stopped as a whole (SIGSTOP, a suspended or starved machine) is told apart: then
the thread was late itself, and hardly any processor time was used. A thread that was late while processor time went
by was kept out by C code that holds Python's global lock: that is a stall as well.

`Judge` is pure: times and stacks are passed in. `StallWatch` has the timer, the thread and the clock.
To add a field of the records: `Judge`, and docs/how-to/systemd.md, which shows them.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

#: Seconds between ticks of the loop, and between looks of the thread. Ten of each in a second cost an idle daemon
#: 0.25 % of a core.
TICK_TIME = 0.1

#: Seconds without a tick that are a stall. Longer than anything the loop may do: starting a process takes it 2 ms, a
#: collection of garbage some 10; shorter than any deadline, and about where people notice.
STALL_TIME = 0.25

#: Seconds after which a stall is on record though it goes on: it may never end.
LONG_TIME = 10.0

#: Seconds between two records of one kind at least. What goes unrecorded is counted.
QUIET_TIME = 10.0

Report = tuple[str, dict[str, Any]]


class Judge:
    """What to record, from look to look. Times in seconds, by a clock that also runs while the machine is suspended."""

    def __init__(self, now: float, processor_time: float) -> None:
        self._looked_at = now
        self._processor_time = processor_time
        #: Ticks that were due before are not missed: nobody could tick.
        self._excused_until = now
        #: The last tick before the stall that there is, and what the loop was doing.
        self._stalled_since: float | None = None
        self._stack = ""
        self._is_on_record = False
        #: Of each kind of record: when the last one was made, and how many were not since.
        self._recorded_at = {"stall": float("-inf"), "stopped": float("-inf")}
        self._skipped = {"stall": 0, "stopped": 0}

    def look(self, now: float, processor_time: float, ticked_at: float, stack: Callable[[], str]) -> list[Report]:
        """The records due `now`. `ticked_at` is the loop's last tick, `stack` says what the loop is doing.

        `seconds` in a record are those between two ticks, or between two looks of the thread.
        """
        reports: list[Report | None] = []
        late = now - self._looked_at
        if late > STALL_TIME and processor_time - self._processor_time < late / 2:
            self._stalled_since = None  # a stall that this fell into is not to be told from it
            self._excused_until = now
            reports.append(self._report(now, "stopped", seconds=late))
        self._looked_at, self._processor_time = now, processor_time
        since = max(ticked_at, self._excused_until)
        if self._stalled_since is not None:
            reports.append(self._follow(self._stalled_since, since, now))
        elif now - since > STALL_TIME:
            self._stalled_since, self._stack, self._is_on_record = since, stack(), False
        return [report for report in reports if report is not None]

    def _follow(self, begin: float, ticked_at: float, now: float) -> Report | None:
        """The stall since `begin`: has it ended, or gone on for too long?"""
        if ticked_at > begin:
            self._stalled_since = None
            if self._is_on_record:
                return "stall_over", {"seconds": round(ticked_at - begin, 3)}
            return self._report(now, "stall", seconds=ticked_at - begin, stack=self._stack)
        if now - begin > LONG_TIME and not self._is_on_record and self._is_due(now, "stall"):
            self._is_on_record = True
            return self._report(now, "stall", seconds=now - begin, stack=self._stack)
        return None

    def _is_due(self, now: float, event: str) -> bool:
        return now - self._recorded_at[event] >= QUIET_TIME

    def _report(self, now: float, event: str, seconds: float, **fields: str) -> Report | None:
        if not self._is_due(now, event):
            self._skipped[event] += 1
            return None
        skipped = {"skipped": self._skipped[event]} if self._skipped[event] else {}
        self._recorded_at[event], self._skipped[event] = now, 0
        return event, {"seconds": round(seconds, 3), **skipped, **fields}


class Log(Protocol):
    """Where records go, from any thread."""

    def put(self, event: str, fields: dict[str, Any]) -> None: ...


class StallWatch:
    """Watches the running loop, in whose thread it is made, until `close`."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._is_over = threading.Event()
        self._tick()
        self._thread = threading.Thread(target=self._watch, name="stall watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it: what the loop does from now on is nobody's business."""
        self._timer.cancel()
        self._is_over.set()

    def _tick(self) -> None:
        self._ticked_at = _now()
        self._timer = self._loop.call_later(TICK_TIME, self._tick)

    def _watch(self) -> None:
        judge = Judge(_now(), time.process_time())
        while not self._is_over.wait(TICK_TIME):
            for event, fields in judge.look(_now(), time.process_time(), self._ticked_at, self._stack):
                self._log.put(event, fields)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _now() -> float:
    """Unlike CLOCK_MONOTONIC this one goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
