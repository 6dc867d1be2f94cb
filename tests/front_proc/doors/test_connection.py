"""A connection: who is let in and for how long, a client that does not keep up, and one that is no longer there.

The transport and the front are played; time is the test's.
"""

import asyncio

import pytest

from front_proc.access.rights import ByAddress, networks
from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.doors import peer as peer_module
from front_proc.doors.connection import LONGEST_REST, LOOK_TIME, REST_LOOK, SECOND_LOOK, Connection
from front_proc.languages.wire_conversation import WireConversation
from pyvisa_daemon import wire
from tests.front_proc.playbook import FakeAudit

STALL_TIME, OUTPUT_LIMIT = LIMITS.slow_reader_time, LIMITS.output_length
READ_AHEAD = LIMITS.line_length + 2


class FakeSocket:
    def setsockopt(self, *_):
        pass

    def fileno(self):
        return 20


class FakeTransport:
    """Takes what is written, and keeps it until the client reads."""

    def __init__(self, peername=("127.0.0.1", 50000)):
        self.unread = 0
        self.said = b""
        self.is_aborted = self.is_closed = self.is_ended = False
        self.is_read = True
        self._extra = {"peername": peername, "socket": FakeSocket()}

    def get_extra_info(self, name):
        return self._extra[name]

    def set_write_buffer_limits(self, high):
        self.high = high

    def get_write_buffer_size(self):
        return self.unread

    def write(self, data):
        assert not self.is_ended, "write() after write_eof()"
        self.unread += len(data)
        self.said += data

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.is_ended = True

    def is_reading(self):
        return self.is_read

    def pause_reading(self):
        self.is_read = False

    def resume_reading(self):
        self.is_read = True

    def close(self):
        self.is_closed = True

    def abort(self):
        self.is_aborted = True


class FakeFront:
    def __init__(self):
        self.audit = FakeAudit()
        self.limits = LIMITS
        self.clients = set()
        self.is_full = self.is_short = False
        self.is_stopping = False
        self.known = asyncio.Event()
        self.access = ByAddress(allow=networks("10.0.0.0/8"))

    def admit(self, client, descriptor):
        if self.is_full and not client.is_loopback:
            return False
        self.clients.add(client)
        return True

    def is_short_of(self, descriptor):
        return self.is_short

    def may_work(self, client):
        return not self.is_full

    def leave(self, client):
        self.clients.discard(client)

    async def list_resources(self):
        await self.known.wait()
        return []

    def note_command(self, *_):
        pass


class Peer:
    """A client that reads when the test says so."""

    def __init__(self, stage, *, front=None, peername=("127.0.0.1", 50000)):
        self._stage = stage
        self.front, self.transport = front or FakeFront(), FakeTransport(peername)
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

    def sends(self, data):
        self._stage.result(self._send(data))
        self._stage.run()
        return self.heard()

    async def _send(self, data):
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))

    def ends_input(self):
        assert self.connection.eof_received(), "it may still read"

    def waits(self, seconds):
        self._stage.pass_time(seconds)
        return self.heard()

    def heard(self):
        said, self.transport.said = self.transport.said, b""
        return said


@pytest.fixture
def peer(stage):
    return Peer(stage)


@pytest.mark.parametrize("beginning", [wire.MAGIC, b".#.", b"...", b".!."])
def test_language_is_chosen_by_the_whole_beginning_in_whatever_pieces_it_comes(stage, beginning):
    """Three bytes of the wire's magic are no prefix."""
    for first in range(1, len(beginning)):
        peer = Peer(stage)
        assert peer.sends(beginning[:first]) == b""
        assert peer.connection._speaker is None
        assert peer.sends(beginning[first:]) == b""
        assert isinstance(peer.connection._speaker, WireConversation) == (beginning == wire.MAGIC)


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


def test_client_that_is_cut_hears_and_says_no_more(peer):
    """What else was on its way to it goes nowhere, and it is on record once."""
    peer.is_sent(OUTPUT_LIMIT + 1)
    for _ in range(3):
        peer.is_sent(1)
    assert len(peer.front.audit.of("rejected")) == 1
    assert peer.sends(b".#.ping\n") == bytes(OUTPUT_LIMIT + 1)


def test_client_that_reads_a_little_has_its_time_anew(stage, peer):
    """It is cut as long after the last byte that it took as one that took none."""
    peer.is_sent(peer.transport.high + 100)
    stage.pass_time(0.35 * STALL_TIME)
    peer.reads(1)
    stage.pass_time(STALL_TIME)
    assert not peer.transport.is_aborted
    stage.pass_time(0.11 * STALL_TIME)
    assert peer.transport.is_aborted


# Clients that are there no more.


@pytest.fixture
def gone(monkeypatch):
    """Clients whose sockets are closed, and the moments at which it was looked."""
    gone = Gone()
    monkeypatch.setattr(peer_module, "is_gone", gone.look)
    return gone


class Gone:
    def __init__(self):
        self.is_so = False
        self.looks = []

    def look(self, connected):
        assert isinstance(connected, FakeSocket)
        self.looks.append(asyncio.get_running_loop().time())
        return self.is_so


def test_client_that_ended_its_input_is_looked_at_until_it_is_gone(stage, peer, gone):
    """At once, again very soon, since its FIN may be here first, and then now and then."""
    peer.sends(b".#.list_resources\n")
    stage.pass_time(5)
    assert gone.looks == []
    began = stage.loop.time()
    peer.ends_input()
    stage.pass_time(2 * LOOK_TIME)
    moments = [0, SECOND_LOOK, SECOND_LOOK + LOOK_TIME]
    assert gone.looks == pytest.approx([began + moment for moment in moments], abs=0.01)
    assert not peer.transport.is_aborted
    gone.is_so = True
    stage.pass_time(LOOK_TIME)
    assert peer.transport.is_aborted


def test_command_is_begun_before_it_is_looked_whether_its_client_is_there(stage, peer, gone):
    """What need not wait is carried out, whether or not anybody waits for it."""
    gone.is_so = True
    assert peer.sends(b".#.ping\n") == b"pong\n"
    peer.ends_input()
    assert peer.transport.is_closed
    stage.pass_time(10)
    assert gone.looks == [], "there is nothing that could be withdrawn"


def test_client_of_which_no_more_is_read_is_looked_at(stage, peer, gone):
    """It has sent so much ahead that its end could not be seen; until it is read from again."""
    peer.sends(b".#.list_resources\n" + b".#.ping\n" * (READ_AHEAD // 8 + 2))
    assert not peer.transport.is_read
    stage.pass_time(2.5 * LOOK_TIME)
    assert len(gone.looks) == 2
    peer.front.known.set()
    stage.pass_time(10)
    assert peer.transport.is_read
    assert len(gone.looks) == 2
    peer.front.known.clear()
    peer.sends(b".#.list_resources\n" + b".#.ping\n" * (READ_AHEAD // 8 + 2))
    gone.is_so = True
    stage.pass_time(LOOK_TIME + 0.01)
    assert peer.transport.is_aborted


def test_connection_that_was_reset_before_it_was_accepted_is_closed(stage):
    """It has no address any more; it was never anybody's."""
    peer = Peer(stage, peername=None)
    assert peer.transport.is_aborted
    peer.connection.connection_lost(None)
    assert peer.front.audit.records == []


def test_reply_that_comes_after_the_end_is_dropped(stage, peer):
    """A conversation that was refused may have something under way, which answers later."""
    refused = peer.sends(b"GET / HTTP/1.1\r\n")
    assert refused.startswith(b".#.error BAD_PROTOCOL ")
    peer.connection.send(b"late")
    assert peer.heard() == b""


# The beginning, and clients for whom there is no room.


def test_line_has_its_time_from_its_first_byte(peer):
    """Though that is of a prefix that was not whole for long."""
    peer.sends(b".")
    peer.waits(LIMITS.line_time / 2)
    peer.sends(b"#.")
    assert peer.waits(LIMITS.line_time / 2 - 0.1) == b""
    assert peer.waits(0.2).startswith(b".#.error LINE_TIMEOUT effect=none ")


def test_client_for_whom_there_is_no_room_gets_one_line(stage):
    """Then its connection is closed as soon as it has had time to read that; or at once, if descriptors are short."""
    for is_short in (False, True):
        front = FakeFront()
        front.is_full, front.is_short = True, is_short
        peer = Peer(stage, front=front, peername=("10.0.0.9", 50000))
        assert peer.heard().startswith(b".#.error TOO_MANY_CLIENTS effect=none ")
        assert peer.transport.is_closed == is_short
        assert peer.sends(b".#.ping\n") == b""
        peer.waits(10)
        assert peer.transport.is_closed


def test_client_of_the_reserve_does_not_keep_it_by_saying_nothing(stage):
    """Nor does a PyVISA program, which has nothing to look at."""
    front = FakeFront()
    front.is_full = True
    silent, program, looker = Peer(stage, front=front), Peer(stage, front=front), Peer(stage, front=front)
    assert program.sends(wire.MAGIC).startswith(b".#.error TOO_MANY_CLIENTS effect=none ")
    assert looker.sends(b".#.ping\n") == b"pong\n"
    assert silent.waits(LIMITS.line_time - 0.1) == b""
    assert silent.waits(0.2).startswith(b".#.error LINE_TIMEOUT effect=none ")
    assert looker.sends(b".#.ping\n") == b"pong\n"


# Strangers: without rights by their address.


@pytest.fixture
def strange(stage):
    """A client with none."""
    return lambda: Peer(stage, peername=("192.0.2.7", 50000))


def test_stranger_that_says_nothing_is_closed_after_the_time_of_a_line(strange):
    peer = strange()
    assert peer.waits(LIMITS.line_time - 0.1) == b""
    assert peer.waits(0.2).startswith(b".#.error LINE_TIMEOUT effect=none ")
    peer.waits(2)
    assert peer.transport.is_closed


def test_stranger_that_says_other_things_than_its_token_has_no_more_time(strange):
    """However many lines it begins."""
    peer = strange()
    peer.front.access = None  # nobody is asked: these lines are wrong in themselves
    for _ in range(3):
        assert peer.sends(b".#.nonsense\n").startswith(b".#.error UNKNOWN_COMMAND ")
        peer.waits(LIMITS.line_time / 4)
    assert peer.waits(LIMITS.line_time / 4 + 0.1).startswith(b".#.error LINE_TIMEOUT effect=none ")


def test_program_that_is_a_stranger_is_cut(strange):
    """Nothing can be said to it that it would understand before it has said hello."""
    peer = strange()
    peer.sends(wire.MAGIC)
    assert peer.waits(LIMITS.line_time + 0.1) == b""
    assert peer.transport.is_aborted


def test_client_that_is_cut_is_gone_at_once(stage):
    """For whatever reason, which is on record."""
    peer = Peer(stage)
    [client] = peer.front.clients
    client.cut("its token was taken away")
    assert peer.transport.is_aborted
    assert [record["error"] for record in peer.front.audit.of("rejected")] == ["its token was taken away"]
    peer.connection.connection_lost(None)
    client.cut("again")
    assert len(peer.front.audit.of("rejected")) == 1


def test_client_with_rights_by_its_address_has_all_the_time(stage):
    peer = Peer(stage, peername=("10.0.0.7", 50000))
    assert peer.waits(10 * LIMITS.line_time) == b""
    assert peer.sends(b".#.ping\n") == b"pong\n"


# While the audit log's writer is far behind.


def test_client_rests_while_the_writer_is_far_behind(peer):
    """Nothing is read from it meanwhile, whatever its conversation says."""
    [client] = peer.front.clients
    peer.front.audit.is_far_behind = True
    client.rest()
    client.rest()
    assert not peer.transport.is_read
    peer.connection.resume()
    peer.waits(LONGEST_REST / 2)
    assert not peer.transport.is_read
    peer.front.audit.is_far_behind = False
    peer.waits(REST_LOOK)
    assert peer.transport.is_read


def test_client_rests_for_a_while_only(peer):
    """The writer may be stuck, and nobody is to wait for it."""
    [client] = peer.front.clients
    peer.front.audit.is_far_behind = True
    client.rest()
    peer.waits(LONGEST_REST + 2 * REST_LOOK)
    assert peer.transport.is_read


def test_rest_does_not_end_a_pause_of_the_conversation(peer):
    """And the other way round; each ends its own."""
    [client] = peer.front.clients
    client.rest()
    peer.connection.pause()
    peer.waits(REST_LOOK)
    assert not peer.transport.is_read
    peer.connection.resume()
    assert peer.transport.is_read


def test_rest_of_a_connection_that_is_lost_is_over(peer):
    [client] = peer.front.clients
    client.rest()
    peer.connection.connection_lost(None)
    client.rest()
    peer.waits(LONGEST_REST)
    assert peer.connection._rest_timer is None or peer.connection._rest_timer.cancelled()
