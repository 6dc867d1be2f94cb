"""The guards of one resource at work: which of the calls of its sessions may go to the instrument.

Runs in the front, one for each guarded resource. No I/O but to read a long message's own file; no clock. It is asked
when a ticket's turn has come, for then the attributes hold with which it would go out, and everything before it is
done. The instrument is given whole messages only: what is not whole is held back here, by session, until the rest
comes.

What the rules mean is `guards`' and `guarded_messages`'. To let another call be judged otherwise: its row in
`pyvisa_daemon.functions`, or _OWN here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from front_proc.guarding.guarded_messages import GuardedMessages
from front_proc.guarding.guards import TRIGGER, Guards, Verdict
from front_proc.serving.sessions import Session
from front_proc.serving.spool import Spool
from front_proc.serving.tickets import WRITES, Outcome, Ticket, failed, printable
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.functions import FUNCTIONS, Guarded

#: Bytes of an unfinished message that are held back for one session.
HELD_LIMIT = 1 << 16

#: Bytes that are read in one turn of the event loop, which takes some milliseconds at worst.
STEP = 1 << 9

#: Characters of a reason.
REASON_LIMIT = 256

#: What a serial line does to the last byte of a write (VPP-4.3), and where that leaves the message as it was judged.
VI_ATTR_ASRL_END_OUT = 0x3FFF00B4
VI_ASRL_END_NONE, VI_ASRL_END_BREAK = 0, 3

#: The calls that are no rows of `functions`: those that write, and those that do nothing to the instrument.
_OWN = dict.fromkeys(WRITES | {"query", "query_block"}, Guarded.MESSAGE) | dict.fromkeys(
    ("read", "read_message", "get_attribute", "set_attribute", "enable_event", "disable_event"), Guarded.PASSES
)

#: call -> what becomes of it.
_KINDS = {function.name: function.guarded for function in FUNCTIONS.values()} | _OWN


class Confirmation(NamedTuple):
    """Somebody's word that the next message that needs one is meant, and when that was said."""

    reason: str
    moment: float


@dataclass(slots=True)
class _Held:
    """What a session has written of a message that goes on: as it is, and as far as it is read."""

    messages: GuardedMessages
    data: bytes = b""


@dataclass(slots=True)
class _Long:
    """A long message that was read, or is being."""

    ticket: Ticket
    messages: GuardedMessages
    is_read: bool = False


@dataclass(slots=True)
class GuardService:
    """The guards of the resource called `name`. `on_confirmed` is told of every message that goes out for a reason: its
    session, the reason, the rule and the message, as far as it is recorded. `unrecorded`: why nothing may go out that
    acts on the instrument, for there can be no record of it."""

    name: str
    guards: Guards
    confirm_time: float
    on_confirmed: Callable[[Session, str, str, str], None]
    unrecorded: Callable[[], Outcome | None]
    marks_end: bool = False
    _held: dict[Session, _Held] = field(default_factory=dict)
    _confirmations: dict[Session, Confirmation] = field(default_factory=dict)
    _long: _Long | None = None

    # What happens besides the calls.

    def opened(self, *, marks_end: bool) -> set[Session]:
        """A new process has the instrument open. Returns the sessions whose unfinished messages are lost by that."""
        self.marks_end = marks_end
        lost = set(self._held)
        self._held.clear()
        self._long = None
        return lost

    def take(self, guards: Guards) -> None:
        """Other rules hold from now on, also for what is held back."""
        if guards == self.guards:
            return
        self.guards, self._long = guards, None
        for held in self._held.values():
            held.messages = GuardedMessages(guards, marks_end=self.marks_end)
            held.messages.read(held.data)

    def left(self, session: Session) -> None:
        """`session` is closed."""
        self._held.pop(session, None)
        self._confirmations.pop(session, None)

    def confirm(self, session: Session, reason: str, now: float) -> None:
        """The next message of this session that needs a confirmation has one."""
        self._confirmations[session] = Confirmation(reason, now)

    # A ticket whose turn has come.

    def has_to_read(self, ticket: Ticket) -> bool:
        """Is it a long message, which has to be read step by step before it is judged?"""
        if _KINDS.get(ticket.call) is not Guarded.MESSAGE:
            return False
        if not isinstance(ticket.data, Spool) and len(ticket.beginning) <= STEP:
            return False
        return self._long is None or self._long.ticket is not ticket or not self._long.is_read

    def read(self, ticket: Ticket) -> Iterator[None]:
        """Read it, with what is held back before it. Raises OSError."""
        reading = self._long = _Long(ticket, GuardedMessages(self.guards, marks_end=self.marks_end))
        pieces = ticket.data.pieces() if isinstance(ticket.data, Spool) else (ticket.beginning,)
        for piece in chain((self._begun(ticket).data,), pieces):
            end = 0
            while end < len(piece):
                begin, end = end, end + max(STEP, reading.messages.promised)
                reading.messages.read(piece[begin:end])
                yield
                if reading.messages.unreadable is not None:
                    reading.is_read = True
                    return
        reading.is_read = True

    def outcome(self, ticket: Ticket) -> Outcome | None:
        """How it ends without the instrument; None if it is to go there, with what was held back before it."""
        kind = _KINDS.get(ticket.call, Guarded.RAW)
        if kind is Guarded.MESSAGE:
            return self._message(ticket)
        if ticket.call == "set_attribute":
            return self._setting(*ticket.arguments)
        if ticket.call == "clear":
            self._held.pop(ticket.session, None)
        elif kind is Guarded.TRIGGER:
            return self._judged(ticket, self.guards.verdict(TRIGGER, ["*TRG:"]))
        elif kind is Guarded.RAW:
            return self._refused(Verdict("GUARDED", "this resource is guarded", f"so {ticket.call} is not passed on"))
        elif kind is Guarded.ACTS:
            read_only = Verdict("GUARDED", "read-only", f"refuses {ticket.call}")
            return self._judged(ticket, read_only if self.guards.read_only else None)
        return None

    def _setting(self, attribute: object, state: object) -> Outcome | None:
        """A library must not add to a message what nobody has judged, nor change bits of it."""
        if attribute != VI_ATTR_ASRL_END_OUT or state in (VI_ASRL_END_NONE, VI_ASRL_END_BREAK):
            return None
        reason = "so VI_ATTR_ASRL_END_OUT stays VI_ASRL_END_NONE or VI_ASRL_END_BREAK"
        return self._refused(Verdict("GUARDED", "this resource is guarded", reason))

    def _begun(self, ticket: Ticket) -> _Held:
        """What its session has held back, which it goes on with."""
        return self._held.get(ticket.session) or _Held(GuardedMessages(self.guards, marks_end=self.marks_end))

    def _message(self, ticket: Ticket) -> Outcome | None:
        held = self._begun(ticket)
        self._held.pop(ticket.session, None)
        if self._long is not None and self._long.ticket is ticket:
            held.messages, self._long = self._long.messages, None
        else:
            held.messages.read(ticket.beginning)
        messages = held.messages
        if not self._ends(ticket) and not messages.is_whole and messages.unreadable is None:
            return self._hold_back(ticket, held)
        messages.end()
        outcome = self._judged(ticket, messages.refusal or messages.unconfirmed, acts=messages.acts, held=held.data)
        if outcome is None and held.data:
            _put_before(ticket, held.data)
        return outcome

    def _ends(self, ticket: Ticket) -> bool:
        """Does END go with its last byte? What is in a library's buffer goes out nobody knows when."""
        if not self.marks_end or ticket.call == "buffer_write":
            return False
        return ticket.session.sends_end

    def _hold_back(self, ticket: Ticket, held: _Held) -> Outcome:
        size = len(ticket.data) if isinstance(ticket.data, Spool) else len(ticket.beginning)
        if ticket.call not in ("write", "buffer_write"):
            text = "it has no end, and a read behind it would wait for nothing; end it with LF (a write_termination)"
            return failed("GUARDED", f"{self.name} is guarded: the message was not sent, for {text}")
        if len(held.data) + size > HELD_LIMIT:
            text = f"an unfinished message of over {HELD_LIMIT >> 10} KiB was dropped; write it in one piece"
            return failed("GUARDED", f"{self.name} is guarded: {text}, and end it with LF where there is no END")
        held.data += ticket.beginning
        self._held[ticket.session] = held
        return Outcome(value=size, effect=Effect.NONE)

    def _judged(
        self, ticket: Ticket, verdict: Verdict | None, *, acts: bool = True, held: bytes = b""
    ) -> Outcome | None:
        if acts if verdict is None else verdict.token == "CONFIRM_FIRST":  # noqa: S105 - the name of an error
            unrecorded = self.unrecorded()
            if unrecorded is not None:
                return unrecorded
        if verdict is None:
            return None
        if verdict.token == "CONFIRM_FIRST":  # noqa: S105 - the name of an error
            session, given = ticket.session, self._confirmations.get(ticket.session)
            if given is not None and given.moment <= ticket.queued_at <= given.moment + self.confirm_time:
                del self._confirmations[session]
                size = len(held) + (len(ticket.data) if isinstance(ticket.data, Spool) else len(ticket.beginning))
                message = printable(held + ticket.beginning, size) or ticket.call
                self.on_confirmed(session, given.reason, verdict.rule, message)
                return None
        return self._refused(verdict)

    def _refused(self, verdict: Verdict) -> Outcome:
        if verdict.token == "CONFIRM_FIRST":  # noqa: S105 - the name of an error
            advice = f"confirm it with a reason, then send it again within {self.confirm_time:g} s"
        else:
            advice = "leave it out, or have the settings changed"
        text = f"{self.name}: the rule {verdict.rule} {verdict.reason}; nothing of the message was sent: {advice}"
        return failed(verdict.token, text)


def _put_before(ticket: Ticket, held: bytes) -> None:
    """What was held back goes out with `ticket`, in front of its own."""
    ticket.before = held
    if isinstance(ticket.data, Spool):
        return  # it is not in memory; see `spool.Overheard`
    if ticket.call == "buffer_write":
        ticket.arguments = (held + ticket.beginning,)
    else:
        ticket.data = held + ticket.data
