"""The locks of one resource in time: requests that wait, their end by the clock, their place in the record.

Runs in the front, one for each resource. The rules are those of `locks`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from front_proc.locks import Locks
from front_proc.sessions import Session
from front_proc.tickets import Outcome


class Recorder(Protocol):
    """Puts a command on record: its session, what gives its words, its outcome, the seconds that it waited and ran."""

    def __call__(
        self, session: Session, describe: Callable[[], str], outcome: Outcome, waited: float, ran: float
    ) -> None: ...


class LockService(Locks):
    """`on_change` is called when somebody else may be served, or is shut out, from now on."""

    def __init__(self, name: str, record: Recorder, on_change: Callable[[], None]) -> None:
        super().__init__(name)
        self._loop = asyncio.get_running_loop()
        self._record = record
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None

    def lock(
        self,
        session: Session,
        kind: int,
        key: str | None,
        timeout_s: float | None,
        on_outcome: Callable[[Outcome], None],
    ) -> Callable[[], None]:
        """viLock; holds up nothing while it waits. Returns what ends the waiting."""
        began = time.monotonic()

        def ended(outcome: Outcome) -> None:
            self._record(session, lambda: f"lock {kind}", outcome, time.monotonic() - began, 0.0)
            on_outcome(outcome)

        def give_up() -> None:
            self.withdraw(ended)
            self._changed()

        self.request(session, kind, key, timeout_s, began, ended)
        self._changed()
        return give_up

    def unlock(self, session: Session) -> Outcome:
        """viUnlock."""
        outcome = super().unlock(session)
        self._record(session, lambda: "unlock", outcome, 0.0, 0.0)
        self._changed()
        return outcome

    def left(self, session: Session) -> None:
        super().left(session)
        self._changed()

    def fail_waiting(self, outcome: Outcome) -> None:
        """Nobody who waits will have the lock."""
        self._withdraw(lambda _: True, outcome)
        self._changed()

    def stop_waiting(self) -> None:
        """No clock ends anything from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _changed(self) -> None:
        self.stop_waiting()
        moment = self.expires_at()
        if moment is not None:
            self._timer = self._loop.call_later(max(0.001, moment - time.monotonic()), self._look)
        self._on_change()

    def _look(self) -> None:
        self.expire(time.monotonic())
        self._changed()
