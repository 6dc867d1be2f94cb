"""The line to the front, at the child's end: orders come whatever a laboratory's Python is like."""

import multiprocessing
import os
import socket
import struct
import threading
import time
from types import SimpleNamespace

import pytest

from instrument_proc import pipe
from instrument_proc.front_line import FrontLine
from tests.support.waiting import DEADLINE, wait_until


class FakeDeath:
    """Notes whether the front's death would be ours."""

    is_armed = False

    def arm(self):
        self.is_armed = True

    def disarm(self):
        self.is_armed = False


@pytest.fixture
def line():
    """[a line, the front's end of it]."""
    ours, theirs = multiprocessing.Pipe()
    line = FrontLine(theirs, FakeDeath())
    theirs.close()
    yield SimpleNamespace(line=line, death=line._death, front=ours)
    line._socket.close()
    ours.close()


@pytest.fixture
def impatient():
    """As a laboratory's sitecustomize may have it, for all sockets."""
    socket.setdefaulttimeout(0.02)
    yield
    socket.setdefaulttimeout(None)


def test_next_waits_for_an_order_whatever_the_default_timeout_of_sockets(impatient, line):
    """For as long as it takes: before the first order, while the line counts as busy, and when it idles."""
    orders = [pipe.Name(f"{number}") for number in range(3)]

    def give():
        for order in orders:
            time.sleep(0.1)
            line.front.send_bytes(pipe.encode(order))

    giving = threading.Thread(target=give)
    giving.start()
    assert [line.line.next() for _ in orders] == orders
    giving.join(DEADLINE)
    assert os.get_blocking(line.line._socket.fileno())


def patience(line):
    """Seconds after which a read gives up; 0.0 for never."""
    size = struct.calcsize("@ll")
    seconds, microseconds = struct.unpack("@ll", line._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, size))
    return seconds + microseconds / 1e6


def test_line_idles_a_moment_after_its_order_and_not_at_once(line):
    """The front may die two hundredths of a second after a command: its child still closes its instrument."""
    line.front.send_bytes(pipe.encode(pipe.Name("1")))
    line.line.next()
    assert line.death.is_armed
    assert 0.005 < patience(line.line) < 0.02
    waiting = threading.Thread(target=line.line.next)
    waiting.start()
    wait_until(lambda: not line.death.is_armed and patience(line.line) == 0)
    line.front.send_bytes(pipe.encode(pipe.Name("2")))
    waiting.join(DEADLINE)
    assert line.death.is_armed
