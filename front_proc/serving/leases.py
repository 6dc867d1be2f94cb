"""What a lock carries besides its kind and its key: what it is for, and how long it lives without being used.

Pure: the clock is passed in. Runs in the front, under `locks`, which says whose locks these are. All times are
monotonic seconds.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from front_proc.serving.sessions import Session
from pyvisa_daemon.errors import Failure

#: Characters of a reason that are kept.
REASON_LIMIT = 200

#: Seconds that a lock may live without being used: a year. Who wants more wants no time to live at all.
TTL_LIMIT = 31_536_000.0


class Terms(msgspec.Struct, frozen=True):
    """What a lock is asked for with: seconds to live without being used, None for ever; and what it is for."""

    ttl_s: float | None = None
    reason: str = ""

    def in_words(self) -> str:
        """For the audit, behind `lock KIND`; empty if it says nothing."""
        ttl = "" if self.ttl_s is None else f" ttl {self.ttl_s:g}"
        return ttl + (f" reason {self.reason}" if self.reason else "")


NO_TERMS = Terms()


def terms(ttl_s: float | None, reason: str) -> Terms:
    """What a client gave, as far as it can be kept: a reason is cut, and printable. Raises Failure(BAD_ARGUMENT)."""
    if ttl_s is not None and not (math.isfinite(ttl_s) and 0 < ttl_s <= TTL_LIMIT):
        raise Failure("BAD_ARGUMENT", f"a lock's ttl is in seconds, more than 0 and at most {TTL_LIMIT:.0f}: a year")
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return Terms(ttl_s, " ".join(printable.split())[:REASON_LIMIT])


@dataclass(slots=True)
class Lease:
    """What all locks of one session on one resource carry: since when it has any, and when they were used last."""

    since: float
    used_at: float
    ttl_s: float | None = None
    reason: str = ""

    def take_over(self, asked: Terms) -> None:
        """A later lock of the same session: what it says counts, what it does not say stays."""
        self.ttl_s = asked.ttl_s if asked.ttl_s is not None else self.ttl_s
        self.reason = asked.reason or self.reason

    def ends_at(self) -> float:
        """When it runs out if nothing is done."""
        return math.inf if self.ttl_s is None else self.used_at + self.ttl_s


class Leases:
    """The leases of `all` who have locks on one resource; `limited` are those of them that have a time to live."""

    def __init__(self) -> None:
        self.all: dict[Session, Lease] = {}
        self.limited: dict[Session, Lease] = {}

    def __contains__(self, session: Session) -> bool:
        return session in self.all

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self.all))

    def of(self, session: Session) -> Lease:
        """That of a session that has locks."""
        return self.all[session]

    def begin(self, session: Session, asked: Terms, like: Session | None, now: float) -> None:
        """`session` has a lock, its first or one more. A first one without a time to live has that of `like`."""
        lease = self.all.get(session)
        if lease is None:
            lease = self.all[session] = Lease(now, now, None if like is None else self.all[like].ttl_s)
        lease.take_over(asked)
        if lease.ttl_s is not None:
            self.limited[session] = lease

    def end(self, session: Session) -> None:
        """It has no lock any more."""
        self.all.pop(session, None)
        self.limited.pop(session, None)

    def used(self, sessions: Iterable[Session], now: float) -> None:
        """Their locks live on."""
        for session in sessions:
            if (lease := self.limited.get(session)) is not None:
                lease.used_at = max(lease.used_at, now)

    def stood_still(self, sessions: Iterable[Session], seconds: float, now: float) -> None:
        """So much of the time until now does not count."""
        for session in sessions:
            if (lease := self.limited.get(session)) is not None:
                lease.used_at = min(now, lease.used_at + seconds)
