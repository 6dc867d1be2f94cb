"""What a numeric parameter comes to in its base unit (IEEE 488.2, 7.7.2 to 7.7.4; SCPI-99, volume 1, 7).

Pure. Runs in the front. `1.5 kV` is 1500, `#HFF` 255. A suffix that can be read in two ways gives both numbers; what
is no number, or has a unit that is not in the table, gives none.

To add a unit: its row in _UNITS; only such that a factor makes of the base unit, or of itself.
"""

import re

#: Nothing is tried twice (`++`): with what three groups could share, that would take seconds for a thousand digits.
_NUMBER = re.compile(
    r"(?P<mantissa>[+-]?(?:\d++\.?+\d*+|\.\d++))(?:\s*+E\s*+(?P<exponent>[+-]?\d++))?+\s*+(?P<suffix>[A-Z%/.\-0-9^]*+)",
    re.ASCII,
)
_BASES = {"H": 16, "Q": 8, "B": 2}

#: IEEE 488.2, table 7-2: the powers of ten.
_MULTIPLIERS = {
    "EX": 18,
    "PE": 15,
    "T": 12,
    "G": 9,
    "MA": 6,
    "K": 3,
    "M": -3,
    "U": -6,
    "N": -9,
    "P": -12,
    "F": -15,
    "A": -18,
}

#: Units that take multipliers, in the spelling of table 7-1.
_UNITS = frozenset(
    {"V", "A", "W", "OHM", "HZ", "S", "SIE", "F", "H", "T", "WB", "C", "J", "N", "PA", "BAR", "CEL", "K", "DEG", "RAD"}
    | {"PCT", "PPM", "VA", "VAR", "VPP", "VRMS", "APP", "ARMS", "SA", "SPS", "LM", "LX", "CD", "BQ", "EV", "SR", "MOL"}
    | {"BPS", "BAUD"}
)

#: Where M is mega (table 7-2's note).
_MEGA = frozenset({"OHM", "HZ"})

#: What stands for a number of units, and is not changed by a factor.
LOGARITHMIC = frozenset({"DB", "DBM", "DBV", "DBMV", "DBUV", "DBW", "DBA", "DBUA", "DBMA", "DBC", "DBI"})

#: Digits of an exponent (7.7.2.4.1 has 32000 at most).
_EXPONENT_LIMIT = 6


def readings(text: str, unit: str = "") -> tuple[float, ...]:
    """The numbers that `text` may stand for; none if it is no number. `unit`: the only one that it may be in."""
    text = text.strip().upper()
    if text.startswith("#"):
        return _whole_number(text)
    match = _NUMBER.fullmatch(text)
    if match is None or len(match["exponent"] or "") > _EXPONENT_LIMIT:
        return ()
    powers = _powers(match["suffix"], unit)
    number, exponent = match["mantissa"], int(match["exponent"] or 0)
    return tuple(float(f"{number}E{exponent + power}") for power in powers)


def is_unit(unit: str) -> bool:
    """Is that one that a number may be in?"""
    return unit.upper() in _UNITS | LOGARITHMIC


def _whole_number(text: str) -> tuple[float, ...]:
    try:
        return (float(int(text[2:].replace("_", "!"), _BASES[text[1:2]])),)
    except (KeyError, ValueError, OverflowError):
        return ()


def _powers(suffix: str, wanted: str) -> tuple[int, ...]:
    """The powers of ten that `suffix` may mean."""
    if not suffix:
        return (0,)
    if suffix in LOGARITHMIC:
        return (0,) if suffix == wanted else ()
    if wanted in LOGARITHMIC:
        return ()
    found = {0} if suffix in _UNITS and wanted in ("", suffix) else set()
    for name, power in _MULTIPLIERS.items():
        unit = suffix.removeprefix(name)
        if unit != suffix and unit in _UNITS and wanted in ("", unit):
            found.add(6 if name == "M" and unit in _MEGA else power)
    if suffix == "K" and not wanted:
        found.add(3)  # kelvin; but `5K` is 5000 to some instruments
    return tuple(sorted(found))
