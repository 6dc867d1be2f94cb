"""Settings per resource: the `[[resource]]` rows of the TOML file, and what they come to for one resource.

Pure. Runs in the front. A row says by a name or a pattern which resources it is for; all rows that match apply in the
order of the file, and a later row wins key by key. Names are compared as VISA has them: canonical, in any spelling.

    ResourceSettings     one row as written
    EffectiveSettings    what holds for one resource: the defaults, and over them the rows that match

`resource_table` makes the second of the first.
To add a key: its row in KEYS and its field in EffectiveSettings.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from front_proc.configuration.setting_values import (
    LIBRARIES,
    Complaints,
    Setting,
    SettingsError,
    WrongValueError,
    flag,
    is_number,
    library,
    read_table,
    seconds,
)
from front_proc.guarding.guard_settings import limits, patterns
from front_proc.guarding.guards import Guards, Limit
from front_proc.guarding.scpi_patterns import Pattern
from front_proc.languages.text_framing import unescape
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.program_message import contains_query

#: VI_TMO_INFINITE (VPP-4.3), in milliseconds. Not from `sessions`: what is at work may import settings, not they it.
INFINITE_MS = 0xFFFFFFFF

#: Seconds between two polls of a status byte, at least: each one is a transaction on the instrument's bus.
SHORTEST_POLL = 0.01


class HoldKind(StrEnum):
    """By what a message is taken for one that makes the instrument answer."""

    QUERY = "query"
    ALWAYS = "always"
    PATTERN = "pattern"


@dataclass(frozen=True)
class HoldRule:
    """Which program messages make an instrument answer; `pattern` is there for the kind of its name."""

    kind: HoldKind
    pattern: re.Pattern[bytes] | None = None

    def answers(self, message: bytes, asked: int) -> int:
        """How many answers `message` brings, when by its question marks it has `asked` for so many; 0 for none."""
        if self.pattern is not None:
            return max(asked, 1) if self.pattern.search(message) else 0
        return max(asked, 1) if self.kind is HoldKind.ALWAYS else asked


class IdentityRule(StrEnum):
    """Is an instrument asked who it is, whenever it was opened?"""

    NONE = "none"
    CHECK = "check"


@dataclass(frozen=True)
class EffectiveSettings:
    """What holds for one resource."""

    #: Its VISA library, as pyvisa.ResourceManager() takes it.
    library: str
    #: What ends messages on a text connection when reading and when writing; empty for nothing.
    termination: tuple[bytes, bytes]
    #: VI_ATTR_TMO_VALUE of a new session in milliseconds, VI_TMO_INFINITE included; None: as the library has it.
    timeout: int | None
    hold: HoldRule
    #: Seconds that a command may take at least before its process counts as hung.
    deadline: float
    #: Seconds between polls of the status byte for service requests; 0 for no polls.
    srq_poll: float
    #: The messages that make it safe, without termination; none for no such thing.
    safe_state: tuple[bytes, ...]
    #: Are they sent when the daemon ends?
    safe_at_stop: bool
    #: What must not reach the instrument, or not without a reason.
    read_only: bool = False
    deny: tuple[Pattern, ...] = ()
    confirm: tuple[Pattern, ...] = ()
    limit: tuple[Limit, ...] = ()
    #: Must it be the instrument that was first seen there?
    identity: IdentityRule = IdentityRule.NONE

    @property
    def is_identified(self) -> bool:
        return self.identity is IdentityRule.CHECK

    @property
    def guards(self) -> Guards:
        return Guards(self.read_only, self.deny, self.confirm, self.limit)

    def guarding(self, others: "EffectiveSettings") -> "EffectiveSettings":
        """`others`, with these guards."""
        return replace(others, **{key: getattr(self, key) for key in GUARDS})


@dataclass(frozen=True)
class ResourceSettings:
    """One row as written. `given`: the accepted values of its further keys, by field; `where` it stands, for errors."""

    match: str
    name: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    @property
    def is_pattern(self) -> bool:
        """Is it for all resources that fit, and not for one by name?"""
        return not _WILDCARDS.isdisjoint(self.match)


# What the keys accept.

_WILDCARDS = frozenset("*?[]")

#: A set of characters in a pattern, as fnmatch reads it.
_SET = re.compile(r"\[!?+.[^\]]*\]")

_ALIAS = re.compile(r"\w[\w.-]*")

#: What VISA would take for a resource, or for the beginning of one: ASRL alone needs no `::`.
_NO_ALIAS = re.compile(r"ASRL.*|(GPIB|PRLGX-ASRL|PRLGX-TCPIP|PXI|TCPIP|USB|VICP|VXI)\d*", re.IGNORECASE)


def _match(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or " " in value:
        raise ValueError
    if not frozenset("[]").isdisjoint(_SET.sub("", value)):
        raise WrongValueError("a bracket lacks its counterpart")
    return value


def _alias(value: Any) -> str:
    if not isinstance(value, str) or not _ALIAS.fullmatch(value):
        raise ValueError
    if _NO_ALIAS.fullmatch(value):
        raise WrongValueError("VISA takes it for a resource's own name")
    return value


def _termination(value: Any) -> tuple[bytes, bytes]:
    texts = value if isinstance(value, list) else [value, value]
    if len(texts) != 2 or not all(isinstance(text, str) and text for text in texts):
        raise ValueError
    try:
        return unescape(texts[0]), unescape(texts[1])
    except Failure as failure:
        raise WrongValueError(failure.text) from failure


def _milliseconds(value: Any) -> int:
    if value in ("inf", float("inf")):
        return INFINITE_MS
    if not is_number(value) or value != int(value) or not 0 <= value < INFINITE_MS:
        raise ValueError
    return int(value)


def _hold(value: Any) -> HoldRule:
    if not isinstance(value, str) or not value:
        raise ValueError
    if value.lower() in (HoldKind.QUERY, HoldKind.ALWAYS):
        return HoldRule(HoldKind(value.lower()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what re finds doubtful would be printed once and then be a surprise
            return HoldRule(HoldKind.PATTERN, re.compile(value.encode()))
    except (re.error, Warning, UnicodeEncodeError) as error:
        raise WrongValueError(str(error)) from error


def _messages(value: Any) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError
    for text in value:
        if contains_query(text.encode()):
            raise WrongValueError(f"{text!r} may make the instrument answer, and nobody would read that")
        if any(ord(character) < ord(" ") for character in text):
            raise WrongValueError(f"{text!r} is more than one message, or none: what ends it is the termination's")
    return tuple(text.encode() for text in value)


def _identity(value: Any) -> IdentityRule:
    if not isinstance(value, str):
        raise ValueError
    return IdentityRule(value)


def _poll(value: Any) -> float:
    if not is_number(value) or 0 < value < SHORTEST_POLL:
        raise ValueError
    return seconds(value)


KEYS = (
    Setting(
        "match",
        _match,
        "a resource's name, or a pattern of canonical names with '*', '?' or '[...]'",
        None,
        "the resources that the row is for; required",
        example="TCPIP::192.168.0.2::INSTR",
    ),
    Setting(
        "name",
        _alias,
        "letters, digits, '_', '-' and '.', beginning with a letter, a digit or '_'",
        None,
        "an alias, which can be used wherever a resource's name can; only with a match that is a name",
        example="scope",
    ),
    Setting(
        "library",
        library,
        LIBRARIES,
        None,
        "VISA library that opens it (default: the daemon's visa-library)",
        example="@ivi",
    ),
    Setting(
        "termination",
        _termination,
        r"'\n', '\r\n', '\xHH' or the like, 'none' for none, or a list of two: for reading and for writing",
        r"\n",
        "what ends messages on text connections, until a client changes it for itself",
        example=[r"\r\n", r"\r"],
    ),
    Setting(
        "timeout",
        _milliseconds,
        f"milliseconds, a whole number from 0 to {INFINITE_MS - 1}, or inf",
        None,
        "timeout of a new session in milliseconds, as in PyVISA (default: what the VISA library has, as a rule 2000)",
        example=10000,
    ),
    Setting(
        "hold",
        _hold,
        "'query', 'always' or a regular expression",
        "query",
        "which messages make the instrument answer, so that it is kept for whoever sent one: those with a `?`, all, or "
        "those in which the expression is found",
    ),
    Setting(
        "deadline",
        seconds,
        "seconds, 0 or more",
        0.0,
        "a command may take at least so long before its process is taken for hung, where timeout and grace are less",
    ),
    Setting(
        "srq-poll",
        _poll,
        f"seconds, {SHORTEST_POLL:g} or more, or 0",
        0.1,
        "time between polls of the status byte while a program waits for service requests and the VISA library has "
        "no events of its own; 0 for never",
    ),
    Setting(
        "safe-state",
        _messages,
        "a list of messages without a query",
        [],
        "what makes it safe: sent once, in this order, when the client that has its lock is lost, and on `.!.safe`",
        example=["OUTP OFF", "VOLT 0"],
    ),
    Setting("safe-at-stop", flag, "true or false", False, "its safe state is also sent when the daemon ends"),
    Setting(
        "identity",
        _identity,
        "'check' or 'none'",
        "none",
        "'check': whenever it was opened it is asked `*IDN?`, and refused if another instrument answers than the first "
        "time",
    ),
    Setting("read-only", flag, "true or false", False, "only queries reach the instrument"),
    Setting(
        "deny",
        patterns,
        "a list of headers as manuals write them: '*RST', 'SYSTem:PRESet', 'OUTPut[:STATe] ON'",
        [],
        "the commands that do not reach it",
        example=["*RST", "SYSTem:PRESet"],
    ),
    Setting(
        "confirm",
        patterns,
        "the same",
        [],
        "the commands that need a confirmation with a reason",
        example=["OUTPut[:STATe] ON"],
    ),
    Setting(
        "limit",
        limits,
        "a table: header = [LOW, HIGH], or a list of such ranges, one for each parameter; [] for any, "
        "[LOW, HIGH, 'UNIT'] for a unit",
        {},
        "the commands whose parameters must be numbers within a range",
        example={"VOLTage": [0, 12]},
    ),
)

#: The keys that are no setting of their own: they say which resources, and what one is called.
_NAMING = ("match", "name")

#: Of these keys all rows that match hold together: a later one cannot loosen what an earlier one forbids.
GUARDS = ("read_only", "deny", "confirm", "limit")

#: What holds without any row; the library is the daemon's.
DEFAULTS: dict[str, Any] = {
    key.field: None if key.default is None else key.accept(key.default) for key in KEYS if key.name not in _NAMING
}


def read_rows(tables: Any, file: str) -> tuple[ResourceSettings, ...]:
    """The rows under `resource` in the TOML file. Raises SettingsError, which names the row by its number from 1."""
    if not isinstance(tables, list) or not all(isinstance(row, dict) for row in tables):
        raise SettingsError(f"{file}: resource: settings of a resource begin with the line [[resource]]")
    rows: list[ResourceSettings] = []
    complaints = Complaints()
    for number, table in enumerate(tables, 1):
        with complaints.gathered():
            rows.append(_read_row(table, f"{file}, [[resource]] {number}"))
    first: dict[str, ResourceSettings] = {}
    for row in rows:
        if row.name is not None and first.setdefault(row.name.casefold(), row) is not row:
            other = first[row.name.casefold()].where.rpartition(", ")[2]
            complaints.texts.append(f"{row.where}: name = {row.name!r} is the alias of {other} already")
    complaints.check()
    return tuple(rows)


def _read_row(table: dict[str, Any], where: str) -> ResourceSettings:
    complaints = Complaints()
    with complaints.gathered():
        given = read_table(KEYS, table, where, "setting of a resource")
    if "match" not in table:
        complaints.texts.append(f"{where}: match is missing: the row must say which resources it is for")
    complaints.check()
    row = ResourceSettings(given.pop("match"), given.pop("name", None), given, where)
    if row.name is not None and row.is_pattern:
        raise SettingsError(
            f"{where}: name = {row.name!r} is an alias for one resource, but match = {row.match!r} is a pattern"
        )
    return row
