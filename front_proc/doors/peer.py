"""A connection's other end, as far as the kernel knows it: is it gone, and how long may it be silent?

Runs in the front. The questions and answers of sock_diag(7) are pure; `is_gone` asks, in some 15 microseconds and
without waiting. (/proc/net/tcp says the same, in milliseconds that grow with the machine's memory.)

A program that closes its connection and one that only ends its input send the same FIN. But on this machine the kernel
has the other end's socket as well: once no process has it open any more it belongs to no file, and its inode is 0. Of
other machines nothing is known until their kernel answers, to data or to a probe, that it has forgotten the connection.
"""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

#: Of <linux/netlink.h>, <linux/sock_diag.h> and <linux/tcp.h>.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_TCP_CLOSE = 7

_HEADER = struct.Struct("=IHHII")
#: inet_diag_req_v2: family, protocol, extensions, padding, states; then the ports, big-endian.
_REQUEST = struct.Struct("=BBBxI")
_PORTS = struct.Struct("!HH")
#: The address fields of inet_diag_sockid are 16 bytes for either family; interface 0 and cookie -1 mean any.
_ADDRESS_SIZE = 16
_ANY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
#: Where inet_diag_msg has its inode, behind the message's header.
_INODE = struct.Struct("=I")
_INODE_AT = _HEADER.size + 4 + 48 + 16

#: Bytes of an answer, attributes included.
_ANSWER_SIZE = 4096

#: Probes that a silent peer must leave unanswered.
_PROBES = 3

Endpoint = tuple[str, int]


def question(local: Endpoint, remote: Endpoint) -> bytes:
    """Asks for the TCP socket that is bound to `local` and connected to `remote`."""
    ours, theirs = _address(local[0]), _address(remote[0])
    family = socket.AF_INET if ours.version == 4 else socket.AF_INET6
    addresses = b"".join(address.packed.ljust(_ADDRESS_SIZE, b"\0") for address in (ours, theirs))
    body = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + _PORTS.pack(local[1], remote[1]) + addresses + _ANY
    )
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    return header + body


def inode(answer: bytes) -> int | None:
    """The inode of the socket that was asked for, 0 if no process has it; None if there is none, or none is told of."""
    if len(answer) < _INODE_AT + _INODE.size or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    return int(_INODE.unpack_from(answer, _INODE_AT)[0])


def _address(host: str) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as an IPv6 one is an IPv4 address to the kernel, too."""
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def is_gone(connected: socket.socket) -> bool:
    """Will nobody ever read what is sent on this connection? False where that is not known."""
    try:
        if connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
            return True  # reset, or given up as silent
        asked = question(connected.getpeername()[:2], connected.getsockname()[:2])
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
            kernel.setblocking(False)
            kernel.send(asked)
            return inode(kernel.recv(_ANSWER_SIZE)) == 0
    except OSError:
        return False  # a kernel that does not tell, or no descriptor to ask with


def limit_silence(connected: socket.socket, seconds: float) -> None:
    """Have the kernel give the connection up when its peer has been silent so long, whether or not it owes an answer.

    Probes begin after half of that time; with data under way there are none, and only TCP_USER_TIMEOUT ends it.
    """
    idle, interval = max(1, round(seconds / 2)), max(1, round(seconds / 2 / _PROBES))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
