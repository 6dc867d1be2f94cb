"""Simulated instruments that execute what they are sent, byte by byte: strict ones and lenient ones.

Written from the standards and apart from the guards, whose code is not used here. An instrument differs from others in
how it finds the header behind a `;` (`path`), in how exactly a keyword must be spelled, and in what ends a message.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.front_proc.scpi_tree import COMMANDS, WORDS, Entry, Executed, Node

#: How a header behind `;` is found: as the standard has it; always from the root; either first; the path first, which
#: is left as it is by what is found from the root; the root first, and an unknown header moves the path as a known one.
PATHS = ("standard", "root", "path first", "root first", "path kept", "root moves")

EVERYTHING = frozenset(entry.name for entry in COMMANDS)

#: What an instrument knows that has nothing but what the rules are about: to it most headers are unknown, and leave the
#: path as it is.
FEW = frozenset({"reset", "volt", "protection", "preset", "lan-reset", "apply", "output", "channel", "trigger-source"})

_BLANK = frozenset(range(33))

#: Multipliers for what this instrument measures.
_POWERS = {"": 0, "K": 3, "M": -3, "U": -6, "MA": 6, "N": -9, "G": 9}
_UNITS = ("V", "A", "HZ", "OHM", "S")
_MAXIMUM = 1000.0

#: What a lenient instrument takes for a parameter that is missing.
_ASSUMED = {"number": _MAXIMUM, "boolean": True, "word": "EXTERNAL"}


class Unit(NamedTuple):
    """Header and parameters: ("string" | "block" | "text", bytes)."""

    header: str
    parameters: list[tuple[str, bytes]]


class BadSyntaxError(Exception):
    """The instrument does not understand the unit."""


@dataclass
class Instrument:
    """`line_ends`: the bytes that end a message, outside strings and blocks; others below 33 are blanks."""

    path: str
    line_ends: bytes
    knows: frozenset[str] = EVERYTHING
    done: list[Executed] = field(default_factory=list)
    _buffer: bytearray = field(default_factory=bytearray)

    @property
    def is_exact(self) -> bool:
        return self.path == "standard"

    def receive(self, data: bytes, *, end: bool) -> None:
        """Bytes come in; END goes with the last one."""
        self._buffer += data
        while (units := self._message(end)) is not None:
            self._execute(units)

    # One message, character by character.

    def _message(self, end: bool) -> list[bytes] | None:
        """The first message in the buffer as its units, if it is whole. Takes it out."""
        buffer, at, begin, units = self._buffer, 0, 0, []
        quote = 0
        while at < len(buffer):
            byte = buffer[at]
            if quote:
                quote = 0 if byte == quote else quote
            elif byte in b"\"'":
                quote = byte
            elif (
                byte == ord("#") and at > begin and buffer[at - 1] in b" \t,\r\n" and buffer[at + 1 : at + 2].isdigit()
            ):
                size = self._block_size(at, end)
                if size is None:
                    return None
                at += size
                continue
            elif byte == ord(";"):
                units.append(bytes(buffer[begin:at]))
                begin = at + 1
            elif byte in self.line_ends:
                units.append(bytes(buffer[begin:at]))
                del buffer[: at + 1]
                return units
            at += 1
        if not end or not buffer:
            return None
        units.append(bytes(buffer[begin:]))
        buffer.clear()
        return units

    def _block_size(self, at: int, end: bool) -> int | None:
        digits = int(self._buffer[at + 1 : at + 2])
        if digits == 0:
            return len(self._buffer) - at if end else None
        length = self._buffer[at + 2 : at + 2 + digits]
        if len(length) < digits:
            return None
        size = 2 + digits + int(length)
        return size if at + size <= len(self._buffer) else None

    # Its units, one after the other.

    def _execute(self, units: list[bytes]) -> None:
        path: list[str] = []
        for text in units:
            try:
                unit = _parsed(text)
            except BadSyntaxError:
                continue
            if unit is not None:
                path = self._obey(unit, path)

    def _obey(self, unit: Unit, path: list[str]) -> list[str]:
        is_query, header = unit.header.endswith("?"), unit.header.rstrip("?")
        nodes = header.lstrip(":").split(":")
        if header.startswith("*"):
            self._do(nodes, is_query, unit.parameters)
            return path
        for begin in [[]] if header.startswith(":") else self._beginnings(path):
            if self._do(begin + nodes, is_query, unit.parameters):
                return path if self.path == "path kept" and begin != path else [*begin, *nodes[:-1]]
        self.done.append(Executed("unknown", is_query))
        if self.path == "root moves":
            return nodes[:-1]
        is_standard = self.path == "standard" and self.knows is EVERYTHING
        return [*([] if header.startswith(":") else path), *nodes[:-1]] if is_standard else path

    def _beginnings(self, path: list[str]) -> list[list[str]]:
        return {"standard": [path], "root": [[]], "root first": [[], path], "root moves": [[], path]}.get(
            self.path, [path, []]
        )

    def _do(self, nodes: list[str], is_query: bool, parameters: list[tuple[str, bytes]]) -> bool:
        """Is there such a command? It is executed if its parameters are right."""
        for entry in COMMANDS:
            suffixes = _match(entry.nodes, nodes, self.is_exact)
            if (
                suffixes is None
                or entry.name not in self.knows
                or not (entry.has_query if is_query else entry.has_command)
            ):
                continue
            if is_query:
                self.done.append(Executed(entry.name, True, suffixes))
                return True
            try:
                values = tuple(self._values(entry, parameters))
            except BadSyntaxError:
                return True
            self.done.append(Executed(entry.name, False, suffixes, values))
            return True
        return False

    def _values(self, entry: Entry, parameters: list[tuple[str, bytes]]) -> Iterator[Any]:
        left = len(entry.parameters) - len(parameters)
        if left and self.is_exact:  # a lenient one passes over what is too much
            raise BadSyntaxError
        for kind, (what, text) in zip(entry.parameters, parameters, strict=False):
            if kind in ("string", "block") or what != "text":
                if kind != what:
                    raise BadSyntaxError
                yield text
            elif kind == "number":
                yield _number(text.decode())
            elif kind == "boolean":
                yield self._boolean(text.decode().upper())
            elif kind == "word":
                yield self._word(text.decode().upper())
            else:
                yield text
        for kind in entry.parameters[len(parameters) :]:
            if kind not in _ASSUMED:
                raise BadSyntaxError
            yield _ASSUMED[kind]

    def _boolean(self, text: str) -> bool:
        if text in ("ON", "OFF"):
            return text == "ON"
        number = _number(text)
        return round(number) != 0 if self.is_exact else number != 0

    def _word(self, text: str) -> str:
        for word, name in WORDS.items():
            if _is_spelled(text, name, sum(map(str.isupper, word)), self.is_exact):
                return name
        raise BadSyntaxError


def _is_spelled(text: str, name: str, short: int, is_exact: bool) -> bool:
    return text in (name, name[:short]) if is_exact else name.startswith(text) and len(text) >= short


def _match(nodes: tuple[Node, ...], words: list[str], is_exact: bool) -> tuple[int, ...] | None:
    """The suffixes of the nodes, 1 where there is none; None if these words do not mean these nodes."""
    if not nodes:
        return None if words else ()
    node, rest = nodes[0], nodes[1:]
    if words:
        text = words[0].upper()
        letters = text.rstrip("0123456789") if node.has_suffix else text
        if _is_spelled(letters, node.name, node.short, is_exact):
            found = _match(rest, words[1:], is_exact)
            if found is not None:
                return (int(text[len(letters) :] or 1), *found)
    if node.is_optional:
        found = _match(rest, words, is_exact)
        return None if found is None else (1, *found)
    return None


def _parsed(text: bytes) -> Unit | None:
    """Raises BadSyntaxError."""
    at = 0
    while at < len(text) and text[at] in _BLANK:
        at += 1
    begin = at
    while at < len(text) and text[at] not in _BLANK:
        at += 1
    header = text[begin:at]
    if not header:
        return None
    if not re.fullmatch(rb"(\*[A-Za-z]+|:?[A-Za-z]\w*(:[A-Za-z]\w*)*)\??", header):
        raise BadSyntaxError
    return Unit(header.decode(), list(_parameters(text[at:])))


def _parameters(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Raises BadSyntaxError."""
    at, is_first = _skip(text, 0), True
    if at == len(text):
        return
    while True:
        if not is_first:
            if at == len(text):
                return
            if text[at] != ord(","):
                raise BadSyntaxError
            at = _skip(text, at + 1)
        is_first = False
        kind, value, at = _parameter(text, at)
        yield kind, value
        at = _skip(text, at)


def _skip(text: bytes, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _parameter(text: bytes, at: int) -> tuple[str, bytes, int]:
    begin = at
    if text[at : at + 1] in (b"'", b'"'):
        quote, value = text[at], bytearray()
        at += 1
        while True:
            if at >= len(text):
                raise BadSyntaxError
            if text[at] == quote:
                if text[at + 1 : at + 2] != bytes([quote]):
                    return "string", bytes(value), at + 1
                at += 1
            value.append(text[at])
            at += 1
    if text[at : at + 1] == b"#" and text[at + 1 : at + 2].isdigit():
        digits = int(text[at + 1 : at + 2])
        if not digits:
            return "block", text[at + 2 :], len(text)
        size = int(text[at + 2 : at + 2 + digits])
        begin = at + 2 + digits
        return "block", text[begin : begin + size], begin + size
    depth = 0
    while at < len(text) and (depth or text[at] != ord(",")):
        depth += {ord("("): 1, ord(")"): -1}.get(text[at], 0)
        at += 1
    return "text", text[begin:at].strip(bytes(range(33))), at


def _number(text: str) -> float:
    """Raises BadSyntaxError."""
    text = text.upper()
    special = {"MAX": _MAXIMUM, "MAXIMUM": _MAXIMUM, "MIN": -_MAXIMUM, "MINIMUM": -_MAXIMUM, "DEF": _MAXIMUM}
    if text in special:
        return special[text]
    if text[:2] in ("#H", "#Q", "#B"):
        try:
            return float(int(text[2:], {"H": 16, "Q": 8, "B": 2}[text[1]]))
        except ValueError as error:
            raise BadSyntaxError from error
    found = re.fullmatch(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:\s*E\s*([+-]?[0-9]+))?\s*([A-Z]*)", text)
    if found is None:
        raise BadSyntaxError
    return float(found[1]) * 10.0 ** (int(found[2] or 0) + _power(found[3]))


def _power(suffix: str) -> int:
    if not suffix or suffix in _UNITS:
        return 0
    for unit in _UNITS:
        prefix = suffix.removesuffix(unit)
        if prefix != suffix and prefix in _POWERS:
            return 6 if prefix == "M" and unit in ("HZ", "OHM") else _POWERS[prefix]
    raise BadSyntaxError
