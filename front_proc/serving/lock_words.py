"""A lock in words: what `status` shows of it, and what is said to whom it keeps out.

Pure: the clock is passed in. Runs in the front, for `locks`. The access key is in none of it: it is nobody else's
business.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol, TypedDict

from front_proc.serving.leases import Lease, Terms
from front_proc.serving.sessions import Session

#: Who it is, as `Client.who` says, and more.
Row = dict[str, str | float | None]


class LockDescription(TypedDict):
    """A lock as `status` shows it. `waiters` are in their order."""

    kind: str
    holders: list[Row]
    waiting: int
    waiters: list[Row]


class Waiter(Protocol):
    """Who waits for a lock, of which kind, what for, since when."""

    @property
    def session(self) -> Session: ...

    @property
    def kind(self) -> IntEnum: ...

    @property
    def terms(self) -> Terms: ...

    @property
    def since(self) -> float: ...


def holder_row(session: Session, lease: Lease, now: float, *, is_in_use: bool) -> Row:
    """One who has a lock. While it is in use it has all of its time to live left."""
    left_s = lease.ttl_s if is_in_use or lease.ttl_s is None else max(0.0, lease.ends_at() - now)
    return {
        **session.client.who(),
        "reason": lease.reason,
        "held_s": round(now - lease.since, 3),
        "ttl_s": lease.ttl_s,
        "left_s": None if left_s is None else round(left_s, 3),
    }


def waiter_row(waiter: Waiter, now: float) -> Row:
    """One who waits."""
    return {
        **waiter.session.client.who(),
        "kind": waiter.kind.name.lower(),
        "reason": waiter.terms.reason,
        "waited_s": round(now - waiter.since, 3),
    }


def locked_by(name: str, holders: Sequence[tuple[Session, Lease]], now: float) -> str:
    """Who has the lock on the resource `name`, what for, and since when."""
    who = [session.client.in_words() + (f" ({lease.reason})" if lease.reason else "") for session, lease in holders]
    since = min((lease.since for _, lease in holders), default=now)
    return f"{name} is locked by {', '.join(who)}, since {_ago(now - since)}"


def place(waiters: Sequence[Waiter], waiter: Waiter) -> str:
    """Which of them it is."""
    return f"{_ordinal(waiters.index(waiter) + 1)} of {len(waiters)} who wait"


def _ago(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ... 11th ... 21st."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 <= number % 100 < 20 else ending}"
