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

To add what a lock carries besides its count, change `_Held`; what a request carries, `_Request`; and `_grant`.
"""

import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from typing import TypedDict

from front_proc.sessions import Session
from front_proc.tickets import Outcome, failed
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


class LockDescription(TypedDict):
    """A lock as `status` shows it; the access key is nobody else's business."""

    kind: str
    holders: list[dict[str, str]]
    waiting: int


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


class Locks:
    """Who has locked the resource `name`, and who waits. `make_key` gives an access key that nobody else has."""

    def __init__(self, name: str, make_key: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
        self.name = name
        self._make_key = make_key
        #: By kind, the sessions that have it, the oldest first; at most one has the exclusive one.
        self._held: dict[LockKind, dict[Session, _Held]] = {kind: {} for kind in LockKind}
        #: Of the shared lock in force.
        self._key: str | None = None
        #: In the order of their numbers.
        self._waiting: list[_Request] = []
        self._order = count()
        #: Outcomes to be told, once everything is consistent.
        self._due: deque[tuple[Callable[[Outcome], None], Outcome]] = deque()

    # What sessions ask.

    def request(
        self,
        session: Session,
        kind: int,
        key: str | None,
        timeout_s: float | None,
        now: float,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        """viLock. Its one outcome comes through `on_outcome`, perhaps at once, with the access key of a shared lock.

        Waits for at most `timeout_s`, None being for ever: then VI_ERROR_TMO, or VI_ERROR_RSRC_LOCKED for a timeout
        of 0. VI_ERROR_INV_LOCK_TYPE, VI_ERROR_INV_ACCESS_KEY and the rule 3.6.12's VI_ERROR_RSRC_LOCKED do not wait.
        """
        if kind not in tuple(LockKind):
            self._due.append((on_outcome, failed("VI_ERROR_INV_LOCK_TYPE", f"{kind} is no type of lock")))
            self._tell()
            return
        key = (key or None) if kind == LockKind.SHARED else None  # observation 3.6.4: an empty key is none
        deadline = None if timeout_s is None else now + timeout_s
        asked = _Request(session, LockKind(kind), key, next(self._order), deadline, on_outcome)
        outcome = self._error(asked)
        if outcome is None:
            self._waiting.append(asked)
            self._serve()
            if asked in self._waiting and deadline is not None and deadline <= now:
                self._waiting.remove(asked)
                outcome = self.refusal()
        if outcome is not None:
            self._due.append((on_outcome, outcome))
        self._tell()

    def unlock(self, session: Session) -> Outcome:
        """viUnlock: give back one lock, an exclusive one if there is any. VI_ERROR_SESN_NLOCKED if it has none."""
        kind = self._topmost(session)
        if kind is None:
            return failed("VI_ERROR_SESN_NLOCKED", f"this session has no lock on {self.name}")
        held = self._held[kind][session]
        held.count -= 1
        if not held.count:
            del self._held[kind][session]
        left = self._topmost(session)
        self._serve()
        self._tell()
        return Outcome(SUCCESS if left is None else _NESTED[left], effect=Effect.NONE)

    def left(self, session: Session) -> None:
        """`session` is closed or its client is gone: it loses its locks, and what it waits for."""
        for holders in self._held.values():
            holders.pop(session, None)
        gone = failed("CLIENT_GONE", f"the session left before it had the lock on {self.name}")
        self._withdraw(lambda asked: asked.session is session, gone)

    def withdraw(self, on_outcome: Callable[[Outcome], None]) -> None:
        """Whoever made the request with this `on_outcome` waits no more. Harmless when it has its outcome."""
        gone = failed("CLIENT_GONE", f"whoever asked for the lock on {self.name} waits no more")
        self._withdraw(lambda asked: asked.on_outcome is on_outcome, gone)

    def expires_at(self) -> float | None:
        """When the next wait ends; None if none will by itself."""
        return min((asked.deadline for asked in self._waiting if asked.deadline is not None), default=None)

    def expire(self, now: float) -> None:
        """End the waits whose time is up with VI_ERROR_TMO (rule 3.6.22)."""
        self._withdraw(
            lambda asked: asked.deadline is not None and asked.deadline <= now,
            failed("VI_ERROR_TMO", f"the time to wait is up: {self._told()}"),
        )

    # What others want to know.

    @property
    def state(self) -> int:
        """VI_ATTR_RSRC_LOCK_STATE (rules 3.6.2, 3.6.24, 3.6.25): VI_NO_LOCK or a LockKind, the same for everybody."""
        kind = self._in_force()
        return VI_NO_LOCK if kind is None else kind

    def excludes(self, session: Session) -> bool:
        """Is its I/O refused (VPP-4.3, 3.6.1.3)? Getting attributes and setting local ones is not I/O."""
        kind = self._in_force()
        return kind is not None and session not in self._held[kind]

    def has(self, session: Session) -> bool:
        """Has this session a lock, of whatever kind?"""
        return self._topmost(session) is not None

    def refusal(self) -> Outcome:
        """The outcome for what is refused: VI_ERROR_RSRC_LOCKED, naming who has the lock."""
        return failed("VI_ERROR_RSRC_LOCKED", self._told())

    def describe(self) -> LockDescription | None:
        """For `status`: the kind in force, who has it, how many wait. None without a lock."""
        kind = self._in_force()
        if kind is None:
            return None
        holders = [session.client.who() for session in self._held[kind]]
        return LockDescription(kind=kind.name.lower(), holders=holders, waiting=len(self._waiting))

    # The rules.

    def _in_force(self) -> LockKind | None:
        for kind, sessions in self._held.items():
            if sessions:
                return kind
        return None

    def _topmost(self, session: Session) -> LockKind | None:
        """What its next viUnlock gives back."""
        return next((kind for kind in LockKind if session in self._held[kind]), None)

    def _error(self, asked: _Request) -> Outcome | None:
        """Why this request fails whatever its timeout; None if it may be granted, now or later."""
        if asked.kind is LockKind.EXCLUSIVE:
            return None
        if asked.key is not None and len(asked.key) > KEY_LIMIT:
            return failed("VI_ERROR_INV_ACCESS_KEY", f"an access key has at most {KEY_LIMIT} characters")
        if asked.session in self._held[LockKind.EXCLUSIVE]:
            return failed("VI_ERROR_RSRC_LOCKED", f"this session has the exclusive lock on {self.name}: unlock first")
        if asked.session in self._held[LockKind.SHARED] and asked.key not in (None, self._key):
            return failed("VI_ERROR_INV_ACCESS_KEY", f"this session shares a lock on {self.name} with another key")
        return None

    def _serve(self) -> None:
        """Grant what can be granted, in order; a grant may be what an earlier request of that session waited for."""
        while (asked := next(filter(self._fits, self._waiting), None)) is not None:
            self._waiting.remove(asked)
            self._grant(asked)

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

    def _grant(self, asked: _Request) -> None:
        holders = self._held[asked.kind]
        if asked.kind is LockKind.SHARED and not holders:
            self._key = asked.key or self._make_key()
        held = holders.setdefault(asked.session, _Held(next(self._order)))
        held.count += 1
        status = SUCCESS if held.count == 1 else _NESTED[asked.kind]  # rules 3.6.27 to 3.6.30
        key = self._key if asked.kind is LockKind.SHARED else None
        self._due.append((asked.on_outcome, Outcome(status, key, effect=Effect.NONE)))

    def _withdraw(self, belongs: Callable[[_Request], bool], outcome: Outcome) -> None:
        for asked in list(filter(belongs, self._waiting)):
            self._waiting.remove(asked)
            self._due.append((asked.on_outcome, outcome))
        self._serve()
        self._tell()

    def _tell(self) -> None:
        """Call back in the order of events. Who is called may call in here: that call then tells the rest."""
        while self._due:
            on_outcome, outcome = self._due.popleft()
            on_outcome(outcome)

    def _told(self) -> str:
        """For people: who has the lock."""
        kind = self._in_force()
        holders = () if kind is None else self._held[kind]
        names = (f"{holder.client.address} {holder.client.name}".rstrip() for holder in holders)
        return f"{self.name} is locked by {', '.join(names)}"
