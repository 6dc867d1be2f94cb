"""The daemon's settings: one table of options, for the command line, the TOML file and the reference page.

Pure but for reading the TOML file. The command line wins over the file, the file over the default. Limits
and settings per resource stand in the file only: `limits`, `resource_settings`.
To add an option: one row in OPTIONS and its field in Settings.
"""

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from front_proc.access.rights import ByAddress, Loopback, Network, loopback, networks
from front_proc.configuration.limits import DEFAULTS, Limits, read_limits
from front_proc.configuration.resource_settings import ResourceSettings, read_rows
from front_proc.configuration.setting_values import (
    LIBRARIES,
    SIZES,
    Complaints,
    Setting,
    SettingsError,
    When,
    count,
    flag,
    library,
    path,
    port,
    read_table,
    rotation_size,
    seconds,
    text,
)
from pyvisa_daemon.tokens import FILE_NAME


@dataclass(frozen=True)
class Settings:
    """All settings, checked. Times in seconds."""

    host: str
    port: int
    tls_host: str | None
    tls_port: int | None
    tls_certificate: Path | None
    tls_key: Path | None
    visa_library: str
    demo: bool
    daemonize: bool
    run_dir: Path
    audit_log: Path | None
    audit_key_file: Path | None
    #: Bytes, days and files; 0 is never, and all.
    audit_rotate_size: int
    audit_rotate_age: float
    audit_keep: int
    linger: float
    grace: float
    token_file: Path | None
    allow: tuple[Network, ...]
    loopback: Loopback
    lan: bool
    announce: bool
    limits: Limits
    #: The TOML file, if there is one.
    config: Path | None
    #: The rows of `[[resource]]`, in the order of the file.
    resources: tuple[ResourceSettings, ...]

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
    def tokens(self) -> Path:
        return self.token_file or self.run_dir / FILE_NAME

    @property
    def given_certificate(self) -> tuple[Path, Path | None] | None:
        """The certificate and its key, None if that is in the same file; None where one is to be made."""
        return None if self.tls_certificate is None else (self.tls_certificate, self.tls_key)

    @property
    def by_address(self) -> ByAddress:
        return ByAddress(self.loopback, self.allow)

    @property
    def lock_folder(self) -> Path:
        return self.run_dir / "locks"


@dataclass(frozen=True)
class Option(Setting):
    """A setting that the command line has too."""

    metavar: str = ""

    @property
    def is_flag(self) -> bool:
        return self.accept is flag

    @property
    def switch(self) -> str:
        """How it is given on the command line; what is so by default can only be switched off there."""
        return f"--no-{self.name}" if self.is_flag and self.default else f"--{self.name}"


OPTIONS = (
    Option("host", text, "an address or a name", "127.0.0.1", "address to listen on", "HOST"),
    Option("port", port, "a number from 0 to 65535", 1340, "TCP port; 0 takes a free one", "PORT"),
    Option(
        "tls-host",
        text,
        "an address or a name",
        None,
        "address to listen on in TLS (default: as host)",
        "HOST",
        example="0.0.0.0",
    ),
    Option(
        "tls-port",
        port,
        "a number from 0 to 65535",
        None,
        "TCP port for TLS; 0 takes a free one (default: none)",
        "PORT",
        example=1341,
    ),
    Option(
        "tls-certificate",
        path,
        "a PEM file",
        None,
        "the certificate shown there (default: one is made in the run folder)",
        "FILE",
        when=When.CONNECT,
        example="/etc/ssl/labpc.pem",
    ),
    Option(
        "tls-key",
        path,
        "a PEM file",
        None,
        "its key, for its owner only (default: in the same file)",
        "FILE",
        when=When.CONNECT,
        example="/etc/ssl/private/labpc-key.pem",
    ),
    Option("visa-library", library, LIBRARIES, "@py", "VISA library of the instruments", "SPEC"),
    Option("demo", flag, "true or false", False, "serve the bundled simulated bench instead of real instruments"),
    Option("daemonize", flag, "true or false", False, "go to the background as soon as it serves"),
    Option(
        "run-dir",
        path,
        "a folder; made, for its owner only, when missing",
        None,
        "folder of the pid file, lock files, log and audit log (default: the platform's state folder)",
        "DIR",
        example="~/.local/state/pyvisa-daemon",
    ),
    Option(
        "audit-log",
        path,
        "a file",
        None,
        "the audit log (default: audit.jsonl in the run folder)",
        "FILE",
        example="/var/log/instruments/audit.jsonl",
    ),
    Option(
        "audit-key-file",
        path,
        "a file of 32 bytes or more that only its owner can read",
        None,
        "key of the audit log's chain: HMAC-SHA-256 in the place of SHA-256",
        "FILE",
        example="/etc/instruments/audit.key",
    ),
    Option(
        "audit-rotate-size",
        rotation_size,
        SIZES,
        100_000_000,
        "the audit log is rotated before it is bigger than this; 0 for never",
        "BYTES",
        when=When.AT_ONCE,
    ),
    Option(
        "audit-rotate-age",
        seconds,
        "days, 0 or more",
        0.0,
        "the audit log is rotated when its first record is so many days old; 0 for never",
        "DAYS",
        when=When.AT_ONCE,
    ),
    Option(
        "audit-keep",
        count,
        "a whole number, 0 or more",
        0,
        "rotated audit logs that are kept, older ones are deleted; 0 keeps all",
        "FILES",
        when=When.AT_ONCE,
    ),
    Option(
        "linger",
        seconds,
        "seconds, 0 or more",
        60.0,
        "close a resource so long after its last client; 0 at once",
        "SECONDS",
        when=When.AT_ONCE,
    ),
    Option(
        "grace",
        seconds,
        "seconds, 0 or more",
        2.0,
        "a VISA call may take its own timeout and this before its process is taken for hung",
        "SECONDS",
        when=When.AT_ONCE,
    ),
    Option(
        "token-file",
        path,
        "a file",
        None,
        "who may do what (default: tokens.toml in the run folder)",
        "FILE",
        when=When.AT_ONCE,
        example="/etc/instruments/tokens.toml",
    ),
    Option(
        "allow",
        networks,
        "addresses, or networks in CIDR notation: in the file a list, on the command line with commas",
        None,
        "who may use the instruments without a token (default: nobody from another machine)",
        "NET,...",
        when=When.AT_ONCE,
        example=["192.168.1.0/24", "::1"],
    ),
    Option(
        "loopback",
        loopback,
        "'admin', or 'token'",
        Loopback.ADMIN,
        "what a process of this machine may do without a token: all, or nothing",
        "ROLE",
        when=When.AT_ONCE,
    ),
    Option(
        "lan",
        flag,
        "true or false",
        False,
        "serve the network: listen on 0.0.0.0 (unless host or tls-host says otherwise), make a token if there is none",
    ),
    Option(
        "announce",
        flag,
        "true or false",
        True,
        "tell the local network where the daemon is, by multicast DNS, if other machines may reach it",
    ),
)

#: The address that --lan listens on.
_EVERY_NETWORK = "0.0.0.0"
#: What is of no use without `tls-port`; who gives it must not get a daemon that does without.
_FOR_TLS = ("tls_host", "tls_certificate", "tls_key")


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
            action = "store_false" if option.default else "store_true"
            made.add_argument(option.switch, dest=option.field, action=action, default=None, help=option.help)
        else:
            shown = "" if option.default is None else f" (default: {option.default})"
            made.add_argument(f"--{option.name}", metavar=option.metavar, help=option.help + shown)
    made.add_argument("--config", metavar="FILE.toml", help="file with any of these options")
    made.add_argument(
        "--check-config", action="store_true", help="say what all this comes to, or what is wrong with it, and exit"
    )
    made.add_argument(
        "--print-config", action="store_true", help="print a file with every setting and its meaning, and exit"
    )
    return made


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of this start. Raises SettingsError, for all that is not accepted; argparse itself exits with 2."""
    given = vars(parser().parse_args(arguments))
    file = given.pop("config")
    values: dict[str, Any] = {option.field: option.default for option in OPTIONS} | {
        "resources": (),
        "limits": DEFAULTS,
        "config": None if file is None else Path(file),
        "host": None,
        "allow": (),
    }
    complaints = Complaints()
    if file is not None:
        with complaints.gathered():
            _from_file(file, values)
    for option in OPTIONS:
        if given[option.field] is not None:
            with complaints.gathered():
                values[option.field] = option.taken(given[option.field], f"--{option.name}: ")
    if values["host"] is None:
        is_for_others = values["lan"] and values["tls_host"] is None  # else they come in TLS
        values["host"] = _EVERY_NETWORK if is_for_others else _named_default("host")
    if values["run_dir"] is None:
        values["run_dir"] = Path(platformdirs.user_state_path("pyvisa-daemon"))
    complaints.check()
    _refuse_what_does_not_go_together(values)
    return Settings(**{field.name: values[field.name] for field in fields(Settings)})


def _refuse_what_does_not_go_together(values: dict[str, Any]) -> None:
    texts = []
    if values["demo"] and values["visa_library"] != "@py":
        texts.append("--demo brings its own VISA library: leave out --visa-library")
    if values["tls_port"] is None:
        asked = [name.replace("_", "-") for name in _FOR_TLS if values[name] is not None]
        texts += [f"--{name}: there is no TLS without --tls-port" for name in asked[:1]]
    if values["tls_key"] is not None and values["tls_certificate"] is None:
        texts.append("--tls-key: it needs its certificate, --tls-certificate")
    if texts:
        raise SettingsError(*texts)


def _named_default(name: str) -> Any:
    return next(option.default for option in OPTIONS if option.name == name)


def _from_file(name: str, values: dict[str, Any]) -> None:
    """Put what is accepted of the file into `values`. Raises SettingsError for the rest."""
    try:
        table = tomllib.loads(path(name).read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"--config {name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, or no name of a file; or brackets in brackets
        raise SettingsError(f"--config {name}: not a TOML file: {error}") from error
    complaints = Complaints()
    with complaints.gathered():
        values["resources"] = read_rows(table.pop("resource", []), name)
    with complaints.gathered():
        values["limits"] = read_limits(table.pop("limits", {}), name)
    with complaints.gathered():
        values |= read_table(OPTIONS, table, name, "setting", ("[limits]", "[[resource]]"))
    complaints.check()
