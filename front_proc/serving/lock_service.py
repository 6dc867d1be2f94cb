"""The locks of one resource in time: requests that wait, what the clock ends, their place in the record.

Runs in the front, one for each resource. The rules are those of `locks`.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from front_proc.process.child import LATE
from front_proc.serving.leases import NO_TERMS, Lease, Terms
from front_proc.serving.lock_words import LockDescription
from front_proc.serving.locks import Locks
from front_proc.serving.sessions import Client, Session
from front_proc.serving.tickets import Outcome, Ticket
from pyvisa_daemon.errors import Failure


class Recorder(Protocol):
    """Puts a command on record: its session, what gives its words, its outcome, the seconds that it waited and ran."""

    def __call__(
        self, session: Session, describe: Callable[[], str], outcome: Outcome, waited: float, ran: float
    ) -> None: ...


class Noter(Protocol):
    """Puts on record what happened."""

    def __call__(self, event: str, **fields: object) -> None: ...


class LockService:
    """`on_change` is called when somebody else may be served, or is shut out, from now on; `on_lost` when a session has
    lost its locks though it did not give them back, and why. `is_busy`: does a command of that session run, or wait for
    its turn?"""

    def __init__(
        self,
        name: str,
        record: Recorder,
        on_change: Callable[[], None],
        note: Noter,
        is_busy: Callable[[Session], bool],
        on_lost: Callable[[Session, str], None],
    ) -> None:
        self._locks = Locks(name, on_lost=self._was_taken, is_busy=self._is_busy)
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._record = record
        self._on_change = on_change
        self._note = note
        self._has_tickets = is_busy
        self._on_lost = on_lost
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0
        #: Commands under way that are no tickets, by session.
        self._under_way: Counter[Session] = Counter()
        #: Who waits to hear that a session lost its locks.
        self._watches: dict[Session, asyncio.Future[str]] = {}
        #: Those who force locks open, for the record of what that takes from whom.
        self._by: Client | None = None
        #: The locks that have a time to live: asked of at the end of each command.
        self.limited = self._locks.leases.limited
        self.excludes = self._locks.excludes
        self.has_any = self._locks.has_any

    # What sessions ask.

    def lock(
        self,
        session: Session,
        kind: int,
        key: str | None,
        timeout_s: float | None,
        on_outcome: Callable[[Outcome], None],
        terms: Terms = NO_TERMS,
        *,
        joins: bool = False,
    ) -> Callable[[], None]:
        """viLock; holds up nothing while it waits. Returns what ends the waiting."""
        began = time.monotonic()

        def ended(outcome: Outcome) -> None:
            words = f"lock {kind}{terms.in_words()}"
            self._record(session, lambda: words, outcome, time.monotonic() - began, 0.0)
            on_outcome(outcome)

        def give_up() -> None:
            self._locks.withdraw(ended, time.monotonic())
            self._changed()

        self._locks.request(session, kind, key, timeout_s, began, ended, terms, joins=joins)
        self._changed()
        return give_up

    def unlock(self, session: Session) -> Outcome:
        """viUnlock."""
        outcome = self._locks.unlock(session, time.monotonic())
        self._record(session, lambda: "unlock", outcome, 0.0, 0.0)
        self._changed()
        return outcome

    def left(self, session: Session) -> None:
        """It is closed, or its client is gone: with its locks, if it had any."""
        had_any = self.has_any(session)
        self._locks.left(session, time.monotonic())
        if had_any and session.client.gone:
            self._on_lost(session, session.client.gone)
        self._changed()

    async def loss(self, session: Session) -> str:
        """Waits until `session` has lost its locks: why. That is then what it was told. Empty after `end_watch`. Raises
        Failure(VI_ERROR_SESN_NLOCKED)."""
        if session not in self._locks.lost:
            if not self.has_any(session):
                raise Failure("VI_ERROR_SESN_NLOCKED", f"this session has no lock on {self._name}")
            self._watches[session] = self._loop.create_future()
            try:
                return await self._watches[session]
            finally:
                self._watches.pop(session, None)
        return self._locks.lost.pop(session)

    def end_watch(self, session: Session) -> None:
        """Whoever waits for its loss waits no more."""
        watch = self._watches.pop(session, None)
        if watch is not None and not watch.done():
            watch.set_result("")

    def force(self, by: Client) -> int:
        """Somebody's word: take all locks from who has them; from how many sessions."""
        self._by = by
        try:
            return self._locks.force(f"{by.in_words()} has forced it open", time.monotonic())
        finally:
            self._by = None
            self._changed()

    def fail_waiting(self, outcome: Outcome) -> None:
        """Nobody who waits will have the lock."""
        self._locks.fail_waiting(outcome, time.monotonic())
        self._changed()

    # What becomes of their use.

    def ended(self, ticket: Ticket, now: float) -> None:
        """A command has ended; to be called while there are locks with a time to live."""
        if ticket.dispatched_at or (ticket.outcome is not None and not ticket.outcome.failed):
            self._locks.used(ticket.session, now)
        else:
            self._locks.stood_still(ticket.session, now - ticket.queued_at, now)
        if self._timer is None:
            self._wait()

    def was_used(self, session: Session) -> None:
        """By something that is no command."""
        self._locks.used(session, time.monotonic())

    @contextlib.contextmanager
    def in_use(self, session: Session) -> Iterator[None]:
        """While a command is under way that is no ticket."""
        self._under_way[session] += 1
        try:
            yield
        finally:
            self._under_way -= Counter([session])
            self._locks.used(session, time.monotonic())
            self._wait()

    def _is_busy(self, session: Session) -> bool:
        return session in self._under_way or self._has_tickets(session)

    def _was_taken(self, session: Session, lease: Lease, why: str) -> None:
        who = {**session.client.who(), "resource": self._name, "reason": lease.reason}
        if self._by is None:
            self._note("lease_over", **who, ttl_s=lease.ttl_s)
        else:
            self._note("unlocked", **who, by=self._by.in_words())
        watch = self._watches.pop(session, None)
        if watch is not None and not watch.done():
            watch.set_result(self._locks.lost.pop(session, why))
        self._on_lost(session, why)

    # What others want to know.

    @property
    def state(self) -> int:
        """VI_ATTR_RSRC_LOCK_STATE."""
        return self._locks.state

    def refusal(self, session: Session) -> Outcome:
        """The outcome for what is refused because of a lock, or because of one that was lost."""
        return self._locks.refusal(session, time.monotonic())

    def describe(self) -> LockDescription | None:
        """For `status`; None without a lock."""
        return self._locks.describe(time.monotonic())

    # Time.

    def stop_waiting(self) -> None:
        """No clock ends anything from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _changed(self) -> None:
        self._wait()
        self._on_change()

    def _wait(self) -> None:
        """Look again when something may be over. What is used meanwhile is not looked at sooner for that."""
        self.stop_waiting()
        moment = self._locks.expires_at()
        if moment is not None:
            self._look_at(moment)

    def _look_at(self, moment: float) -> None:
        now = time.monotonic()
        self._looks_at = max(now, moment)
        self._timer = self._loop.call_later(max(0.001, moment - now), self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        if now - self._looks_at > LATE:
            self._look_at(now + LATE)  # we slept, not they: what they said meanwhile is read first
            return
        self._locks.expire(now)
        self._changed()
