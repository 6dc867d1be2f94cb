"""Waiting for a condition: the only way a test waits."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds. Generous on purpose: it is reached only by a test that fails.
DEADLINE = 20.0


def wait_until(condition: Callable[[], T], deadline: float = DEADLINE, what: str = "") -> T:
    """Call `condition` until it returns something true, and return that; AssertionError after `deadline` seconds."""
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what or condition}")
        time.sleep(0.01)
