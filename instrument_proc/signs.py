"""Signs of life: how far a child is with its order, in a page of memory that it shares with the front.

The child writes it and the front reads it, when a deadline comes and when the process has died: the page outlives who
wrote it, so what a dead child had begun is known. As messages the same signs would wake the front twice in every
command, which is what most of the time of a short one went to.

Made by the front, handed to `Process(args=...)`, used on both sides. Imports nothing of VISA.
"""

import mmap
import os
import time
from collections.abc import Callable
from enum import IntEnum
from multiprocessing import reduction
from typing import Any

_SIZE = mmap.PAGESIZE

_STEP_BITS = 2


class Step(IntEnum):
    """How far an order is."""

    TAKEN = 0  # nothing that concerns the instrument has been called
    STARTED = 1  # the VISA call began: from here on the instrument may act
    WRITTEN = 2  # all of the message was handed to the instrument


class Signs:
    """The page of one child."""

    def __init__(self, descriptor: int | None = None) -> None:
        """A new page, or the one behind a descriptor, which is taken over. Raises OSError."""
        if descriptor is None:
            descriptor = os.memfd_create("signs")
            os.truncate(descriptor, _SIZE)
        self._descriptor = descriptor
        self._page = mmap.mmap(descriptor, _SIZE)
        # [order and its step, when that was]: each one aligned store, so that neither is ever half written.
        self._words = memoryview(self._page).cast("Q")

    def __reduce__(self) -> tuple[Callable[..., "Signs"], tuple[Any]]:
        return _received, (reduction.DupFd(self._descriptor),)

    def close_descriptor(self) -> None:
        """The page stays; it cannot be handed to a process any more."""
        os.close(self._descriptor)

    # The child's.

    def show(self, order: int, step: Step) -> None:
        """The order with this number is at `step`, or goes on with it, now."""
        self._words[1] = time.monotonic_ns()  # first: the step is never seen with the time of the one before
        self._words[0] = order << _STEP_BITS | step

    # The front's.

    def of(self, order: int) -> tuple[Step, float]:
        """The newest step of that order and when it came, in seconds of the monotonic clock.

        A library may scribble over it: of what no child of ours writes the worst is believed, and it buys no time.
        """
        word, moment = self._words[0], self._words[1]
        number, step = word >> _STEP_BITS, word & (1 << _STEP_BITS) - 1
        if number < order:
            return Step.TAKEN, 0.0
        if number > order or step > Step.WRITTEN or moment > time.monotonic_ns():
            return Step.STARTED, 0.0
        return Step(step), moment / 1e9


def _received(duplicate: Any) -> Signs:
    signs = Signs(duplicate.detach())
    signs.close_descriptor()
    return signs
