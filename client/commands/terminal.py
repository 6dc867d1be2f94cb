"""What a person is told: exit codes, a line, a table.

Runs in the user's process. What daemons say of others is shown, and not obeyed by the terminal.
"""

import json
import sys
from typing import NoReturn

import click

#: Exit codes besides 0.
REFUSED = 1
WRONG_USAGE = 2  # click's own
NO_DAEMON = 3


def plain(value: object) -> str:
    """A value as text on one line, in which nothing is left that a terminal would obey."""
    text = value if isinstance(value, str) else json.dumps(value)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def say(line: str) -> None:
    """A line on stderr, on behalf of this program."""
    click.echo(f"instruments: {plain(' '.join(line.split()))}", err=True)


def end(code: int, line: str) -> NoReturn:
    """The last line, and the exit code."""
    say(line)
    sys.exit(code)


def print_table(rows: list[list[str]]) -> None:
    """Aligned; nothing if there are no rows."""
    rows = [list(map(plain, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
