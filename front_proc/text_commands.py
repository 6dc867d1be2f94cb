"""The text protocol's commands: one table for the daemon, for `help`, for the docs and for the tests.

Runs in the front. A row says how the verb's argument is read, which function carries it out, and what `help` says; the
function gets the Conversation and the arguments and returns the reply. Failures are raised as Failure.

To add a command: a function and its row in COMMANDS, with the role that it takes; then its line in
docs/reference/text-protocol.md.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from front_proc import status as status_report
from front_proc import text_leases
from front_proc.locks import LockKind
from front_proc.rights import Role
from front_proc.sessions import VI_TMO_INFINITE, Session
from front_proc.text_access import auth
from front_proc.text_framing import (
    answer,
    as_block,
    block_end,
    block_start,
    escape,
    long_answer,
    long_block,
    unescape,
    without_suffix,
)
from front_proc.text_guards import confirm
from front_proc.text_safe import safe, safe_words
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.version import __version__
from pyvisa_daemon.wire import FEATURES

if TYPE_CHECKING:
    from front_proc.text_conversation import Conversation

Reply = bytes | str


class Prefix(StrEnum):
    """What a line begins with."""

    PROGRAM = ".#."
    PERSON = "..."
    DAEMON = ".!."


class Arguments(msgspec.Struct, frozen=True):
    """A verb's argument as its row reads it: words, or a message for a resource."""

    words: tuple[str, ...] = ()
    target: str | None = None
    message: bytes = b""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a verb has an instrument's process do: a row of `instrument_proc.calls`; its reply, from session, data and
    value of what came of it; and the same from data that is long, piece by piece."""

    call: str
    reply: Callable[["Conversation", Session, bytes, object], bytes]
    long_reply: Callable[["Conversation", Session, deque[bytes], object], Iterable[bytes]]


@dataclass(frozen=True)
class Command:
    """One row of the table."""

    verb: str
    usage: str
    read: Callable[[str, bytes], Arguments]
    run: Callable[["Conversation", Arguments], Awaitable[Reply]] | Exchange
    help: str
    #: It changes something: without a terminator it is accepted from loopback only.
    acts: bool = False
    #: Its success is recorded though no instrument has part in it; open and close have records of their own.
    on_record: bool = False
    #: Its message ends with a binary block.
    takes_block: bool = False
    #: The reply for people, from the reply for programs.
    show: Callable[[Any], Iterable[str]] | None = None
    #: What it takes: on the resource that it names first, on any if it names none; ADMIN on the daemon itself.
    role: Role | None = None

    @property
    def least_role(self) -> Role:
        """USE where the row says nothing; ADMIN behind `.!.`, see COMMANDS."""
        return Role.USE if self.role is None else self.role

    @property
    def names_resource(self) -> bool:
        """Is its first word a resource, whether or not that is open here?"""
        return self.usage.startswith("RESOURCE")

    @cached_property
    def syntax(self) -> str:
        return f"{self.verb} {self.usage}".rstrip()


# How arguments are read: (usage, bytes behind the verb and its blank) -> Arguments, or Failure(BAD_ARGUMENT).


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Failure("BAD_ARGUMENT", "not UTF-8; other bytes travel as a block: write_binary") from error
    if "\0" in text:
        raise Failure("BAD_ARGUMENT", "a NUL has no place in a line")
    return text


def words(least: int, most: int) -> Callable[[str, bytes], Arguments]:
    """Words separated by blanks."""

    def read(usage: str, argument: bytes) -> Arguments:
        found = tuple(_text(argument).split())
        if not least <= len(found) <= most:
            raise Failure("BAD_ARGUMENT", f"{len(found)} arguments given; usage: {usage}")
        return Arguments(words=found)

    return read


def message(usage: str, argument: bytes) -> Arguments:
    """`[@RESOURCE] COMMAND`, the command to its last byte."""
    target = None
    if argument.startswith(b"@"):
        name, _, argument = argument[1:].partition(b" ")
        target = _text(name)
    if not argument or target == "":
        raise Failure("BAD_ARGUMENT", f"nothing to send; usage: {usage}")
    _text(argument)
    return Arguments(target=target, message=argument)


def resource_only(usage: str, argument: bytes) -> Arguments:
    """`[RESOURCE]`, with nothing to send there."""
    found = words(0, 1)(usage, argument).words
    return Arguments(target=found[0] if found else None)


def lock_terms(usage: str, argument: bytes) -> Arguments:
    """Words as `text_leases.wanted` takes them; the reason behind them is the message."""
    found, reason = text_leases.split_reason(_text(argument))
    text_leases.wanted(found, reason, usage)
    return Arguments(words=found, message=reason.encode())


def block_message(usage: str, argument: bytes) -> Arguments:
    """`[@RESOURCE] COMMAND #<n><len><bytes>`; the bytes may be anything."""
    start = block_start(argument)
    if start is None or block_end(argument, start) != len(argument):
        raise Failure("BAD_ARGUMENT", f"no whole block in it; usage: {usage}")
    head = message(usage, argument[:start])
    return Arguments(target=head.target, message=head.message + argument[start:])


# What the commands do.


async def ping(conversation: "Conversation", _: Arguments) -> Reply:
    return "pong"


async def list_resources(conversation: "Conversation", _: Arguments) -> Reply:
    return _json(list(filter(conversation.client.rights.sees, await conversation.front.list_resources())))


async def list_open_resources(conversation: "Conversation", _: Arguments) -> Reply:
    return _json(list(filter(conversation.client.rights.sees, conversation.front.open_resources())))


async def open_resource(conversation: "Conversation", arguments: Arguments) -> Reply:
    return (await conversation.open(arguments.words[0])).resource.name


async def use(conversation: "Conversation", arguments: Arguments) -> Reply:
    conversation.current = await conversation.session(arguments.words[0])
    return conversation.current.resource.name


async def close_resource(conversation: "Conversation", arguments: Arguments) -> Reply:
    await conversation.close(await conversation.session(*arguments.words))
    return "ok"


def _answered(conversation: "Conversation", session: Session, data: bytes, _: object) -> bytes:
    return answer(conversation.stripped(session, data))


def _counted(_: "Conversation", __: Session, ___: bytes, value: object) -> bytes:
    return str(value).encode()


def _as_block(_: "Conversation", __: Session, data: bytes, ___: object) -> bytes:
    return as_block(data)


def _long_answered(conversation: "Conversation", session: Session, pieces: deque[bytes], _: object) -> Iterable[bytes]:
    return long_answer(without_suffix(pieces, conversation.termination(session)[0]))


def _long_block(_: "Conversation", __: Session, pieces: deque[bytes], ___: object) -> Iterable[bytes]:
    return long_block(pieces)


def _counted_alone(_: "Conversation", __: Session, ___: deque[bytes], value: object) -> Iterable[bytes]:
    return [str(value).encode()]


query_resource = Exchange("query", _answered, _long_answered)
write_resource = Exchange("write", _counted, _counted_alone)
read_resource = Exchange("read_message", _answered, _long_answered)
query_binary = Exchange("query_block", _as_block, _long_block)


async def timeout(conversation: "Conversation", arguments: Arguments) -> Reply:
    session = await conversation.session()
    if arguments.words:
        conversation.set_timeout(session, _milliseconds(arguments.words[0]))
    timeout_ms = session.timeout_ms
    return "inf" if timeout_ms is None else str(timeout_ms)


def _milliseconds(word: str) -> int:
    if word.lower() == "inf":
        return VI_TMO_INFINITE
    if not word.isascii() or not word.isdigit() or len(word) > 10 or int(word) >= VI_TMO_INFINITE:
        raise Failure("BAD_ARGUMENT", f"{word!r} is no timeout: milliseconds from 0 to {VI_TMO_INFINITE - 1}, or inf")
    return int(word)


async def termination(conversation: "Conversation", arguments: Arguments) -> Reply:
    session = await conversation.session()
    if arguments.words:
        conversation.set_termination(session, *map(unescape, arguments.words))
    return " ".join(map(escape, conversation.termination(session)))


async def stb(conversation: "Conversation", _: Arguments) -> Reply:
    return str((await conversation.execute(await conversation.session(), "read_stb")).value)


async def lock(conversation: "Conversation", arguments: Arguments) -> Reply:
    session = await conversation.session()
    key, ms, terms = text_leases.wanted(arguments.words, arguments.message.decode())
    kind = LockKind.EXCLUSIVE if key is None else LockKind.SHARED
    timeout_ms = session.timeout_ms if ms is None else _milliseconds(ms)
    return await conversation.lock(session, kind, key, None if timeout_ms == VI_TMO_INFINITE else timeout_ms, terms)


async def unlock(conversation: "Conversation", _: Arguments) -> Reply:
    conversation.unlock(await conversation.session())
    return "ok"


async def wait_srq(conversation: "Conversation", arguments: Arguments) -> Reply:
    limit_ms = _milliseconds(arguments.words[0])
    session = await conversation.session()
    return str(await conversation.wait_for_service_request(session, None if limit_ms == VI_TMO_INFINITE else limit_ms))


async def clear(conversation: "Conversation", _: Arguments) -> Reply:
    await conversation.execute(await conversation.session(), "clear")
    return "ok"


async def trigger(conversation: "Conversation", _: Arguments) -> Reply:
    await conversation.execute(await conversation.session(), "assert_trigger", [0])
    return "ok"


async def hello(conversation: "Conversation", arguments: Arguments) -> Reply:
    if arguments.words:
        conversation.client.introduce(arguments.words[0])
    return _json({"daemon": "pyvisa-daemon", "version": __version__, "features": FEATURES, **conversation.client.who()})


async def help_(conversation: "Conversation", arguments: Arguments) -> Reply:
    if arguments.words:
        row = find(Prefix.PROGRAM, arguments.words[0])
        return f"{row.syntax} - {row.help}"
    return _json({row.syntax: row.help for row in COMMANDS[Prefix.PROGRAM].values()})


async def status(conversation: "Conversation", _: Arguments) -> Reply:
    return _json(status_report.describe(conversation.front, conversation.client.rights))


async def reset(conversation: "Conversation", arguments: Arguments) -> Reply:
    await conversation.front.reset(arguments.words[0])
    return "ok"


async def abort(conversation: "Conversation", arguments: Arguments) -> Reply:
    client = conversation.client
    await (await conversation.front.known(arguments.words[0])).abort(f"aborted by {client.name or client.address}")
    return "ok"


async def mode(conversation: "Conversation", arguments: Arguments) -> Reply:
    if arguments.words:
        if arguments.words[0] not in ("plain", "tagged"):
            raise Failure("BAD_ARGUMENT", f"{arguments.words[0]!r} is no mode: plain and tagged are")
        conversation.is_tagged = arguments.words[0] == "tagged"
    return "tagged" if conversation.is_tagged else "plain"


async def end_daemon(conversation: "Conversation", _: Arguments) -> Reply:
    left = await conversation.front.stop()
    return "ended" if not left else f"ended left={','.join(map(str, left))}"


async def drain(conversation: "Conversation", _: Arguments) -> Reply:
    return f"draining sessions={conversation.front.drain()}"


async def restart(conversation: "Conversation", arguments: Arguments) -> Reply:
    (await conversation.front.known(arguments.words[0])).restart()
    return "ok"


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


# The same replies for people.


def _one_a_line(names: list[str]) -> Iterable[str]:
    return names or ["none"]


def _explained(rows: dict[str, str]) -> Iterable[str]:
    width = max(map(len, rows))
    return [f"{syntax:<{width}}  {text}" for syntax, text in rows.items()]


def _status_lines(report: dict[str, Any]) -> Iterable[str]:
    up = f"up {report['uptime_s']:.0f} s, {report['clients']} clients"
    state = "" if report["state"] == "serving" else f", {report['state']}"
    yield f"version {report['version']}, pid {report['pid']}, {up}{state}"
    for row in report["resources"]:
        process = f"pid {row['pid']}, {row['memory_mb']} MB" if row["pid"] else "no process"
        yield (
            f"{row['resource']}: {row['state']}, {process}, {row['sessions']} sessions, {row['queued']} queued, "
            f"{row['restarts']} restarts"
            + _lock_words(row["lock"])
            + safe_words(row["safe"])
            + (f"; {row['last_error']}" if row["last_error"] else "")
        )
    for row in report["connections"]:
        name = f" {row['name']}" if row["name"] else ""
        opened = ", ".join(row["open"]) or "nothing open"
        yield f"client {row['client']}{name}: {row['language'] or 'nothing said'}, {opened}"


def _lock_words(lock: dict[str, Any] | None) -> str:
    if lock is None:
        return ""
    holders = ", ".join(map(_holder_words, lock["holders"]))
    waiters = ", ".join(" ".join(filter(None, (row["client"], row["name"]))) for row in lock["waiters"])
    return f", {lock['kind']} lock of {holders}" + (f" ({lock['waiting']} wait: {waiters})" if waiters else "")


def _holder_words(row: dict[str, Any]) -> str:
    who = " ".join(filter(None, (row["client"], row["name"])))
    reason = f" ({row['reason']})" if row["reason"] else ""
    left = "" if row["left_s"] is None else f", {row['left_s']:.0f} s left"
    return f"{who}{reason} for {row['held_s']:.0f} s{left}"


_PROGRAM = (
    Command("ping", "", words(0, 0), ping, "is the daemon alive? pong", role=Role.OBSERVE),
    Command(
        "list_resources",
        "",
        words(0, 0),
        list_resources,
        "all resources found or configured",
        on_record=True,
        show=_one_a_line,
        role=Role.OBSERVE,
    ),
    Command(
        "list_open_resources",
        "",
        words(0, 0),
        list_open_resources,
        "the open resources",
        show=_one_a_line,
        role=Role.OBSERVE,
    ),
    Command("open_resource", "RESOURCE", words(1, 1), open_resource, "open or join it, make it the current one"),
    Command("query_resource", "[@RESOURCE] COMMAND", message, query_resource, "write, then read the answer", acts=True),
    Command("write_resource", "[@RESOURCE] COMMAND", message, write_resource, "write; the bytes written", acts=True),
    Command("read_resource", "[RESOURCE]", resource_only, read_resource, "read an answer"),
    Command(
        "hello", "[NAME]", words(0, 1), hello, "say who you are; the daemon's version and features", role=Role.OBSERVE
    ),
    Command("help", "[VERB]", words(0, 1), help_, "the commands, or one of them", show=_explained, role=Role.OBSERVE),
    Command("use", "RESOURCE", words(1, 1), use, "make a resource open here the current one"),
    Command("close_resource", "[RESOURCE]", words(0, 1), close_resource, "close it for this connection"),
    Command(
        "query_binary", "[@RESOURCE] COMMAND", message, query_binary, "write, then read a block or raw bytes", acts=True
    ),
    Command(
        "write_binary",
        "[@RESOURCE] COMMAND #<n><len><bytes>",
        block_message,
        write_resource,
        "write a command and a binary block; the bytes written",
        acts=True,
        takes_block=True,
    ),
    Command("timeout", "[MS]", words(0, 1), timeout, "milliseconds that a command may take, or inf", on_record=True),
    Command(
        "termination",
        "[READ [WRITE]]",
        words(0, 2),
        termination,
        "what ends messages: \\n, \\r\\n, none",
        on_record=True,
    ),
    Command("stb", "", words(0, 0), stb, "read the status byte"),
    Command(
        "lock",
        "[shared KEY] [MS] [ttl SECONDS] [reason TEXT...]",
        lock_terms,
        lock,
        "keep others out; the access key of a shared lock, or ok",
    ),
    Command("await_loss", "", words(0, 0), text_leases.await_loss, "wait until the lock is lost; why it is"),
    Command("unlock", "", words(0, 0), unlock, "give a lock back"),
    Command("wait_srq", "MS", words(1, 1), wait_srq, "wait for a service request; the status byte"),
    Command("clear", "", words(0, 0), clear, "device clear", acts=True),
    Command("trigger", "", words(0, 0), trigger, "software trigger", acts=True),
    Command("status", "", words(0, 0), status, "the daemon and its instruments", show=_status_lines, role=Role.OBSERVE),
    Command(
        "reset",
        "RESOURCE",
        words(1, 1),
        reset,
        "start again what is in back-off or broken",
        acts=True,
        on_record=True,
        role=Role.ADMIN,
    ),
    Command(
        "abort", "RESOURCE", words(1, 1), abort, "cut the command that runs there short", acts=True, on_record=True
    ),
    Command(
        "confirm", "[@RESOURCE] REASON", message, confirm, "why the next message is meant that has to be confirmed"
    ),
    Command("mode", "[plain|tagged]", words(0, 1), mode, "mark every reply with ok or err", role=Role.OBSERVE),
    Command(
        "auth",
        "TOKEN",
        words(1, 1),
        auth,
        "show a token, before all else; your name and role",
        on_record=True,
        role=Role.NONE,
    ),
)

_DAEMON = (
    Command("end_daemon", "", words(0, 0), end_daemon, "close every instrument and end the daemon", on_record=True),
    Command("status", "", words(0, 0), status, "the daemon and its instruments", role=Role.OBSERVE),
    Command("drain", "", words(0, 0), drain, "take no new sessions, end after the last", on_record=True),
    Command("restart", "RESOURCE", words(1, 1), restart, "end a resource's process and open it again", on_record=True),
    Command(
        "unlock",
        "RESOURCE",
        words(1, 1),
        text_leases.unlock_by_force,
        "take all locks on a resource from who has them",
        on_record=True,
    ),
    Command("kick", "CLIENT [all]", words(1, 2), text_leases.kick, "cut a client's connection", on_record=True),
    Command(
        "safe", "RESOURCE [forget]", words(1, 2), safe, "send its safe state, or forget that it is due", on_record=True
    ),
)

#: prefix -> verb -> row.
COMMANDS: dict[Prefix, dict[str, Command]] = {
    Prefix.PROGRAM: {row.verb: row for row in _PROGRAM},
    Prefix.DAEMON: {row.verb: row if row.role is not None else replace(row, role=Role.ADMIN) for row in _DAEMON},
}

#: What people may say in full; they may shorten the rest.
PERSONS_NAMES = {
    "list": "list_resources",
    "open": "open_resource",
    "close": "close_resource",
    "query": "query_resource",
    "write": "write_resource",
    "read": "read_resource",
}


def find(prefix: Prefix, verb: str) -> Command:
    """The row of a verb. Raises Failure(UNKNOWN_COMMAND)."""
    if prefix is not Prefix.PERSON:
        row = COMMANDS[prefix].get(verb)
        if row is None:
            raise Failure("UNKNOWN_COMMAND", f"{prefix}{verb[:40]}; .#.help lists the commands")
        return row
    rows = COMMANDS[Prefix.PROGRAM]
    if verb in rows or verb in PERSONS_NAMES:
        return rows[PERSONS_NAMES.get(verb, verb)]
    meant = [row for row in rows.values() if verb and row.verb.startswith(verb)]
    if len(meant) == 1:
        return meant[0]
    hint = f"may mean {', '.join(row.verb for row in meant)}" if meant else "...help lists the commands"
    raise Failure("UNKNOWN_COMMAND", f"{prefix}{verb[:40]}: {hint}")


_PREFIXES = {prefix.encode(): prefix for prefix in Prefix}


def takes_block(line: bytes) -> bool:
    """Does the verb that `line` begins with take a binary block?"""
    try:
        return find(_PREFIXES[line[:3]], line[3:].partition(b" ")[0].decode()).takes_block
    except (KeyError, ValueError, Failure):
        return False


def parse(line: bytes) -> tuple[Prefix, Command, Arguments]:
    """A request's row and arguments. Raises Failure(UNKNOWN_COMMAND or BAD_ARGUMENT)."""
    prefix = _PREFIXES.get(line[:3])
    if prefix is None:
        raise Failure("UNKNOWN_COMMAND", "a line begins with .#. or ... or .!.")
    verb, _, argument = line[3:].partition(b" ")
    row = find(prefix, _text(verb))
    return prefix, row, row.read(prefix + row.syntax, argument)


def parse_before_block(line: bytes) -> tuple[Prefix, Command, Arguments]:
    """`parse` of what is before a block, in the line of a verb that takes one. Raises Failure(BAD_ARGUMENT)."""
    prefix = _PREFIXES[line[:3]]
    verb, _, argument = line[3:].partition(b" ")
    row = find(prefix, verb.decode())
    return prefix, row, message(prefix + row.syntax, argument)
