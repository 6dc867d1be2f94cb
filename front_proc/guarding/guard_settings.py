"""What the keys `deny`, `confirm` and `limit` of a resource accept. Pure. Runs in the front.

An accept function raises ValueError, or WrongValueError with what is wrong, as in `setting_values`.
"""

from typing import Any

from front_proc.configuration.setting_values import WrongValueError, is_number
from front_proc.guarding.guards import Limit, Range
from front_proc.guarding.scpi_numbers import is_unit
from front_proc.guarding.scpi_patterns import Pattern, PatternError, pattern_of


def patterns(value: Any) -> tuple[Pattern, ...]:
    """`deny` and `confirm`: a list of headers."""
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError
    return tuple(map(_pattern, value))


def limits(value: Any) -> tuple[Limit, ...]:
    """`limit`: a table of headers and ranges."""
    if not isinstance(value, dict):
        raise ValueError
    return tuple(_limit(text, given) for text, given in value.items())


def _pattern(text: str) -> Pattern:
    try:
        return pattern_of(text)
    except PatternError as error:
        raise WrongValueError(f"{text!r}: {error}") from error


def _limit(text: str, given: Any) -> Limit:
    pattern = _pattern(text)
    if pattern.is_query or pattern.parameters:
        raise WrongValueError(f"{text!r}: a limit is for a command's parameters, so behind its header stands nothing")
    if not isinstance(given, list) or not given:
        raise WrongValueError(f"{text!r}: no range; one is [LOW, HIGH]")
    listed = given if all(isinstance(each, list) for each in given) else [given]
    return Limit(pattern, tuple(_range(text, each) for each in listed))


def _range(text: str, given: list[Any]) -> Range | None:
    if not given:
        return None
    low, high, unit = [*given, ""][:3] if len(given) in (2, 3) else ["", "", ""]
    if not is_number(low) or not is_number(high) or not low <= high:
        raise WrongValueError(f"{text!r}: {given} is no range; one is [LOW, HIGH] or [LOW, HIGH, 'UNIT']")
    if unit and (not isinstance(unit, str) or not is_unit(unit)):
        raise WrongValueError(f"{text!r}: {unit!r} is no unit that is known")
    return Range(float(low), float(high), unit.upper())
