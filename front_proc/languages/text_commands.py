"""The text protocol's commands: one table for the daemon, for `help`, for the docs and for the tests.

Runs in the front. A row says how the verb's argument is read (`text_arguments`), what carries it out (`text_verbs`),
and what `help` says.

To add a command: a function there and its row in COMMANDS, with the role that it takes; then its line in
docs/reference/text-protocol.md.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from front_proc.access.rights import Role
from front_proc.languages import text_leases, text_verbs
from front_proc.languages.text_access import auth
from front_proc.languages.text_arguments import (
    Arguments,
    as_text,
    block_message,
    lock_terms,
    message,
    resource_only,
    words,
)
from front_proc.languages.text_guards import confirm
from front_proc.languages.text_safe import safe
from front_proc.languages.text_verbs import Exchange, Reply, as_json
from front_proc.languages.text_words import explained, one_a_line, status_lines
from pyvisa_daemon.errors import Failure

if TYPE_CHECKING:
    from front_proc.languages.text_conversation import Conversation


class Prefix(StrEnum):
    """What a line begins with."""

    PROGRAM = ".#."
    PERSON = "..."
    DAEMON = ".!."


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


async def help_(conversation: "Conversation", arguments: Arguments) -> Reply:
    if arguments.words:
        row = find(Prefix.PERSON, arguments.words[0])  # whoever asks: a program's names are among them
        return f"{row.syntax} - {row.help}"
    return as_json({row.syntax: row.help for row in COMMANDS[Prefix.PROGRAM].values()})


_PROGRAM = (
    Command("ping", "", words(0, 0), text_verbs.ping, "is the daemon alive? pong", role=Role.OBSERVE),
    Command(
        "list_resources",
        "",
        words(0, 0),
        text_verbs.list_resources,
        "all resources found or configured",
        on_record=True,
        show=one_a_line,
        role=Role.OBSERVE,
    ),
    Command(
        "list_open_resources",
        "",
        words(0, 0),
        text_verbs.list_open_resources,
        "the open resources",
        show=one_a_line,
        role=Role.OBSERVE,
    ),
    Command(
        "open_resource", "RESOURCE", words(1, 1), text_verbs.open_resource, "open or join it, make it the current one"
    ),
    Command(
        "query_resource",
        "[@RESOURCE] COMMAND",
        message,
        text_verbs.query_resource,
        "write, then read the answer",
        acts=True,
    ),
    Command(
        "write_resource",
        "[@RESOURCE] COMMAND",
        message,
        text_verbs.write_resource,
        "write; the bytes written",
        acts=True,
    ),
    Command("read_resource", "[RESOURCE]", resource_only, text_verbs.read_resource, "read an answer"),
    Command(
        "hello",
        "[NAME]",
        words(0, 1),
        text_verbs.hello,
        "say who you are; the daemon's version and features",
        role=Role.OBSERVE,
    ),
    Command("help", "[VERB]", words(0, 1), help_, "the commands, or one of them", show=explained, role=Role.OBSERVE),
    Command("use", "RESOURCE", words(1, 1), text_verbs.use, "make a resource open here the current one"),
    Command("close_resource", "[RESOURCE]", words(0, 1), text_verbs.close_resource, "close it for this connection"),
    Command(
        "query_binary",
        "[@RESOURCE] COMMAND",
        message,
        text_verbs.query_binary,
        "write, then read a block or raw bytes",
        acts=True,
    ),
    Command(
        "write_binary",
        "[@RESOURCE] COMMAND #<n><len><bytes>",
        block_message,
        text_verbs.write_resource,
        "write a command and a binary block; the bytes written",
        acts=True,
        takes_block=True,
    ),
    Command(
        "timeout",
        "[MS]",
        words(0, 1),
        text_verbs.timeout,
        "milliseconds that a command may take, or inf",
        on_record=True,
    ),
    Command(
        "termination",
        "[READ [WRITE]]",
        words(0, 2),
        text_verbs.termination,
        "what ends messages: \\n, \\r\\n, none",
        on_record=True,
    ),
    Command("stb", "", words(0, 0), text_verbs.stb, "read the status byte"),
    Command(
        "lock",
        "[shared KEY] [MS] [ttl SECONDS] [reason TEXT...]",
        lock_terms,
        text_verbs.lock,
        "keep others out; the access key of a shared lock, or ok",
    ),
    Command("await_loss", "", words(0, 0), text_leases.await_loss, "wait until the lock is lost; why it is"),
    Command("unlock", "", words(0, 0), text_verbs.unlock, "give a lock back"),
    Command("wait_srq", "MS", words(1, 1), text_verbs.wait_srq, "wait for a service request; the status byte"),
    Command("clear", "", words(0, 0), text_verbs.clear, "device clear", acts=True),
    Command("trigger", "", words(0, 0), text_verbs.trigger, "software trigger", acts=True),
    Command(
        "status",
        "",
        words(0, 0),
        text_verbs.status,
        "the daemon and its instruments",
        show=status_lines,
        role=Role.OBSERVE,
    ),
    Command(
        "reset",
        "RESOURCE",
        words(1, 1),
        text_verbs.reset,
        "start again what is in back-off or broken; accept an instrument that has changed",
        acts=True,
        on_record=True,
        role=Role.ADMIN,
    ),
    Command(
        "abort",
        "RESOURCE",
        words(1, 1),
        text_verbs.abort,
        "cut the command that runs there short",
        acts=True,
        on_record=True,
    ),
    Command(
        "confirm", "[@RESOURCE] REASON", message, confirm, "why the next message is meant that has to be confirmed"
    ),
    Command(
        "mode", "[plain|tagged]", words(0, 1), text_verbs.mode, "mark every reply with ok or err", role=Role.OBSERVE
    ),
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
    Command(
        "end_daemon",
        "",
        words(0, 0),
        text_verbs.end_daemon,
        "close every instrument and end the daemon",
        on_record=True,
    ),
    Command("status", "", words(0, 0), text_verbs.status, "the daemon and its instruments", role=Role.OBSERVE),
    Command("drain", "", words(0, 0), text_verbs.drain, "take no new sessions, end after the last", on_record=True),
    Command(
        "restart",
        "RESOURCE",
        words(1, 1),
        text_verbs.restart,
        "end a resource's process and open it again",
        on_record=True,
    ),
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
    row = find(prefix, as_text(verb))
    return prefix, row, row.read(prefix + row.syntax, argument)


def parse_before_block(line: bytes) -> tuple[Prefix, Command, Arguments]:
    """`parse` of what is before a block, in the line of a verb that takes one. Raises Failure(BAD_ARGUMENT)."""
    prefix = _PREFIXES[line[:3]]
    verb, _, argument = line[3:].partition(b" ")
    row = find(prefix, verb.decode())
    return prefix, row, message(prefix + row.syntax, argument)
