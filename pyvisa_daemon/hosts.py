"""Where daemons may be, connecting to one, and asking all of them at once.

Runs in the user's process, without PyVISA. A connection made here is handed over as a `Channel`.

An entry may say more than where a daemon is, behind a `?`: OPTIONS. In TLS is connected whoever's entry says `tls=1` or
names a `ca_file`, and, where PYVISA_DAEMON_CA_FILE is set, everybody whose entry does not say `tls=0`.
To add an option: its row in OPTIONS, and whoever looks for it in `Address.options`.

Every host is asked on a thread of its own, so hosts that are switched off cost `KNOCK_LIMIT` once and not each; even
a name server that does not answer is not waited for any longer.
"""

import atexit
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from queue import Empty, SimpleQueue
from time import monotonic
from types import MappingProxyType
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
DEFAULT_TLS_PORT = 1341

#: Names the file with the certificate of a CA, or of the daemon itself, for the entries that name none.
CA_FILE = "PYVISA_DAEMON_CA_FILE"

#: What an entry may say behind its `?`, as `key=value` and with `&` between them -> what a value may be, in words.
OPTIONS = {
    "tls": "0 or 1",
    "ca_file": "a file of certificates",
}

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
    """Where a daemon listens, and how to speak to it. As text it is `host:port`, for people; `entry` has all of it."""

    host: str
    port: int
    options: Mapping[str, str] = MappingProxyType({})

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def entry(self) -> str:
        """What `parse` reads."""
        options = "&".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self}?{options}" if options else str(self)

    @property
    def is_tls(self) -> bool:
        return _is_tls(self.options)

    @property
    def ca_file(self) -> str | None:
        """Whom to trust; None: whom this system trusts."""
        return self.options.get("ca_file") or os.environ.get(CA_FILE) or None


class Finding(NamedTuple):
    """What the live daemon at `address` says of a resource: one of `wire.FOUND`."""

    address: Address
    found: str


def parse(entry: str) -> Address:
    """`host`, `host:port`, `[IPv6]` or `[IPv6]:port`, and `?key=value&...`. Raises ValueError naming the entry."""
    text, question, more = entry.strip().partition("?")
    options = _options(more, entry) if question else {}
    default_port = DEFAULT_TLS_PORT if _is_tls(options) else DEFAULT_PORT
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
    return Address(host, int(port) if colon else default_port, options)


def _options(text: str, entry: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in text.split("&"):
        key, _, value = item.partition("=")
        if key not in OPTIONS or key in options or not value:
            known = ", ".join(f"{name}=VALUE ({accepted})" for name, accepted in OPTIONS.items())
            raise ValueError(f"{entry!r}: {item!r} is no option of an entry; there are, each once: {known}")
        options[key] = value
    if options.get("tls", "1") not in ("0", "1"):
        raise ValueError(f"{entry!r}: tls is 1 or 0")
    if options.get("tls") == "0" and "ca_file" in options:
        raise ValueError(f"{entry!r}: a ca_file is of use with TLS only; leave out one of the two")
    return options


def _is_tls(options: Mapping[str, str]) -> bool:
    return options.get("tls", "1" if "ca_file" in options or os.environ.get(CA_FILE) else "0") == "1"


def introduction() -> tuple[str, str]:
    """Who speaks, for the daemon's audit log: the user's name and the program's, each empty if there is none."""
    user = os.environ.get("USER") or os.environ.get("USERNAME") or ""
    return user, os.path.basename(getattr(sys, "argv", [""])[0])  # an embedded interpreter may have no argv


def connect(address: Address, limit: float = CONNECT_LIMIT) -> Channel:
    """A channel to the daemon at `address`, within `limit` seconds. Raises ConnectionError, which says what to do."""
    deadline = monotonic() + limit
    connection = dial(address, limit)
    with contextlib.ExitStack() as unless_welcome:
        unless_welcome.callback(connection.close)
        try:
            channel = _greet(connection, address, deadline)
        except (FrameError, DecodeError) as error:
            raise ConnectionError(f"what listens at {address} is no instrument daemon; correct the address") from error
        unless_welcome.pop_all()
    return channel


def dial(address: Address, limit: float) -> socket.socket:
    """A connection to whatever listens at `address`, its host proved in TLS if it says so, within `limit` seconds.

    It does not block. Raises ConnectionError, which says what to do."""
    deadline = monotonic() + limit
    try:
        connection = socket.create_connection((address.host, address.port), limit)
    except (OSError, UnicodeError) as error:  # UnicodeError: there can be no such name
        raise ConnectionError(
            f"no instrument daemon answers at {address} ({error}); start one there or correct the address"
        ) from error
    with contextlib.ExitStack() as unless_secure:
        unless_secure.callback(connection.close)
        try:
            _tune(connection)
            if address.is_tls:
                from pyvisa_daemon import tls

                connection = tls.secure(connection, address.host, address.ca_file, deadline)
        except OSError as error:
            raise ConnectionError(f"no connection to {address}: {error}") from error
        unless_secure.pop_all()
    return connection


def first_live() -> Channel:
    """A channel to the first host of `tryIps` that is alive. Raises ConnectionError when none is."""
    return _first_live()[1]


def first_live_address() -> Address:
    """Where that is. Raises ConnectionError when none is alive."""
    address, channel = _first_live()
    channel.close()
    return address


def _first_live() -> tuple[Address, Channel]:
    reasons = []
    with contextlib.closing(_knock(None)) as visits:
        for visit in visits:
            if visit.channel is not None:
                return visit.address, visit.channel
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
    if address.is_tls:
        from pyvisa_daemon.tls_channel import RelayedChannel

        return RelayedChannel(connection, str(address))
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


@atexit.register  # here, which PyVISA imports before it registers its own end: that one comes first
def _let_relays_finish() -> None:
    """What a program writes last reaches the kernel, which sends it whatever becomes of the program; in TLS it has got
    no further than to another thread."""
    if "pyvisa_daemon.tls" in sys.modules:
        from pyvisa_daemon import tls

        tls.finish_all()
