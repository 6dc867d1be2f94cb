"""The door of the TLS port: what is let in, what is turned away, and that nothing is lost, held or left in it.

The transport and the front are played; TLS is real, and so is the connection behind the door.
"""

import ssl

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.doors import peer
from front_proc.doors.connection import LINGER, Connection
from front_proc.doors.tls_door import PIECE, TlsDoor
from pyvisa_daemon.tls_stream import TlsStream
from tests.front_proc.doors.test_connection import FakeFront, FakeTransport
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("tls"))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(authority.file)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue())
    return client, server


class Outside(FakeTransport):
    """The event loop's."""

    def get_extra_info(self, name, default=None):
        return self._extra.get(name, default)

    def set_write_buffer_limits(self, high=None, low=None):
        self.high = high


class Caller:
    """A client in TLS, at a door; the network between them is this test."""

    def __init__(self, stage, contexts, *, front=None, peername=("127.0.0.1", 50000)):
        self._stage = stage
        self.front, self.transport = front or FakeFront(), Outside(peername)
        self.tls = TlsStream(contexts[0], "localhost")
        self.door = stage.result(self._connect(contexts[1]))

    async def _connect(self, context):
        door = TlsDoor(Connection(self.front), context, self.front.limits.line_time)
        door.connection_made(self.transport)
        return door

    async def _bytes(self, data):
        if self.transport.is_closed or self.transport.is_aborted:
            return
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self.door.get_buffer(-1)[: len(piece)] = piece
            self.door.buffer_updated(len(piece))

    def sends_bytes(self, data):
        """As they are. What comes back."""
        self._stage.result(self._bytes(data))
        self._stage.run()
        said, self.transport.said = self.transport.said, b""
        return said

    def shakes_hands(self):
        while not self.tls.shake_hands():
            self.tls.receive(self.sends_bytes(self.tls.to_send()))
        return self.sends(b"")

    def sends(self, data):
        """In TLS. What comes back."""
        self.tls.write(data)
        return self.reads(self.sends_bytes(self.tls.to_send()))

    def reads(self, sealed):
        self.tls.receive(sealed)
        self.transport.unread = 0
        room, got = memoryview(bytearray(1 << 16)), b""
        while count := self.tls.read_into(room):
            got += bytes(room[:count])
        return got

    def waits(self, seconds):
        self._stage.pass_time(seconds)
        said, self.transport.said = self.transport.said, b""
        return self.reads(said)


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    """Nobody is gone: there are no sockets."""
    monkeypatch.setattr(peer, "is_gone", lambda connected: False)


@pytest.fixture
def caller(stage, contexts):
    return Caller(stage, contexts)


def test_command_is_answered_when_hands_were_shaken(caller):
    caller.shakes_hands()
    assert caller.sends(b".#.ping\n") == b"pong\n"
    assert caller.sends(b".#.ping\r\n") == b"pong\r\n"


def test_commands_in_the_last_handshake_message_are_answered(caller):
    """Who does not wait for us to have it."""
    while not caller.tls.shake_hands():
        caller.tls.receive(caller.sends_bytes(caller.tls.to_send()))
    caller.tls.write(b".#.ping\n" * 3)
    assert caller.reads(caller.sends_bytes(caller.tls.to_send())) == b"pong\n" * 3


def test_client_is_counted_before_it_shakes_hands(caller):
    """It counts among those of whom there may only be so many."""
    assert len(caller.front.clients) == 1
    caller.door.connection_lost(None)
    assert not caller.front.clients


def test_client_that_never_completes_its_handshake_is_ended(stage, caller):
    """From its connect on it has as long as for a line."""
    caller.tls.shake_hands()
    caller.sends_bytes(caller.tls.to_send()[:20])
    stage.pass_time(caller.front.limits.line_time - 0.1)
    assert not caller.transport.is_ended
    stage.pass_time(0.2)
    assert caller.transport.is_ended
    stage.pass_time(LINGER)
    assert caller.transport.is_closed
    (rejected,) = caller.front.audit.of("rejected")
    assert rejected["outcome"] == "LINE_TIMEOUT"


def test_client_that_has_shaken_hands_may_be_silent(stage, caller):
    """As on the plain port."""
    caller.shakes_hands()
    stage.pass_time(1000 * caller.front.limits.line_time)
    assert not caller.transport.is_closed
    assert caller.sends(b".#.ping\n") == b"pong\n"


@pytest.mark.parametrize("said", [b".#.ping\n", b".!.end_daemon\n", b"GET / HTTP/1.1\r\n\r\n", b"\0", b"\x15\x03\x03"])
def test_client_that_speaks_no_tls_is_told_so_and_closed(stage, caller, said):
    """In plain text, for else it would not understand; nothing that it says is carried out."""
    answer = caller.sends_bytes(said)
    assert answer.startswith(b".#.error BAD_PROTOCOL effect=none this port speaks TLS only")
    assert answer.count(b"\n") == 1
    assert caller.sends_bytes(b".#.ping\n") == b""
    assert caller.transport.is_ended
    stage.pass_time(LINGER)
    assert caller.transport.is_closed
    assert len(caller.front.audit.of("rejected", outcome="BAD_PROTOCOL")) == 1


def test_client_that_breaks_the_rules_of_tls_is_closed(stage, caller):
    """The record says how; nothing is carried out."""
    caller.shakes_hands()
    caller.tls.write(b".#.ping\n")
    sealed = bytearray(caller.tls.to_send())
    sealed[-1] ^= 1
    caller.sends_bytes(bytes(sealed))
    assert caller.transport.is_ended
    assert caller.sends_bytes(b"more") == b""
    (rejected,) = caller.front.audit.of("rejected")
    assert rejected["error"].startswith("TLS: ")


def test_client_without_a_place_is_told_so_in_tls(stage, contexts):
    """As soon as it can understand it."""
    front = FakeFront()
    front.is_full = True
    caller = Caller(stage, contexts, front=front, peername=("10.0.0.7", 50000))
    answer = caller.shakes_hands()
    assert answer.startswith(b".#.error TOO_MANY_CLIENTS ")
    assert caller.tls.is_at_end
    stage.pass_time(LINGER)
    assert caller.transport.is_closed


def test_language_that_is_none_is_refused_in_tls(caller):
    caller.shakes_hands()
    assert caller.sends(b"GET / HTTP/1.1\r\n\r\n").startswith(b".#.error BAD_PROTOCOL ")
    assert caller.tls.is_at_end


def test_who_will_send_no_more_is_answered(stage, caller):
    """A half-close: of a request that nothing ended, too, and after the end of TCP's stream."""
    caller.shakes_hands()
    caller.tls.write(b".#.ping")
    caller.tls.end()
    answer = caller.reads(caller.sends_bytes(caller.tls.to_send()))
    assert caller.door.eof_received(), "TCP stays open for the answer"
    assert (answer or caller.waits(1)) == b"pong"


def test_stream_that_ends_without_a_word_is_lost(caller):
    """Anybody on the way could end it: what had begun is not taken for whole, and nobody waits."""
    caller.shakes_hands()
    caller.sends(b".#.pin")
    assert not caller.door.eof_received(), "the loop closes the transport"


def test_what_follows_the_end_is_not_gathered(caller):
    """Somebody may go on for ever."""
    caller.shakes_hands()
    caller.tls.end()
    caller.sends_bytes(caller.tls.to_send())
    for _ in range(10):
        caller.sends_bytes(b"\x17\x03\x03" * 50_000)
    assert caller.door._stream._incoming.pending == 0


def test_nothing_is_handed_in_while_the_conversation_pauses(stage, caller):
    """And the network is not read; it all comes later, in order, and the end behind it."""
    caller.shakes_hands()
    caller.door.pause_reading()
    assert not caller.transport.is_read
    caller.tls.write(b".#.ping\n" * 3)
    caller.tls.end()
    assert caller.sends_bytes(caller.tls.to_send()) == b""
    caller.door.resume_reading()
    assert not caller.transport.is_read, "first what is here"
    assert caller.waits(1) == b"pong\n" * 3


def test_long_answer_is_whole_and_counted(caller):
    """What is not taken yet is what the connection bounds."""
    caller.shakes_hands()
    data = bytes(range(256)) * 8000
    caller.door.write(data)
    assert caller.door.get_write_buffer_size() >= len(data)
    assert caller.reads(caller.transport.said) == data


def test_client_that_reads_nothing_is_cut(caller):
    """The same bounds as on the plain port."""
    caller.shakes_hands()
    caller.transport.unread = LIMITS.output_length + 1
    caller.door._connection.send(b"one more")
    assert caller.transport.is_aborted
    assert caller.front.audit.of("rejected", error="does not read its answers")


def test_close_says_so_in_tls(caller):
    """Else who reads could not tell it from a connection that somebody cut."""
    caller.shakes_hands()
    caller.door.close()
    caller.reads(caller.transport.said)
    assert caller.tls.is_at_end
    assert caller.transport.is_closed


def test_connection_that_was_reset_before_it_was_accepted_is_dropped(stage, contexts):
    caller = Caller(stage, contexts, peername=None)
    assert caller.transport.is_aborted
    caller.door.connection_lost(None)
    assert not caller.front.clients


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(min_size=1, max_size=600),
        st.binary(max_size=600).map(lambda rest: b"\x16\x03\x01" + rest),
        st.binary(max_size=600).map(lambda rest: b"\x16\x03\x01" + len(rest).to_bytes(2) + rest),
        st.tuples(st.integers(0, 500), st.integers(1, 255)),
    ),
    cut=st.integers(1, 600),
)
def test_whatever_comes_is_refused_or_waited_for(stage, contexts, data, cut):
    """Noise, noise in a record, a hello with one byte changed: never an error of ours, never a word carried out."""
    caller = Caller(stage, contexts)
    if isinstance(data, tuple):
        caller.tls.shake_hands()
        hello = bytearray(caller.tls.to_send())
        hello[data[0] % len(hello)] ^= data[1]
        data = bytes(hello)
    for part in (data[:cut], data[cut:]):
        if part and not caller.transport.is_closed:
            caller.sends_bytes(part)
    assert not caller.front.audit.of("command")
    assert caller.door._connection._speaker is None
    caller.door.connection_lost(None)
    assert not caller.front.clients
