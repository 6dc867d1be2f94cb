"""The breaker of one resource: when a process that failed is started again, and when no more.

Pure: the clock is passed in, as monotonic seconds. Runs in the front; outlives the resource's openings, so that nobody
gets around it by closing and opening again. Commanded stops are never told to it.

    closed      failures that count: none; every start is admitted
    counting    the first failure starts at once, later ones wait 1, 2, 4 ... seconds
    broken      no start until `reset`; after the trial time one is admitted, whose failure breaks it again
"""

import random
from collections import deque
from collections.abc import Callable

from front_proc.configuration.limits import Limits
from front_proc.process.lifecycle import Event


class Breaker:
    """Counts the failures of one resource's processes."""

    def __init__(self, limits: Limits, spread: Callable[[], float] = random.random) -> None:
        self.limits = limits
        self._spread = spread
        #: When those within the window were, and how many there were since all was well.
        self._recent: deque[float] = deque(maxlen=limits.failures + 1)
        self._count = 0
        self._last = 0.0
        self._next_start = 0.0
        self._broken_at: float | None = None
        #: Of the last failure, in words.
        self.reason = "it failed"

    def limit(self, limits: Limits) -> None:
        """Other limits hold from now on."""
        self.limits = limits
        self._recent = deque(self._recent, maxlen=limits.failures + 1)

    def failed(self, now: float, reason: str | None = None) -> Event:
        """One more failure: how the death goes on (one of DIED_START, DIED_WAIT, DIED_OFTEN)."""
        self._recent.append(now)
        self._note(now, reason)
        while now - self._recent[0] > self.limits.failure_window:
            self._recent.popleft()
        if self._broken_at is not None or len(self._recent) > self.limits.failures:
            self._broken_at = now
            return Event.DIED_OFTEN
        if self._count == 1:
            self._next_start = now
            return Event.DIED_START
        self._wait(now, self._count - 2)
        return Event.DIED_WAIT

    def postponed(self, now: float, reason: str | None = None) -> Event:
        """No process could be started, which is no fault of the instrument's: it waits, and is never broken by that."""
        self._note(now, reason)
        self._wait(now, self._count - 1)
        return Event.DIED_WAIT

    def _note(self, now: float, reason: str | None) -> None:
        self._count += 1
        self._last = now
        self.reason = reason or self.reason

    def _wait(self, now: float, doublings: int) -> None:
        # +-20 % so that instruments that failed together do not start together.
        doubled = 2.0 ** min(doublings, 32)
        self._next_start = now + min(doubled, self.limits.longest_backoff) * (0.8 + 0.4 * self._spread())

    def succeeded(self, now: float) -> None:
        """A command was carried out: whoever starts it next need not wait, and failures that are old enough, or that a
        trial has made up for, are forgotten."""
        self._next_start = min(self._next_start, now)
        if self._count and (self._broken_at is not None or now - self._last > self.limits.failure_window):
            self.reset()

    def admits(self, now: float) -> Event:
        """May a process be started? WANTED if so, else why not."""
        if self._broken_at is not None:
            return Event.WANTED if now - self._broken_at >= self.limits.trial_time else Event.TOO_OFTEN
        return Event.TOO_SOON if self.wait(now) > 0 else Event.WANTED

    def wait(self, now: float) -> float:
        """Seconds until the next start."""
        return max(0.0, self._next_start - now)

    def reset(self) -> None:
        """An operator says that it is fine."""
        self._recent.clear()
        self._count = 0
        self._next_start = 0.0
        self._broken_at = None

    def is_forgotten(self, now: float) -> bool:
        """Would a new breaker do the same from here on, as far as anybody cares?"""
        long = max(self.limits.longest_backoff, self.limits.failure_window)
        return not self._count or (self._broken_at is None and now - self._last > long)
