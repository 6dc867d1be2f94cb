"""The hold: a query's answer belongs to the session that asked, even when it writes and reads in two calls.

Pure: the clock is passed in. Runs in the front, one for each resource. While a session holds, only its tickets are
served; everybody else waits. It ends when the answer was read to its end, when the holder clears, closes or is gone,
and by time only while another session waits: the instrument then has to be emptied before anybody else is served.
"""

from collections.abc import Callable

from front_proc.sessions import Session
from front_proc.text_framing import block_end
from front_proc.tickets import Outcome, Ticket

#: VISA completion codes of viRead: at the termination character, and at the count, with or without more to come.
VI_SUCCESS_TERM_CHAR = 0x3FFF0005
VI_SUCCESS_MAX_CNT = 0x3FFF0006

#: Seconds a holder may be idle while somebody waits: its own timeout, but at least and for an infinite one at most.
SHORTEST, FOR_INFINITE = 2.0, 60.0

#: Seconds that polling (the status byte, say) may keep a hold alive in which nothing is written or read.
LONGEST_POLLING = 60.0

_DIGITS = tuple(b"%d" % digit for digit in range(1, 10))

#: Bytes that hold the header of any definite-length block.
_HEADER = 11


class Hold:
    """Whose answer is awaited, and whether an answer that nobody awaits may still come.

    `marks_end`: does the interface mark the END of a message? Where it does, a new query takes the place of an answer
    that was not read (IEEE 488.2, 6.3.2.3); where it does not, answers line up.
    """

    def __init__(self, *, marks_end: bool = True) -> None:
        self.holder: Session | None = None
        self._marks_end = marks_end
        #: Answers that the holder has asked for and not read to their end.
        self._owed = 0
        #: Of the answer being read: how it begins, its size so far, whether the last read ended at its count.
        self._head = b""
        self._size = 0
        self._is_cut = False
        self._active_at = self._moved_at = 0.0
        #: This session may have left something unread: nobody else is served before a resynchronisation.
        self._left_by: Session | None = None
        #: An unread answer may still come; only `_stale_owner` may still read it.
        self.is_dirty = False
        self._stale_owner: Session | None = None

    def needs_resync(self, ticket: Ticket) -> bool:
        """Must the instrument be emptied before `ticket` is served?"""
        if self.is_dirty:
            return not (ticket.continues and ticket.session is self._stale_owner)
        return self._left_by is not None and self._left_by is not ticket.session

    def resynchronised(self) -> None:
        """Nothing old is left."""
        self.is_dirty = False
        self._stale_owner = self._left_by = None

    def ended(self, ticket: Ticket, outcome: Outcome, is_dirty: bool, now: float) -> None:
        """A ticket came back from the child: what that means for who is next."""
        session = ticket.session
        if self.holder is session:
            self._active_at = now
        if is_dirty:
            self._taint(session)
        elif outcome.failed:
            return
        elif ticket.call == "clear":
            self.holder = None
            self.resynchronised()
        elif ticket.holds:
            self._ask(session, ticket.answers, now)
        elif ticket.continues and self.holder is session:
            self._read(ticket, outcome, now)

    def ends_with(self, ticket: Ticket) -> bool:
        """Does the holder begin something new with `ticket`, though its last read ended at its count? Then its hold is
        over: who always reads exactly what is there would keep everybody else waiting."""
        if self.holder is not ticket.session or not self._is_cut or not ticket.holds:
            return False
        self._left_by, self.holder = self.holder, None
        self._begin_answer()
        return True

    def _ask(self, session: Session, answers: int, now: float) -> None:
        is_added = self.holder is session and not self._marks_end
        if self.holder is session and not is_added:
            self._left_by = session  # the old answer: read or not, who knows
        if self._marks_end and answers > 1:
            self._left_by, answers = session, 1
        self._owed = self._owed + answers if is_added else answers
        self.holder = session
        self._active_at = self._moved_at = now
        if not is_added:
            self._begin_answer()

    def _begin_answer(self) -> None:
        self._head, self._size, self._is_cut = b"", 0, False

    def _read(self, ticket: Ticket, outcome: Outcome, now: float) -> None:
        self._moved_at = now
        if len(self._head) < _HEADER:
            self._head += (ticket.head or outcome.data)[:_HEADER]
        self._size += ticket.received + len(outcome.data)
        self._is_cut = outcome.status == VI_SUCCESS_MAX_CNT
        ends_by_character = outcome.status == VI_SUCCESS_TERM_CHAR
        if self._is_cut or (not self._marks_end and self._is_inside_block()):
            return
        if ends_by_character and self._marks_end:
            self._left_by = ticket.session
        self._begin_answer()
        self._owed -= 1
        if not self._owed:
            self.holder = None

    def _is_inside_block(self) -> bool:
        """A termination character may be any byte of a block; the one that counts comes behind it."""
        is_block = self._head[:1] == b"#" and self._head[1:2] in _DIGITS
        end = block_end(self._head, 0) if is_block else None
        return end is not None and self._size <= end

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
        return min(self._active_at + patience, self._moved_at + max(patience, LONGEST_POLLING))

    def expire(self, now: float, somebody_waits: Callable[[Session], bool]) -> None:
        """End a hold whose time is up while another session waits."""
        moment = self.expires_at()
        if self.holder is not None and moment is not None and now >= moment and somebody_waits(self.holder):
            self._taint(None)
