"""Records as structlog's JSON lines, without a secret in them.

Runs in the writer's thread. What looks like a token is made unreadable in whatever field it came: this is the last
wall, for those who record should not have it in their fields in the first place.
"""

import re
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

#: What a record tells, or what gives it: the writer's thread then asks for it, some milliseconds later.
Fields = dict[str, Any] | Callable[[], dict[str, Any]]

#: A token, or the beginning of one at which a command was cut (`tickets.printable`), and what stands in its place.
#: Nothing that JSON escapes can be within one.
_TOKEN = re.compile(rb"pvd_(?:[A-Za-z0-9_-]{16,}|[A-Za-z0-9_-]+(?= \.\.\. \([0-9]+ bytes\)))")
_HIDDEN = b"pvd_***"


def _as_json(_: Any, __: str, record: MutableMapping[str, Any]) -> bytes:
    return msgspec.json.encode(record)


class _Gathered:
    """A logger for structlog to wrap: what it is given, it puts on a list."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.info = self.lines.append


class LogLines:
    """Records on their way to a file, each an object of JSON."""

    def __init__(self) -> None:
        gathered = _Gathered()
        self._lines = gathered.lines
        self._second, self._text_of_second = -1, ""
        # When and what come first in the line, for those who read it: what is bound keeps its place.
        self._logger = structlog.wrap_logger(gathered, processors=[_as_json]).bind(time="", event="")

    def __len__(self) -> int:
        return len(self._lines)

    def _stamp(self, moment: float) -> str:
        """Seconds of the epoch as RFC 3339 has them: most are of the same second as those before."""
        second, microsecond = divmod(int(moment * 1e6), 10**6)
        if second != self._second:
            self._second, self._text_of_second = second, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
        return f"{self._text_of_second}.{microsecond:06d}Z"

    def add(self, moment: float, event: str, fields: Fields) -> bool:
        """One more. False if that cannot be: a field that JSON does not know, a time that no calendar has."""
        try:
            self._logger.info(event, time=self._stamp(moment), **(fields() if callable(fields) else fields))
        except Exception:  # whoever gives the fields may do anything: it costs this record, not the writer
            return False
        return True

    def take(self) -> list[bytes]:
        """All of them, without newlines; they are no longer here."""
        lines = self._lines[:]
        self._lines.clear()
        if b"pvd_" in b"\n".join(lines):
            lines = [_TOKEN.sub(_HIDDEN, line) for line in lines]
        return lines
