"""Where daemons may be, connecting to one, and asking all of them at once.

Runs in the user's process, without PyVISA. A connection made here is handed over as a `Channel`.

Every host is asked on a thread of its own, so hosts that are switched off cost `KNOCK_LIMIT` once and not each; even
a name server that does not answer is not waited for any longer.
"""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NamedTuple

from pyvisa_daemon.channel import Channel
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.exchange import Pending
from pyvisa_daemon.framing import FrameError, FrameReader
from pyvisa_daemon.inbox import RECEIVE_SIZE
from pyvisa_daemon.sockets import is_ready
from pyvisa_daemon.wire import (
    FEATURES,
    FOUND,
    MAGIC,
    VERSION,
    Answer,
    DecodeError,
    Find,
    Hello,
    Refused,
    Reply,
    Welcome,
    decode_answer,
    encode,
)

DEFAULT_PORT = 1340

#: Seconds for connecting and the hello, when several hosts are asked and when one was named.
KNOCK_LIMIT = 1.0
CONNECT_LIMIT = 5.0

#: Seconds for an answer to Find: the daemon may have to look for instruments first.
FIND_LIMIT = 6.0

#: How a daemon refuses whom it did not let speak.
TEXT_REFUSAL = b".#.error "

#: The hosts that are asked, in this order, each `host[:port]`. Change it in place, or assign `client.tryIps`.
tryIps = [host.strip() for host in os.environ.get("PYVISA_DAEMON_HOSTS", "").split(",") if host.strip()]  # noqa: N816
tryIps = tryIps or ["127.0.0.1"]  # noqa: N816 - the name is the original's

#: Unanswered keepalives show a dead link after 15 s + 3 * 5 s. macOS has another name for the first.
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPALIVE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class Address(NamedTuple):
    """Where a daemon listens. As text it is what `parse` reads."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Finding(NamedTuple):
    """What the live daemon at `address` says of a resource: one of `wire.FOUND`."""

    address: Address
    found: str


def parse(entry: str) -> Address:
    """`host`, `host:port`, `[IPv6]` or `[IPv6]:port`. Raises ValueError naming the entry."""
    text = entry.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        is_sound = bool(bracket) and colon in ("", ":")
    elif text.count(":") > 1:
        host, colon, port, is_sound = text, "", "", True  # a bare IPv6 address
    else:
        host, colon, port = text.partition(":")
        is_sound = True
    if colon:
        is_sound = is_sound and port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not host or not is_sound or any(c.isspace() for c in host):
        raise ValueError(f"{entry!r} names no daemon: expected host or host:port, such as labpc:{DEFAULT_PORT}")
    return Address(host, int(port) if colon else DEFAULT_PORT)


def introduction() -> tuple[str, str]:
    """Who speaks, for the daemon's audit log: the user's name and the program's, each empty if there is none."""
    user = os.environ.get("USER") or os.environ.get("USERNAME") or ""
    return user, os.path.basename(getattr(sys, "argv", [""])[0])  # an embedded interpreter may have no argv


def connect(address: Address, limit: float = CONNECT_LIMIT) -> Channel:
    """A channel to the daemon at `address`, within `limit` seconds. Raises ConnectionError, which says what to do."""
    deadline = monotonic() + limit
    try:
        connection = socket.create_connection(address, limit)
    except (OSError, UnicodeError) as error:  # UnicodeError: there can be no such name
        raise ConnectionError(
            f"no instrument daemon answers at {address} ({error}); start one there or correct the address"
        ) from error
    with contextlib.ExitStack() as unless_welcome:
        unless_welcome.callback(connection.close)
        try:
            channel = _greet(connection, address, deadline)
        except (FrameError, DecodeError) as error:
            raise ConnectionError(f"what listens at {address} is no instrument daemon; correct the address") from error
        unless_welcome.pop_all()
    return channel


def first_live() -> Channel:
    """A channel to the first host of `tryIps` that is alive. Raises ConnectionError when none is."""
    reasons = []
    with contextlib.closing(_knock(None)) as visits:
        for visit in visits:
            if visit.channel is not None:
                return visit.channel
            reasons.append(visit.reason)
    raise ConnectionError("; ".join(reasons) or "no host is known: tryIps is empty")


def ask(request: Callable[[Channel], Pending], limit: float) -> list[tuple[Address, Reply | None]]:
    """The replies of all live hosts to `request`, in the order of `tryIps`; None where none came in `limit` seconds."""
    replies: list[tuple[Address, Reply | None]] = []
    with contextlib.ExitStack() as afterwards:
        visits = list(_knock(request))
        for visit in visits:
            if visit.channel is not None:
                afterwards.callback(visit.channel.close)
        deadline = monotonic() + limit
        for address, channel, pending, _ in visits:
            if channel is not None and pending is not None:
                reply = None
                with contextlib.suppress(Failure):
                    reply = channel.wait(pending, max(0.0, deadline - monotonic()))
                replies.append((address, reply))
    return replies


def find(resource: str) -> list[Finding]:
    """What each live daemon says of `resource`, in the order of `tryIps`. No daemon opens anything for that.

    A failed answer counts as `unknown`: the daemon is there, so opening will show what is wrong.
    """
    answers = ask(lambda channel: channel.start(Find, resource), FIND_LIMIT)
    return [
        Finding(address, str(reply.value) if reply is not None and reply.value in FOUND else "unknown")
        for address, reply in answers
    ]


class _Visit(NamedTuple):
    """How the knock at one door went: a channel and what was asked on it, or the reason why not."""

    address: Address
    channel: Channel | None
    pending: Pending | None
    reason: str


def _knock(request: Callable[[Channel], Pending] | None) -> Generator[_Visit, None, None]:
    """Visits every host of `tryIps` at once; yields how it went in that order. Takers own the channels they took."""
    is_over = threading.Event()
    doors: list[tuple[Address, SimpleQueue[_Visit]]] = [(parse(entry), SimpleQueue()) for entry in tryIps]
    for address, door in doors:
        arguments = (address, request, door, is_over)
        threading.Thread(target=_visit, args=arguments, name=f"asking {address}", daemon=True).start()
    deadline = monotonic() + KNOCK_LIMIT
    try:
        for address, door in doors:
            try:
                yield door.get(timeout=max(0.0, deadline - monotonic()))
            except Empty:
                yield _Visit(address, None, None, f"{address} did not answer within {KNOCK_LIMIT:.0f} s")
    finally:
        is_over.set()
        for _, door in doors:
            _turn_away(door)


def _visit(
    address: Address,
    request: Callable[[Channel], Pending] | None,
    door: "SimpleQueue[_Visit]",
    is_over: threading.Event,
) -> None:
    try:
        channel = connect(address, KNOCK_LIMIT)
        try:
            door.put(_Visit(address, channel, request(channel) if request is not None else None, ""))
        except Failure as error:
            channel.close()
            door.put(_Visit(address, None, None, error.text))
    except ConnectionError as error:
        door.put(_Visit(address, None, None, str(error)))
    if is_over.is_set():
        _turn_away(door)


def _turn_away(door: "SimpleQueue[_Visit]") -> None:
    """Closes a channel that nobody took."""
    with contextlib.suppress(Empty):
        visit = door.get_nowait()
        if visit.channel is not None:
            visit.channel.close()


def _greet(connection: socket.socket, address: Address, deadline: float) -> Channel:
    """Our hello and the daemon's answer. Raises ConnectionError, FrameError, DecodeError."""
    _tune(connection)
    hello = Hello(VERSION, FEATURES, *introduction(), os.getpid())
    frames = FrameReader()
    complete: list[bytes] = []
    try:
        connection.send(MAGIC + encode(hello))  # much less than an empty send buffer takes
        while not complete:
            if not is_ready(connection, False, max(0.0, deadline - monotonic())):
                raise TimeoutError("nothing comes back; is the daemon stopped or stuck?")
            data = connection.recv(RECEIVE_SIZE)
            if not data:
                raise ConnectionResetError("it hung up; is it an instrument daemon?")
            if data.startswith(TEXT_REFUSAL):  # said before it knew our language: it has too many clients
                raise ConnectionRefusedError(data.decode(errors="replace").removeprefix(".#.error ").strip())
            complete = frames.feed(data)
    except OSError as error:
        raise ConnectionError(f"no hello from what listens at {address}: {error}") from error
    _judge(decode_answer(complete[0]), address)
    return Channel(connection, str(address))


def _judge(answer: Answer, address: Address) -> None:
    match answer:
        case Welcome(version=version) if version == VERSION:
            return
        case Welcome(version=version):
            reason = f"it speaks version {version} of the wire and this program {VERSION}; upgrade the older one"
        case Refused(token=token, text=text):
            reason = f"{token}: {text}"
        case _:
            reason = "it answers without a hello"
    raise ConnectionError(f"the daemon at {address} cannot be used: {reason}")


def _tune(connection: socket.socket) -> None:
    connection.setblocking(False)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
