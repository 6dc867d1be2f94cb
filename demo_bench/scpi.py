"""The language: SCPI messages, the commands in them, and the values that settings take (IEEE 488.2, SCPI-99).

Bytes in, commands and answers out: no socket, no clock. To add a kind of value: a function like `number`.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: IEEE 488.2: a definite-length block begins with `#` and a digit, after a blank or a comma.
_BLOCK = re.compile(rb"[ ,]#([1-9])")

COMMAND_ERROR, EXECUTION_ERROR = 32, 16  # bits of the standard event status register, IEEE 488.2 11.5.1.1


class ScpiError(Exception):
    """What goes to the error queue: SCPI's number and text. -1xx is a command error, -2xx one in its execution."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number
        self.event = COMMAND_ERROR if -200 < number <= -100 else EXECUTION_ERROR

    def __str__(self) -> str:
        return f'{self.number},"{self.args[0]}"'


@dataclass(frozen=True, slots=True)
class Command:
    """One command as it came: `header` without its leading colon, `argument` as text, `block` if it carries one."""

    header: str
    argument: str
    block: bytes = b""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that is set by its header and read by header + `?`; `parse` makes it canonical or raises ScpiError."""

    default: str
    parse: Callable[[str], str]


def number(default: float, low: float, high: float) -> Setting:
    def parse(text: str) -> str:
        try:
            value = float(text)
        except ValueError:
            raise ScpiError(-104, "Data type error") from None
        if not low <= value <= high:
            raise ScpiError(-222, "Data out of range")
        return f"{value:.9g}"

    return Setting(parse(str(default)), parse)


def choice(*words: str) -> Setting:
    """One of some words, written as SCPI manuals do; the first is the default, the answer is the short form."""
    spelled = {spelling: spellings(word)[0] for word in words for spelling in spellings(word)}

    def parse(text: str) -> str:
        try:
            return spelled[text.upper()]
        except KeyError:
            raise ScpiError(-224, "Illegal parameter value") from None

    return Setting(spellings(words[0])[0], parse)


def switch() -> Setting:
    def parse(text: str) -> str:
        try:
            return {"0": "0", "OFF": "0", "1": "1", "ON": "1"}[text.upper()]
        except KeyError:
            raise ScpiError(-224, "Illegal parameter value") from None

    return Setting("0", parse)


def spellings(header: str) -> list[str]:
    """All that a header of the manual stands for, the shortest first: `FREQ:STAR` ... `FREQUENCY:START`."""
    nodes = [dict.fromkeys((re.sub("[a-z]", "", node), node.upper())) for node in header.split(":")]
    return [":".join(nodes_spelled) for nodes_spelled in itertools.product(*nodes)]


def block(data: bytes) -> bytes:
    """`data` as a definite-length block, IEEE 488.2 8.7.9."""
    length = str(len(data))
    return f"#{len(length)}{length}".encode() + data


def block_in(data: bytes | bytearray) -> tuple[int, int, int] | None:
    """Where the header of a block-carrying message ends, where its block begins and how many bytes that has, or None.

    ValueError while the length has not come whole.
    """
    line = data.find(b"\n")
    found = _BLOCK.search(data, 0, len(data) if line < 0 else line)
    if found is None:
        return None
    start = found.end() + int(found[1])
    digits = data[found.end() : start]
    if digits and not digits.isdigit():
        return None
    if len(digits) < int(found[1]):
        raise ValueError("half a block header")
    return found.start(), start, int(digits)


def end_of_message(data: bytes | bytearray) -> int:
    """Where the first message in `data` ends, its LF included; 0 if that has not come. No LF in a block ends it."""
    try:
        found = block_in(data)
    except ValueError:
        return 0
    return data.find(b"\n", found[1] + found[2] if found else 0) + 1


def commands(message: bytes) -> Iterator[Command]:
    """The commands of one message, which `;` separates; one that carries a block is alone."""
    if found := block_in(message):
        yield Command(_header(message[: found[0]].decode("utf-8", "replace")), "", message[found[1] :][: found[2]])
        return
    for part in message.decode("utf-8", "replace").split(";"):
        header, _, argument = part.strip().partition(" ")
        if header:
            yield Command(_header(header), argument.strip())


def _header(text: str) -> str:
    return text.strip().lstrip(":").upper()
