"""Tickets: one accepted command each, from its acceptance to its one outcome.

Pure: no I/O, no clock. Runs in the front. A Ticket waits in a resource's queue, is with the child at most once, and
ends by `Resource.finish`, the only place that calls `on_outcome`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from front_proc.sessions import Session
from pyvisa_daemon.errors import ERRORS, Effect, Failure

State = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `status` is VISA's: negative failed, then `token`, `effect` and `text` say more."""

    status: int = 0
    value: State | None = None
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


@dataclass(slots=True, eq=False)
class Ticket:
    """A command for the child. Times are monotonic seconds."""

    session: Session
    call: str  # a row of instrument_proc.calls.CALLS
    on_outcome: Callable[[Outcome], None]
    #: Takes the answer's pieces ahead of its end.
    on_piece: Callable[[bytes], None]
    arguments: list[State] = field(default_factory=list)
    data: bytes = b""
    #: For the audit: what was asked, in the words of the text protocol.
    command: str = ""
    #: Its answer must be read by the same session before anybody else is served.
    holds: bool = False
    #: How many answers it asks for, if it holds.
    answers: int = 1
    #: Takes what was not asked for as well as what was: it may be served on a dirty session of its own.
    continues: bool = False
    #: Carried out only if this one succeeded.
    after: "Ticket | None" = None
    number: int = 0
    queued_at: float = 0.0
    dispatched_at: float = 0.0
    #: The instrument may have acted: the child said `started`.
    is_started: bool = False
    #: Bytes of the answer that came as pieces, and how the first of them begins.
    received: int = 0
    head: bytes = b""
    outcome: Outcome | None = None
