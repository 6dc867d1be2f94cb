"""Tokens: what one looks like, what of it is kept, and the row of a token file that gives it rights.

Runs wherever a token is made: in the daemon that was started with --lan, and in `instruments token`. Pure but for
`add_row`; nothing here is imported before it is needed. The daemon reads the file in `front_proc.access.token_file`.

A token is 256 random bits, so its plain SHA-256 tells nothing about it: there is no list of likely tokens to try, which
is what a slow or salted hash is for with passwords that people choose.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

#: What a token looks like: enough to find one where it does not belong.
LOOKS_LIKE = re.compile(r"pvd_[A-Za-z0-9_-]{16,}")

#: The token file's name in the daemon's run folder.
FILE_NAME = "tokens.toml"

_BEGINNING = """\
# Who may use the instruments, and how: one [[token]] for each. Only digests are kept; a lost token cannot be had again.
# `instruments token NAME` adds one. To take one away delete its row, then: kill -HUP the daemon, or start it anew.
"""


class TokenFileError(Exception):
    """A token file that cannot be used: the text names it, and says why and what to do."""


def new_token() -> str:
    """`pvd_` and 256 random bits."""
    import secrets

    return f"pvd_{secrets.token_urlsafe(32)}"


def digest(token: str) -> str:
    """What is kept of it: SHA-256, in hex."""
    import hashlib

    return hashlib.sha256(token.encode()).hexdigest()


def without_tokens(text: str) -> str:
    """`text` with whatever looks like a token made unreadable."""
    return LOOKS_LIKE.sub("pvd_***", text)


def row(name: str, token: str, role: str, resources: Mapping[str, str], expires: str = "") -> str:
    """The row that gives `token` its rights, as TOML."""
    lines = ["[[token]]", f"name = {_quoted(name)}", f'sha256 = "{digest(token)}"', f"role = {_quoted(role)}"]
    if resources:
        limits = ", ".join(f"{_quoted(pattern)} = {_quoted(limit)}" for pattern, limit in resources.items())
        lines.append(f"resources = {{ {limits} }}")
    if expires:
        lines.append(f"expires = {expires}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A basic string of TOML, which JSON's are too, once there are no control characters in it."""
    import json

    return json.dumps(text, ensure_ascii=False)


def add_row(file: Path, added: str) -> None:
    """Append a row to a token file, which is made, for its owner only, if there is none. Raises TokenFileError."""
    import tomllib

    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "r+b") as opened:
            refuse_if_open_to_others(opened.fileno(), file)
            before = opened.read().decode()
            new = ("\n" if before else _BEGINNING + "\n") + added
            tomllib.loads(f"{before}{new}")
            opened.write(new.encode())
    except OSError as error:
        raise TokenFileError(f"{file} cannot be written: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise TokenFileError(f"{file} is no TOML file, and nothing was added: {error}") from error


def refuse_if_open_to_others(descriptor: int, file: Path) -> None:
    """Raises TokenFileError for a file that anybody but its owner may read or write. Windows has no such modes."""
    if os.name == "posix" and os.fstat(descriptor).st_mode & 0o077:
        raise TokenFileError(f"{file} can be read or written by others than its owner: chmod 600 {file}")
