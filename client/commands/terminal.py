"""What a person is told: exit codes, a line, a table.

Runs in the user's process. What daemons say of others is shown, and not obeyed by the terminal. Every subcommand prints
by one rule: with rich where stdout is a terminal, plain aligned lines where it is not, and JSON with `--json`. rich is
imported when it is used first, so it costs nothing in a pipe.
"""

import json
import os
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Exit codes besides 0.
REFUSED = 1
WRONG_USAGE = 2  # click's own
NO_DAEMON = 3

#: What Ctrl-C has ended, as shells have it.
INTERRUPTED = 130


def plain(value: object) -> str:
    """A value as text on one line, in which nothing is left that a terminal would obey, or that stdout cannot say."""
    text = value if isinstance(value, str) else json.dumps(value)
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)
    if text.isascii():
        return text
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def say(line: str) -> None:
    """A line on stderr, on behalf of this program."""
    click.echo(f"instruments: {plain(' '.join(line.split()))}", err=True)


def end(code: int, line: str) -> NoReturn:
    """The last line, and the exit code."""
    say(line)
    sys.exit(code)


def is_rich() -> bool:
    """Does stdout go to somebody's eyes, on a terminal that can do more than lines?"""
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def console() -> "Console":
    """stdout for what rich shows: as wide as the terminal, in colour unless NO_COLOR is set. What is not made here is
    put in as `styled` text, in which rich finds no markup, nor the terminal anything to obey."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def styled(value: object, style: str = "") -> "Text":
    """A value as rich's text, on one line."""
    from rich.text import Text

    return Text(plain(value), style)


def table(headings: list[str], rows: list[list["Text"]], foldable: Collection[str] = ()) -> "Table":
    """Columns under headings, without lines. Where there is little room, `foldable` columns go on below."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        made.add_column(heading, overflow="fold", no_wrap=heading not in foldable)
    for row in rows:
        made.add_row(*row)
    return made


def print_json(value: object) -> None:
    """On one line; and nothing but ASCII, so that it is the same in every locale."""
    click.echo(json.dumps(value))


def print_table(rows: list[list[str]]) -> None:
    """Aligned; nothing if there are no rows."""
    rows = [list(map(plain, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
