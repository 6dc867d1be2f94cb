"""The daemon's settings: one table of options, for the command line, the TOML file and the reference page.

Pure but for reading the TOML file. The command line wins over the file, the file over the default.
To add an option: one row in OPTIONS and its field in Settings.
"""

import argparse
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs


class SettingsError(Exception):
    """A setting that is not accepted: the text names it and what is."""


@dataclass(frozen=True)
class Settings:
    """All settings, checked. Times in seconds."""

    host: str
    port: int
    visa_library: str
    demo: bool
    daemonize: bool
    run_dir: Path
    audit_log: Path | None
    linger: float
    grace: float

    @property
    def pid_file(self) -> Path:
        return self.run_dir / "daemon.pid"

    @property
    def log_file(self) -> Path:
        return self.run_dir / "daemon.log"

    @property
    def audit_file(self) -> Path:
        return self.audit_log or self.run_dir / "audit.jsonl"

    @property
    def lock_folder(self) -> Path:
        return self.run_dir / "locks"


def _port(value: Any) -> int:
    number = int(value)
    if number != float(value) or not 0 <= number <= 65535:
        raise ValueError
    return number


def _seconds(value: Any) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _path(value: Any) -> Path:
    return Path(_text(value)).expanduser().absolute()


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _library(value: Any) -> str:
    """A simulation file must be there; its name is made absolute: children may run in another folder."""
    path, at, backend = _text(value).rpartition("@")
    if at and path and backend == "sim":
        path = str(Path(path).expanduser().absolute())
        if not Path(path).is_file():
            raise ValueError
    return f"{path}{at}{backend}"


@dataclass(frozen=True)
class Option:
    """One row: `name` as on the command line and in the file, what it accepts, its default, and help."""

    name: str
    accept: Callable[[Any], Any]
    accepted: str
    default: Any
    help: str
    metavar: str = ""

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

    @property
    def is_flag(self) -> bool:
        return self.accept is _flag


OPTIONS = (
    Option("host", _text, "an address or a name", "127.0.0.1", "address to listen on", "HOST"),
    Option("port", _port, "a number from 0 to 65535", 1340, "TCP port; 0 takes a free one", "PORT"),
    Option(
        "visa-library",
        _library,
        "what pyvisa.ResourceManager() accepts: '@py', '@ivi', or 'FILE.yaml@sim' with a file that is there",
        "@py",
        "VISA library of the instruments",
        "SPEC",
    ),
    Option("demo", _flag, "true or false", False, "serve the bundled simulated bench instead of real instruments"),
    Option("daemonize", _flag, "true or false", False, "go to the background as soon as it serves"),
    Option(
        "run-dir",
        _path,
        "a folder; made, for its owner only, when missing",
        None,
        "folder of the pid file, lock files, log and audit log (default: the platform's state folder)",
        "DIR",
    ),
    Option("audit-log", _path, "a file", None, "the audit log (default: audit.jsonl in the run folder)", "FILE"),
    Option(
        "linger",
        _seconds,
        "seconds, 0 or more",
        60.0,
        "close a resource so long after its last client; 0 at once",
        "SECONDS",
    ),
    Option(
        "grace",
        _seconds,
        "seconds, 0 or more",
        2.0,
        "a VISA call may take its own timeout and this before its process is taken for hung",
        "SECONDS",
    ),
)


def parser() -> argparse.ArgumentParser:
    """The command line, from OPTIONS."""
    made = argparse.ArgumentParser(
        description="Shares the instruments of this machine on a TCP port: one process per instrument, "
        "many clients, every command on record.",
        epilog="Every option can also stand in the TOML file under its long name: port = 1340. "
        "Exit code 0: ended orderly (with --daemonize: serves); 1: could not start; 2: bad option.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        if option.is_flag:
            made.add_argument(f"--{option.name}", action="store_true", default=None, help=option.help)
        else:
            shown = "" if option.default is None else f" (default: {option.default})"
            made.add_argument(f"--{option.name}", metavar=option.metavar, help=option.help + shown)
    made.add_argument("--config", metavar="FILE.toml", help="file with any of these options")
    return made


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of this start. Raises SettingsError; argparse itself exits with code 2."""
    given = vars(parser().parse_args(arguments))
    file = given.pop("config")
    values = {option.field: option.default for option in OPTIONS}
    if file is not None:
        values |= _from_file(Path(file))
    for option in OPTIONS:
        if given[option.field] is not None:
            values[option.field] = _accept(option, given[option.field], f"--{option.name}")
    if values["run_dir"] is None:
        values["run_dir"] = Path(platformdirs.user_state_path("pyvisa-daemon"))
    if values["demo"] and values["visa_library"] != "@py":
        raise SettingsError("--demo brings its own VISA library: leave out --visa-library")
    return Settings(**{field.name: values[field.name] for field in fields(Settings)})


def _accept(option: Option, value: Any, where: str) -> Any:
    try:
        return option.accept(value)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # the last: no such user in ~USER
        raise SettingsError(f"{where}: {value!r} is not {option.accepted}") from error


def _from_file(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"--config {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {file}: not a TOML file: {error}") from error
    known = {option.name: option for option in OPTIONS}
    values = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in known:
            raise SettingsError(f"{file}: no setting is called {key!r}; there are {', '.join(known)}")
        option = known[name]
        is_number = option.accept in (_port, _seconds)
        if is_number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise SettingsError(f"{file}: {key} = {value!r} is not {option.accepted}")
        values[option.field] = _accept(option, value, f"{file}: {key}")
    return values
