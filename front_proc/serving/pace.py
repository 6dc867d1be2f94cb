"""How many commands end, how fast, and how long the instrument takes: the figures of `status`.

Pure: the clock is passed in. Runs in the front. Whatever is done for each command costs every command, so counting is
an addition and a comparison; what the figures mean is worked out when somebody asks for them.
"""

import math
from collections import deque
from collections.abc import Sequence

#: Seconds over which a rate is taken, and the shortest time between two marks in them.
WINDOW, TICK = 10.0, 0.25

#: Commands whose times are kept.
KEPT = 128


class Rate:
    """How many things have ended, and how many of them within the last WINDOW."""

    __slots__ = ("_marks", "_next", "total")

    def __init__(self) -> None:
        self.total = 0
        #: (moment, how many had ended before it); as many as the window has room for.
        self._marks: deque[tuple[float, int]] = deque(maxlen=int(WINDOW / TICK) + 1)
        self._next = 0.0

    def count(self, now: float) -> None:
        """One more, at `now` in monotonic seconds."""
        if now >= self._next:
            self._marks.append((now, self.total))
            self._next = now + TICK
        self.total += 1

    def per_second(self, now: float) -> float:
        """Of the last WINDOW; what ended within one TICK at its beginning may be left out."""
        before = next((total for moment, total in self._marks if moment > now - WINDOW), self.total)
        return (self.total - before) / WINDOW


class Pace:
    """One resource's commands. `everybodys` is the rate of all resources together, which counts them too."""

    __slots__ = ("_everybodys", "_times", "failed", "rate")

    def __init__(self, everybodys: Rate) -> None:
        self.rate = Rate()
        self.failed = 0
        self._everybodys = everybodys
        self._times: deque[float] = deque(maxlen=KEPT)

    def ended(self, now: float, ran: float | None, *, is_failure: bool) -> None:
        """A command ended, after so many seconds with the instrument; None for one that never got there."""
        self.rate.count(now)
        self._everybodys.count(now)
        if ran is not None:
            self._times.append(ran)
        if is_failure:
            self.failed += 1

    def latency_ms(self) -> dict[str, float] | None:
        """The time that half of the last KEPT commands were with the instrument at most, and 99 of 100."""
        if not self._times:
            return None
        times = sorted(self._times)
        return {"p50": _milliseconds(times, 0.50), "p99": _milliseconds(times, 0.99)}


def _milliseconds(times: Sequence[float], share: float) -> float:
    """The nearest rank: the least of the sorted `times` that such a share of them does not exceed."""
    return round(1000 * times[math.ceil(share * len(times)) - 1], 3)
