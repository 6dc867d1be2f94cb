"""Tickets: one accepted command each, from its acceptance to its one outcome.

Pure: no I/O, no clock. Runs in the front. A Ticket waits in a resource's queue, is with the child at most once, and
ends by `Service.finish`, the only place that calls `on_outcome`.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial

import msgspec

from front_proc.serving.sessions import Session
from front_proc.serving.spool import Spool
from instrument_proc.pipe import Argument, State
from pyvisa_daemon.errors import ERRORS, Effect, Failure
from pyvisa_daemon.functions import FUNCTIONS

#: Bytes of a command that are recorded.
COMMAND_LIMIT = 1024


class Traffic(Enum):
    """What a call means for those who wait for answers."""

    MESSAGE = "message"  # it writes or ends messages: it waits for other sessions' answers, and for a clean session
    ANSWER = "answer"  # it reads what its own session has asked for, on a dirty session too
    ASIDE = "aside"  # neither: it passes those who wait for answers


#: The calls that are no MESSAGE.
_TRAFFIC = {
    "read": Traffic.ANSWER,
    "read_message": Traffic.ANSWER,
    "buffer_read": Traffic.ANSWER,
    "get_attribute": Traffic.ASIDE,
    "enable_event": Traffic.ASIDE,
    "disable_event": Traffic.ASIDE,
} | {function.name: Traffic.ASIDE for function in FUNCTIONS.values() if function.is_aside}

#: The calls that write a message, or a part of one; when that is done, a write_read is a read.
WRITES = frozenset({"write", "buffer_write", "write_read"})

#: The calls that are no I/O: a lock of another session's does not keep them out (VPP-4.3, 3.6.1.3).
FREE_CALLS = frozenset({"get_attribute", "enable_event", "disable_event"})


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended. `status` is VISA's: negative failed, then `token`, `effect` and `text` say more."""

    status: int = 0
    value: State | list[int] | None = None
    data: bytes = b""
    token: str = ""
    effect: Effect = Effect.DONE
    text: str = ""

    @property
    def failed(self) -> bool:
        return self.status < 0

    def checked(self) -> "Outcome":
        """Itself. Raises Failure if the command failed."""
        if self.failed:
            raise Failure(self.token, self.text, self.effect, self.status)
        return self


def failed(token: str, text: str = "", effect: Effect = Effect.NONE) -> Outcome:
    """The outcome for a row of `errors.ERRORS`."""
    kind = ERRORS[token]
    return Outcome(kind.status, token=token, effect=effect, text=text or kind.meaning)


def drop(_: bytes) -> None:
    """For an answer without pieces."""


class Ticket(msgspec.Struct, eq=False, weakref=True):
    """A command for the child. Times are monotonic seconds."""

    session: Session
    call: str  # a row of instrument_proc.calls.CALLS
    on_outcome: Callable[[Outcome], None]
    #: Takes the answer's pieces ahead of its end.
    on_piece: Callable[[bytes], None] = drop
    arguments: Sequence[Argument] = ()
    data: bytes | Spool = b""
    #: Of a read: the bytes that its client takes besides; and, once there may be some, the termination character by
    #: which that tells itself what each of its reads gives: see `wire.Read`.
    ahead: int = 0
    reads_by: int | None = None
    #: Of a write and read: the answer is here already, so only the message goes to the child.
    is_answered: bool = False
    #: Carried out only if this one succeeded.
    after: "Ticket | None" = None
    traffic: Traffic = Traffic.MESSAGE
    #: Of a write, once it is with the child: the answers that it asks for, and whether its message goes on.
    answers: int = 0
    is_unfinished: bool = False
    number: int = 0
    queued_at: float = 0.0
    dispatched_at: float = 0.0
    #: Its process cannot be believed, so the instrument may have acted.
    is_doubtful: bool = False
    #: Bytes of the answer that came as pieces.
    received: int = 0
    outcome: Outcome | None = None
    #: What a guard had held back of its message: it goes out in front, and is in `data` unless that is a Spool.
    before: bytes = b""

    def describe(self) -> Callable[[], str]:
        """What gives its words for the audit when they are wanted, and keeps no long message till then."""
        data, size = self.data, len(self.data)
        if isinstance(data, Spool):
            data, size = self.before + data.head, len(self.before) + size
        arguments = [each[:COMMAND_LIMIT] if isinstance(each, bytes) else each for each in self.arguments]
        if self.arguments:
            size = max([size, *(len(each) for each in self.arguments if isinstance(each, bytes))])
        return partial(described, self.call, data[:COMMAND_LIMIT], arguments, size)

    @property
    def beginning(self) -> bytes:
        """What its message begins with, as far as it is looked at."""
        if isinstance(self.data, Spool):
            return self.data.head
        if not self.arguments:
            return self.data
        return b"".join(argument for argument in self.arguments if isinstance(argument, bytes)) or self.data

    def __post_init__(self) -> None:
        self.traffic = _TRAFFIC.get(self.call, Traffic.MESSAGE)


def described(call: str, data: bytes, arguments: Sequence[Argument] = (), size: int = 0) -> str:
    """A command for the audit: the call, its arguments, and what it sends as far as it is text. `size` is that of its
    longest part before it was cut: what is not all of a message says so, for behind it may be anything."""
    words = [printable(argument) if isinstance(argument, bytes) else str(argument) for argument in arguments]
    text = " ".join([call, *words, printable(data)]).rstrip()[: 2 * COMMAND_LIMIT]
    return text if size <= COMMAND_LIMIT else text + _cut_from(size)


def printable(data: bytes, size: int = 0) -> str:
    """Bytes for the audit, as far as they are text, and cut; `size` if there were more of them."""
    text = data[:COMMAND_LIMIT].decode("utf-8", "backslashreplace").rstrip("\r\n")
    size = max(size, len(data))
    return text if size <= COMMAND_LIMIT else text + _cut_from(size)


def shortened(command: str) -> str:
    """A request for the audit that came as text."""
    return printable(command.encode("utf-8", "backslashreplace"))


def _cut_from(size: int) -> str:
    return f" ... ({size} bytes)"
