"""How the arguments of the text protocol's verbs are read.

Runs in the front. Pure. A reader gets the usage, for who has to be told it, and the bytes behind the verb and a blank.
It returns Arguments or raises Failure(BAD_ARGUMENT).

To add one: a function here, and the rows of `text_commands` that name it.
"""

from collections.abc import Callable

import msgspec

from front_proc.languages import text_leases
from front_proc.languages.text_framing import block_end, block_start
from pyvisa_daemon.errors import Failure


class Arguments(msgspec.Struct, frozen=True):
    """A verb's argument as its row reads it: words, or a message for a resource."""

    words: tuple[str, ...] = ()
    target: str | None = None
    message: bytes = b""


def as_text(data: bytes) -> str:
    """`data` as text. Raises Failure(BAD_ARGUMENT)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failure("BAD_ARGUMENT", "not UTF-8; other bytes travel as a block: write_binary") from error
    if "\0" in text:
        raise Failure("BAD_ARGUMENT", "a NUL has no place in a line")
    return text


def words(least: int, most: int) -> Callable[[str, bytes], Arguments]:
    """Words separated by blanks."""

    def read(usage: str, argument: bytes) -> Arguments:
        found = tuple(as_text(argument).split())
        if not least <= len(found) <= most:
            raise Failure("BAD_ARGUMENT", f"{len(found)} arguments given; usage: {usage}")
        return Arguments(words=found)

    return read


def message(usage: str, argument: bytes) -> Arguments:
    """`[@RESOURCE] COMMAND`, the command to its last byte."""
    target = None
    if argument.startswith(b"@"):
        name, _, argument = argument[1:].partition(b" ")
        target = as_text(name)
    if not argument or target == "":
        raise Failure("BAD_ARGUMENT", f"nothing to send; usage: {usage}")
    as_text(argument)
    return Arguments(target=target, message=argument)


def resource_only(usage: str, argument: bytes) -> Arguments:
    """`[RESOURCE]`, with nothing to send there."""
    found = words(0, 1)(usage, argument).words
    return Arguments(target=found[0] if found else None)


def lock_terms(usage: str, argument: bytes) -> Arguments:
    """Words as `text_leases.wanted` takes them; the reason behind them is the message."""
    found, reason = text_leases.split_reason(as_text(argument))
    text_leases.wanted(found, reason, usage)
    return Arguments(words=found, message=reason.encode())


def block_message(usage: str, argument: bytes) -> Arguments:
    """`[@RESOURCE] COMMAND #<n><len><bytes>`; the bytes may be anything."""
    start = block_start(argument)
    if start is None or block_end(argument, start) != len(argument):
        raise Failure("BAD_ARGUMENT", f"no whole block in it; usage: {usage}")
    head = message(usage, argument[:start])
    return Arguments(target=head.target, message=head.message + argument[start:])
