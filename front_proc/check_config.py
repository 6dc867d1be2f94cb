"""--check-config: what the settings come to, or all that is wrong with them; nothing is started, made or bound.

Runs instead of a daemon, and beside one. A spare process tells canonical names, as the daemon's does. What only a start
can tell is left to that: is the port free, is the run folder?
"""

import asyncio
import os
import socket
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from front_proc.access.token_file import Token, read_tokens
from front_proc.configuration import limits
from front_proc.configuration.resource_settings import GUARDS, KEYS, ResourceSettings
from front_proc.configuration.resource_table import ResourceTable, named_rows
from front_proc.configuration.setting_values import Complaints, SettingsError
from front_proc.configuration.settings import OPTIONS, Settings, read_settings
from front_proc.configuration.toml_values import toml_value
from front_proc.daemonize import StartError
from front_proc.demo import BENCH_ALIASES, played
from front_proc.doors.bind_policy import Door
from front_proc.doors.certificate import read_certificate
from front_proc.process.identities import Identities
from front_proc.process.pool import Pool
from front_proc.record.audit import key_in
from instrument_proc.spawn import ChildSettings
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.tokens import TokenFileError

#: Seconds for the spare processes to end.
END_TIME = 2.0


def checked(arguments: list[str]) -> str:
    """What they come to, for people. Raises SettingsError, for all that is wrong."""
    settings = read_settings(arguments)
    complaints = Complaints()
    parts = [f"{settings.config or 'the command line'}: in order\n", _settings(settings)]
    for part in (_doors, _tokens, _files, _resources):
        with complaints.gathered(), _as_complaint():
            parts.append(part(settings))
    complaints.check()
    return "".join(parts)


@contextmanager
def _as_complaint() -> Iterator[None]:
    """What ends a start is as wrong as what is not accepted."""
    try:
        yield
    except (StartError, TokenFileError) as error:
        raise SettingsError(str(error)) from error
    except Failure as failure:
        raise SettingsError(failure.text) from failure


def _block(title: str, lines: list[str]) -> str:
    return "".join([f"\n{title}\n", *(f"  {line}\n" for line in lines or ["none"])])


def _settings(settings: Settings) -> str:
    """Those that are not as they would be without any word."""
    default = read_settings([])
    lines = [
        f"{row.name} = {toml_value(getattr(settings, row.field))}"
        for row in OPTIONS
        if getattr(settings, row.field) != getattr(default, row.field)
    ]
    lines += [
        f"limits.{row.name} = {toml_value(getattr(settings.limits, row.field))}"
        for row in limits.ROWS
        if getattr(settings.limits, row.field) != row.default
    ]
    lines += [f"the run folder is {settings.run_dir}", f"the audit log is {settings.audit_file}"]
    return _block("Settings other than the defaults", lines)


def _doors(settings: Settings) -> str:
    """Where it would listen, and what would be said of that."""
    doors = [Door(_numeric(settings.host, "host"), settings.port, settings)]
    if settings.tls_port is not None:
        shown = settings.tls_certificate or settings.run_dir / "tls-certificate.pem"
        host = settings.tls_host or settings.host
        doors.append(Door(_numeric(host, "tls-host"), settings.tls_port, settings, shown))
    makes_token = settings.lan and not read_tokens(settings.tokens)
    if not makes_token:
        for door in doors:
            door.judge()
    lines = [
        f"{door.host} port {door.port}, {f'TLS with {door.certificate}' if door.is_encrypted else 'plain'}, for "
        f"{'other machines too' if door.is_for_others else 'this machine'}"
        for door in doors
    ]
    said = "".join(door.remarks() for door in doors).splitlines()
    lines += [line.removeprefix("instrument-daemon: ") for line in dict.fromkeys(said)]
    if makes_token:
        lines.append("a token is made, and shown, at the first start")
    return _block("Where it listens", lines)


def _numeric(host: str, option: str) -> str:
    """As it would be bound."""
    try:
        return str(socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{option} = {host!r} is no address: {getattr(error, 'strerror', error)}") from error


def _tokens(settings: Settings) -> str:
    found = read_tokens(settings.tokens)
    return _block(f"Tokens in {settings.tokens}", [_token(token) for token in found])


def _token(token: Token) -> str:
    is_good = token.is_good_on(date.today())
    until = "" if token.expires is None else f", {'until' if is_good else 'expired on'} {token.expires}"
    special = "".join(f", {role.word} on {name}" for name, role in token.resources)
    return f"{token.name}: {token.role.word}{special}{until}"


def _files(settings: Settings) -> str:
    """Files that have to be as they are wanted; there is nothing to be said of them otherwise."""
    if settings.audit_key_file is not None:
        key_in(settings.audit_key_file)
    if settings.given_certificate is not None:
        read_certificate(*settings.given_certificate)
    Identities(settings.run_dir / "identities.json", lambda _: None)
    return ""


# Resources.


def _resources(settings: Settings) -> str:
    table, remarks = asyncio.run(_table_of(settings))
    written = _written(settings.config)
    lines = []
    for name in table.listed:
        lines += [" = ".join([name, *table.aliases_of(name)]), *_effective(table.rows_of(name), written)]
    patterns = [f"{_number(row)} {row.match}{_fits(row, table)}" for row in table.rows if row.is_pattern]
    return (
        _block("Resources by name, and what holds for them", lines)
        + _block("Patterns", patterns)
        + (_block("To be looked after", remarks) if remarks else "")
    )


def _fits(row: ResourceSettings, table: ResourceTable) -> str:
    fitting = [name for name in table.listed if row in table.rows_of(name)]
    return f" fits of those: {', '.join(fitting)}" if fitting else " fits none of those"


def _effective(rows: list[ResourceSettings], written: list[dict[str, Any]]) -> list[str]:
    """Each key that a row gives, as it is written, with the rows: the last one, or of guards all."""
    lines = []
    for key in KEYS:
        giving = [row for row in rows if key.field in row.given]
        for row in giving if key.field in GUARDS else giving[-1:]:
            table = written[int(_number(row).split()[-1]) - 1]
            value = next(value for name, value in table.items() if name.replace("_", "-") == key.name)
            lines.append(f"  {key.name} = {toml_value(value)}  # {_number(row)}")
    return lines


def _number(row: ResourceSettings) -> str:
    """`[[resource]] 3`."""
    return row.where.rpartition(", ")[2]


def _written(file: Path | None) -> list[dict[str, Any]]:
    if file is None:
        return []
    rows: list[dict[str, Any]] = tomllib.loads(file.read_text("utf-8")).get("resource", [])
    return rows


async def _table_of(settings: Settings) -> tuple[ResourceTable, list[str]]:
    """The rows under canonical names, and what is to be said of VISA libraries. Raises SettingsError, Failure."""
    rows = (*(played() if settings.demo else ()), *settings.resources)
    pool = Pool(ChildSettings(settings.visa_library, os.devnull), lambda _: None, settings.limits.start_time)
    try:
        pool.give_back(await pool.take())
        if pool.trouble:
            raise Failure("START_FAILED", pool.trouble)
        table = ResourceTable(await named_rows(rows, pool.canonical), settings.visa_library)
        tokens = read_tokens(settings.tokens)
        await _check_names(tokens, table, pool.canonical, BENCH_ALIASES if settings.demo else frozenset())
    finally:
        await pool.close(END_TIME)
    others = dict.fromkeys(row.given["library"] for row in table.rows if "library" in row.given)
    return table, [said for library in others if (said := await _trouble_with(library, settings))]


async def _trouble_with(library: str, settings: Settings) -> str:
    """Why a row's library cannot be loaded: that does not keep the daemon from starting, but from opening."""
    pool = Pool(ChildSettings(library, os.devnull), lambda _: None, settings.limits.start_time)
    try:
        pool.give_back(await pool.take())
        return pool.trouble
    except Failure as failure:
        return f"the VISA library {library!r}: {failure.text}"
    finally:
        await pool.close(END_TIME)


async def _check_names(
    tokens: tuple[Token, ...],
    table: ResourceTable,
    canonical: Callable[[str], Awaitable[str]],
    others: frozenset[str],
) -> None:
    """Of the resources that tokens name, by an alias of the table's or one of `others`. Raises TokenFileError."""
    for token in tokens:
        for name, _ in token.resources:
            is_alias = name.casefold() in others or table.resource_of(name) is not None
            if frozenset("*?[]").isdisjoint(name) and not is_alias:
                try:
                    await canonical(name)
                except Failure as failure:
                    raise TokenFileError(f"{token.where}: {name!r} is no resource: {failure.text}") from failure
