"""Spells the commands of `scpi_tree` in all ways that the standards know, and in some that they do not.

A Stream is what a client sends: the bytes of its writes, and whether END goes with each. It depends on nothing but the
Random that it is drawn from.
"""

from random import Random
from typing import NamedTuple

from tests.front_proc.scpi_tree import COMMANDS, WORDS, Entry

#: What strings and blocks may hold: nothing of it is a command there.
_TRAPS = (b"*RST", b";*RST", b":SYST:PRES;", b"VOLT 99", b"\x00;OUTP ON", b"it is ", b",(", b"#15", b"?", b"APPL 50,9")

_BLANKS = (b" ", b" ", b" ", b"  ", b"\t", b" \t ", b"\x01 ")


class Stream(NamedTuple):
    """What a client writes, and whether END goes with each."""

    writes: tuple[tuple[bytes, bool], ...]
    marks_end: bool


class Speller:
    """One way to spell, drawn bit by bit."""

    def __init__(self, random: Random, *, marks_end: bool) -> None:
        self._random = random
        self._marks_end = marks_end
        self._path: list[str] = []

    def stream(self) -> Stream:
        """Some messages, cut anywhere: END goes with the end of one only."""
        terminators = (b"", b"\n", b"\r\n") if self._marks_end else (b"\n", b"\n", b"\r\n", b"\r")
        terminator = self._random.choice(terminators)
        writes: list[tuple[bytes, bool]] = []
        for _ in range(self._random.choice((1, 1, 1, 2))):
            count = self._random.choice((1, 1, 1, 2, 3)) if terminator else 1
            whole = b"".join(self._message(terminator, is_last=index == count - 1) for index in range(count))
            pieces = self._cut(whole) if self._random.random() < 0.4 else [whole]
            writes += [(piece, False) for piece in pieces[:-1]]
            writes.append((pieces[-1], self._marks_end))
        return Stream(tuple(writes), self._marks_end)

    def _cut(self, whole: bytes) -> list[bytes]:
        """Anywhere but behind CR alone: what is written up to there is believed to be whole."""
        places = [at for at in range(1, len(whole)) if whole[at - 1] != 13 or whole[at] == 10]
        cuts = sorted(self._random.sample(places, min(len(places), self._random.choice((1, 1, 2, 3, 8)))))
        return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    def _message(self, terminator: bytes, *, is_last: bool) -> bytes:
        self._path = []
        units = [self._unit() for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 4, 6)))]
        if self._marks_end and is_last and self._random.random() < 0.05:
            units.append(b":TRAC:DATA #0" + self._trapped())
            return self._joined(units)
        return self._joined(units) + self._random.choice((b"", b"", b"", b" ", b";")) + terminator

    def _joined(self, units: list[bytes]) -> bytes:
        message = b"".join(
            self._random.choice((b";", b";", b"; ", b" ;", b";;" if self._random.random() < 0.1 else b";")) + unit
            for unit in units
        )
        return self._random.choice((b"", b"", b" ")) + message.lstrip(b" ;")

    def _unit(self) -> bytes:
        entry = self._random.choice(COMMANDS)
        is_query = entry.has_query and (not entry.has_command or self._random.random() < 0.25)
        header = self._header(entry) + ("?" if is_query else "")
        if is_query:
            return self._cased(header).encode() + (b" MAX" if self._random.random() < 0.1 else b"")
        parameters = [self._parameter(kind) for kind in entry.parameters]
        if not parameters:
            return self._cased(header).encode()
        comma = self._random.choice((b",", b",", b", ", b" ,"))
        return self._cased(header).encode() + self._random.choice(_BLANKS) + comma.join(parameters)

    def _header(self, entry: Entry) -> str:
        if entry.nodes[0].name.startswith("*"):
            return entry.nodes[0].name
        nodes = []
        for node in entry.nodes:
            if node.is_optional and self._random.random() < 0.6:
                continue
            length = self._random.choice((node.short, node.short, len(node.name)))
            if self._random.random() < 0.05:
                length = self._random.randint(node.short, len(node.name))
            suffix = self._random.choice(("", "", "1", "2", "3", "02")) if node.has_suffix else ""
            nodes.append(node.name[:length] + suffix)
        is_below = self._path and nodes[: len(self._path)] == self._path and len(nodes) > len(self._path)
        before, self._path = self._path, nodes[:-1]
        choice = self._random.random()
        if is_below and choice < 0.7:
            return ":".join(nodes[len(before) :])
        if choice < 0.4:
            return ":" + ":".join(nodes)
        if before and choice < 0.5 and len(nodes) > 1:  # a header that goes on where the last one was, or is nobody's
            self._path = before + nodes[1:-1]
            return ":".join(nodes[1:])
        if before:
            self._path = before + self._path
        return ":".join(nodes)

    def _cased(self, header: str) -> str:
        how = self._random.random()
        if how < 0.5:
            return header
        if how < 0.75:
            return header.lower()
        return "".join(self._random.choice((letter.lower(), letter)) for letter in header)

    # Parameters.

    def _parameter(self, kind: str) -> bytes:
        if kind == "number":
            return self._number()
        if kind == "boolean":
            return self._random.choice((b"ON", b"on", b"OFF", b"Off", b"1", b"0", b"1.0", b"0.0", b"+1", b"5", b"#H1"))
        if kind == "string":
            quote = self._random.choice((b"'", b'"'))
            return quote + self._trapped().replace(quote, 2 * quote) + quote
        if kind == "block":
            data = self._trapped() + self._random.choice((b"", b"\n", b"\r*RST\n"))
            length = str(len(data)).encode().rjust(self._random.choice((1, 2, 3)), b"0")
            return b"#%d%b%b" % (len(length), length, data)
        if kind == "list":
            return self._random.choice((b"(@1)", b"(@1,3)", b"(@1:4,7)", b"( @ 1 )"))
        word = self._random.choice(tuple(WORDS))
        short = word if self._random.random() < 0.5 else "".join(filter(str.isupper, word))
        return self._cased(short).encode()

    def _trapped(self) -> bytes:
        return b"".join(self._random.choices(_TRAPS, k=self._random.randint(0, 4)))

    def _number(self) -> bytes:
        value = self._random.choice((0, 0.5, 1, 3.3, 5, 11.999, 12, 12.001, 13, 20, 99, -1, 0.001))
        how = self._random.random()
        if how < 0.05:
            return self._random.choice((b"MAX", b"min", b"DEF", b"MAXimum"))
        if how < 0.1:
            return b"#H%X" % max(0, int(value)) if how < 0.07 else b"#b" + bin(max(0, int(value)))[2:].encode()
        text = self._random.choice(
            (f"{value:g}", f"{value:+g}", f"{value:.6f}", f"{value:e}", f"{value:E}", f"{value}")
        )
        if text.startswith("0.") and self._random.random() < 0.3:
            text = text[1:]
        blank = self._random.choice(("", "", " "))
        if how < 0.4:
            unit = self._random.choice(("V", "v", "A"))
            prefix, factor = self._random.choice((("", 1), ("m", 1e-3), ("M", 1e-3), ("k", 1e3), ("u", 1e-6)))
            return f"{value / factor:.9g}{blank}{prefix}{unit}".encode()
        return text.encode()


def stream(random: Random) -> Stream:
    """Anything."""
    return Speller(random, marks_end=random.random() < 0.5).stream()
