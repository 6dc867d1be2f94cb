"""The commands of an imaginary instrument, as its designer would write them down: nothing of the guards is used here.

    COMMANDS     each command: its nodes, and what its parameters are
    is_forbidden what of that the guards in RULES are to keep away, told by what was executed

`scpi_grammar` spells these commands, `scpi_interpreter` executes what was spelled.
"""

from typing import Any, NamedTuple


class Node(NamedTuple):
    """One keyword; `short` many letters are its short form."""

    name: str
    short: int
    is_optional: bool = False
    has_suffix: bool = False


class Entry(NamedTuple):
    """A command: what it is called in what was executed, its nodes, the kinds of its parameters; can it be asked?"""

    name: str
    nodes: tuple[Node, ...]
    parameters: tuple[str, ...] = ()
    has_query: bool = True
    has_command: bool = True


def _entry(name: str, header: str, *parameters: str, query: bool = True, command: bool = True) -> Entry:
    """`~SOURce#` may be left out, and has a suffix."""
    nodes = []
    for word in header.split():
        is_optional, has_suffix, keyword = word.startswith("~"), word.endswith("#"), word.strip("~#")
        short = sum(letter.isupper() or letter == "*" for letter in keyword)
        nodes.append(Node(keyword.upper(), short, is_optional, has_suffix))
    return Entry(name, tuple(nodes), parameters, query, command)


COMMANDS = (
    _entry("reset", "*RST", query=False),
    _entry("clear", "*CLS", query=False),
    _entry("identity", "*IDN", command=False),
    _entry("wait", "*WAI", query=False),
    _entry("save", "*SAV", "number", query=False),
    _entry("volt", "~SOURce# VOLTage ~LEVel ~IMMediate ~AMPLitude", "number"),
    _entry("volt-triggered", "~SOURce# VOLTage ~LEVel TRIGgered ~AMPLitude", "number"),
    _entry("protection", "~SOURce# VOLTage PROTection ~LEVel", "number"),
    _entry("protection-state", "~SOURce# VOLTage PROTection STATe", "boolean"),
    _entry("current", "~SOURce# CURRent ~LEVel ~IMMediate ~AMPLitude", "number"),
    _entry("current-range", "~SOURce# CURRent RANGe", "number"),
    _entry("output", "OUTPut# ~STATe", "boolean"),
    _entry("output-protection", "OUTPut# PROTection CLEar", query=False),
    _entry("preset", "SYSTem PRESet", query=False),
    _entry("beep", "SYSTem BEEPer ~IMMediate", query=False),
    _entry("error", "SYSTem ERRor ~NEXT", command=False),
    _entry("lan-reset", "SYSTem COMMunicate LAN RESet", query=False),
    _entry("lan-name", "SYSTem COMMunicate LAN HOSTname", "string"),
    _entry("apply", "APPLy", "number", "number"),
    _entry("text", "DISPlay ~WINDow TEXT ~DATA", "string"),
    _entry("curve", "TRACe DATA", "block", query=False),
    _entry("channel", "CHANnel# DISPlay", "boolean"),
    _entry("channel-range", "CHANnel# RANGe", "number"),
    _entry("measure", "MEASure VOLTage ~DC", command=False),
    _entry("initiate", "INITiate ~IMMediate", query=False),
    _entry("trigger-source", "TRIGger ~SEQuence# SOURce", "word"),
    _entry("trigger-level", "TRIGger ~SEQuence# LEVel", "number"),
    _entry("scan", "ROUTe SCAN", "list"),
)

#: Words that the instrument knows as parameters, with their short forms.
WORDS = {"IMMediate": "IMMEDIATE", "EXTernal": "EXTERNAL", "BUS": "BUS", "EXTended": "EXTENDED"}

#: The guards, as they would stand in the TOML file.
RULES: dict[str, Any] = {
    "deny": [
        "*RST",
        "SYSTem:PRESet",
        "SYSTem:COMMunicate:LAN:RESet",
        "[SOURce#]:VOLTage:PROTection[:LEVel]",
        "CHANnel2:DISPlay",
        "TRIGger[:SEQuence]:SOURce EXTernal",
        "SYSTem:ERRor[:NEXT]?",
    ],
    "confirm": ["OUTPut[:STATe] ON"],
    "limit": {"[SOURce#]:VOLTage[:LEVel][:IMMediate][:AMPLitude]": [0, 12], "APPLy": [[0, 12], [0, 1]]},
}


class Executed(NamedTuple):
    """What an instrument did: the entry's name, the suffixes of its nodes, the values of its parameters."""

    name: str
    is_query: bool
    suffixes: tuple[int, ...] = ()
    values: tuple[Any, ...] = ()


#: What none of these rules lets through: commands, and a query.
_NEVER = frozenset({"reset", "preset", "lan-reset", "protection"})


def is_forbidden(done: Executed) -> bool:
    """By RULES."""
    if done.is_query:
        return done.name == "error"
    if done.name in _NEVER:
        return True
    if done.name == "channel":
        return done.suffixes[0] == 2
    if done.name == "trigger-source":
        return bool(done.values[0] == "EXTERNAL")
    if done.name == "output":
        return bool(done.values[0])
    if done.name == "volt":
        return not 0 <= done.values[0] <= 12
    if done.name == "apply":
        return not (0 <= done.values[0] <= 12 and 0 <= done.values[1] <= 1)
    return False


def is_command(done: Executed) -> bool:
    """What a read-only resource never sees."""
    return not done.is_query
