"""What a setting's value may be, and what is said of one that is not: for the daemon's settings and a resource's.

Pure but for looking whether a file is there. An accept function takes what was typed or what the TOML file has, returns
the value as it is used, and raises ValueError or the like for what is no such value.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

#: The folder from which relative paths count, where the process has left it: a daemon goes elsewhere.
HERE: ContextVar[Path | None] = ContextVar("HERE", default=None)


class SettingsError(Exception):
    """Settings that are not accepted: each of the texts names one, and what is accepted."""

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.texts = texts

    def __str__(self) -> str:
        return "\n".join(self.texts)


class Complaints:
    """What is not accepted, gathered, so that all of it is told at once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Go on behind this, whatever is not accepted in it."""
        try:
            yield
        except SettingsError as error:
            self.texts += error.texts

    def check(self) -> None:
        """Raises SettingsError if there was anything."""
        if self.texts:
            raise SettingsError(*dict.fromkeys(self.texts))  # one may be in the way of several things


class WrongValueError(ValueError):
    """A value that is not accepted, for a reason that is told with it."""


def port(value: Any) -> int:
    number = int(value)
    if number != float(value) or not 0 <= number <= 65535:
        raise ValueError
    return number


def seconds(value: Any) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


#: Bytes in a unit of size; those that end with iB are powers of 1024.
_UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_BY_NAME = {unit.lower(): size for unit, size in _UNITS.items()}

#: What `rotation_size` accepts, in words.
SIZES = "bytes, or a number with kB, MB, GB, KiB, MiB or GiB; 10 kB or more, or 0"


def rotation_size(value: Any) -> int:
    """Bytes. A file that is rotated at every few lines would be a mistake."""
    if not isinstance(value, str) and not is_number(value):
        raise ValueError
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", str(value).strip())
    if found is None or found[2].lower() not in _BY_NAME:
        raise ValueError
    number = int(float(found[1]) * _BY_NAME[found[2].lower()])
    if 0 < number < 10_000:
        raise ValueError
    return number


def count(value: Any) -> int:
    number = int(value)
    if number != float(value) or number < 0:
        raise ValueError
    return number


def text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def path(value: Any) -> Path:
    given = Path(text(value)).expanduser()
    return given if given.is_absolute() else (HERE.get() or Path.cwd()) / given


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


#: What `library` accepts, in words.
LIBRARIES = "what pyvisa.ResourceManager() accepts: '@py', '@ivi', or 'FILE.yaml@sim' with a file that is there"


def library(value: Any) -> str:
    """A simulation file must be there; its name is made absolute: children may run in another folder."""
    file, at, backend = text(value).rpartition("@")
    if at and file and backend == "sim":
        file = str(path(file))
        if not Path(file).is_file():
            raise ValueError
    return f"{file}{at}{backend}"


def is_number(value: Any) -> bool:
    """As TOML has numbers: no text, and true is not 1."""
    return isinstance(value, int | float) and not isinstance(value, bool)


class When(StrEnum):
    """From when on a setting counts that was changed while the daemon serves."""

    AT_ONCE = "at once"
    CONNECT = "for connections from then on"
    OPEN = "when the resource is opened next"
    START = "with the next start"


@dataclass(frozen=True)
class Setting:
    """One row of a table of settings: `name` as in the file, what it accepts, its default, and help; when a change of
    it counts, and an example where there is no default."""

    name: str
    accept: Callable[[Any], Any]
    accepted: str
    default: Any
    help: str
    when: When = field(default=When.START, kw_only=True)
    example: Any = field(default=None, kw_only=True)

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    def taken(self, value: Any, where: str) -> Any:
        """`value` as it is used. Raises SettingsError, whose text begins with `where`."""
        try:
            return self.accept(value)
        except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # the last: no such user in ~USER
            reason = f": {error}" if isinstance(error, WrongValueError) else ""
            raise SettingsError(f"{where}{value!r} is not {self.accepted}{reason}") from error

    def taken_from_file(self, value: Any, where: str) -> Any:
        """The same for a value of the TOML file, where a number stands without quotes."""
        if self.accept in (port, seconds, count) and not is_number(value):
            raise SettingsError(f"{where}{value!r} is not {self.accepted}")
        return self.taken(value, where)


def named(settings: tuple[Setting, ...], key: str) -> Setting | None:
    """The row that a key of the file means; `_` may stand for `-`."""
    name = key.replace("_", "-")
    return next((setting for setting in settings if setting.name == name), None)


def read_table(
    settings: tuple[Setting, ...], table: dict[str, Any], where: str, kind: str, others: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The values in a table of the TOML file, by field. Raises SettingsError for all that is not accepted: `kind` is
    what a key should be called, and `others` what else there is beside `settings`."""
    values: dict[str, Any] = {}
    complaints = Complaints()
    for key, value in table.items():
        with complaints.gathered():
            setting = named(settings, key)
            if setting is None:
                names = [*(row.name for row in settings), *others]
                close = "".join(f" ({name} is)" for name in get_close_matches(key, names, 1))
                raise SettingsError(f"{where}: no {kind} is called {key!r}{close}; there are {', '.join(names)}")
            values[setting.field] = setting.taken_from_file(value, f"{where}: {key} = ")
    complaints.check()
    return values
