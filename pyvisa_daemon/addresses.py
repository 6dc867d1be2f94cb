"""Where a daemon listens and how to speak to it, as an entry says it: `host[:port][?key=value&...]`.

Runs in the user's process; reads the environment, and no file. In TLS is connected whoever's entry says `tls=1` or
names a `ca_file`, and, where PYVISA_DAEMON_CA_FILE is set, everybody whose entry does not say `tls=0`.
To add an option: its row in OPTIONS, and whoever looks for it in `Address.options`.
"""

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pyvisa_daemon.tokens import without_tokens

DEFAULT_PORT = 1340
DEFAULT_TLS_PORT = 1341

#: Names the file with the certificate of a CA, or of the daemon itself, for the entries that name none.
CA_FILE = "PYVISA_DAEMON_CA_FILE"

#: What an entry may say behind its `?`, as `key=value` and with `&` between them -> what a value may be, in words.
OPTIONS = {
    "tls": "0 or 1",
    "ca_file": "a file of certificates",
    "token_file": "a file with a token, or nothing for no token",
}


class Address(NamedTuple):
    """As text it is `host:port`, for people; `entry` has all of it."""

    host: str
    port: int
    options: Mapping[str, str] = MappingProxyType({})

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def entry(self) -> str:
        """What `parse` reads."""
        options = "&".join(f"{name}={_escaped(value)}" for name, value in self.options.items())
        return f"{self}?{options}" if options else str(self)

    @property
    def is_tls(self) -> bool:
        return _is_tls(self.options)

    @property
    def ca_file(self) -> str | None:
        """Whom to trust; None: whom this system trusts."""
        return self.options.get("ca_file") or os.environ.get(CA_FILE) or None


def parse(entry: str) -> Address:
    """The address in `host`, `host:port`, `[IPv6]` or `[IPv6]:port`; then `?`, and options separated by `&`.

    Raises ValueError naming the entry, but nothing of it that may be a token."""
    text, mark, query = entry.strip().partition("?")
    text = text.strip()
    options = _options(query, without_tokens(text)) if mark else {}
    host, port = _place(text, entry if not mark else text)
    default_port = DEFAULT_TLS_PORT if _is_tls(options) else DEFAULT_PORT
    return Address(host, default_port if port is None else port, options)


def _place(text: str, entry: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        is_sound = bool(bracket) and colon in ("", ":")
    elif text.count(":") > 1:
        host, colon, port, is_sound = text, "", "", True  # a bare IPv6 address
    else:
        host, colon, port = text.partition(":")
        is_sound = True
    if colon:
        is_sound = is_sound and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not host or not is_sound or any(c.isspace() for c in host):
        shown = without_tokens(repr(entry))
        raise ValueError(f"{shown} names no daemon: expected host or host:port, such as labpc:{DEFAULT_PORT}")
    return host, int(port) if colon else None


def _options(query: str, place: str) -> dict[str, str]:
    """What stands behind the `?`. An error repeats nothing of it but a name: it may be a token."""
    options: dict[str, str] = {}
    for option in query.split("&"):
        name, equals, value = option.partition("=")
        if name == "token":
            raise ValueError(
                f"{place}?token=... is not accepted: a specification is shown in many places, and logged. Put the "
                f"token into a file of its own, for you only, and write {place}?token_file=PATH"
            )
        if name not in OPTIONS or not equals or name in options:
            shown = without_tokens(repr(name)) if equals else "what stands there"
            known = ", ".join(f"{key}=VALUE ({accepted})" for key, accepted in OPTIONS.items())
            raise ValueError(f"{place}?...: {shown} is no option, or is there twice; there are {known}")
        options[name] = _unescaped(value)
    if options.get("tls", "1") not in ("0", "1"):
        raise ValueError(f"{place}?...: tls is 1 or 0")
    if options.get("ca_file") == "":
        raise ValueError(f"{place}?...: ca_file names no file")
    if options.get("tls") == "0" and "ca_file" in options:
        raise ValueError(f"{place}?...: a ca_file is of use with TLS only; leave out one of the two")
    return options


def _is_tls(options: Mapping[str, str]) -> bool:
    return options.get("tls", "1" if "ca_file" in options or os.environ.get(CA_FILE) else "0") == "1"


def _escaped(value: str) -> str:
    """What has a meaning in an entry or a list of them: as in a URL."""
    return "".join(f"%{ord(c):02X}" if c in "%&,?" or (c.isspace() and c < "\x80") else c for c in value)


def _unescaped(value: str) -> str:
    return re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), value)
