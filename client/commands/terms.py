"""How an instrument is spoken to: the options of all subcommands that speak to one.

Runs in the user's process. What is not said is as the daemon has it: 2 s, LF both ways, or what its settings say.
"""

import codecs
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click
from click.types import FloatParamType

from client.text_socket import TCPVisaSocket

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Terms(NamedTuple):
    """What was said: seconds; terminations escaped, as they are typed."""

    timeout: float | None = None
    read_termination: str | None = None
    write_termination: str | None = None

    def apply(self, socket: TCPVisaSocket) -> None:
        """To the current resource of `socket`. Raises Failure."""
        if self.timeout is not None:
            socket.timeout(_milliseconds(self.timeout))
        if self.read_termination is not None or self.write_termination is not None:
            socket.termination(*terminations(socket, self.read_termination, self.write_termination))


def _milliseconds(seconds: float) -> float:
    """Whole ones, and not 0 for a time that is more than nothing: a VISA timeout of 0 waits for nothing at all."""
    return seconds if math.isinf(seconds) else math.ceil(1000 * seconds)


def terminations(socket: TCPVisaSocket, read: str | None, write: str | None) -> tuple[str | None, str | None]:
    """What ends messages, unescaped; None for one of these words is what is in force."""
    in_force = socket.termination()
    return (
        in_force[0] if read is None else unescaped(read),
        in_force[1] if write is None else unescaped(write),
    )


def unescaped(word: str) -> str | None:
    """What a person writes for a termination: `\\n`, `\\r\\n`; None for `none`. Raises ValueError."""
    if word == "none":
        return None
    if not word.isascii() or not word or word.endswith(" "):
        raise ValueError(f"{word!r} is no termination: such as \\n, \\r\\n, or none")
    try:
        return codecs.decode(word, "unicode_escape")
    except UnicodeDecodeError as error:
        raise ValueError(f"{word!r} is no termination ({error.reason}): such as \\n, \\r\\n, or none") from error


def _checked(_: click.Context, __: click.Parameter, word: str | None) -> str | None:
    try:
        if word is not None:
            unescaped(word)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return word


class Seconds(FloatParamType):
    """A time within a range: how that is told, and what fits in it, as no NaN does."""

    def __init__(self, told: str, fits: Callable[[float], bool]) -> None:
        self._told, self._fits = told, fits

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if not self._fits(seconds):
            self.fail(f"{value!r} is no number of seconds: {self._told}", param, ctx)
        return seconds


#: How long something may take; how long is waited for what may be there at once; and between two looks, for which the
#: clock has room.
SECONDS = Seconds("more than 0, or inf", lambda seconds: seconds > 0)
PATIENCE = Seconds("0 or more, or inf", lambda seconds: seconds >= 0)
INTERVAL = Seconds("more than 0, at most 86400", lambda seconds: 0 < seconds <= 86400)


def with_terms(command: _Command) -> _Command:
    """The options that make Terms; `command` takes them by these names."""
    for option in (
        click.option(
            "--write-termination", metavar="TEXT", callback=_checked, help=r"What ends a command: \n, \r\n, none."
        ),
        click.option("--read-termination", metavar="TEXT", callback=_checked, help=r"What ends an answer: \n, none."),
        click.option("--timeout", type=SECONDS, metavar="S", help="Seconds that each may take; inf: any time."),
    ):
        command = option(command)
    return command
