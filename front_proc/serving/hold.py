"""The hold: a query's answer belongs to the session that asked, even when it writes and reads in two calls.

Pure: the clock is passed in. Runs in the front, one for each resource. While a session holds, nobody else's messages
are served. It begins with a message that asks for an answer, or with the first part of any message that goes on in the
next write. It ends when the answer was read to its end, when the holder clears, closes or is gone, and by time only
while another session waits: then the answer is read ahead for the holder, or else the instrument is emptied. Whether
anything was left behind it, which nobody else is to read either, is a question to `rest`.
"""

from front_proc.serving.rest import Rest
from front_proc.serving.sessions import VI_ATTR_TERMCHAR, VI_ATTR_TERMCHAR_EN, Session
from front_proc.serving.tickets import WRITES, Outcome, Ticket, Traffic
from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR
from pyvisa_daemon.program_message import BlockScanner

#: Seconds a holder may be idle while somebody waits: its own timeout, but at least and for an infinite one at most.
SHORTEST, FOR_INFINITE = 2.0, 60.0

#: Seconds that a late answer is waited for, where nothing but waiting keeps it from others: as long as its session had
#: waited for it, but at least and at most.
PATIENCE = 1.0, 10.0

#: Seconds that polling (the status byte, say) may keep a hold alive in which nothing is written or read.
LONGEST_POLLING = 60.0

#: The calls that write and read in one, and all that write.
_QUERIES = frozenset({"query", "query_block"})
_MESSAGES = WRITES | _QUERIES


class Hold:
    """Whose answer is awaited, and whether an answer that nobody awaits may still come.

    `marks_end`: does the interface mark the END of a message? Where it does, a new query takes the place of an answer
    that was not read (IEEE 488.2, 6.3.2.3); where it does not, answers line up.
    `termination` is what ends the answers of the resource, whoever reads them.
    """

    def __init__(self, *, marks_end: bool = True, termination: bytes = b"\n") -> None:
        self.holder: Session | None = None
        self._marks_end = marks_end
        self._termination = termination
        #: What may be behind the answers that were read.
        self.rest = Rest(termination)
        #: Answers that the holder has asked for and not read to their end, and whether its last message is not whole.
        self._owed = 0
        self._is_half = False
        #: Of the answer being read: the blocks in it, and whether the last read ended at its count.
        self._scanner, self._is_begun = BlockScanner(), False
        self._is_cut = False
        #: The last byte of it that came as a piece.
        self._last = b""
        #: The rest of a block was left on the stream: it comes before the next answer, and looks like anything.
        self._is_adrift = False
        self._active_at = self._moved_at = 0.0
        #: When its holder began to hold.
        self.since = 0.0
        #: This session may have left something unread: nobody else is served before a resynchronisation.
        self._left_by: Session | None = None
        #: An unread answer may still come; only `_stale_owner` may still read it.
        self.is_dirty = False
        self._stale_owner: Session | None = None
        #: How many may, and the seconds to wait for them.
        self._late, self._patience = 0, PATIENCE[0]

    def needs_resync(self, ticket: Ticket) -> bool:
        """Must the instrument be emptied before `ticket` is served?"""
        if ticket.traffic is Traffic.ASIDE:
            return False
        if ticket.call == "clear" and not self._marks_end and self.late_answers:
            return True  # there is no device clear: the instrument will answer all the same
        if self.is_dirty:
            return not (ticket.traffic is Traffic.ANSWER and ticket.session is self._stale_owner)
        return self._left_by is not None and self._left_by is not ticket.session

    def needs_look(self, ticket: Ticket) -> bool:
        """Must it be looked what another session has left of its answers, before `ticket` is served?"""
        owner = self.rest.owner
        return owner is not None and owner is not ticket.session and ticket.traffic is not Traffic.ASIDE

    def looked(self, rest: bytes, *, is_all: bool) -> bytes:
        """This `rest` was there, and taken; what of it is to be kept for its owner. If more may come, nobody is served
        before the instrument is emptied."""
        owner, is_abandoned = self.rest.owner, self.rest.is_abandoned
        is_over = self.rest.is_all(rest) and is_all
        if not is_over and owner is not None:
            self._expect_late(owner, self.rest.unended)
            self._taint(None)
        self.rest.gone()
        return rest if is_over and not is_abandoned and rest.strip() else b""

    @property
    def has_remains(self) -> bool:
        """May anything be left of what some session has asked or begun, that the daemon's own message would meet?"""
        return self.is_dirty or self._left_by is not None

    def owes(self, answers: int) -> None:
        """The daemon's own message brings so many answers, which nobody reads."""
        if answers:
            self._late += answers
            self._taint(None)

    def resynchronised(self) -> None:
        """Nothing old is left."""
        self.is_dirty = False
        self.holder = self._stale_owner = self._left_by = None
        self._owed = 0
        self._late, self._patience = 0, PATIENCE[0]
        self._is_adrift = False
        self.rest.gone()

    def reopened(self, *, marks_end: bool, is_new_line: bool) -> "Hold":
        """The hold of a new process. The instrument knows nothing of processes: what was to come may still come, unless
        the line that it would come on is a new one."""
        hold = Hold(marks_end=marks_end, termination=self._termination)
        if not is_new_line and (self.has_remains or self.holder is not None or self.rest.owner is not None):
            hold._late, hold._patience = self.late_answers, self.patience
            hold.give_up()
        return hold

    @property
    def late_answers(self) -> int:
        """How many answers may still come that are to reach nobody."""
        return self._late + (self._owed if self.holder is not None else 0)

    @property
    def patience(self) -> float:
        """How long to wait for them, in seconds."""
        return self._patience if self.holder is None else max(self._patience, _patience_of(self.holder))

    def heard(self, ticket: Ticket, data: bytes) -> None:
        """A piece of the answer that `ticket` reads."""
        if ticket.traffic is Traffic.ANSWER and self.holder is ticket.session:
            self._scan(data)
            self._last = data[-1:]

    def _scan(self, data: bytes) -> None:
        if self.rest.owner is not None and not self.may_be_in_block(data):
            self.rest.was_read(data)
        self._scanner.feed(data)
        self._is_begun = True

    def may_be_in_block(self, data: bytes) -> bool:
        """May this, which was just read and not yet `heard`, end within a block?"""
        return b"#" in data or self._scanner.is_in_block

    @property
    def promised(self) -> int:
        """Bytes that are to come of the block in which an answer on a stream is now, if it is known to be one."""
        return 0 if self._marks_end or self._is_adrift else self._scanner.promised

    def goes_on(self, session: Session, now: float) -> None:
        """`session` is busy with what it has of its answer."""
        if self.holder is session:
            self._active_at = self._moved_at = now

    def ended(self, ticket: Ticket, outcome: Outcome, is_dirty: bool, now: float, *, is_heard: bool = False) -> None:
        """A ticket came back from the child: what that means for who is next. `is_heard`: what it read was `heard`."""
        session = ticket.session
        if self.holder is session:
            self._active_at = now
        if is_dirty:
            self._expect_late(session, ticket.answers or ticket.call.startswith("query"))
            self._taint(session)
        elif outcome.failed:
            return
        elif ticket.call == "clear":
            self.resynchronised()
        elif ticket.answers or ticket.is_unfinished:
            self._ask(ticket, now)
        elif self.holder is session and ticket.traffic is Traffic.ANSWER:
            self._read(session, outcome, now, is_heard=is_heard)
        elif self.holder is session and ticket.call in _MESSAGES:
            self._is_half = False
            self._end_if_all_is_done()
            self._read_unasked(ticket, outcome)
        elif self.is_dirty and ticket.traffic is Traffic.ANSWER and outcome.status != VI_SUCCESS_MAX_CNT:
            self._late = max(0, self._late - 1)  # here it is
        else:
            self._read_unasked(ticket, outcome)

    def _read_unasked(self, ticket: Ticket, outcome: Outcome) -> None:
        """What it has read, if it has, is no answer that its session was known to wait for."""
        is_query = ticket.call in _QUERIES
        if self._marks_end or self.is_dirty or not (is_query or ticket.traffic is Traffic.ANSWER):
            return
        data = _ending(ticket) if ticket.call == "query_block" else outcome.data
        if self.rest.owner is not None:
            self.rest.asked(is_query)
            self.rest.was_read(data)
        if outcome.status != VI_SUCCESS_MAX_CNT:
            self.rest.answer_ended(ticket.session, data, self._owed)

    def ends_with(self, ticket: Ticket, may_ask: bool) -> bool:
        """Does the holder begin something new with `ticket`, though its last read ended at its count? Then its hold is
        over: who always reads exactly what is there would keep everybody else waiting."""
        if self.holder is not ticket.session or not self._is_cut or not may_ask:
            return False
        self._expect_late(self.holder, max(0, self._owed - 1))
        self._left_by, self.holder = self.holder, None
        self._is_adrift = not self._marks_end and (self._is_adrift or self._scanner.missing > 0)
        self._begin_answer()
        return True

    def _ask(self, ticket: Ticket, now: float) -> None:
        session, answers = ticket.session, ticket.answers
        was_owed = self._owed if self.holder is session else 0
        if self._marks_end and (was_owed or answers > 1):
            self._left_by = session  # another answer: read or not, who knows
            was_owed, answers = 0, min(answers, 1)
        self._owed = was_owed + answers
        if self.rest.owner is not None:
            self.rest.asked(answers)
        self._is_half = ticket.is_unfinished
        if self.holder is not session:
            self.holder, self.since = session, now
        self._active_at = self._moved_at = now
        if not was_owed:
            self._begin_answer()

    def _begin_answer(self) -> None:
        if self._is_begun:
            self._scanner, self._is_begun = BlockScanner(), False
        self._is_cut = False

    def _read(self, session: Session, outcome: Outcome, now: float, *, is_heard: bool) -> None:
        status, self._moved_at = outcome.status, now
        if not is_heard:
            self._scan(outcome.data)
        self._is_cut = status == VI_SUCCESS_MAX_CNT
        # A termination character may be any byte of a block; the one that counts comes behind it.
        if self._is_cut or (not self._marks_end and self._scanner.is_in_block):
            return
        self._answer_ended(session, status, outcome.data or self._last)

    def _answer_ended(self, session: Session, status: int, data: bytes) -> None:
        if status == VI_SUCCESS_TERM_CHAR and self._marks_end:
            self._left_by = session
        self._begin_answer()
        self._owed = max(0, self._owed - 1)
        if not self._marks_end:
            self.rest.answer_ended(session, data, self._owed)
        self._end_if_all_is_done()

    def _end_if_all_is_done(self) -> None:
        if not self._owed and not self._is_half:
            self.holder = None

    def _taint(self, owner: Session | None) -> None:
        """An answer is left that only `owner` may still read."""
        if self.holder is not None:
            self._expect_late(self.holder, self._owed)
        self.holder = None
        self._owed = 0
        self.is_dirty = True
        self._stale_owner = owner

    def _expect_late(self, asker: Session, answers: int) -> None:
        self._late += answers
        self._patience = max(self._patience, _patience_of(asker))

    def left(self, session: Session) -> None:
        """`session` is closed: an answer of its own that it did not read is in the way."""
        if self.holder is session:
            self._taint(None)
        elif self._stale_owner is session:
            self._stale_owner = None
        self.rest.left(session)

    # The end by time.

    def expires_at(self) -> float | None:
        """When the hold ends if somebody waits; None without one."""
        if self.holder is None:
            return None
        timeout_ms = self.holder.timeout_ms
        patience = FOR_INFINITE if timeout_ms is None else max(SHORTEST, timeout_ms / 1000)
        return min(self._active_at + patience, self._moved_at + max(patience, LONGEST_POLLING))

    def is_over(self, now: float) -> bool:
        """Is its time up, for those who wait?"""
        moment = self.expires_at()
        return moment is not None and now >= moment

    @property
    def is_half(self) -> bool:
        """Is its last message not whole?"""
        return self._is_half

    @property
    def can_be_read_ahead(self) -> bool:
        """Is there an answer to come whose end can be told?"""
        if self.holder is None or not self._owed:
            return False
        if not self._marks_end and (self._is_adrift or self._scanner.missing != self._scanner.promised):
            return False  # nobody knows how much of a block is to come
        return self._marks_end or bool(self.holder.attribute(VI_ATTR_TERMCHAR_EN))

    def was_read_ahead(self, status: int, data: bytes) -> None:
        """The holder's answer, or the rest of it, was read for it."""
        if self.holder is not None:
            if self.rest.owner is not None and not self.may_be_in_block(data):
                self.rest.was_read(data)
            self._answer_ended(self.holder, status, data)

    def give_up(self) -> None:
        """Its answer could not be had: nobody is served before the instrument is emptied."""
        self._taint(None)


def _patience_of(asker: Session) -> float:
    at_least, at_most = PATIENCE
    return at_most if asker.timeout_ms is None else min(max(at_least, asker.timeout_ms / 1000), at_most)


def _ending(ticket: Ticket) -> bytes:
    """What a read ended with of which the client is given the content of a block, and that not."""
    character = ticket.session.attribute(VI_ATTR_TERMCHAR)
    return bytes([character]) if isinstance(character, int) and 0 <= character <= 0xFF else b""
