"""The rest: what a session may have left of an answer on a stream, as it reads up to a character of its own choice.

Pure. Runs in the front, one for each hold. CR may be what ends all that the instrument says, though nobody has set it
as the resource's `termination`; a comma may end one field of several. Only what was seen can tell. So before another
session is served it is looked what is there, and how long is waited for it depends on what is known:

    nothing yet                                              AWAITED_MS, once
    the resource's own termination has never come            not at all
    it has come, so each answer is to have one (certain)     until it is there, or for CERTAIN_MS

The hold takes from it what that means for who is next.
"""

from front_proc.serving.sessions import VI_ATTR_TERMCHAR, Session

#: As long as a silent line counts as quiet, and as an answer is waited for that is read ahead.
AWAITED_MS, CERTAIN_MS = 50, 500


class Rest:
    """Of the answers to `owner`; None if nothing is left for certain. `termination` ends those of the resource."""

    def __init__(self, termination: bytes) -> None:
        self._end = termination[-1:]
        self.owner: Session | None = None
        #: Its owner has left.
        self.is_abandoned = False
        #: Answers whose own termination was not seen.
        self.unended = 0
        self._is_certain = self._was_awaited = False

    @property
    def termination(self) -> int:
        """The character that ends it; -1 for none."""
        return self._end[0] if self._end else -1

    # What its owner does.

    def answer_ended(self, session: Session, data: bytes, owed: int) -> None:
        """`session` takes an answer for ended by `data`, and is owed others behind it."""
        is_whole = bool(self._end) and data.endswith(self._end)
        if self.owner is None:
            if data and not is_whole:
                self.owner, self.unended = session, 1 + owed
                self.was_read(data)
        elif is_whole and not self.unended:
            self.gone()

    def asked(self, answers: int) -> None:
        """Its owner has asked for more, behind what it has left."""
        self.unended += answers

    def was_read(self, data: bytes) -> None:
        """Its owner has this; what may be in a block ends nothing."""
        seen = data.count(self._end) if self._end and b"#" not in data else 0
        self._is_certain |= seen > 0
        self.unended = max(0, self.unended - seen)

    def left(self, session: Session) -> None:
        """`session` is closed: what it has left is nobody's."""
        self.is_abandoned |= self.owner is session

    # What is found of it.

    @property
    def look(self) -> tuple[int, int]:
        """How to look for it: milliseconds, and the terminations with which it is all there."""
        if self._is_certain and self.unended:
            return CERTAIN_MS, self.unended
        return 0 if self._was_awaited else AWAITED_MS, 1

    def is_all(self, data: bytes) -> bool:
        """`data` was there. Is nothing else to come, as far as is known?"""
        was_missed = self._is_certain and self.unended > 0
        self._was_awaited = True
        if b"#" in data:
            return False  # nobody knows how much of a block is to come
        self.was_read(data)
        if was_missed and not data:
            self._is_certain = False  # what has come once does not come with each answer, or this one is very late
            return False
        if not data or (self._end and data.endswith(self._end)):
            return not (self._is_certain and self.unended)
        return not self._is_certain and data[-1] == self._reads_up_to

    @property
    def _reads_up_to(self) -> object:
        return None if self.owner is None else self.owner.attribute(VI_ATTR_TERMCHAR)

    def gone(self) -> None:
        """Nothing is left."""
        self.owner, self.unended, self.is_abandoned = None, 0, False
