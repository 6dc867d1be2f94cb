"""What may come between: other threads, Ctrl-C, and whatever strikes before any single line."""

import contextlib
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any, TypeVar

from tests.support.waiting import DEADLINE, wait_until

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> Callable[[], T]:
    """Runs `work` in a thread; the function returned waits for it, and returns or raises what it did."""
    outcome: list[T] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Exception as failure:
            failed.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result() -> T:
        thread.join(DEADLINE)
        assert not thread.is_alive()
        if failed:
            raise failed[0]
        return outcome[0]

    return result


@contextlib.contextmanager
def ctrl_c(when: Callable[[], Any]) -> Iterator[None]:
    """Presses Ctrl-C as soon as `when()` is true; the block must not survive it."""

    def press() -> None:
        wait_until(when)
        os.kill(os.getpid(), signal.SIGINT)

    assert not when(), "it would strike before the block begins"
    pressed = in_thread(press)
    survived = False
    try:
        yield
        survived = True
    except KeyboardInterrupt:
        pass
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            pressed()
    assert not survived, "nothing was interrupted"


@contextlib.contextmanager
def at_lines_of(act: Callable[[int], None], *modules: ModuleType) -> Iterator[None]:
    """Calls `act(n)` before the n-th line of these modules that this thread executes: what a collection or a signal
    may do between any two instructions, at every place and every time the same."""
    lines = itertools.count()
    files = {module.__file__ for module in modules}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            act(next(lines))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def interrupted_everywhere(work: Callable[[], Any], *modules: ModuleType) -> Iterator[int]:
    """Does `work` again and again, with Ctrl-C before its first line in these modules, its second, and so on; yields
    after each, and ends when it has got through."""
    for place in range(3000):
        is_struck = False

        def press(line: int, place: int = place) -> None:
            nonlocal is_struck
            if line == place:
                is_struck = True
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt), at_lines_of(press, *modules):
            work()
        if not is_struck:
            return
        yield place
