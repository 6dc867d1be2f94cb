"""A connection whose client does not keep up: who is told when it does, and that it is cut when it never will.

The transport and the front are played; time is the test's.
"""

import pytest

from front_proc.connection import OUTPUT_LIMIT, STALL_TIME, Connection
from front_proc.limits import DEFAULTS as LIMITS
from tests.front_proc.playbook import FakeAudit


class FakeSocket:
    def setsockopt(self, *_):
        pass

    def fileno(self):
        return 20


class FakeTransport:
    """Takes what is written, and keeps it until the client reads."""

    def __init__(self):
        self.unread = 0
        self.is_aborted = False

    def get_extra_info(self, name):
        return {"peername": ("127.0.0.1", 50000), "socket": FakeSocket()}[name]

    def set_write_buffer_limits(self, high):
        self.high = high

    def get_write_buffer_size(self):
        return self.unread

    def write(self, data):
        self.unread += len(data)

    def abort(self):
        self.is_aborted = True


class FakeFront:
    def __init__(self):
        self.audit = FakeAudit()
        self.limits = LIMITS
        self.clients = set()

    def admit(self, client, descriptor):
        self.clients.add(client)
        return True

    def may_work(self, client):
        return True

    def leave(self, client):
        self.clients.discard(client)


class Peer:
    """A client that reads when the test says so."""

    def __init__(self, stage):
        self._stage = stage
        self.front, self.transport = FakeFront(), FakeTransport()
        self.connection = stage.result(self._connect())

    async def _connect(self):
        connection = Connection(self.front)
        connection.connection_made(self.transport)
        return connection

    def is_sent(self, size):
        """So many bytes, of which it reads nothing yet."""
        before = self.transport.unread
        self.connection.send(bytes(size))
        if before <= self.transport.high < self.transport.unread:
            self.connection.pause_writing()

    def reads(self, size):
        self.transport.unread -= size
        if self.transport.unread <= self.transport.high // 4:
            self.connection.resume_writing()


@pytest.fixture
def peer(stage):
    return Peer(stage)


def test_connection_has_room_until_much_is_unread(peer):
    """And again when that was read."""
    resumed = []
    assert peer.connection.has_room(lambda: resumed.append(1))
    peer.is_sent(peer.transport.high)
    assert peer.connection.has_room(lambda: resumed.append(2))
    peer.is_sent(1)
    assert not peer.connection.has_room(lambda: resumed.append(3))
    peer.reads(peer.transport.high)
    assert peer.connection.has_room(lambda: resumed.append(4))
    assert resumed == [3], "who had room was told at once"


def test_who_waits_for_room_is_told_once(peer):
    """However often it asked; and asks anew for the next time."""
    resumed = []

    def resume():
        resumed.append(peer.connection.has_room(lambda: None))

    for _ in range(2):
        peer.is_sent(peer.transport.high + 1)
        for _ in range(3):
            assert not peer.connection.has_room(resume)
        peer.reads(peer.transport.high + 1)
    assert resumed == [True, True]


def test_client_that_reads_nothing_is_cut(stage, peer):
    """Not before its time: it may be slow."""
    peer.is_sent(peer.transport.high + 1)
    stage.pass_time(STALL_TIME - 0.1)
    assert not peer.transport.is_aborted
    stage.pass_time(0.2)
    assert peer.transport.is_aborted
    assert peer.front.audit.of("rejected", error="does not read its answers")


def test_client_that_reads_slowly_is_not_cut(stage, peer):
    """A byte now and then is a sign of life."""
    peer.is_sent(peer.transport.high + 100)
    for _ in range(20):
        stage.pass_time(STALL_TIME - 0.1)
        peer.reads(1)
    assert not peer.transport.is_aborted
    peer.reads(peer.transport.high)
    stage.pass_time(10 * STALL_TIME)
    assert not peer.transport.is_aborted


def test_client_that_is_sent_far_too_much_at_once_is_cut(peer):
    """The daemon's memory is not its own; but one reply may be as long as it is."""
    peer.is_sent(OUTPUT_LIMIT + 1)
    assert not peer.transport.is_aborted
    peer.is_sent(1)
    assert peer.transport.is_aborted
    assert peer.transport.unread == OUTPUT_LIMIT + 1


def test_who_was_held_back_goes_on_when_the_connection_is_gone(stage, peer):
    """Nobody waits for that client any more; and no clock ticks for it."""
    resumed = []
    peer.is_sent(peer.transport.high + 1)
    peer.connection.has_room(lambda: resumed.append(1))
    peer.connection.connection_lost(None)
    assert peer.front.clients == set()
    peer.connection.send(b"late")
    stage.pass_time(STALL_TIME + 1)
    assert resumed == [1]
    assert peer.connection.has_room(lambda: resumed.append(2)), "what is still said to it goes nowhere"
    assert not peer.transport.is_aborted
