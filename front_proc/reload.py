"""The settings, read anew while the daemon serves: what has changed, from when on that counts, and who is told.

Runs in the front. A file that cannot be used in any part changes nothing at all. What takes a new start of the daemon
stays as it is; each setting's row says which that is (`setting_values.When`).

To have another setting count without a new start: `when` in its row, and where it goes in `Reload._take`.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from front_proc.configuration import limits
from front_proc.configuration.resource_settings import GUARDS, ResourceSettings
from front_proc.configuration.setting_values import HERE, SettingsError, When
from front_proc.configuration.settings import OPTIONS, Settings, read_settings
from front_proc.daemonize import StartError
from front_proc.front import Front
from front_proc.record.audit import Audit, rotation_of
from front_proc.record.log_writer import LogWriter
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.tokens import TokenFileError


@dataclass(frozen=True)
class Change:
    """One setting that is not what it was."""

    setting: str
    when: When

    def described(self) -> dict[str, str]:
        return {"setting": self.setting, "counts": str(self.when)}


def changes(before: Settings, now: Settings) -> list[Change]:
    """What differs, in the order of the tables."""
    found = [Change(row.name, row.when) for row in OPTIONS if getattr(before, row.field) != getattr(now, row.field)]
    found += [
        Change(f"limits.{row.name}", row.when)
        for row in limits.ROWS
        if getattr(before.limits, row.field) != getattr(now.limits, row.field)
    ]
    if _guards(before) != _guards(now):
        found.append(Change("[[resource]], guards", When.AT_ONCE))
    if _others(before) != _others(now):
        found.append(Change("[[resource]]", When.OPEN))
    return found


def _guards(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """The rows that give any, with them alone."""
    rows = [(row.match, {key: row.given[key] for key in GUARDS if key in row.given}) for row in settings.resources]
    return [(match, given) for match, given in rows if given]


def _others(settings: Settings) -> list[tuple[str, str | None, dict[str, Any]]]:
    """The rows that give anything else, without their guards."""
    return [
        (row.match, row.name, {key: value for key, value in row.given.items() if key not in GUARDS})
        for row in settings.resources
        if row.name is not None or not row.given or row.given.keys() - set(GUARDS)
    ]


def running(before: Settings, now: Settings) -> Settings:
    """`now`, but for what takes a new start: what holds until then."""
    kept = {row.field: getattr(before, row.field) for row in OPTIONS if row.when is When.START}
    kept_limits = {row.field: getattr(before.limits, row.field) for row in limits.ROWS if row.when is When.START}
    return replace(now, **kept, limits=replace(now.limits, **kept_limits))


class Shown(Protocol):
    """Who the daemon is in TLS: see `tls_identity`."""

    def take(self, given: tuple[Path, Path | None] | None) -> None: ...


class Reload:
    """Of a daemon that was started with `arguments` in `folder`, and has these `settings`. `own_rows` are those of the
    bench; `judge` says whether others may come in as it is set now, and raises StartError or TokenFileError."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path | None,
        settings: Settings,
        own_rows: Iterable[ResourceSettings],
        front: Front,
        audit: Audit,
        log: LogWriter,
        tls: Shown | None,
        judge: Callable[[Settings], None],
    ) -> None:
        self._arguments = arguments
        self._folder = folder
        self._settings = settings
        self._own_rows = tuple(own_rows)
        self._front = front
        self._audit = audit
        self._log = log
        self._tls = tls
        self._judge = judge
        self._reading = asyncio.Lock()

    async def read_anew(self) -> None:
        """SIGHUP."""
        if self._settings.config is None:
            return  # the command line is what it was
        async with self._reading:
            HERE.set(self._folder)
            try:
                found = await self._take(read_settings(self._arguments))
            except SettingsError as error:
                found = {"error": "; ".join([*error.texts, "nothing was changed"])}
            except (StartError, TokenFileError, Failure, OSError) as error:
                text = error.text if isinstance(error, Failure) else str(error)
                found = {"error": f"{text}; nothing was changed"}
        self._tell(found)

    async def _take(self, now: Settings) -> dict[str, Any]:
        """What is different from now on. Raises what `read_anew` catches, and has changed nothing then."""
        found = changes(self._settings, now)
        now = running(self._settings, now)
        self._check(now)
        table = await self._front.table_of((*self._own_rows, *now.resources))
        kept = self._front.take(now, table)
        self._audit.rotate_by(rotation_of(now))
        if self._tls is not None:
            self._tls.take(now.given_certificate)
        self._settings = now
        return {"changes": [change.described() for change in found], "open": kept}

    def _check(self, now: Settings) -> None:
        if now.tokens != self._settings.tokens and not now.tokens.exists():
            raise SettingsError(f"token-file: there is no {now.tokens}")
        self._judge(now)
        if self._tls is not None and now.given_certificate is not None:
            from front_proc.doors.certificate import read_certificate  # ssl is for who has a TLS port

            read_certificate(*now.given_certificate)

    def _tell(self, found: dict[str, Any]) -> None:
        said = {"file": str(self._settings.config), **found}
        self._front.settings_anew = said
        self._log.put("settings", said)
        if found.get("error") or found.get("changes"):
            self._audit.record("settings", **said)
