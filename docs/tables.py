"""The tables in these pages that come from code: `python docs/tables.py` rewrites them, `--check` fails with a diff.

A page says where one belongs: `<!-- generated: NAME -->`, the table, `<!-- end generated -->`. NAME is a row of TABLES.
A cell that the code does not know (advice, what a client sees) is None here: its words stand in the page, are found
again by the row's first word, and are kept. A row whose words are missing is not accepted.

To add a table: a function that returns its lines and its row in TABLES.
"""

import difflib
import importlib
import re
import sys
import types
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, get_args

DOCS = Path(__file__).resolve().parent
FIGURES = DOCS / "explanation" / "reliability.json"
sys.path.insert(0, str(DOCS.parent))

import command_line  # noqa: E402 - beside this file
import dependencies  # noqa: E402 - so is this
import house  # noqa: E402 - and this
import msgspec  # noqa: E402 - our own packages are found by the line above
import performance_tables  # noqa: E402 - beside this file
import python_api  # noqa: E402 - so is this
import visa_functions  # noqa: E402 - so is this

from client.commands import overview  # noqa: E402
from client.commands.checkup import settings as client_settings  # noqa: E402
from demo_bench import faults as simulated_faults  # noqa: E402
from demo_bench import schedule  # noqa: E402
from front_proc.access import rights, token_file  # noqa: E402
from front_proc.configuration import limits, resource_settings, settings  # noqa: E402
from front_proc.configuration.toml_values import toml_value  # noqa: E402
from front_proc.languages import text_commands, wire_conversation  # noqa: E402
from front_proc.process import lifecycle  # noqa: E402
from front_proc.record import audit  # noqa: E402
from pyvisa_daemon import audit_chain, errors, functions, wire  # noqa: E402

Row = tuple[str | None, ...]

#: Two comments and what is between them.
_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end generated -->)", re.DOTALL)
_CELL = re.compile(r"(?<!\\)\|")


class PageError(Exception):
    """A page that cannot be completed: the text names it and what is missing."""


# What is there already.


def cells(line: str) -> list[str]:
    """A table line's cells, with `\\|` as it stands."""
    return [cell.strip() for cell in _CELL.split(line.strip())[1:-1]]


def key(cell: str) -> str:
    """What a row is found again by: the first word of its first cell."""
    return cell.strip("`").split()[0].strip("`") if cell else ""


def kept_words(block: str) -> dict[tuple[str, str], str]:
    """(row's key, column's head) -> words, as they stand in a page."""
    lines = [cells(line) for line in block.splitlines() if line.startswith("|")]
    if len(lines) < 2:
        return {}
    heads, rows = lines[0], lines[2:]
    return {(key(row[0]), head): word for row in rows for head, word in zip(heads, row, strict=True)}


def table(heads: Iterable[str], rows: Iterable[Row]) -> Callable[[str], str]:
    """A Markdown table; given the block that it replaces it takes over the words of the cells that are None."""
    heads = tuple(heads)

    def fill(block: str) -> str:
        kept = kept_words(block)
        lines = [heads, ("---",) * len(heads)]
        for row in rows:
            name = key(row[0] or "")
            filled = [
                kept.get((name, head), "") if cell is None else cell for head, cell in zip(heads, row, strict=True)
            ]
            if not all(filled):
                empty = [head for head, cell in zip(heads, filled, strict=True) if not cell]
                raise PageError(f"the row {name!r} has no words yet for: {', '.join(empty)}")
            lines.append(tuple(filled))
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    return fill


def code(text: str) -> str:
    """As code in a table's cell."""
    return "`" + text.replace("|", "\\|") + "`"


def sentence(text: str | None) -> str:
    """A docstring's words on one line."""
    return " ".join((text or "").split()).replace("|", "\\|")


# Text protocol.


def text_commands_of(prefix: text_commands.Prefix) -> Callable[[str], str]:
    rows = [(code(row.syntax), None) for row in text_commands.COMMANDS[prefix].values()]
    return table(("command", "what it does, and its reply"), rows)


def roles() -> Callable[[str], str]:
    """What takes which role, in both languages."""
    commands = [
        (prefix + verb, row.least_role) for prefix, rows in text_commands.COMMANDS.items() for verb, row in rows.items()
    ]
    requests = [(message.__struct_config__.tag, role) for message, role in wire_conversation.ROLES.items()]
    rows = []
    for role in rights.Role:
        in_text, on_wire = (
            ", ".join(code(name) for name, least in takes if least is role) or "-" for takes in (commands, requests)
        )
        rows.append((code(role.word), in_text, on_wire))
    return table(("role", "in text", "on the wire"), rows)


def token_keys() -> Callable[[str], str]:
    return table(("key", "accepted", "meaning"), [(code(row.name), row.accepted, row.help) for row in token_file.KEYS])


# Wire.


def type_name(annotation: Any) -> str:
    """A field's type in MessagePack's words."""
    names = {int: "int", float: "float", str: "str", bytes: "bin", bool: "bool", types.NoneType: "nil"}
    if isinstance(annotation, types.UnionType):
        return " or ".join(map(type_name, get_args(annotation)))
    if annotation is errors.Effect:
        return "str"
    arguments = get_args(annotation)
    if not arguments:
        return names[annotation]
    inner = [each for each in arguments if each is not ...]
    shown = [f"({type_name(each)})" if isinstance(each, types.UnionType) else type_name(each) for each in inner]
    if annotation.__origin__ is dict:
        return f"map of {shown[0]} to {shown[1]}"
    return f"array of {shown[0]}" if len(shown) == 1 else f"[{', '.join(shown)}]"


def fields_of(message: type[msgspec.Struct]) -> str:
    """The array's elements behind the name, in order; those with a default are marked."""
    shown = []
    for field in msgspec.structs.fields(message):
        mark = "" if field.required else "?"
        shown.append(f"`{field.name}{mark}` {type_name(field.type)}")
    return ", ".join(shown)


def wire_messages(union: Any) -> Callable[[str], str]:
    rows = [
        (code(message.__struct_config__.tag), fields_of(message), sentence(message.__doc__))
        for message in get_args(union)
    ]
    return table(("message", "fields in order", "meaning"), rows)


# Errors, settings, audit.


def error_rows(*, is_visa: bool) -> list[Row]:
    names = {row.status: token for token, row in errors.ERRORS.items() if token.startswith("VI_")}
    return [
        (code(token), f"{code(names[row.status])} ({row.status})", row.meaning, row.remedy, None)
        for token, row in errors.ERRORS.items()
        if token.startswith("VI_") is is_visa
    ]


def own_errors() -> Callable[[str], str]:
    return table(("token", "VISA status", "meaning", "what to do", "effect"), error_rows(is_visa=False))


def visa_errors() -> Callable[[str], str]:
    rows = [
        (token, (status or "").rpartition("(")[2].rstrip(")"), None, remedy, effect)
        for token, status, _, remedy, effect in error_rows(is_visa=True)
    ]
    return table(("token", "number", "when the daemon says so", "what to do", "effect"), rows)


def all_settings() -> Callable[[str], str]:
    rows = []
    for option in settings.OPTIONS:
        on_command_line = f"{option.switch} {option.metavar}".rstrip()
        default = "see text" if option.default is None else code(toml_value(option.default))
        when = str(option.when)
        rows.append((code(option.name), code(on_command_line), default, option.accepted, option.help, when))
    heads = ("name", "on the command line", "default", "accepted", "meaning", "a change counts")
    return table(heads, rows)


def resource_keys() -> Callable[[str], str]:
    rows = []
    for row in resource_settings.KEYS:
        default = "see text" if row.default is None else code(toml_value(row.default))
        rows.append((code(row.name), default, row.accepted, row.help))
    return table(("key", "default", "accepted", "meaning"), rows)


def all_limits() -> Callable[[str], str]:
    return table(
        ("limit", "default", "accepted", "meaning", "a change counts"),
        [(code(row.name), code(str(row.default)), row.accepted, row.help, str(row.when)) for row in limits.ROWS],
    )


def guarded_functions() -> Callable[[str], str]:
    rows: list[Row] = []
    for kind in functions.Guarded:
        names = [code(row.name) for row in functions.FUNCTIONS.values() if row.guarded is kind]
        rows.append((code(kind), ", ".join(names), None))
    return table(("kind", "functions", "on a guarded resource"), rows)


def audit_events() -> Callable[[str], str]:
    rows = [(code(event), meaning, None) for event, meaning in audit.EVENTS.items()]
    return table(("event", "what it tells", "fields between `time`, `event` and `seq`, `prev`"), rows)


def audit_examples() -> Callable[[str], str]:
    """The page's own records, as a log of its own: a line that was put in or changed becomes a link of the chain."""

    def fill(block: str) -> str:
        records = [msgspec.json.decode(line) for line in block.splitlines() if line.startswith("{")]
        plain = [{key: value for key, value in row.items() if key not in ("seq", "prev")} for row in records]
        chain = audit_chain.Chain(audit_chain.digest_with(b""))
        lines, _ = chain.linked(msgspec.json.encode(row) for row in plain)
        return "```json\n" + b"".join(line + b"\n" for line in lines).decode() + "```\n"

    return fill


# VISA functions.


def passed_functions() -> Callable[[str], str]:
    return table(("function", "VISA", *visa_functions.LIBRARY_HEADS, "test"), visa_functions.passed_rows())


def own_functions() -> Callable[[str], str]:
    heads = ("function", "VISA", "where it is done", *visa_functions.LIBRARY_HEADS, "test")
    return table(heads, visa_functions.own_rows())


def local_functions() -> Callable[[str], str]:
    return table(("function", "why it stays in the program", "test"), visa_functions.local_rows())


# Life cycle.


def states() -> Callable[[str], str]:
    rows = [(code(state), None, None) for state in lifecycle.State]
    return table(("state", "what it means", "what a client sees"), rows)


def events() -> Callable[[str], str]:
    return table(("event", "what happened"), [(code(event), None) for event in lifecycle.Event])


def transitions() -> Callable[[str], str]:
    rows: list[Row] = [
        (code(state), code(event), code(following), ", ".join(map(code, actions)) or "nothing")
        for state, row in lifecycle.TRANSITIONS.items()
        for event, (following, actions) in row.items()
    ]
    return table(("state", "event", "next state", "actions in order"), rows)


def diagram() -> Callable[[str], str]:
    """A mermaid drawing of TRANSITIONS. Where each kind of death leads is drawn once, behind a choice."""
    deaths = {event for event in lifecycle.Event if event.startswith("died")}
    common = {event: state for event, (state, _) in lifecycle.TRANSITIONS[lifecycle.State.WEDGED].items()}
    assert common.keys() == deaths
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, row in lifecycle.TRANSITIONS.items():
        dies_commonly = {event: to for event, (to, _) in row.items() if event in deaths} == common
        for event, (to, _) in row.items():
            if not (dies_commonly and event in deaths):
                arrows.setdefault((state, to), []).append(event)
        if dies_commonly:
            arrows.setdefault((state, "death"), []).append("died")
    for event, to in common.items():
        arrows.setdefault(("death", to), []).append(event)
    lines = ["```mermaid", "stateDiagram-v2", "    state death <<choice>>", "    [*] --> closed"]
    lines += [f"    {start} --> {end}: {', '.join(labels)}" for (start, end), labels in arrows.items()]
    return lambda _: "\n".join([*lines, "```", ""])


# Reliability: what the fault suite measured when its figures were last taken.


def faults() -> Callable[[str], str]:
    """A skipped fault counts as not survived: nobody has seen it."""
    heads = ("no.", "fault", "survived", "error after", "works again after", "GOOD: p99 / worst", "other figures")
    return table(heads, [_fault_row(row) for row in msgspec.json.decode(FIGURES.read_bytes())])


def _fault_row(row: dict[str, Any]) -> Row:
    figures = dict(row["figures"])
    good = [figures.pop(name, None) for name in ("good_p99_ms", "good_worst_ms")]
    figures.pop("good_asked", None)
    times = [_milliseconds(figures.pop(name, None)) for name in ("error", "recovered")]
    is_survived = bool(row["outcomes"]) and set(row["outcomes"]) == {"passed"}
    survived = "yes" if is_survived else "**no**" + "".join(f": {reason}" for reason in row["reasons"])
    others = "; ".join(f"{name} {_figure(value)}" for name, value in sorted(figures.items()))
    shown = "-" if None in good else f"{good[0]:.1f} / {good[1]:.1f} ms"
    return (str(row["fault"]), sentence(row["title"]), survived, *times, shown, others or "-")


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:,.0f} ms".replace(",", " ")


def _figure(value: float | int | str) -> str:
    return f"{value:.3g}" if isinstance(value, float) else sentence(str(value))


# Performance: what the benchmarks measured when they were last published.


def performance(name: str) -> Callable[[str], str]:
    return table(*performance_tables.TABLES[name](performance_tables.cells()))


# Faults to simulate.


def fault_kinds() -> Callable[[str], str]:
    rows: list[Row] = []
    for name, kind in simulated_faults.KINDS.items():
        parameters = ", ".join(code(f"{key} = {default:g}") for key, default in kind.parameters.items())
        befalls = "answers" if kind.is_for_answers else "any message"
        rows.append((code(name), parameters or "none", befalls, kind.help, None))
    return table(("kind", "its own keys", "befalls", "what the instrument does", "what a program sees"), rows)


def fault_keys() -> Callable[[str], str]:
    rows = [
        (code(key.name), key.default if " " in key.default else code(key.default), key.accepted, key.help)
        for key in schedule.KEYS
    ]
    return table(("key", "default", "accepted", "meaning"), rows)


# The `instruments` command.


def status_columns() -> Callable[[str], str]:
    return table(("column", "what it says"), [(code(column.heading), None) for column in overview.COLUMNS])


def client_variables() -> Callable[[str], str]:
    return table(("variable", "what it says"), [(code(name), use) for name, use in client_settings.VARIABLES.items()])


# Limits and deadlines.


def constants(*rows: tuple[str, str, str]) -> Callable[[str], str]:
    """(module, constant, unit) for each row; what it bounds are the page's words."""
    filled = []
    for module, name, unit in rows:
        value = getattr(importlib.import_module(module), name)
        shown = f"{value:,}".replace(",", " ") if isinstance(value, int) else f"{value:g}"
        filled.append((code(f"{module.rpartition('.')[2]}.{name}"), f"{shown} {unit}", None))
    return table(("constant", "value", "what it bounds"), filled)


#: name in the pages -> what fills it.
TABLES: dict[str, Callable[[], Callable[[str], str]]] = {
    "text-program": lambda: text_commands_of(text_commands.Prefix.PROGRAM),
    "text-daemon": lambda: text_commands_of(text_commands.Prefix.DAEMON),
    "dependencies": lambda: table(("needed by", "what for", "packages"), dependencies.rows()),
    "rooms": lambda: table(("room", "what is in it"), house.rows()),
    "commands": lambda: table(("command", "what it is for"), command_line.rows()),
    "command-line": lambda: lambda _: command_line.text(),
    "python": lambda: lambda _: python_api.text(),
    "roles": lambda: roles(),
    "token-keys": lambda: token_keys(),
    "wire-requests": lambda: wire_messages(wire.Hello | wire.Request),
    "wire-answers": lambda: wire_messages(wire.Answer),
    "wire-limits": lambda: constants(
        ("pyvisa_daemon.framing", "FRAME_LIMIT", "bytes"),
        ("pyvisa_daemon.framing", "PIECE_SIZE", "bytes"),
        ("front_proc.languages.wire_conversation", "WRITE_LIMIT", "bytes"),
        ("front_proc.languages.wire_conversation", "SESSION_LIMIT", "sessions"),
        ("front_proc.languages.wire_conversation", "HELLO_LIMIT", "bytes"),
        ("front_proc.languages.wire_conversation", "STATE_LIMIT", "characters"),
        ("front_proc.languages.wire_conversation", "AHEAD_LIMIT", "bytes"),
        ("front_proc.serving.locks", "KEY_LIMIT", "characters"),
        ("front_proc.serving.read_ahead", "LIMIT", "bytes"),
    ),
    "errors-own": own_errors,
    "errors-visa": visa_errors,
    "settings": all_settings,
    "resource-settings": resource_keys,
    "limits": all_limits,
    "audit-events": audit_events,
    "audit-examples": audit_examples,
    "guarded-functions": guarded_functions,
    "fault-kinds": fault_kinds,
    "fault-keys": fault_keys,
    "status-columns": status_columns,
    "client-variables": client_variables,
    "functions-passed": passed_functions,
    "functions-own": own_functions,
    "functions-local": local_functions,
    "states": states,
    "events": events,
    "transitions": transitions,
    "diagram": diagram,
    "faults": faults,
    **{name: partial(performance, name) for name in performance_tables.TABLES},
    "deadlines": lambda: constants(
        ("front_proc.serving.errands", "READ_AHEAD_MS", "ms"),
        ("front_proc.serving.errands", "POLL_MS", "ms"),
        ("front_proc.process.child", "DUMP_TIME", "s"),
        ("front_proc.serving.hold", "SHORTEST", "s"),
        ("front_proc.serving.hold", "FOR_INFINITE", "s"),
        ("front_proc.serving.hold", "LONGEST_POLLING", "s"),
        ("front_proc.process.keeper", "RETRY_TIME", "s"),
        ("front_proc.serving.service", "SOON", "s"),
        ("front_proc.serving.safe_service", "FIRST_TRY", "s"),
        ("front_proc.front", "FINISH_TIME", "s"),
        ("front_proc.front", "SAFE_TIME", "s"),
        ("front_proc.front", "CLOSE_TIME", "s"),
        ("front_proc.front", "KILL_TIME", "s"),
    ),
}


def completed(page: Path) -> str:
    """The page as it should be. Raises PageError."""

    def fill(match: re.Match[str]) -> str:
        start, name, block, end = match.groups()
        if name not in TABLES:
            raise PageError(f"{page.name}: no table is called {name!r}")
        try:
            return start + "\n" + TABLES[name]()(block) + "\n" + end
        except PageError as error:
            raise PageError(f"{page.name}, {name}: {error}") from error

    return _BLOCK.sub(fill, page.read_text("utf-8"))


def differences() -> str:
    """A diff of every page that is not as it should be; empty if all are. Raises PageError."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        now, wanted = page.read_text("utf-8"), completed(page)
        name = str(page.relative_to(DOCS.parent))
        found += difflib.unified_diff(
            now.splitlines(keepends=True), wanted.splitlines(keepends=True), name, f"{name} from the code"
        )
    return "".join(found)


def main() -> None:
    """Rewrite the pages, or with --check say what would change."""
    try:
        if sys.argv[1:] == ["--check"]:
            sys.exit(differences() or 0)
        for page in sorted(DOCS.rglob("*.md")):
            page.write_text(completed(page), "utf-8")
    except PageError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
