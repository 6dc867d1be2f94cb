"""What a channel does with its socket, and where operating systems differ in that.

Runs in the user's process; knows sockets only.
"""

import contextlib
import select
import socket
import struct
import sys

#: For `send`: never sleep, whatever the socket does otherwise. Windows has no such flag; its socket never sleeps.
AT_ONCE = getattr(socket, "MSG_DONTWAIT", 0)

if sys.platform == "win32":

    def let_recv_sleep(connection: socket.socket, seconds: int) -> bool:
        """No: on Windows a receive timeout leaves a socket in no defined state."""
        connection.setblocking(False)
        return False

    def is_ready(connection: socket.socket, writing: bool, seconds: float) -> bool:
        """Whether `connection` can be written to, or read from, within `seconds`."""
        sockets = [connection]
        return any(select.select([] if writing else sockets, sockets if writing else [], sockets, seconds))

else:

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
