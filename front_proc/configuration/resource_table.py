"""The table of all `[[resource]]` rows: what holds for a resource, who is configured, and whose alias is what.

Pure. Runs in the front. Names are compared as VISA has them: canonical, in any spelling (see `resource_names`).
"""

import fnmatch
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

from front_proc.configuration.resource_names import folded, spellings
from front_proc.configuration.resource_settings import DEFAULTS, GUARDS, EffectiveSettings, ResourceSettings
from front_proc.configuration.setting_values import Complaints, SettingsError
from pyvisa_daemon.errors import Failure

#: A pattern whose first part lacks the board that every canonical name has: VISA takes it for 0 (VPP-4.3, 4.3.1).
_NO_BOARD = re.compile(r"^(gpib|prlgx-tcpip|pxi|tcpip|usb|vxi)::")


class ResourceTable:
    """All rows, for a daemon whose own VISA library is `library`. A match by name is expected to be canonical."""

    def __init__(self, rows: Iterable[ResourceSettings], library: str) -> None:
        self.rows = tuple(rows)
        self._library = library
        self._fits = [(_fit(row), row) for row in self.rows]
        by_name = [row for row in self.rows if not row.is_pattern]
        self._spellings = {folded(row.match): row.match for row in reversed(by_name)}
        self._aliases = {row.name.casefold(): self.spelling(row.match) for row in by_name if row.name is not None}
        #: The resources that are configured by name, each once, in the order of the file.
        self.listed = tuple(dict.fromkeys(self.spelling(row.match) for row in by_name))

    @property
    def libraries(self) -> tuple[str, ...]:
        """The libraries that may find resources of theirs; not those of rows by name, which are listed anyway."""
        others = (row.given["library"] for row in self.rows if row.is_pattern and "library" in row.given)
        return tuple(dict.fromkeys((self._library, *others)))

    def of(self, resource: str) -> EffectiveSettings:
        """What holds for a resource, by its canonical name."""
        settings = DEFAULTS | {"library": self._library}
        for row in self.rows_of(resource):
            settings |= {key: _together(key, settings[key], value) for key, value in row.given.items()}
        return EffectiveSettings(**settings)

    def rows_of(self, resource: str) -> list[ResourceSettings]:
        """The rows that match a resource, by its canonical name, in the order of the file."""
        names = spellings(resource)
        return [row for fit, row in self._fits if any(map(fit.fullmatch, names))]

    def resource_of(self, alias: str) -> str | None:
        """The canonical name of the resource with that alias."""
        return self._aliases.get(alias.casefold())

    def aliases_of(self, resource: str) -> list[str]:
        """A resource's aliases as they are written, in the order of the file."""
        name = self.spelling(resource)
        return [row.name for row in self.rows if row.name is not None and self.resource_of(row.name) == name]

    def spelling(self, resource: str) -> str:
        """A canonical name as it is configured, where that is another spelling of it; else as it is."""
        return self._spellings.get(folded(resource), resource)


async def named_rows(
    rows: Iterable[ResourceSettings], canonical: Callable[[str], Awaitable[str]]
) -> list[ResourceSettings]:
    """The rows with canonical names. Raises SettingsError for all names that VISA cannot parse, and Failure."""
    named: list[ResourceSettings] = []
    complaints = Complaints()
    for row in rows:
        with complaints.gathered():
            named.append(row if row.is_pattern else replace(row, match=await _name_of(row, canonical)))
    complaints.check()
    return named


async def _name_of(row: ResourceSettings, canonical: Callable[[str], Awaitable[str]]) -> str:
    try:
        return await canonical(row.match)
    except Failure as failure:
        if failure.token != "VI_ERROR_INV_RSRC_NAME":  # noqa: S105 - the name of an error
            raise
        raise SettingsError(f"{row.where}: match = {row.match!r} is no resource: {failure.text}") from failure


def fit(match: str, *, is_pattern: bool) -> re.Pattern[str]:
    """What fits one of the `spellings` of the resources that are meant."""
    if not is_pattern:
        return re.compile("|".join(map(re.escape, spellings(match))))
    return re.compile("|".join(map(fnmatch.translate, spellings(_NO_BOARD.sub(r"\g<1>0::", match.casefold())))))


def _together(key: str, before: Any, value: Any) -> Any:
    """What holds of one key when another row gives it."""
    if key not in GUARDS:
        return value
    return before or value if isinstance(value, bool) else before + value


def _fit(row: ResourceSettings) -> re.Pattern[str]:
    return fit(row.match, is_pattern=row.is_pattern)
