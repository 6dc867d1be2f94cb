"""The hold: a query's answer belongs to the session that asked, even when it writes and reads in two calls.

Pure: the clock is passed in. Runs in the front, one for each resource. While a session holds, only its tickets are
served; everybody else waits. It ends when the answer was read to its end, when the holder clears, closes or is gone,
and by time only while another session waits: the instrument then has to be emptied before anybody else is served.
"""

from collections.abc import Callable

from front_proc.sessions import Session
from front_proc.tickets import Outcome, Ticket

#: VISA completion codes of viRead that leave the rest of the answer in the instrument.
VI_SUCCESS_MAX_CNT = 0x3FFF0006

#: Seconds a holder may be idle while somebody waits: its own timeout, but at least and for an infinite one at most.
SHORTEST, FOR_INFINITE = 2.0, 60.0


class Hold:
    """Whose answer is awaited, and whether an answer that nobody awaits may still come."""

    def __init__(self) -> None:
        self.holder: Session | None = None
        #: Answers that the holder has asked for and not read to their end.
        self._owed = 0
        self._idle_since = 0.0
        #: An unread answer may be left; only `_stale_owner` may still read it.
        self.is_dirty = False
        self._stale_owner: Session | None = None

    def needs_resync(self, ticket: Ticket) -> bool:
        """Must the instrument be emptied before `ticket` is served?"""
        return self.is_dirty and not (ticket.continues and ticket.session is self._stale_owner)

    def resynchronised(self) -> None:
        """Nothing old is left."""
        self.is_dirty = False
        self._stale_owner = None

    def ended(self, ticket: Ticket, outcome: Outcome, is_dirty: bool, now: float) -> None:
        """A ticket came back from the child: what that means for who is next."""
        session = ticket.session
        if is_dirty:
            self._taint(session)
        elif ticket.holds and not outcome.failed:
            self._owed = self._owed + 1 if self.holder is session else 1
            self.holder = session
            self._idle_since = now
        elif ticket.call == "clear" and not outcome.failed:
            self.holder = None
            self.resynchronised()
        elif ticket.continues and not outcome.failed:
            self._was_read(session, is_whole=outcome.status != VI_SUCCESS_MAX_CNT, now=now)

    def _was_read(self, session: Session, *, is_whole: bool, now: float) -> None:
        if self.holder is session:
            self._idle_since = now
            self._owed -= is_whole
            if not self._owed:
                self.holder = None
        elif self._stale_owner is session and is_whole:
            self.resynchronised()

    def _taint(self, owner: Session | None) -> None:
        """An answer is left that only `owner` may still read."""
        self.holder = None
        self.is_dirty = True
        self._stale_owner = owner

    def left(self, session: Session) -> None:
        """`session` is closed: an answer of its own that it did not read is in the way."""
        if self.holder is session:
            self._taint(None)
        elif self._stale_owner is session:
            self._stale_owner = None

    def expires_at(self) -> float | None:
        """When the hold ends if somebody waits; None without one."""
        if self.holder is None:
            return None
        timeout_ms = self.holder.timeout_ms
        patience = FOR_INFINITE if timeout_ms is None else max(SHORTEST, timeout_ms / 1000)
        return self._idle_since + patience

    def expire(self, now: float, somebody_waits: Callable[[Session], bool]) -> None:
        """End a hold whose time is up while another session waits."""
        moment = self.expires_at()
        if self.holder is not None and moment is not None and now >= moment and somebody_waits(self.holder):
            self._taint(None)
