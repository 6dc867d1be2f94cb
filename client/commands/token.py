"""`instruments token`: makes a token for a daemon on this machine.

Runs in the process of whoever runs the daemon; needs no daemon. The token goes to stdout, once; what is kept of it is a
row of the token file (see `pyvisa_daemon.tokens`).
"""

import re
import shlex
import sys
from datetime import date
from pathlib import Path

import click

from pyvisa_daemon import tokens

_ROLES = ("observe", "use", "admin")

#: As in the token file, which the daemon reads: see `front_proc.access.token_file`.
_NAME = re.compile(r"[\w@.-]{1,64}")

_EPILOG = """\b
Examples:
  instruments token alice
  instruments token wall --role observe --expires 2027-01-01
  instruments token bob --role observe --resource 'GPIB0::*=use' --resource scope=none
"""


@click.command(epilog=_EPILOG)
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="use", show_default=True, help="What it is good for.")
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="PATTERN=ROLE",
    help="What it is good for on the resources that fit; ROLE may also be none. The lowest counts.",
)
@click.option("--expires", metavar="DATE", help="The first day on which it is good for nothing: 2027-01-01.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="tokens.toml",
    help="The daemon's token file (default: in its run folder).",
)
def token(name: str, role: str, resources: tuple[str, ...], expires: str | None, file: Path | None) -> None:
    """Make a token for a daemon of this machine.

    Prints the token, which is shown this once only, and adds its row to the daemon's token file. NAME is whom it is
    for, as the audit log will say. Run it as the daemon's user.
    """
    if not _NAME.fullmatch(name):
        raise click.BadParameter("letters, digits, '_', '-', '.' and '@', at most 64", param_hint="NAME")
    limits = dict(map(_limit, resources))
    day = "" if expires is None else _day(expires)
    file = _default_file() if file is None else file.expanduser().absolute()
    made = tokens.new_token()
    try:
        tokens.add_row(file, tokens.row(name, made, role, limits, day))
    except tokens.TokenFileError as error:
        raise click.ClickException(str(error)) from error
    click.echo(made)
    click.echo(
        f"Put it into a file that only {name} can read: ~/.config/pyvisa-daemon/token on the machine that is to use "
        f"it. It is not shown again.\nA daemon that uses {file} knows it from now on; one that has no other token is "
        "to be started anew if it should listen beyond this machine.\nTo take it away, delete its row there, then: "
        f"kill -HUP $(cut -d ' ' -f 1 {shlex.quote(str(file.parent / 'daemon.pid'))}); start a daemon anew that runs "
        "on a terminal.",
        err=True,
    )


def _limit(given: str) -> tuple[str, str]:
    pattern, _, role = given.rpartition("=")
    if not pattern or not pattern.isprintable() or " " in pattern or role not in ("none", *_ROLES):
        text = f"{given!r} is not PATTERN=ROLE, with one of none, {', '.join(_ROLES)}"
        raise click.BadParameter(text, param_hint="--resource")
    return pattern, role


def _day(given: str) -> str:
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError as error:
        raise click.BadParameter(f"{given!r} is no date such as 2027-01-01", param_hint="--expires") from error


def _default_file() -> Path:
    try:
        import platformdirs
    except ImportError:
        click.echo("instruments: tokens are made on the daemon's machine; --file names its token file", err=True)
        sys.exit(2)
    return Path(platformdirs.user_state_path("pyvisa-daemon")) / tokens.FILE_NAME
