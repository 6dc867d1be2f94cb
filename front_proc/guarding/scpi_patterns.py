"""Headers as instruments' manuals write them, made into something that finds every spelling of theirs.

Pure. Runs in the front. `[SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]`: upper case is the short form, all of it
the long one; what is in brackets may be left out; a keyword stands for itself with every numeric suffix, and `CHANnel2`
for that one only (left out, a suffix is 1). `?` at the end means the query. Parameters may follow, which narrow it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from front_proc.guarding import scpi, scpi_numbers
from front_proc.guarding.scpi import Command

_TOKEN = re.compile(r"[][:]|\*[A-Za-z]+|[A-Za-z][A-Za-z0-9_]*#?")

#: A keyword: its short form, what the long one has besides, its suffix.
_KEYWORD = re.compile(r"(?P<short>[A-Z](?:[A-Z0-9_]*[A-Z_])?)(?P<rest>[a-z_]*)(?P<suffix>[0-9]+|#)?")

#: Headers that one pattern may stand for, by what is left out of it.
FORM_LIMIT = 128

#: Words for a boolean (SCPI-99, 7.3).
_BOOLEANS = {"ON": True, "OFF": False}

#: Words that stand for a value which the instrument knows, and nobody else.
UNKNOWN = re.compile(r"MIN(IMUM)?|MAX(IMUM)?|DEF(AULT)?|UP|DOWN|INF(INITY)?|NINF(INITY)?|NAN|AUTO|TOGG?(LE)?", re.ASCII)


class PatternError(ValueError):
    """It is no pattern: the text says why."""


@dataclass(frozen=True)
class Pattern:
    """What one pattern finds."""

    text: str
    header: re.Pattern[str]
    #: What finds each beginning of its headers that is shorter than they are.
    beginnings: tuple[str, ...]
    is_query: bool
    #: What its parameters have to be, each a word as it is written or a number.
    parameters: tuple[str, ...] = ()

    def fits(self, command: Command, headers: list[str]) -> bool:
        """Is that what `command` may be taken for? Also if nobody can tell by its parameters."""
        if command.is_query is not self.is_query or not any(map(self.header.fullmatch, headers)):
            return False
        given = [*command.parameters, *[""] * len(self.parameters)]
        return all(_may_be(one, wanted) for one, wanted in zip(given, self.parameters, strict=False))


def pattern_of(text: str) -> Pattern:
    """Raises PatternError."""
    if not text.isascii() or not text.isprintable():
        raise PatternError("it has other characters than printable ASCII ones")
    header, _, parameters = text.strip().partition(" ")
    is_query = header.endswith("?")
    header = header.removesuffix("?")
    if not header:
        raise PatternError("it has no header")
    forms = _forms(header)
    expression = "|".join("".join(form) for form in forms)
    beginnings = dict.fromkeys("".join(form[:size]) for form in forms for size in range(1, len(form)))
    wanted = tuple(part.strip() for part in parameters.split(",")) if parameters.strip() else ()
    for word in wanted:
        if not _KEYWORD.fullmatch(word) and not scpi_numbers.readings(word):
            raise PatternError(f"{word!r} is neither a word as manuals write it nor a number")
    return Pattern(text, re.compile(expression, re.ASCII), tuple(beginnings), is_query, wanted)


def _forms(header: str) -> list[list[str]]:
    """The headers that it stands for, by what is left out: for each node what finds it, with a colon behind."""
    parts = _TOKEN.findall(header)
    if "".join(parts) != header:
        raise PatternError(f"{header!r} is no header: one has keywords, colons, brackets and # for numbers")
    keywords = [part for part in parts if part not in "[]:"]
    if ":".join(keywords) != "".join(part for part in parts if part not in "[]").lstrip(":"):
        raise PatternError("between two keywords stands one colon, and none behind the last")
    forms: list[list[str]] = [[]]
    without: list[list[list[str]]] = []
    for part in parts:
        if part == "[":
            without.append(forms)
        elif part == "]" and without:
            forms = forms + without.pop()
        elif part == "]":
            raise PatternError("a bracket lacks its counterpart")
        elif part != ":":
            node = _node(part)
            forms = [[*form, node] for form in forms]
        if len(forms) > FORM_LIMIT:
            raise PatternError(f"it stands for more than {FORM_LIMIT} headers")
    if without:
        raise PatternError("a bracket lacks its counterpart")
    if [] in forms:
        raise PatternError("all of it may be left out")
    return forms


def _node(keyword: str) -> str:
    if keyword.startswith("*"):
        return re.escape(keyword.upper()) + ":"
    match = _KEYWORD.fullmatch(keyword)
    if match is None:
        raise PatternError(f"{keyword!r} is not written as in manuals, with its short form in upper case: VOLTage")
    suffix = match["suffix"]
    if suffix in (None, "#"):
        digits = "[0-9]*"
    else:
        digits = f"0*{int(suffix)}"
        if int(suffix) == 1:
            digits = f"(?:{digits})?"
    return f"(?:{'|'.join(_spellings(match))}){digits}:"


def _spellings(match: re.Match[str]) -> Iterator[str]:
    """Longest first: the long form, the short one, and what is between them, which lenient instruments take too."""
    short, rest = match["short"], match["rest"].upper()
    for length in range(len(rest), -1, -1):
        yield short + rest[:length]


def _may_be(given: str, wanted: str) -> bool:
    """Is the parameter `given` the `wanted` one, or can nobody tell?"""
    word = given.upper()
    readings = scpi_numbers.readings(given)
    if not readings and scpi.is_split(given.encode()):
        return False  # where a line's end is white space, that is an error
    if wanted.upper() in _BOOLEANS:
        return _may_be_boolean(word, readings, is_on=_BOOLEANS[wanted.upper()])
    numbers = scpi_numbers.readings(wanted)
    if numbers and word in _BOOLEANS:
        return float(_BOOLEANS[word]) in numbers
    if numbers:
        return any(number in numbers for number in readings) if readings else not _is_plain(word)
    match = _KEYWORD.fullmatch(wanted)
    assert match is not None, "pattern_of has looked"
    suffix = match["suffix"] or ""
    return not readings and (not _is_plain(word) or word in {f"{form}{suffix}" for form in _spellings(match)})


def _may_be_boolean(word: str, readings: tuple[float, ...], *, is_on: bool) -> bool:
    if readings:  # it is rounded (SCPI-99, 7.3), cut, or compared with 0
        return any(number != 0 if is_on else abs(number) < 1 for number in readings)
    if word in _BOOLEANS:
        return _BOOLEANS[word] is is_on
    return not _is_plain(word)


def _is_plain(word: str) -> bool:
    """Is it a word that stands for nothing but itself?"""
    return bool(word) and word.replace("_", "A").isalnum() and word[0].isalpha() and not UNKNOWN.fullmatch(word)
