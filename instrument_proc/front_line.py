"""The line to the front, at the child's end of the pipe: orders come, reports go.

Runs in the child. Between two orders that follow each other closely nothing is called but one read and one write: the
guard against the front's death stays armed until the child has been idle for a moment.
"""

import os
import socket
import struct
import threading
from collections import deque
from multiprocessing.connection import Connection

from instrument_proc import pipe
from instrument_proc.guard import DeathPipe
from pyvisa_daemon.framing import FrameReader, keep_freed_memory

#: Seconds without an order after which a child counts as idle. Until then the front's death kills it as in a call, and
#: its instrument is not closed in good order.
IDLE_TIME = 0.01

_FOR_EVER = 0.0

#: Bytes read at once.
_READ_SIZE = 1 << 18


class FrontLine:
    """What goes through `connection`; `death` is armed whenever there is an order to be carried out."""

    def __init__(self, connection: Connection, death: DeathPipe) -> None:
        self._death = death
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._socket.settimeout(None)  # a laboratory's Python may have another default
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._frames = FrameReader()
        #: They lie in the buffer, which is not filled anew before they are gone.
        self._orders: deque[memoryview] = deque()
        self._report = bytearray()
        #: A library may tell of events from a thread of its own.
        self._sending = threading.Lock()
        keep_freed_memory()

    def send(self, report: pipe.Report) -> None:
        """Tell the front, from any thread."""
        with self._sending:
            pipe.encode_into(self._report, report)
            self._socket.sendall(self._report)

    def next(self) -> pipe.Order:
        """The next order. Raises EOFError or ConnectionError when the front is gone."""
        while not self._orders:
            self._receive()
        if not self._death.is_armed:
            self._death.arm()
            self._wait_at_most(IDLE_TIME)
        return pipe.decode_order(self._orders.popleft())

    def _receive(self) -> None:
        try:
            count = self._socket.recv_into(self._buffer)
        except BlockingIOError:  # idle
            self._death.disarm()
            self._wait_at_most(_FOR_EVER)
            return
        if not count:
            raise EOFError
        self._orders.extend(self._frames.feed(self._buffer[:count]))

    def _wait_at_most(self, seconds: float) -> None:
        """In each read, by the kernel: no call more than the read itself."""
        timeval = struct.pack("@ll", int(seconds), round(seconds % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
