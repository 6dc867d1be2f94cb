"""Gathers what the known daemons say, and how far the way to those leads that say nothing.

Runs in the user's process; a thread for each host, so one that is switched off keeps nobody waiting.
"""

import contextlib
import errno
import ipaddress
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic

from client.commands.checkup.facts import Visit, Way
from client.text_socket import TCPVisaSocket
from pyvisa_daemon import hosts, wire
from pyvisa_daemon.credentials import CredentialError
from pyvisa_daemon.errors import Failure

#: Seconds to connect; for the list of instruments, which may take a search of the networks; and for all of it.
_CONNECT_LIMIT, _LIST_LIMIT = 3.0, 10.0
LIMIT = 20.0

#: Seconds of listening for announcements.
_LISTEN_TIME = 1.5

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


def visit_all(entries: Sequence[str], limit: float = LIMIT) -> tuple[Visit, ...]:
    """In their order."""
    came: dict[int, Visit | Exception] = {}

    def go(place: int, entry: str) -> None:
        try:
            came[place] = visit(entry)
        except Exception as error:  # whatever it is, it is raised below
            came[place] = error

    deadline = monotonic() + limit
    threads = [threading.Thread(target=go, args=row, daemon=True) for row in enumerate(entries)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - monotonic()))
    return tuple(_come(came, place, entry, limit) for place, entry in enumerate(entries))


def _come(came: Mapping[int, Visit | Exception], place: int, entry: str, limit: float) -> Visit:
    one = came.get(place, Visit(_shown(entry), Way.SILENT, f"nothing within {limit:.0f} s"))
    if isinstance(one, Exception):
        raise one
    return one


def _shown(entry: str) -> str:
    with contextlib.suppress(ValueError):
        return str(hosts.parse(entry))
    return entry.partition("?")[0]  # what stands behind may be a token


def visit(entry: str) -> Visit:
    try:
        address = hosts.parse(entry)
    except ValueError as error:
        return Visit(_shown(entry), Way.ENTRY, str(error))
    there = Visit(str(address), is_loopback=_is_loopback(address.host))
    began = monotonic()
    try:
        socket.create_connection((address.host, address.port), _CONNECT_LIMIT).close()
    except (OSError, UnicodeError) as error:
        return replace(there, way=_way(error), text=str(getattr(error, "strerror", "") or error))
    return _ask(address, replace(there, connected_ms=1000 * (monotonic() - began)))


def _way(error: Exception) -> Way:
    """How far a failed connection led."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return Way.NAME
    if isinstance(error, ConnectionRefusedError):
        return Way.REFUSED
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return Way.UNREACHABLE
    return Way.SILENT


def _ask(address: hosts.Address, there: Visit) -> Visit:
    """How it is first, then what it has: that may take long."""
    try:
        with TCPVisaSocket(address) as connection:
            there = replace(there, status=connection.status())
        channel = hosts.connect(address)
    except (hosts.RefusedError, CredentialError) as error:
        return replace(there, way=Way.TOKEN, text=str(error))
    except (ConnectionError, Failure) as error:
        is_of_tls = address.is_tls and ("certificate" in str(error) or "TLS" in str(error))
        return replace(there, way=Way.TLS if is_of_tls else Way.DAEMON, text=str(error))
    with contextlib.closing(channel):
        try:
            reply = channel.wait(channel.start(wire.ListResources), _LIST_LIMIT)
        except Failure as error:
            return replace(there, instruments=None, text=error.text)
    if reply is None or reply.status < 0 or not isinstance(reply.value, list):
        text = f"no answer within {_LIST_LIMIT:.0f} s" if reply is None else reply.text
        return replace(there, instruments=None, text=text)
    return replace(there, instruments=tuple(map(str, reply.value)))


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def announced() -> tuple[str, ...] | None:
    """The addresses of daemons that are announced; None where nobody can listen."""
    try:
        from client.discovery import list_daemons

        found = list_daemons(timeout_s=_LISTEN_TIME)
    except (ImportError, OSError):
        return None
    return tuple(str(daemon.address) for daemon in found)
