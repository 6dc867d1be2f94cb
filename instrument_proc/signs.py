"""Signs of life: how far a child is with its order, in a page of memory that it shares with the front.

The child writes it and the front reads it, when a deadline comes and when the process has died: the page outlives who
wrote it, so what a dead child had begun is known. As messages the same signs would wake the front twice in every
command, which is what most of the time of a short one went to.

Made by the front, handed to `Process(args=...)`, used on both sides. Imports nothing of VISA.
"""

import fcntl
import mmap
import os
from collections.abc import Callable
from enum import IntEnum
from multiprocessing import reduction
from time import monotonic_ns
from typing import Any

_SIZE = mmap.PAGESIZE

#: A word that tells of an order: its number, and behind that its step in so many bits.
_STEP_BITS = 16

#: The file behind the page stays as long as it is: who has mapped what a child then cut off would die of looking at it.
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Step(IntEnum):
    """How far an order is. A word that ends with none of these numbers, such as zero, no child of ours has written."""

    TAKEN = 0x516C  # nothing that concerns the instrument has been called
    STARTED = 0x516D  # the VISA call began: from here on the instrument may act
    WRITTEN = 0x516E  # all of the message was handed to the instrument


class Signs:
    """The page of one child."""

    def __init__(self, descriptor: int | None = None) -> None:
        """A new page, or the one behind a descriptor, which is taken over. Raises OSError."""
        is_new = descriptor is None
        if descriptor is None:
            descriptor = os.memfd_create("signs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._descriptor = descriptor
        try:
            if is_new:
                os.truncate(descriptor, _SIZE)
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self._page = mmap.mmap(descriptor, _SIZE)
        except OSError:
            os.close(descriptor)
            raise
        # [order and its step, when that was]: each one aligned store, so that neither is ever half written.
        self._words: memoryview | list[int] = memoryview(self._page).cast("Q")
        if is_new:
            self._words[0] = Step.TAKEN

    def __reduce__(self) -> tuple[Callable[..., "Signs"], tuple[Any]]:
        return _received, (reduction.DupFd(self._descriptor),)

    def close_descriptor(self) -> None:
        """The page stays; it cannot be handed to a process any more."""
        os.close(self._descriptor)

    def end(self) -> None:
        """Nobody writes any more: what was written last is kept, the page is given back."""
        if isinstance(self._words, memoryview):
            words, self._words = self._words, self._words[:2].tolist()
            words.release()
            self._page.close()

    # The child's.

    def show(self, order: int, step: Step) -> None:
        """The order with this number is at `step`, or goes on with it, now."""
        self._words[1] = monotonic_ns()  # first: the step is never seen with the time of the one before
        self._words[0] = order << _STEP_BITS | step

    # The front's, which has to `end` it.

    def of(self, order: int) -> tuple[Step, float]:
        """The newest step of that order and when it came, in seconds of the monotonic clock.

        A library may scribble over it: of what no child of ours writes the worst is believed, and it buys no time.
        """
        word, moment = self._words[0], self._words[1]
        number, step = word >> _STEP_BITS, word & (1 << _STEP_BITS) - 1
        is_ours = Step.TAKEN <= step <= Step.WRITTEN and moment <= monotonic_ns()
        if is_ours and number < order:
            return Step.TAKEN, 0.0
        if not is_ours or number > order:
            return Step.STARTED, 0.0
        return Step(step), moment / 1e9


def _received(duplicate: Any) -> Signs:
    signs = Signs(duplicate.detach())
    signs.close_descriptor()
    return signs
