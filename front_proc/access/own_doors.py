"""Does a resource lead back to the daemon's own ports?

Runs in the front. Whoever may open a TCP socket as an instrument could open one to the daemon itself, and would speak
there as a process of this machine does: with all rights where loopback is admin, whatever rights he has of his own.

A name is looked up here and again by who connects; the port tells first, so that others wait for nothing.
"""

import asyncio
import re
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

#: Canonical names in which a TCP port is chosen freely, and what is sent there; pyserial takes URLs.
_SOCKET = re.compile(r"(?:PRLGX-)?TCPIP\d*::(.+)::(\d+)::(?:SOCKET|INTFC)", re.IGNORECASE | re.DOTALL)
_SERIAL = re.compile(r"(?:PRLGX-)?ASRL(?:\d*::)?(.+://.+)::(?:INSTR|INTFC)", re.IGNORECASE | re.DOTALL)

#: Port numbers that there are: some libraries take what is more by its lower bits.
_PORTS = 1 << 16


async def leads_back(resource: str, addresses: Iterable[str]) -> bool:
    """`resource` by its canonical name; `addresses` are those where the daemon listens, `host:port`."""
    host, port = _place(resource)
    if port is None or port % _PORTS not in {int(address.rpartition(":")[2]) for address in addresses}:
        return False
    loop = asyncio.get_running_loop()
    try:
        there = await loop.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # nobody will get there by that name
    return any(_is_own(family, address) for family, _, _, _, address in there)


def _place(resource: str) -> tuple[str, int | None]:
    """Host and port of a name; no port if there is none in it."""
    if found := _SOCKET.fullmatch(resource):
        return found[1].strip("[]"), int(found[2])
    if found := _SERIAL.fullmatch(resource):
        try:
            url = urlsplit(found[1])
            return url.hostname or "", url.port
        except ValueError:  # pyserial reads it in the same way, and will not open it
            pass
    return "", None


def _is_own(family: int, address: tuple[object, ...]) -> bool:
    """Is it an address of this machine, loopback or not? Only such a one can be bound."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True
