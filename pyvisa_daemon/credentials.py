"""Which token is shown to which daemon, and where it comes from.

Runs in the user's process; standard library only, and files are read when a connection is made. A token never stands in
a specification, for that is in `repr` and in PyVISA's log: there is only the name of a file. In this order:

    token_file=PATH in the entry       `labpc:1340?token_file=/home/ann/.labpc`; an empty one is for no token at all
    PYVISA_DAEMON_TOKEN_FILE           the path of a file
    PYVISA_DAEMON_TOKEN                the token itself
    the default file                   see `default_file`, if it is there

The file is its owner's alone; what is in it, without blanks around it, is the token.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Bytes of a token file.
_SIZE_LIMIT = 4096

_FILE_VARIABLE = "PYVISA_DAEMON_TOKEN_FILE"
_VARIABLE = "PYVISA_DAEMON_TOKEN"


@dataclass(frozen=True)
class Credential:
    """A token, and where it was found; only the latter is ever shown."""

    token: str = field(repr=False)
    source: str


class CredentialError(ConnectionError):
    """A token that cannot be used: the text says which file, why, and what to do."""


def default_file() -> str:
    """Where a token is looked for if nothing says otherwise; the same on Linux and macOS."""
    if os.name == "nt":
        folder = os.environ.get("APPDATA") or os.path.expanduser(r"~\AppData\Roaming")
    else:
        folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(folder, "pyvisa-daemon", "token")


def advice() -> str:
    """What to do when a daemon wants a token and there is none."""
    return (
        f"put one into {default_file()}, for its owner only, or name its file in {_FILE_VARIABLE} or as "
        "HOST:PORT?token_file=PATH; `instruments token NAME` on the daemon's machine makes one"
    )


def credential_for(options: Mapping[str, str]) -> Credential | None:
    """What is shown to the daemon of an entry with these options. Raises CredentialError, a ConnectionError."""
    if "token_file" in options:
        return _read(options["token_file"]) if options["token_file"] else None
    if file := os.environ.get(_FILE_VARIABLE):
        return _read(file)
    if token := os.environ.get(_VARIABLE, "").strip():
        return _checked(token, _VARIABLE)
    file = default_file()
    return _read(file) if os.path.exists(file) else None


def is_there(options: Mapping[str, str]) -> bool:
    """May there be something to show? Reads no file."""
    if "token_file" in options:
        return bool(options["token_file"])
    return any(map(os.environ.get, (_FILE_VARIABLE, _VARIABLE))) or os.path.exists(default_file())


def _read(name: str) -> Credential:
    file = os.path.expanduser(name)
    try:
        with open(file, "rb") as opened:
            if os.name == "posix" and os.fstat(opened.fileno()).st_mode & 0o077:
                raise CredentialError(f"{file} has a token and can be read by others than its owner: chmod 600 {file}")
            content = opened.read(_SIZE_LIMIT + 1)
    except ConnectionError:
        raise
    except OSError as error:
        raise CredentialError(f"the token file {file} cannot be read: {error.strerror}") from error
    return _checked(content.decode("ascii", "replace").strip(), file)


def _checked(token: str, source: str) -> Credential:
    if not token or len(token) > _SIZE_LIMIT or not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialError(f"{source} holds no token: a token is one word of ASCII and nothing else")
    return Credential(token, source)
