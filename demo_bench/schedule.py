"""The schedule of `instruments simulate` as people write it: a TOML file, or faults on the command line.

Pure: text in, a checked Schedule out, or a ScheduleError that names the file and the row and says what is accepted.
Runs in the simulating process. What the faults do is in `faults`.

    read_schedule   the text of a file -> Schedule
    read_option     one fault as a line, as in `--fault 'late on=MEAS* every=10 seconds=3'`

To add a key of a fault: its row in KEYS, its field in `faults.Fault`.
"""

import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from demo_bench.faults import KINDS, Fault


class ScheduleError(Exception):
    """A schedule that is not accepted: the text says where, what is wrong, and what is accepted."""


#: What *IDN? answers if the schedule does not say.
IDENTITY = "SIMULATED,INSTRUMENT,0,1.0"


@dataclass(frozen=True, slots=True)
class Schedule:
    """`answers`: what is asked -> answer. What is asked is a header, or a header and its parameters."""

    identity: str = IDENTITY
    answers: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


# What the keys of a fault accept.

#: Beyond these a row is more likely a slip.
LONGEST_SECONDS, MOST_BYTES, MOST_MESSAGES = 86_400, 1_000_000, 1_000_000_000


def _kind(value: Any) -> str:
    if not isinstance(value, str) or value not in KINDS:
        raise ValueError
    return value


def _line(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError
    return value


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def accept(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError
        return value

    return accept


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= LONGEST_SECONDS:
        raise ValueError
    return float(value)


def _number(text: str) -> Any:
    """What is no number stays text, and is refused as that."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a fault. `in_option` makes of the text in an option what a TOML file would have."""

    name: str
    accept: Callable[[Any], Any]
    accepted: str
    default: str
    help: str
    in_option: Callable[[str], Any] = _number

    def taken(self, value: Any, where: str) -> Any:
        """`value` as it is used. Raises ScheduleError."""
        try:
            return self.accept(value)
        except ValueError as error:
            raise ScheduleError(f"{where}: {self.name} = {value!r} is not {self.accepted}") from error


_FROM_1 = f"a whole number from 1 to {MOST_MESSAGES}"
_FROM_0 = f"a whole number from 0 to {MOST_MESSAGES}"

KEYS = (
    Key("kind", _kind, f"one of {', '.join(KINDS)}", "none: required", "what happens", str),
    Key("on", _line, "text on one line", "*", "the messages that it is for; `*` stands for any text", str),
    Key("after", _whole(0, MOST_MESSAGES), _FROM_0, "0", "so many of these messages pass first"),
    Key(
        "every",
        _whole(1, MOST_MESSAGES),
        _FROM_1,
        "1",
        "of those that follow, one in so many: 10 is the 10th, 20th ...",
    ),
    Key("times", _whole(1, MOST_MESSAGES), _FROM_1, "no limit", "so often, and then no more"),
    Key("seconds", _seconds, f"seconds, more than 0 and at most {LONGEST_SECONDS}", "the kind's", "see the kind"),
    Key("bytes", _whole(1, MOST_BYTES), f"a whole number from 1 to {MOST_BYTES}", "the kind's", "see the kind"),
)

#: Those that every kind has.
COMMON = KEYS[:5]


def keys_of(kind: str) -> dict[str, Key]:
    """What a fault of this kind may say, by name."""
    return {key.name: key for key in KEYS if key in COMMON or key.name in KINDS[kind].parameters}


# One fault.


def _read_fault(table: Mapping[str, Any], where: str) -> Fault:
    if "kind" not in table:
        raise ScheduleError(f"{where}: kind is missing: it is {KEYS[0].accepted}")
    kind = KEYS[0].taken(table["kind"], where)
    keys = keys_of(kind)
    for name in table:
        if name not in keys:
            raise ScheduleError(f"{where}: a {kind} fault has no {name!r}; it has {', '.join(keys)}")
    given = {name: keys[name].taken(value, where) for name, value in table.items()}
    return Fault(**{**KINDS[kind].parameters, **given})


def read_option(text: str, where: str) -> Fault:
    """The fault that a line says: a kind, then `key=value` with blanks between. Raises ScheduleError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ScheduleError(f"{where}: {text!r}: {error}") from error
    table: dict[str, Any] = {"kind": words[0]} if words else {}
    in_option = {key.name: key.in_option for key in KEYS}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if not equals or name in table:
            raise ScheduleError(f"{where}: {word!r} is not key=value, with each key once")
        table[name] = in_option.get(name, str)(value)
    return _read_fault(table, where)


# The file.


def read_schedule(text: str, file: str) -> Schedule:
    """The schedule that a TOML file holds. Raises ScheduleError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScheduleError(f"{file}: not a TOML file: {error}") from error
    for name in table:
        if name not in ("identity", "answers", "fault"):
            raise ScheduleError(f"{file}: a schedule has no {name!r}; it has identity, [answers] and [[fault]]")
    return Schedule(
        _read_answer(table.get("identity", IDENTITY), f"{file}: identity"),
        _read_answers(table.get("answers", {}), file),
        _read_faults(table.get("fault", []), file),
    )


def _read_answer(value: Any, where: str) -> str:
    if not isinstance(value, str) or "\n" in value:
        raise ScheduleError(f"{where} = {value!r} is not text in quotes, on one line")
    return value


def _read_answers(table: Any, file: str) -> dict[str, str]:
    if not isinstance(table, dict):
        raise ScheduleError(f'{file}: answers stand under the line [answers], each as "MESSAGE" = "ANSWER"')
    for message in table:
        if not message.strip() or not message.isprintable() or ";" in message:
            raise ScheduleError(f"{file}, [answers]: {message!r} is not one command on one line, without ';'")
    return {message: _read_answer(answer, f"{file}, [answers]: {message!r}") for message, answer in table.items()}


def _read_faults(rows: Any, file: str) -> tuple[Fault, ...]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ScheduleError(f"{file}: each fault begins with the line [[fault]]")
    return tuple(_read_fault(row, f"{file}, [[fault]] {number}") for number, row in enumerate(rows, 1))
