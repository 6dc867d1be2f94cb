"""One unit of a program message in its canonical form, and the headers that an instrument may take it for.

Pure. Runs in the front. A unit is what stands between the `;` of a message (IEEE 488.2, 7.3; SCPI-99, volume 1, 6):

    command_of    its header, node by node, its parameters; Unparsable if it is none
    Paths         a header behind `;` may go on where the one before it was, or begin anew: every such reading

Strings and blocks are not here any more: `scpi_units` has put a sign in their place. What the headers are compared with
is `scpi_patterns`, what a number comes to `scpi_numbers`.
"""

import re
from typing import NamedTuple

#: Characters of a header (SCPI-99 has 255 for a whole keyword path).
HEADER_LIMIT = 255

#: In the place of a string and of a block: neither is a word or a number.
STRING, BLOCK = b'""', b"#0"

_NODE = rb"[A-Za-z][A-Za-z0-9_]*"
_HEADER = re.compile(rb"(\*%b|:?%b(?::%b)*)(\??)(?=[\x00-\x20]|$)" % (_NODE, _NODE, _NODE))

#: IEEE 488.2, 7.4.1.2. A line's end is there where it may be taken for white space.
WHITE = bytes(range(0x21))

#: What has no place in a parameter.
_ALIEN = re.compile(rb"[\x7f-\xff]|#(?!0|[Hh][0-9A-Fa-f]|[Qq][0-7]|[Bb][01])")


class Unparsable(Exception):  # noqa: N818 - it is an outcome, and no fault
    """The unit cannot be understood: the text says why, behind `it has`, `with` or the like."""


class Command(NamedTuple):
    """A unit. `nodes` are in upper case; `parameters` as they stand, those that could be kept."""

    nodes: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    is_query: bool = False
    is_absolute: bool = False
    #: There are more parameters, or longer ones, than were kept.
    is_cut: bool = False

    @property
    def is_common(self) -> bool:
        return self.nodes[0].startswith("*")


def command_of(unit: bytes, *, is_cut: bool = False) -> Command | None:
    """What the unit says; None if it is empty. `is_cut`: this is only its beginning. Raises Unparsable."""
    text = unit.strip(WHITE)
    if not text:
        return None
    match = _HEADER.match(text)
    if match is None or match.end() > HEADER_LIMIT:
        shown = text[:40].decode("ascii", "backslashreplace")
        raise Unparsable(f"{shown!r} does not begin with a header")
    header = match[1].decode().upper()
    parameters = _parameters(text[match.end() :].strip(WHITE), is_cut=is_cut)
    nodes = tuple(header.lstrip(":").split(":"))
    return Command(nodes, parameters, bool(match[2]), header.startswith(":"), is_cut)


def header_of(unit: bytes) -> Command | None:
    """What a unit begins with whose parameters cannot be understood; None if that is no header."""
    match = _HEADER.match(unit.strip(WHITE))
    return None if match is None or match.end() > HEADER_LIMIT else command_of(match[0])


def is_split(text: bytes) -> bool:
    """Is there a line's end within it? Then it stands there for white space."""
    stripped = text.strip(WHITE)
    return b"\r" in stripped or b"\n" in stripped


def _parameters(text: bytes, *, is_cut: bool) -> tuple[str, ...]:
    if not text:
        return ()
    if text[:1] in (b":", b"?"):
        raise Unparsable(f"white space within a header, before {text[:1].decode()}")
    alien = _ALIEN.search(text)
    is_cut_off = is_cut and alien is not None and alien[0] == b"#" and alien.end() == len(text)
    if alien is not None and not is_cut_off:
        raise Unparsable(f"a parameter with {alien[0]!r} in it".replace("b'", "'"))
    parts = _split(text, is_cut=is_cut)
    if is_cut:
        parts.pop()  # nobody knows how it goes on
    return tuple(part.strip(WHITE).decode() for part in parts)


def _split(text: bytes, *, is_cut: bool) -> list[bytes]:
    """At the commas that are in no expression, which stands in parentheses (7.7.7)."""
    if b"(" not in text and b")" not in text:
        return text.split(b",")
    parts, depth, begin = [], 0, 0
    for at, byte in enumerate(text):
        if byte == 0x28:
            depth += 1
        elif byte == 0x29:
            depth -= 1
        elif byte == 0x2C and not depth:
            parts.append(text[begin:at])
            begin = at + 1
        if depth < 0:
            break
    if depth and not (is_cut and depth > 0):
        raise Unparsable("parentheses that do not pair")
    return [*parts, text[begin:]]


#: So many paths that matter are followed: no message that people or programs write has more than a few.
PATH_LIMIT = 32


class Paths:
    """Where in the tree of commands the next header may begin.

    At the root, as instruments have it that do not follow the standard's current path; and behind each header that one
    before may have been taken for: an instrument that does not know a header, or finds it from the root, may leave the
    path as it was. `matters` finds the paths, with a colon behind each node, that can begin a header of any rule.
    """

    __slots__ = ("_matters", "_paths")

    def __init__(self, matters: re.Pattern[str]) -> None:
        self._matters = matters
        self._paths: frozenset[str] = frozenset()

    def copy(self) -> "Paths":
        copied = Paths(self._matters)
        copied._paths = self._paths
        return copied

    def restart(self) -> None:
        """A new message begins: at the root."""
        self._paths = frozenset()

    def readings(self, command: Command) -> list[str] | None:
        """The headers that `command` may be taken for, each node with a colon behind it, and the next one may go on
        there; None if they are too many."""
        if command.is_common:  # it has no part in the path (SCPI-99, 6.2.4)
            return [f"{command.nodes[0]}:"]
        header = ":".join(command.nodes) + ":"
        found = [header] if command.is_absolute else [header, *(path + header for path in self._paths)]
        if len(command.nodes) > 1:
            size = len(command.nodes[-1]) + 1
            self._paths = self._paths.union(path for one in found if self._matters.fullmatch(path := one[:-size]))
        return found if len(self._paths) <= PATH_LIMIT else None
