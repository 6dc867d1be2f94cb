"""The original's socket: a connection in the text protocol, with a method for every command.

Runs in the user's process. What a command does and replies is written in docs/reference/text-protocol.md; a method
turns its arguments into one line and the reply into Python. Every method raises `errors.Failure` (token,
effect, text, VISA status) when the daemon refuses, and ConnectionError when it is gone, or answers as none does.

To add a command: a method here, next to its neighbours in that document.
"""

import atexit
import codecs
import contextlib
import json
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

import pyvisa
from pyvisa.resources import Resource

from client.text_connection import TextConnection
from pyvisa_daemon import hosts, inherited_lock
from pyvisa_daemon.channel import INFINITE_MS, reply_limit
from pyvisa_daemon.errors import Failure

_DEFAULT_TIMEOUT_MS = 2000.0

#: Characters that are told of why a reply cannot be read.
_SHOWN_OF_REPLY = 120

#: What a reply is read as.
_Read = TypeVar("_Read")

#: Seconds that closing what has a lock may take, each.
_CLOSE_LIMIT = 5.0


class SocketManager:
    """Finds the daemon for a socket."""

    def open_socket(self, host: str | None = None) -> "TCPVisaSocket":
        """A socket to `host` (`host[:port][?key=value]`), or to the first live host of `client.tryIps`.

        Raises ConnectionError if there is none, ValueError if `host` cannot be one.
        """
        if host is not None:
            return TCPVisaSocket(hosts.parse(host))
        return TCPVisaSocket(hosts.first_live_address())


class TCPVisaSocket:
    """A connection of its own to one daemon, with a current resource. Threads take turns.

    `resource` arguments name a resource that is open on this socket, in place of the current one.
    """

    def __init__(self, address: hosts.Address) -> None:
        self.address = address
        self._connection = TextConnection(address)
        self._timeout_ms = _DEFAULT_TIMEOUT_MS  # the longest that any resource here was given
        self._opened: WeakSet[Resource] = WeakSet()
        #: The canonical names of what was opened here; and may there be a lock on any?
        self._names: set[str] = set()
        self._may_have_lock = False
        self._process = os.getpid()
        with contextlib.ExitStack() as unless_greeted:
            unless_greeted.callback(self._connection.close)
            self.hello("/".join(filter(None, hosts.introduction())).replace(" ", "_"))
            unless_greeted.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TCPVisaSocket({str(self.address)!r})>"

    def close(self) -> None:
        """Ends the connection, and closes what `open_resource` returned. Locks are given back: whose connection ends
        with one is taken for lost. So it is at the end of the program."""
        for resource in list(self._opened):
            resource.close()
        self._give_back()
        self._connection.close()

    def hang_up(self) -> None:
        """Ends the connection as it would end if this program were killed: its locks are lost."""
        self._may_have_lock = False
        self._connection.close()

    def _give_back(self) -> None:
        if not self._may_have_lock or self._connection.is_taken or os.getpid() != self._process:
            return
        self._may_have_lock = False
        with contextlib.suppress(ConnectionError):
            for name in self._names:
                with contextlib.suppress(Failure):  # it is closed already
                    line = f".#.close_resource {name}"
                    self._connection.ask(line.encode(errors="surrogateescape"), _CLOSE_LIMIT)

    def command(self, verb: str, *arguments: str, prefix: str = ".#.") -> str:
        """Any command: its reply as text; bytes that are not UTF-8 come as surrogates (PEP 383)."""
        reply = self._ask(verb, *arguments, prefix=prefix).decode(errors="surrogateescape")
        if verb == "open_resource":
            self._names.add(reply)
        return reply

    # The original seven, with their short names.

    def ping(self) -> str:
        """`pong`, if the daemon is alive."""
        return self.command("ping")

    def list_resources(self) -> list[str]:
        """All that the daemon's library finds, and what is configured there."""
        return self._read(_names, self.command("list_resources"))

    def list_open_resources(self) -> list[str]:
        """The resources that somebody has open there."""
        return self._read(_names, self.command("list_open_resources"))

    def open_resource(self, name: str, **kwargs: Any) -> Resource:
        """PyVISA's own object for `name`, as `pyvisa.ResourceManager("host:port@daemon").open_resource` gives it.

        The resource becomes this socket's current one too. Raises VisaIOError besides what every method raises.
        """
        canonical = self.enter(name)
        with contextlib.ExitStack() as unless_opened:
            unless_opened.callback(self.close_resource, canonical)
            resource = pyvisa.ResourceManager(f"{self.address.entry}@daemon").open_resource(canonical, **kwargs)
            unless_opened.pop_all()
        self._opened.add(resource)
        return resource

    def enter(self, name: str) -> str:
        """Opens `name` for this socket's own commands, and makes it the current one: its canonical name. A program that
        runs under `instruments lock` shares that lock."""
        canonical = self.command("open_resource", name)
        lock = inherited_lock.inherited_on(canonical, str(self.address))
        if lock is not None and lock.daemon in ("", str(self.address)):
            self.lock(key=lock.key)
        return canonical

    def query_resource(self, command: str, resource: str | None = None) -> str:
        """Writes `command` and reads its answer as one exchange; without the read termination."""
        return self.command("query_resource", *_named(resource), command)

    def write_resource(self, command: str, resource: str | None = None) -> int:
        """Writes `command`: the number of bytes written, termination included."""
        return self._read(int, self.command("write_resource", *_named(resource), command))

    def read_resource(self, resource: str | None = None) -> str:
        """Reads an answer; without the read termination."""
        return self.command("read_resource", *_given(resource))

    query = query_resource
    write = write_resource
    read = read_resource

    # The connection and the daemon.

    def hello(self, name: str = "") -> dict[str, Any]:
        """Says who this is, for the audit log: the daemon's version and features."""
        return self._read(_object, self.command("hello", *_given(name or None)))

    def auth(self, token: str) -> str:
        """Shows a token, while nothing is open here: the user and the role that it gives. One that is kept where
        tokens are looked for was shown when this socket was connected."""
        return self.command("auth", *token.split()).removeprefix("ok ")

    def help(self, verb: str | None = None) -> dict[str, str] | str:
        """The commands and what they do, or what one does."""
        reply = self.command("help", *_given(verb))
        return reply if verb is not None else self._read(_object, reply)

    def status(self) -> dict[str, Any]:
        """The daemon and its instruments: version, pid, uptime_s, clients, resources."""
        return self._read(_object, self.command("status"))

    def mode(self, mode: str = "") -> str:
        """How replies are marked, `tagged` or `plain`: the mode in force. Either is understood here."""
        return self._connection.set_mode(mode, self._limit)

    def reset(self, resource: str) -> None:
        """Starts an instrument again that is in back-off or broken. Takes the role admin there."""
        self.command("reset", resource)

    def restart(self, resource: str) -> None:
        """Ends the resource's process and opens it again. Takes the role admin there."""
        self.command("restart", resource, prefix=".!.")

    def safe(self, resource: str, *, forget: bool = False) -> None:
        """Sends the resource's safe state, before anybody's command; or forgets one that is due and cannot be sent.
        Takes the role admin there."""
        self.command("safe", resource, *(("forget",) if forget else ()), prefix=".!.")

    def force_unlock(self, resource: str) -> int:
        """Takes all locks on a resource from who has them: from how many sessions."""
        return self._read(_count, self.command("unlock", resource, prefix=".!."))

    def kick(self, client: str, *, all_of_name: bool = False) -> int:
        """Cuts the connection of the client with that address or name, or of all with that name: how many."""
        every = ("all",) if all_of_name else ()
        return self._read(_count, self.command("kick", client, *every, prefix=".!."))

    def end_daemon(self) -> str:
        """Stops the daemon, within 10 s: `ended`, or `ended left=PID,...`. Takes the role admin."""
        return self.command("end_daemon", prefix=".!.")

    # The current resource.

    def use(self, resource: str) -> str:
        """Makes a resource that is open on this socket the current one: its canonical name."""
        return self.command("use", resource)

    def close_resource(self, resource: str | None = None) -> None:
        """Closes it for this socket."""
        self.command("close_resource", *_given(resource))

    def query_binary(self, command: str, resource: str | None = None) -> bytes:
        """Writes `command`: the content of a block answer, else the raw bytes up to the end of the message."""
        return self._ask("query_binary", *_named(resource), command)

    def write_binary(self, command: str, data: bytes, resource: str | None = None) -> int:
        """Writes `command` and `data` as an IEEE 488.2 definite-length block: the number of bytes written."""
        length = str(len(data))
        if len(length) > 9:
            raise ValueError(f"a definite-length block holds less than 1 GB, not {length} bytes")
        head = command if command.endswith((" ", ",")) else command + " "
        block = f"#{len(length)}{length}".encode() + data
        return self._read(int, self._ask("write_binary", *_named(resource), head, block=block).decode(errors="replace"))

    def timeout(self, ms: float | None = None) -> float:
        """How long the current resource may take, in milliseconds (`float("inf")`: for ever), once set to `ms`."""
        in_force = self._read(float, self.command("timeout", *_milliseconds(ms)))
        self._timeout_ms = max(self._timeout_ms, in_force)
        return in_force

    def termination(self, *read_and_write: str | None) -> tuple[str | None, ...]:
        """What ends a message when read and when written, once set; None for nothing. One argument sets the read's."""
        return self._read(_terminations, self.command("termination", *map(_escaped, read_and_write)))

    def stb(self) -> int:
        """viReadSTB: the status byte, 0 to 255."""
        return self._read(int, self.command("stb"))

    def lock(self, ms: float | None = None, key: str | None = None, ttl: float | None = None, reason: str = "") -> str:
        """viLock of the current resource, shared with all who give the same `key`: the key, or `ok` without one.

        Waits `ms` milliseconds for it, the resource's timeout by default. It is lost when it was not used for `ttl`
        seconds; others are told the `reason`.
        """
        shared = () if key is None else ("shared", key)
        terms: tuple[str, ...] = () if ttl is None else ("ttl", str(float(ttl)))
        if words := " ".join(reason.split()):
            terms += ("reason", words)
        self._may_have_lock = True
        _with_locks.add(self)
        return self._ask_for("lock", *shared, *_milliseconds(ms), *terms, ms=ms).decode(errors="replace")

    def await_loss(self) -> str:
        """Waits until the lock on the current resource is lost without having been given back: why it is. `ok` after
        `end_wait`."""
        return self._ask_for("await_loss", ms=float("inf")).decode(errors="replace")

    def end_wait(self) -> None:
        """Has an `await_loss` return that waits in another thread."""
        self._connection.interrupt()

    def unlock(self) -> None:
        """viUnlock: gives one lock back."""
        self.command("unlock")

    def confirm(self, reason: str) -> None:
        """The next message to the current resource that has to be confirmed is meant, and why."""
        self.command("confirm", reason)

    def wait_srq(self, ms: float) -> int:
        """Waits `ms` milliseconds for the current resource to request service: its status byte, 0 to 255."""
        return self._read(int, self._ask_for("wait_srq", *_milliseconds(ms), ms=ms).decode(errors="replace"))

    def clear(self) -> None:
        """viClear."""
        self.command("clear")

    def trigger(self) -> None:
        """viAssertTrigger, by software."""
        self.command("trigger")

    def abort(self, resource: str) -> None:
        """Cuts the command short that runs on a resource, whoever's it is; returns when it has ended."""
        self.command("abort", resource)

    @property
    def _limit(self) -> float | None:
        return reply_limit(min(self._timeout_ms, INFINITE_MS))

    def _read(self, read: Callable[[str], _Read], reply: str) -> _Read:
        """What a reply says. Raises ConnectionError for one that no instrument daemon gives."""
        try:
            return read(reply)
        except (ValueError, RecursionError) as error:
            why = str(error)[:_SHOWN_OF_REPLY]
            text = f"what listens at {self.address} answers as no instrument daemon does: {why}"
            raise ConnectionError(text) from error

    def _ask_for(self, verb: str, *arguments: str, ms: float | None) -> bytes:
        """`_ask` for what may wait `ms` milliseconds by itself."""
        before, self._timeout_ms = self._timeout_ms, max(self._timeout_ms, ms or 0.0)
        try:
            return self._ask(verb, *arguments)
        finally:
            self._timeout_ms = before

    def _ask(self, verb: str, *arguments: str, prefix: str = ".#.", block: bytes = b"") -> bytes:
        line = prefix + " ".join((verb, *arguments))
        if not {"\n", "\r", "\0"}.isdisjoint(line):
            raise ValueError(f"{line!r} is not one line of text; its termination is added for you")
        return self._connection.ask(line.encode(errors="surrogateescape") + block, self._limit)


#: Those that may have locks.
_with_locks: WeakSet[TCPVisaSocket] = WeakSet()


@atexit.register
def _give_all_back() -> None:
    for each in list(_with_locks):
        each._give_back()


def _object(reply: str) -> dict[str, Any]:
    value = json.loads(reply)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def _names(reply: str) -> list[str]:
    value = json.loads(reply)
    if not isinstance(value, list):
        raise ValueError("no JSON array")
    return value


def _count(reply: str) -> int:
    """The number behind `=`."""
    return int(reply.rpartition("=")[2])


def _terminations(reply: str) -> tuple[str | None, str | None]:
    read, write = reply.split()
    return _unescaped(read), _unescaped(write)


def _unescaped(word: str) -> str | None:
    return None if word == "none" else codecs.decode(word, "unicode_escape")


def _given(argument: str | None) -> tuple[str, ...]:
    return () if argument is None else (argument,)


def _milliseconds(ms: float | None) -> tuple[str, ...]:
    return () if ms is None else ("inf" if ms == float("inf") else str(int(ms)),)


def _named(resource: str | None) -> tuple[str, ...]:
    return () if resource is None else (f"@{resource}",)


def _escaped(termination: str | None) -> str:
    return codecs.encode(termination, "unicode_escape").decode() if termination else "none"
