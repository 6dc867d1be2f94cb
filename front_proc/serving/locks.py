"""The locks of one resource: who may use it, who shares that, who waits for it (VPP-4.3, 3.6; viLock, viUnlock).

Pure: the clock is passed in. Runs in the front, one for each resource, for the sessions of all clients. viOpen's
access modes VI_EXCLUSIVE_LOCK and VI_SHARED_LOCK are a `request` that the new session does not survive if it fails.

What the standard says:
- Each session counts its locks of each kind (rules 3.6.9 to 3.6.11, 3.6.19); closing it ends them (3.6.21).
- An exclusive lock takes no key and gives none (3.6.13, 3.6.14). A shared one has the key that was asked for, or one
  made here (3.6.15 to 3.6.18); whoever presents it shares, and gets the same key each time (3.6.20).
- Who shares may lock exclusively as well, though others share: they are shut out until it unlocks (3.6.1). Who has
  the exclusive lock gets no shared one (3.6.12).
- A session that shares and presents another key is wrong (3.6.31). Anybody else's other key is an incompatible lock:
  it waits like any other, for `timeout` or not at all (3.6.22, 3.6.23).
- viUnlock gives back the exclusive locks first (3.6.34, 3.6.35).

What it leaves open is who is next. Here, first come, first served, except that who has a lock never waits for those
who wait for it: its nested locks, and the exclusive one of a session that shares, go ahead. So does who presents the
key, while somebody still shares who did before the others came: a group may grow while it works, but not hand the
lock around for ever.

Beyond the standard, a lock may be taken from a session: by force, or because it was not used for as long as it may
live. The session is told so once, by LOCK_LOST in the place of what it would do next, and then is as any other. Those
who share a lock share its time to live: what one of them does is use for all, and who joins without a time of its own
has that of who has shared longest.

To add what a lock carries, see `leases`; what a request carries, `_Request`; and `_grant`.
"""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from itertools import count

from front_proc.serving.leases import NO_TERMS, Lease, Leases, Terms
from front_proc.serving.lock_words import LockDescription, holder_row, locked_by, place, waiter_row
from front_proc.serving.sessions import Session
from front_proc.serving.tickets import Outcome, failed
from pyvisa_daemon.errors import SUCCESS, Effect

#: VISA completion codes of viLock and viUnlock: this session has more locks of that kind.
VI_SUCCESS_NESTED_SHARED = 0x3FFF0099
VI_SUCCESS_NESTED_EXCLUSIVE = 0x3FFF009A

#: VI_ATTR_RSRC_LOCK_STATE without a lock; with one it is the LockKind.
VI_NO_LOCK = 0

#: Characters of an access key (rule 3.6.17).
KEY_LIMIT = 255


class LockKind(IntEnum):
    """ViAccessMode: VI_EXCLUSIVE_LOCK and VI_SHARED_LOCK."""

    EXCLUSIVE = 1
    SHARED = 2


_NESTED = {LockKind.EXCLUSIVE: VI_SUCCESS_NESTED_EXCLUSIVE, LockKind.SHARED: VI_SUCCESS_NESTED_SHARED}


@dataclass(slots=True)
class _Held:
    """What one session has of one kind: its place in the order of all requests and grants, how many locks."""

    since: int
    count: int = 0


@dataclass(slots=True, eq=False)
class _Request:
    """One viLock that has no outcome yet. `deadline` is monotonic seconds, None for VI_TMO_INFINITE."""

    session: Session
    kind: LockKind
    key: str | None
    number: int
    deadline: float | None
    on_outcome: Callable[[Outcome], None]
    terms: Terms
    since: float


class Locks:
    """Who has locked the resource `name`, and who waits.

    `make_key` gives an access key that nobody else has. `on_lost` is told of each session whose locks were taken from
    it, and why. `is_busy` says whether a command of a session runs or waits: meanwhile its locks are in use.
    """

    def __init__(
        self,
        name: str,
        make_key: Callable[[], str] = lambda: secrets.token_hex(16),
        on_lost: Callable[[Session, Lease, str], None] = lambda session, lease, why: None,
        is_busy: Callable[[Session], bool] = lambda session: False,
    ) -> None:
        self.name = name
        self._make_key = make_key
        self._on_lost = on_lost
        self._is_busy = is_busy
        self.leases = Leases()
        #: Those from whom locks were taken and who have not been told, and why.
        self.lost: dict[Session, str] = {}
        #: By kind, the sessions that have it, the oldest first; at most one has the exclusive one.
        self._held: dict[LockKind, dict[Session, _Held]] = {kind: {} for kind in LockKind}
        #: Of the shared lock in force.
        self._key: str | None = None
        #: In the order of their numbers.
        self._waiting: list[_Request] = []
        self._order = count()
        #: What is to be told, once everything is consistent.
        self._due: deque[Callable[[], None]] = deque()

    # What sessions ask.

    def request(
        self,
        session: Session,
        kind: int,
        key: str | None,
        timeout_s: float | None,
        now: float,
        on_outcome: Callable[[Outcome], None],
        terms: Terms = NO_TERMS,
        *,
        joins: bool = False,
    ) -> None:
        """viLock. Its one outcome comes through `on_outcome`, perhaps at once, with the access key of a shared lock.

        Waits for at most `timeout_s`, None being for ever: then VI_ERROR_TMO, or VI_ERROR_RSRC_LOCKED for a timeout
        of 0. VI_ERROR_INV_LOCK_TYPE, VI_ERROR_INV_ACCESS_KEY and the rule 3.6.12's VI_ERROR_RSRC_LOCKED do not wait.
        Nor does LOCK_LOST, with `joins`: nobody shares by that key.
        """
        if kind not in tuple(LockKind):
            self._tell(partial(on_outcome, failed("VI_ERROR_INV_LOCK_TYPE", f"{kind} is no type of lock")))
            return
        key = (key or None) if kind == LockKind.SHARED else None  # observation 3.6.4: an empty key is none
        deadline = None if timeout_s is None else now + timeout_s
        asked = _Request(session, LockKind(kind), key, next(self._order), deadline, on_outcome, terms, now)
        outcome = self._error(asked, joins=joins)
        if outcome is None:
            self._waiting.append(asked)
            self._serve(now)
            if asked in self._waiting and deadline is not None and deadline <= now:
                text = f"{self._told(now)}; you were {place(self._waiting, asked)}"
                self._waiting.remove(asked)
                outcome = failed("VI_ERROR_RSRC_LOCKED", text)
        if outcome is not None:
            self._due.append(partial(on_outcome, outcome))
        self._tell()

    def unlock(self, session: Session, now: float) -> Outcome:
        """viUnlock: give back one lock, an exclusive one if there is any. VI_ERROR_SESN_NLOCKED if it has none."""
        if session in self.lost:
            return self._loss(session)
        kind = self._topmost(session)
        if kind is None:
            return failed("VI_ERROR_SESN_NLOCKED", f"this session has no lock on {self.name}")
        held = self._held[kind][session]
        held.count -= 1
        if not held.count:
            del self._held[kind][session]
        left = self._topmost(session)
        if left is None:
            self.leases.end(session)
        else:
            self.used(session, now)
        self._serve(now)
        self._tell()
        return Outcome(SUCCESS if left is None else _NESTED[left], effect=Effect.NONE)

    def left(self, session: Session, now: float) -> None:
        """`session` is closed or its client is gone: it loses its locks, and what it waits for."""
        self._drop(session)
        self.lost.pop(session, None)
        gone = failed("CLIENT_GONE", f"the session left before it had the lock on {self.name}")
        self._withdraw(lambda asked: asked.session is session, lambda _: gone, now)

    def withdraw(self, on_outcome: Callable[[Outcome], None], now: float) -> None:
        """Whoever made the request with this `on_outcome` waits no more. Harmless when it has its outcome."""
        gone = failed("CLIENT_GONE", f"whoever asked for the lock on {self.name} waits no more")
        self._withdraw(lambda asked: asked.on_outcome is on_outcome, lambda _: gone, now)

    def fail_waiting(self, outcome: Outcome, now: float) -> None:
        """Nobody who waits will have the lock."""
        self._withdraw(lambda _: True, lambda _: outcome, now)

    # Locks that are taken from who has them.

    def force(self, why: str, now: float) -> int:
        """Take all locks from all who have any; how many those were. What they wait for is over as well."""
        holders = list(self.leases)
        for session in holders:
            self._take(session, why)
        told = {session: self._loss(session) for session in {asked.session for asked in self._waiting} & set(holders)}
        self._withdraw(lambda asked: asked.session in told, lambda asked: told[asked.session], now)
        return len(holders)

    def used(self, session: Session, now: float) -> None:
        """A command of `session` was carried out: its locks live on, and those of who shares with it."""
        self.leases.used(self._group(session), now)

    def stood_still(self, session: Session, seconds: float, now: float) -> None:
        """A command of `session` waited for so long, and was not carried out: for its locks time stood still."""
        self.leases.stood_still(self._group(session), seconds, now)

    def expires_at(self) -> float | None:
        """When the next wait or the next time to live ends; None if none will by itself."""
        waits = (asked.deadline for asked in self._waiting if asked.deadline is not None)
        unused = (lease.ends_at() for session, lease in self.leases.limited.items() if not self._is_in_use(session))
        return min((*waits, *unused), default=None)

    def expire(self, now: float) -> None:
        """Take the locks whose time to live is up; then end the waits whose time is up with VI_ERROR_TMO (rule
        3.6.22): who waited until this moment still gets what is free now."""
        over = [session for session, lease in self.leases.limited.items() if lease.ends_at() <= now]
        for session in [session for session in over if not self._is_in_use(session)]:
            self._take(session, f"it was not used for the {self.leases.of(session).ttl_s:g} s that it may live")
        self._serve(now)
        self._withdraw(
            lambda asked: asked.deadline is not None and asked.deadline <= now,
            lambda asked: failed(
                "VI_ERROR_TMO", f"the time to wait is up: {self._told(now)}; you were {place(self._waiting, asked)}"
            ),
            now,
        )

    def _group(self, session: Session) -> tuple[Session, ...]:
        """Those whose locks are in use when those of `session` are."""
        shared = self._held[LockKind.SHARED]
        return tuple(shared) if session in shared else (session,)

    def _is_in_use(self, session: Session) -> bool:
        group = self._group(session)
        return any(asked.session in group for asked in self._waiting) or any(map(self._is_busy, group))

    def _take(self, session: Session, why: str) -> None:
        lease = self.leases.of(session)
        self._drop(session)
        self.lost[session] = why
        self._due.append(partial(self._on_lost, session, lease, why))

    def _drop(self, session: Session) -> None:
        for holders in self._held.values():
            holders.pop(session, None)
        self.leases.end(session)

    def _loss(self, session: Session) -> Outcome:
        """LOCK_LOST, which `session` is told once."""
        why = self.lost.pop(session)
        return failed("LOCK_LOST", f"the lock on {self.name} was taken from this session: {why}; lock again, or stop")

    # What others want to know.

    @property
    def state(self) -> int:
        """VI_ATTR_RSRC_LOCK_STATE (rules 3.6.2, 3.6.24, 3.6.25): VI_NO_LOCK or a LockKind, the same for everybody."""
        kind = self._in_force()
        return VI_NO_LOCK if kind is None else kind

    def has_any(self, session: Session) -> bool:
        """Has it a lock of either kind?"""
        return session in self.leases

    def excludes(self, session: Session) -> bool:
        """Is its I/O refused (VPP-4.3, 3.6.1.3)? Getting attributes and setting local ones is not I/O."""
        if not self.leases.all and not self.lost:
            return False  # as for nearly every command
        if session in self.lost:
            return True
        kind = self._in_force()
        return kind is not None and session not in self._held[kind]

    def refusal(self, session: Session, now: float) -> Outcome:
        """The outcome for what is refused: VI_ERROR_RSRC_LOCKED, naming who has the lock. Or LOCK_LOST, once."""
        if session in self.lost:
            return self._loss(session)
        waiting = f"; {len(self._waiting)} wait for it" if self._waiting else ""
        return failed("VI_ERROR_RSRC_LOCKED", self._told(now) + waiting)

    def describe(self, now: float) -> LockDescription | None:
        """For `status`: the kind in force, who has it, who waits. None without a lock."""
        kind = self._in_force()
        if kind is None:
            return None
        holders = [
            holder_row(session, self.leases.of(session), now, is_in_use=self._is_in_use(session))
            for session in self._held[kind]
        ]
        waiters = [waiter_row(asked, now) for asked in self._waiting]
        return LockDescription(kind=kind.name.lower(), holders=holders, waiting=len(waiters), waiters=waiters)

    # The rules.

    def _in_force(self) -> LockKind | None:
        for kind, sessions in self._held.items():
            if sessions:
                return kind
        return None

    def _topmost(self, session: Session) -> LockKind | None:
        """What its next viUnlock gives back."""
        return next((kind for kind in LockKind if session in self._held[kind]), None)

    def _error(self, asked: _Request, *, joins: bool) -> Outcome | None:
        """Why this request fails whatever its timeout; None if it may be granted, now or later."""
        if asked.session in self.lost:
            return self._loss(asked.session)
        if joins and (asked.kind is not LockKind.SHARED or not self._held[asked.kind] or asked.key != self._key):
            return failed("LOCK_LOST", f"nobody shares a lock on {self.name} by this key, or not any more")
        if asked.kind is LockKind.EXCLUSIVE:
            return None
        if asked.key is not None and len(asked.key) > KEY_LIMIT:
            return failed("VI_ERROR_INV_ACCESS_KEY", f"an access key has at most {KEY_LIMIT} characters")
        if asked.session in self._held[LockKind.EXCLUSIVE]:
            return failed("VI_ERROR_RSRC_LOCKED", f"this session has the exclusive lock on {self.name}: unlock first")
        if asked.session in self._held[LockKind.SHARED] and asked.key not in (None, self._key):
            return failed("VI_ERROR_INV_ACCESS_KEY", f"this session shares a lock on {self.name} with another key")
        return None

    def _serve(self, now: float) -> None:
        """Grant what can be granted, in order; a grant may be what an earlier request of that session waited for."""
        while (asked := next(filter(self._fits, self._waiting), None)) is not None:
            self._waiting.remove(asked)
            self._grant(asked, now)

    def _fits(self, asked: _Request) -> bool:
        exclusive, shared = self._held[LockKind.EXCLUSIVE], self._held[LockKind.SHARED]
        if exclusive:
            return asked.session in exclusive and asked.kind is LockKind.EXCLUSIVE
        if not shared:
            return True
        if asked.session in shared:
            return asked.key in (None, self._key)  # an exclusive lock has none
        return asked.key == self._key and not self._is_behind(asked)

    def _is_behind(self, asked: _Request) -> bool:
        """It has the key: must it wait nevertheless, for somebody who came when nobody shared who still does?"""
        oldest = min(held.since for held in self._held[LockKind.SHARED].values())
        return self._waiting[0].number < min(oldest, asked.number)

    def _grant(self, asked: _Request, now: float) -> None:
        holders = self._held[asked.kind]
        longest = next(iter(holders), None) if asked.kind is LockKind.SHARED else None
        self.leases.begin(asked.session, asked.terms, longest, now)
        if asked.kind is LockKind.SHARED and not holders:
            self._key = asked.key or self._make_key()
        held = holders.setdefault(asked.session, _Held(next(self._order)))
        held.count += 1
        self.used(asked.session, now)
        status = SUCCESS if held.count == 1 else _NESTED[asked.kind]  # rules 3.6.27 to 3.6.30
        key = self._key if asked.kind is LockKind.SHARED else None
        self._due.append(partial(asked.on_outcome, Outcome(status, key, effect=Effect.NONE)))

    def _withdraw(
        self, belongs: Callable[[_Request], bool], outcome_of: Callable[[_Request], Outcome], now: float
    ) -> None:
        ended = [(asked, outcome_of(asked)) for asked in self._waiting if belongs(asked)]
        for asked, outcome in ended:
            self._waiting.remove(asked)
            self.stood_still(asked.session, now - asked.since, now)
            self._due.append(partial(asked.on_outcome, outcome))
        self._serve(now)
        self._tell()

    def _tell(self, *due: Callable[[], None]) -> None:
        """Call back in the order of events. Who is called may call in here: that call then tells the rest."""
        self._due.extend(due)
        while self._due:
            self._due.popleft()()

    def _told(self, now: float) -> str:
        kind = self._in_force()
        holders = () if kind is None else self._held[kind]
        return locked_by(self.name, [(holder, self.leases.of(holder)) for holder in holders], now)
