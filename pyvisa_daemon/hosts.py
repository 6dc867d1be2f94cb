"""Where daemons may be, connecting to one, and asking all of them at once.

Runs in the user's process, without PyVISA. A connection made here is handed over as a `Channel`.

Every host is asked on a thread of its own, so hosts that are switched off cost `KNOCK_LIMIT` once and not each; even
a name server that does not answer is not waited for any longer.
"""

import atexit
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from time import monotonic
from typing import NamedTuple

from pyvisa_daemon import credentials
from pyvisa_daemon.addresses import Address as Address  # also this room's, for who connects
from pyvisa_daemon.addresses import parse as parse
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

#: Seconds for connecting and the hello, when several hosts are asked and when one was named.
KNOCK_LIMIT = 1.0
CONNECT_LIMIT = 5.0

#: Seconds more for the hello of a daemon that is shown a token: it is in no hurry to refuse a wrong one.
VERDICT_TIME = 3.0

#: Seconds for an answer to Find: the daemon may have to look for instruments first.
FIND_LIMIT = 6.0

#: Of errors: what a daemon says to whom it does not know.
NOT_KNOWN = frozenset({"FORBIDDEN", "AUTH_FAILED"})

#: How a daemon refuses whom it did not let speak.
TEXT_REFUSAL = b".#.error "

#: The hosts that are asked, in this order, each `host[:port][?options]`. Change it in place, or assign `client.tryIps`.
tryIps = [host.strip() for host in os.environ.get("PYVISA_DAEMON_HOSTS", "").split(",") if host.strip()]  # noqa: N816
tryIps = tryIps or ["127.0.0.1"]  # noqa: N816 - the name is the original's

#: Unanswered keepalives show a dead link after 15 s + 3 * 5 s. macOS has another name for the first.
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPALIVE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class RefusedError(ConnectionError):
    """The daemon is there, and does not let us in without a token, or with this one."""


class Finding(NamedTuple):
    """What the live daemon at `address` says of a resource: one of `wire.FOUND`, or REFUSED."""

    address: Address
    found: str


#: Of a daemon that does not let us in.
REFUSED = "refused"


def introduction() -> tuple[str, str]:
    """Who speaks, for the daemon's audit log: the user's name and the program's, each empty if there is none."""
    user = os.environ.get("USER") or os.environ.get("USERNAME") or ""
    return user, os.path.basename(getattr(sys, "argv", [""])[0])  # an embedded interpreter may have no argv


def connect(address: Address, limit: float = CONNECT_LIMIT) -> Channel:
    """A channel to the daemon at `address`, within `limit` seconds, or VERDICT_TIME more if there is a token to show.
    Raises ConnectionError, which says what to do."""
    deadline = monotonic() + limit
    credential = credentials.credential_for(address.options)
    connection = dial(address, limit)
    with contextlib.ExitStack() as unless_welcome:
        unless_welcome.callback(connection.close)
        try:
            channel = _greet(connection, address, credential, deadline)
        except (FrameError, DecodeError) as error:
            text = f"what listens at {address} is no instrument daemon; correct the address"
            raise ConnectionError(text) from error
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
    return [(visit.address, reply) for visit, reply in _asked(request, limit) if visit.channel is not None]


def _asked(request: Callable[[Channel], Pending], limit: float) -> list[tuple["_Visit", Reply | None]]:
    """All visits, and the replies of those who are alive. The channels are closed by then."""
    replies: list[tuple[_Visit, Reply | None]] = []
    with contextlib.ExitStack() as afterwards:
        visits = list(_knock(request))
        for visit in visits:
            if visit.channel is not None:
                afterwards.callback(visit.channel.close)
        deadline = monotonic() + limit
        for visit in visits:
            reply = None
            if visit.channel is not None and visit.pending is not None:
                with contextlib.suppress(Failure):
                    reply = visit.channel.wait(visit.pending, max(0.0, deadline - monotonic()))
            replies.append((visit, reply))
    return replies


def find(resource: str) -> list[Finding]:
    """What each live daemon says of `resource`, in the order of `tryIps`. No daemon opens anything for that.

    A failed answer counts as `unknown`: the daemon is there, so opening will show what is wrong. So it will where the
    daemon does not let us in: that is REFUSED.
    """
    findings = []
    for visit, reply in _asked(lambda channel: channel.start(Find, resource), FIND_LIMIT):
        if visit.channel is not None:
            found = str(reply.value) if reply is not None and reply.value in FOUND else "unknown"
            findings.append(Finding(visit.address, found))
        elif visit.is_refused:
            findings.append(Finding(visit.address, REFUSED))
    return findings


class _Visit(NamedTuple):
    """How the knock at one door went: a channel and what was asked on it, or the reason why not."""

    address: Address
    channel: Channel | None
    pending: Pending | None
    reason: str
    is_refused: bool = False


def _knock(request: Callable[[Channel], Pending] | None) -> Generator[_Visit, None, None]:
    """Visits every host of `tryIps` at once; yields how it went in that order. Takers own the channels they took."""
    is_over = threading.Event()
    doors: list[tuple[Address, SimpleQueue[_Visit]]] = [(parse(entry), SimpleQueue()) for entry in tryIps]
    for address, door in doors:
        arguments = (address, request, door, is_over)
        threading.Thread(target=_visit, args=arguments, name=f"asking {address}", daemon=True).start()
    began = monotonic()
    try:
        for address, door in doors:
            limit = KNOCK_LIMIT + (VERDICT_TIME if credentials.is_there(address.options) else 0.0)
            try:
                yield door.get(timeout=max(0.0, began + limit - monotonic()))
            except Empty:
                yield _Visit(address, None, None, f"{address} did not answer within {limit:.0f} s")
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
        door.put(_Visit(address, None, None, str(error), isinstance(error, RefusedError | credentials.CredentialError)))
    if is_over.is_set():
        _turn_away(door)


def _turn_away(door: "SimpleQueue[_Visit]") -> None:
    """Closes a channel that nobody took."""
    with contextlib.suppress(Empty):
        visit = door.get_nowait()
        if visit.channel is not None:
            visit.channel.close()


def _greet(
    connection: socket.socket, address: Address, credential: credentials.Credential | None, deadline: float
) -> Channel:
    """Our hello and the daemon's answer. Raises ConnectionError, FrameError, DecodeError."""
    if credential is not None:
        deadline += VERDICT_TIME
    frames = FrameReader()
    complete: list[bytes] = []
    try:
        connection.send(MAGIC + _hello(credential))  # much less than an empty send buffer takes
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
    _judge(decode_answer(complete[0]), address, credential)
    if address.is_tls:
        from pyvisa_daemon.tls_channel import RelayedChannel

        return RelayedChannel(connection, str(address))
    return Channel(connection, str(address))


def _hello(credential: credentials.Credential | None) -> bytes:
    shown = {} if credential is None else {"token": credential.token}
    return encode(Hello(VERSION, FEATURES, *introduction(), os.getpid(), shown))


def refusal(address: Address, token: str, text: str, credential: credentials.Credential | None) -> RefusedError:
    """To be raised when the daemon does not know us: says what to do, and nothing of the token itself."""
    if credential is None:
        return RefusedError(f"the daemon at {address} wants a token ({token}): {credentials.advice()}")
    return RefusedError(
        f"the daemon at {address} does not take the token of {credential.source} ({token}: {text}); ask its "
        "operator for another"
    )


def _judge(answer: Answer, address: Address, credential: credentials.Credential | None) -> None:
    match answer:
        case Welcome(version=version) if version == VERSION:
            return
        case Welcome(version=version):
            reason = f"it speaks version {version} of the wire and this program {VERSION}; upgrade the older one"
        case Refused(token=token, text=text) if token in NOT_KNOWN:
            raise refusal(address, token, text, credential)
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
