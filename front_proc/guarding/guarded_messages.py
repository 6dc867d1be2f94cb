"""The messages of a guarded resource as its instrument may read them, unit by unit, and what its rules say of them.

Pure. Runs in the front. What is written comes in pieces of any size. Where nobody can tell whether CR (with END: or LF)
ends a message or is white space, both are followed, for one instrument takes it so and another so; what is written may
be sent if no reading of it is against the rules. One of them at the very end of what is sent is believed to end it.
"""

from front_proc.guarding.guards import Guards, Verdict
from front_proc.guarding.scpi import BLOCK, STRING, WHITE, Paths, Unparsable, command_of, header_of, is_split
from pyvisa_daemon.program_message import Span, SpanLexer

#: Bytes that are kept of a unit. A parameter that a rule is about, but begins behind them, cannot be told.
UNIT_LIMIT = 1024

#: The rule that everybody has.
_UNREADABLE = "what cannot be parsed"


class _Reading:
    """One way to read them: `ends` says of CR and LF, once there was one that mattered, whether it ends a message."""

    __slots__ = ("depth", "ends", "is_begun", "is_cut", "paths", "text")

    def __init__(self, paths: Paths) -> None:
        self.ends: dict[int, bool] = {}
        self.paths = paths
        self.text = bytearray()
        #: Parentheses that are open; kept apart from the text, of which only the beginning is.
        self.depth = 0
        self.is_cut = False
        #: Something of a message came.
        self.is_begun = False

    def copy(self) -> "_Reading":
        copied = _Reading(self.paths.copy())
        copied.ends = dict(self.ends)
        copied.text = bytearray(self.text)
        copied.depth, copied.is_cut, copied.is_begun = self.depth, self.is_cut, self.is_begun
        return copied

    def add(self, text: bytes) -> None:
        if not self.text:
            text = text.lstrip(WHITE)  # it may be longer than all that is kept, and would hide the header behind it
        room = UNIT_LIMIT - len(self.text)
        self.text += text[:room]
        self.is_cut = self.is_cut or len(text) > room
        self.depth += text.count(b"(") - text.count(b")")
        self.is_begun = True

    def take_unit(self) -> tuple[bytes, int, bool]:
        """The unit that ends here, the parentheses that it leaves open, and whether it is only its beginning."""
        unit = bytes(self.text), self.depth, self.is_cut
        self.text.clear()
        self.depth, self.is_cut = 0, False
        return unit


class GuardedMessages:
    """What is written to a guarded resource. `marks_end`: its interface has END."""

    def __init__(self, guards: Guards, *, marks_end: bool) -> None:
        self._guards = guards
        self._marks_end = marks_end
        self._lexer = SpanLexer()
        self._readings = [_Reading(Paths(guards.path))]
        #: The CR and LF that came last, of which nothing is known yet.
        self._line_ends = b""
        #: Nothing can be said of what follows.
        self.unreadable: Verdict | None = None
        #: What else stands against sending it; and what stands against it without a confirmation.
        self._refusal: Verdict | None = None
        self.unconfirmed: Verdict | None = None
        #: There is a unit in it that is no query.
        self.acts = False

    @property
    def refusal(self) -> Verdict | None:
        """Why what was read must not be sent."""
        return self.unreadable or self._refusal

    @property
    def is_whole(self) -> bool:
        """Has every message ended, for an instrument that does not wait for END?"""
        return not self._lexer.is_inside and (bool(self._line_ends) or not self._readings[0].is_begun)

    @property
    def promised(self) -> int:
        """Bytes to come that are a block's data, so that reading them costs next to nothing."""
        return self._lexer.promised

    def read(self, data: bytes) -> None:
        """More of what is written."""
        if self.unreadable is not None:
            return
        for span, text in self._lexer.feed(data):
            if span is Span.BROKEN:
                self._is_unreadable(text.decode())
            elif span is Span.INDEFINITE and not self._marks_end:
                self._is_unreadable("a block of indefinite length (#0), which only END could end")
            elif span is Span.SEPARATOR:
                self._separate(text)
            else:
                self._add(span, text)
            if self.unreadable is not None:
                return

    def end(self) -> None:
        """It is whole, or END goes with the last byte."""
        if self.unreadable is None and self._lexer.is_inside and not self._lexer.is_indefinite:
            self._is_unreadable("a string or block that the message's end leaves unfinished")
        self._line_ends = b""
        self._end_all()
        self._lexer = SpanLexer()

    def _add(self, span: Span, text: bytes) -> None:
        if self._line_ends or not self._readings[0].is_begun:
            if span is Span.TEXT and not text.strip(WHITE):
                return  # between two messages
            self._follow_both()
        sign = {Span.TEXT: text, Span.STRING: STRING}.get(span, BLOCK)
        for reading in self._readings:
            reading.add(sign)

    def _separate(self, separator: bytes) -> None:
        if separator == b";":
            self._follow_both()
            for reading in self._readings:
                reading.is_begun = True
                self._end_unit(reading)
        elif separator == b"\n" and not self._marks_end:
            self._line_ends = b""
            self._end_all()
        elif separator not in self._line_ends:
            self._line_ends += separator

    def _follow_both(self) -> None:
        """A message goes on, or another one begins, behind CR or LF."""
        for byte in self._line_ends:
            for reading in tuple(self._readings):
                if byte not in reading.ends and reading.is_begun:
                    other = reading.copy()
                    reading.ends[byte], other.ends[byte] = True, False
                    self._readings.append(other)
            for reading in self._readings:
                if reading.ends.get(byte, True):
                    self._end_message(reading)
                elif reading.is_begun:
                    reading.add(bytes([byte]))
        self._line_ends = b""

    def _end_all(self) -> None:
        for reading in self._readings:
            self._end_message(reading)
        del self._readings[1:]
        self._readings[0].ends.clear()

    def _end_message(self, reading: _Reading) -> None:
        self._end_unit(reading)
        reading.paths.restart()
        reading.is_begun = False

    def _end_unit(self, reading: _Reading) -> None:
        text, depth, is_cut = reading.take_unit()
        try:
            if depth and is_cut:
                raise Unparsable("parentheses that do not pair")
            command = command_of(text, is_cut=is_cut)
        except Unparsable as error:
            if not is_split(text):
                self._is_unreadable(str(error))
            elif (header := header_of(text)) is not None:  # an error to whoever takes a line's end for white space
                reading.paths.readings(header)  # and yet the path may go on from there
            return
        if command is None:
            return
        self.acts = self.acts or not command.is_query
        headers = reading.paths.readings(command)
        if headers is None:
            self._is_unreadable("too many headers that go on where another one was; begin each with a colon")
        else:
            self._judge(self._guards.verdict(command, headers))

    def _judge(self, verdict: Verdict | None) -> None:
        if verdict is None:
            return
        if verdict.token == "CONFIRM_FIRST":  # noqa: S105 - the name of an error
            self.unconfirmed = self.unconfirmed or verdict
        else:
            self._refusal = self._refusal or verdict

    def _is_unreadable(self, reason: str) -> None:
        self.unreadable = self.unreadable or Verdict("GUARDED", _UNREADABLE, f"is not sent: {reason}")
