"""The safe state of one resource: which of its messages are due, and what became of those that were sent.

Pure: no I/O, no clock. Runs in the front, one for each resource; `safe_service` sends what is due here. A demand has
every message sent once, in order. One that comes while another is under way is met by that: nobody's command has been
served in between. No message is sent again that may have reached the instrument. One that provenly has not, because
its process ended before it began, stays due with those behind it; one that fails in any other way does not keep the
others back.

To add a reason to demand it: a call of `Service.make_safe`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from front_proc.serving.tickets import Outcome, printable
from pyvisa_daemon.errors import Effect


@dataclass(frozen=True)
class Sent:
    """What became of one message."""

    message: bytes
    outcome: Outcome

    def describe(self) -> dict[str, str]:
        """For people and records."""
        token = self.outcome.token if self.outcome.failed else "ok"
        return {"command": printable(self.message), "outcome": token, "effect": self.outcome.effect.value}


class SafeState:
    """`messages` as they are configured; none is no safe state, and nothing is ever due."""

    def __init__(self, messages: Sequence[bytes]) -> None:
        self._messages = tuple(messages)
        self._waiting: deque[bytes] = deque()
        #: The message that the process has, and the list that it is to come into: the one of its own demand.
        self._under_way: tuple[bytes, list[Sent]] | None = None
        #: Is there anything to be sent, or under way? Looked at with every command, so no property.
        self.is_due = False
        #: Why it was demanded last, and what has become of that so far.
        self.reason = ""
        self.sent: list[Sent] = []

    @property
    def is_under_way(self) -> bool:
        return self._under_way is not None

    @property
    def is_partly_sent(self) -> bool:
        return bool(self.sent)

    def demand(self, reason: str) -> bool:
        """All messages are due from now on. False if there are none, or they are already."""
        if not self._messages or self.is_due:
            return False
        self._waiting.extend(self._messages)
        self.is_due = True
        self.reason, self.sent = reason, []
        return True

    def begin(self) -> bytes:
        """The next message, which goes to the process now."""
        assert self._under_way is None, "one at a time"
        message = self._waiting.popleft()
        self._under_way = (message, self.sent)
        return message

    def ended(self, outcome: Outcome, *, is_alive: bool = True) -> Sent | None:
        """The message under way has come to an end; `is_alive`: the process can take the next one. None if it never
        began, and so is due as before."""
        assert self._under_way is not None
        (message, those_sent), self._under_way = self._under_way, None
        is_of_this_demand = self.is_due and those_sent is self.sent  # else it was given up meanwhile
        if is_of_this_demand and outcome.effect is Effect.NONE and not is_alive:
            self._waiting.appendleft(message)
            return None
        sent = Sent(message, outcome)
        those_sent.append(sent)
        if is_of_this_demand:
            self.is_due = bool(self._waiting)
        return sent

    def give_up(self, outcome: Outcome) -> list[Sent]:
        """What waits is not sent any more; what is under way goes on to its end."""
        given_up = [Sent(message, outcome) for message in self._waiting]
        self._waiting.clear()
        self.sent += given_up
        self.is_due = False
        return given_up

    @property
    def outcome(self) -> Outcome:
        """Of all messages together: the first failure, and whether the instrument may have acted on any of them."""
        failures = [sent for sent in self.sent if sent.outcome.failed]
        if not failures:
            return Outcome()
        first = failures[0]
        had_none = all(sent.outcome.effect is Effect.NONE for sent in self.sent)
        told = f"{len(failures)} of {len(self._messages)} messages of the safe state failed, the first is"
        text = f"{told} {printable(first.message)}: {first.outcome.text}"
        effect = Effect.NONE if had_none else Effect.MAYBE
        return Outcome(first.outcome.status, token=first.outcome.token, effect=effect, text=text)

    def describe(self) -> dict[str, Any] | None:
        """For `status`: `due`, `sent` or `failed`, and what became of each message. None if it was never demanded."""
        if not self.reason:
            return None
        state = "due" if self.is_due or self.is_under_way else "failed" if self.outcome.failed else "sent"
        return {"state": state, "reason": self.reason, "commands": [sent.describe() for sent in self.sent]}
