"""Clients and their sessions: who is connected, and what each has open.

Pure. Runs in the front. A client is one connection; a session is one of its openings of one resource, with local
attributes of its own (VPP-4.3), whatever other clients set on theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from front_proc.access.rights import NOTHING, Rights
from front_proc.serving.read_ahead import ReadAhead
from instrument_proc.pipe import Attributes
from pyvisa_daemon.program_message import MessageLexer

if TYPE_CHECKING:
    from front_proc.serving.resource import Resource

#: VISA attribute numbers (VPP-4.3, 3.2 and 5.1) that the front itself reads or sets.
VI_ATTR_TMO_VALUE = 0x3FFF001A
VI_ATTR_TERMCHAR = 0x3FFF0018
VI_ATTR_TERMCHAR_EN = 0x3FFF0038
VI_ATTR_SEND_END_EN = 0x3FFF0016
VI_ATTR_RSRC_LOCK_STATE = 0x3FFF0004

VI_TMO_INFINITE = 0xFFFFFFFF

#: Characters of a client's name.
NAME_LIMIT = 128

State = bool | int | float | str


@dataclass(slots=True, eq=False)
class Client:
    """One connection. `address` is `host:port`; `name` what it calls itself, for the audit."""

    address: str
    language: str = ""
    is_loopback: bool = False
    name: str = ""
    sessions: set["Session"] = field(default_factory=set)
    #: What it may do, by its address or by the token that it has shown; and that token's digest.
    rights: Rights = NOTHING
    token: str = field(default="", repr=False)
    #: Why it is no more, once it is gone.
    gone: str = ""
    #: Ends its connection at once, whatever is under way on it; for this reason, or an empty one that is on record.
    cut: Callable[[str], None] = field(default=lambda _: None, repr=False)
    #: Has nothing more read from it until the audit log's writer has caught up.
    rest: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def is_stranger(self) -> bool:
        """May it do nothing at all, but show a token?"""
        return not self.rights.highest

    def introduce(self, name: str) -> None:
        """What it calls itself, as far as a record can bear it: others are told, on terminals and in lines, so that
        there is nothing in it which they would obey."""
        self.name = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())[:NAME_LIMIT]

    def goes_on(self) -> None:
        """A long message comes from it, or a long answer goes to it: its locks are in use, for nobody knows yet, or any
        more, which of its sessions that is for."""
        for session in self.sessions:
            session.resource.service.was_used(session)

    def who(self) -> dict[str, str]:
        """The audit's fields for it."""
        return {"client": self.address, "name": self.name, "user": self.rights.user}

    def in_words(self) -> str:
        """The same for people."""
        return " ".join(dict.fromkeys(filter(None, self.who().values())))


def _ignore(event: int, attributes: Attributes) -> None:
    """For a session that has no events enabled."""


@dataclass(slots=True, eq=False)
class Session:
    """One client's opening of one resource."""

    client: Client
    resource: "Resource"
    #: The local attributes that this session has set, by number.
    attributes: dict[int, State] = field(default_factory=dict)
    #: The generation of the resource that this session knows; None when it was told of a failure and takes the next.
    generation: int | None = None
    #: The messages that it is writing.
    lexer: MessageLexer = field(default_factory=lambda: MessageLexer(marks_end=True))
    #: Answers of its own that were read for it.
    ahead: ReadAhead = field(default_factory=ReadAhead)
    #: The beginning of a message of its own was dropped: so must be the rest.
    is_cut_off: bool = False
    #: Something was written since it was begun.
    has_written: bool = False
    #: Told of the events that it has enabled: VISA's type, and attributes.
    on_event: Callable[[int, Attributes], None] = _ignore

    def begin(self, *, marks_end: bool) -> None:
        """Nothing written or read before counts."""
        self.lexer = MessageLexer(marks_end=marks_end)
        self.is_cut_off = self.has_written = False
        self.ahead.clear()

    @property
    def is_fresh(self) -> bool:
        """Would a `begin` change nothing?"""
        return not (self.has_written or self.ahead or self.is_cut_off)

    def attribute(self, number: int) -> State | None:
        """A local attribute as this session has it; None if its library does not know it."""
        if number in self.attributes:
            return self.attributes[number]
        return self.resource.service.attributes.defaults.get(number)

    @property
    def sends_end(self) -> bool:
        """Is END to go with the last byte of its writes, where there is one? What is false is so to each library in
        ways of its own: some keep whatever state they are given."""
        return self.attribute(VI_ATTR_SEND_END_EN) not in (False, "")

    @property
    def timeout_ms(self) -> int | None:
        """VI_ATTR_TMO_VALUE, or None for an infinite one."""
        value = self.attribute(VI_ATTR_TMO_VALUE)
        timeout_ms = 2000 if value is None else int(value)
        return None if timeout_ms == VI_TMO_INFINITE else timeout_ms
