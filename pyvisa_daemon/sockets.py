"""What a channel does with its socket, and where operating systems differ in that.

Runs in the user's process; knows sockets only.
"""

import contextlib
import select
import socket
import struct
import sys
from typing import NamedTuple

#: For `send`: never sleep, whatever the socket does otherwise. Windows has no such flag; its socket never sleeps.
AT_ONCE = getattr(socket, "MSG_DONTWAIT", 0)


class Wanted(NamedTuple):
    """What a socket is waited for, and then, what it can do."""

    connection: socket.socket
    reading: bool
    writing: bool
    #: The other side has closed, whatever was wanted. Windows tells of that only who reads.
    is_broken: bool = False


if sys.platform == "win32":

    def let_recv_sleep(connection: socket.socket, seconds: int) -> bool:
        """No: on Windows a receive timeout leaves a socket in no defined state."""
        connection.setblocking(False)
        return False

    def is_ready(connection: socket.socket, writing: bool, seconds: float) -> bool:
        """Whether `connection` can be written to, or read from, within `seconds`."""
        sockets = [connection]
        return any(select.select([] if writing else sockets, sockets if writing else [], sockets, seconds))

    def wait_for_any(*wanted: Wanted) -> list[Wanted]:
        """What each of them can do of what is wanted, as soon as one can."""
        reading = [each.connection for each in wanted if each.reading]
        writing = [each.connection for each in wanted if each.writing]
        readable, writable, _ = select.select(reading, writing, [])
        return [Wanted(one, one in readable, one in writable) for one, *_ in wanted]

else:
    _BROKEN = select.POLLHUP | select.POLLERR | select.POLLNVAL

    def let_recv_sleep(connection: socket.socket, seconds: int) -> bool:
        """Its `recv` may now sleep so long before it raises BlockingIOError, which saves the call that waits. False if
        that cannot be had: it never sleeps then."""
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # where a C long is not what the kernel keeps times in
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
            connection.setblocking(True)
        return connection.getblocking()

    def is_ready(connection: socket.socket, writing: bool, seconds: float) -> bool:
        """Whether `connection` can be written to, or read from, within `seconds`."""
        poll = select.poll()  # select() cannot take descriptors from 1024 on
        poll.register(connection, select.POLLOUT if writing else select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def wait_for_any(*wanted: Wanted) -> list[Wanted]:
        """What each of them can do of what is wanted, as soon as one can."""
        poll = select.poll()
        for each in wanted:
            poll.register(each.connection, each.reading * select.POLLIN | each.writing * select.POLLOUT)
        ready = dict(poll.poll())
        can = [ready.get(each.connection.fileno(), 0) for each in wanted]
        return [
            Wanted(each.connection, bool(now & select.POLLIN), bool(now & select.POLLOUT), bool(now & _BROKEN))
            for each, now in zip(wanted, can, strict=True)
        ]
