"""Guards: what the settings of a resource say must not reach its instrument, and the verdict on a unit of a message.

Pure. Runs in the front. A unit comes as a Command and the headers that it may be taken for (`scpi`); the first rule
that forbids it makes a Verdict. Whole messages are the affair of `guarded_messages`, sessions that of `guard_service`.

To add a kind of rule: its field in Guards and its verdict in `_verdicts`; its key in `resource_settings`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from front_proc.guarding import scpi, scpi_numbers
from front_proc.guarding.scpi import Command
from front_proc.guarding.scpi_patterns import Pattern

#: What an assert_trigger is for the rules.
TRIGGER = Command(("*TRG",))


@dataclass(frozen=True)
class Range:
    """What a parameter may come to; `unit`: the one that both numbers are in, empty for any that has a factor."""

    low: float
    high: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{f' {self.unit}' if self.unit else ''}"


@dataclass(frozen=True)
class Limit:
    """A header, and the range of each parameter; None for one that may be anything."""

    pattern: Pattern
    ranges: tuple[Range | None, ...]


class Verdict(NamedTuple):
    """Why a message is not sent: the error's token, the rule as written, and what is wrong, for people."""

    token: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Guards:
    """The rules of one resource."""

    read_only: bool = False
    deny: tuple[Pattern, ...] = ()
    confirm: tuple[Pattern, ...] = ()
    limit: tuple[Limit, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.read_only or self.deny or self.confirm or self.limit)

    @cached_property
    def path(self) -> re.Pattern[str]:
        """What can begin the header of any rule, but is none."""
        patterns = (*self.deny, *self.confirm, *(limit.pattern for limit in self.limit))
        beginnings = dict.fromkeys(beginning for pattern in patterns for beginning in pattern.beginnings)
        return re.compile("|".join(beginnings) or "(?!)", re.ASCII)

    @cached_property
    def _headers(self) -> re.Pattern[str]:
        """What finds the header of any rule."""
        patterns = (*self.deny, *self.confirm, *(limit.pattern for limit in self.limit))
        return re.compile("|".join(pattern.header.pattern for pattern in patterns) or "(?!)", re.ASCII)

    def verdict(self, command: Command, headers: list[str]) -> Verdict | None:
        """Why it must not be sent, or not without a confirmation; None if it may."""
        headers = list(filter(self._headers.fullmatch, headers))  # most are of no rule, and there may be many of both
        if not headers and not self.read_only:
            return None
        return next(self._verdicts(command, headers), None)

    def _verdicts(self, command: Command, headers: list[str]) -> Iterator[Verdict]:
        for pattern in self.deny:
            if pattern.fits(command, headers):
                yield Verdict("GUARDED", f'deny "{pattern.text}"', f"refuses {_shown(command)}")
        if self.read_only and not command.is_query:
            yield Verdict("GUARDED", "read-only", f"refuses {_shown(command)}, which is no query")
        for limit in self.limit:
            if limit.pattern.fits(command, headers):
                yield from _beyond(limit, command)
        for pattern in self.confirm:
            if pattern.fits(command, headers):
                yield Verdict("CONFIRM_FIRST", f'confirm "{pattern.text}"', f"wants a reason for {_shown(command)}")


def _beyond(limit: Limit, command: Command) -> Iterator[Verdict]:
    rule = f'limit "{limit.pattern.text}"'
    given = [*command.parameters, *[""] * len(limit.ranges)]
    for number, (text, allowed) in enumerate(zip(given, limit.ranges, strict=False), 1):
        if allowed is None:
            continue
        which = f"parameter {number} of {_shown(command)}"
        readings = scpi_numbers.readings(text, allowed.unit)
        if not readings and scpi.is_split(text.encode()):
            continue  # where a line's end is white space, that is an error
        if not readings:
            what = f"is {text[:40]!r}: no number that can be told" if text else "is missing"
            yield Verdict("GUARDED", rule, f"allows {allowed}; {which} {what}")
        elif not all(allowed.low <= reading <= allowed.high for reading in readings):
            yield Verdict("GUARDED", rule, f"allows {allowed}; {which} is {text[:40]}")


def _shown(command: Command) -> str:
    return (":".join(command.nodes) + ("?" if command.is_query else ""))[:80]
