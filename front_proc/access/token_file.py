"""The token file: who has shown a token, by its digest, and what that token is good for.

Runs in the front. Reads the file and nothing else. The file is TOML, for its owner only; every row is a `[[token]]`:

    name        whom it is for: the `user` of the audit log; several tokens may have the same
    sha256      the hex digest of the token (see `pyvisa_daemon.tokens`)
    role        on the daemon, and on every resource that no pattern of `resources` fits
    resources   optional: patterns, names or aliases of resources, and the role there; of those that fit the lowest
    expires     optional: the first day on which it is worth nothing

To add a key: its row in KEYS and its field in Token.
"""

import hmac
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from front_proc.access.rights import Role, role_names
from front_proc.configuration.setting_values import Setting, WrongValueError
from pyvisa_daemon.tokens import TokenFileError, digest, refuse_if_open_to_others

#: Bytes of a token file.
SIZE_LIMIT = 1 << 20

_NAME = re.compile(r"[\w@.-]{1,64}")


@dataclass(frozen=True)
class Token:
    """One row: whose token has this digest, and what is it good for?"""

    name: str
    sha256: str
    role: Role
    #: Patterns, canonical or other names, and aliases, as they are written.
    resources: tuple[tuple[str, Role], ...] = ()
    expires: date | None = None
    where: str = ""

    def is_good_on(self, day: date) -> bool:
        return self.expires is None or day < self.expires


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError
    return value


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise WrongValueError("the token itself does not belong here")
    return value.lower()


def _role(value: Any) -> Role:
    role = Role.named(value)
    if role is Role.NONE:
        raise ValueError
    return role


def _resources(value: Any) -> tuple[tuple[str, Role], ...]:
    if not isinstance(value, dict):
        raise ValueError
    for pattern in value:
        if not pattern.isprintable() or not pattern or " " in pattern:
            raise WrongValueError(f"{pattern!r} is no resource's name, nor a pattern")
    return tuple((pattern, Role.named(word)) for pattern, word in value.items())


def _expires(value: Any) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError
    return value


KEYS = (
    Setting(
        "name", _name, "letters, digits, '_', '-', '.' and '@', at most 64", None, "whom the token is for; required"
    ),
    Setting("sha256", _sha256, "64 hex digits", None, "the token's SHA-256; required"),
    Setting("role", _role, f"one of {role_names(Role.OBSERVE)}", None, "what it is good for; required"),
    Setting(
        "resources",
        _resources,
        f"a table of names or patterns, each with one of {role_names()}",
        None,
        "what it is good for on single resources; of all that fit one, the lowest role counts",
    ),
    Setting("expires", _expires, "a date, such as 2027-01-01", None, "the first day on which it is good for nothing"),
)

_REQUIRED = ("name", "sha256", "role")


def read_tokens(file: Path) -> tuple[Token, ...]:
    """All rows; none if there is no such file. Raises TokenFileError."""
    try:
        # A pipe in its place would keep us waiting.
        with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise TokenFileError(f"{file} is no file")
            refuse_if_open_to_others(opened.fileno(), file)
            content = opened.read(SIZE_LIMIT + 1)
            if len(content) > SIZE_LIMIT:
                raise TokenFileError(f"{file} has more than {SIZE_LIMIT} bytes")
            table = tomllib.loads(content.decode())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise TokenFileError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise TokenFileError(f"{file} is no TOML file: {error}") from error
    return _rows(table, str(file))


def _rows(table: dict[str, Any], file: str) -> tuple[Token, ...]:
    rows = table.pop("token", [])
    if table or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TokenFileError(f"{file}: all there is in a token file are rows that begin with the line [[token]]")
    tokens = tuple(_row(row, f"{file}, [[token]] {number}") for number, row in enumerate(rows, 1))
    if len({token.sha256 for token in tokens}) < len(tokens):
        raise TokenFileError(f"{file}: two rows have the same sha256")
    return tokens


def _row(table: dict[str, Any], where: str) -> Token:
    given: dict[str, Any] = {}
    for key, value in table.items():
        setting = next((row for row in KEYS if row.name == key), None)
        if setting is None:
            raise TokenFileError(f"{where}: no key of a token is called {key!r}; there are {_names()}")
        try:
            given[key] = setting.accept(value)
        except (ValueError, TypeError) as error:  # not with the value: it may be the token itself
            reason = f": {error}" if isinstance(error, WrongValueError) else ""
            raise TokenFileError(f"{where}: {key} is not {setting.accepted}{reason}") from error
    missing = [key for key in _REQUIRED if key not in given]
    if missing:
        raise TokenFileError(f"{where}: {missing[0]} is missing; a token has {_names()}")
    return Token(**given, where=where)


def _names() -> str:
    return ", ".join(row.name for row in KEYS)


def find(tokens: Iterable[Token], shown: str) -> Token | None:
    """The row of a token, by its digest. Takes as long whether there is one, and whichever it is."""
    sha256, found = digest(shown), None
    for token in tokens:
        if hmac.compare_digest(token.sha256, sha256):
            found = token
    return found
