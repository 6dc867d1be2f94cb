"""TLS as bytes in and bytes out: two ends converse without a network."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvisa_daemon.tls_stream import TlsStream
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's and a server's that get on."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    pair = authority.issue()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(authority.file)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*pair)
    return client, server


class Talk:
    """Both ends, the handshake done."""

    def __init__(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext], name: str = "localhost") -> None:
        self.client, self.server = TlsStream(contexts[0], name), TlsStream(contexts[1])
        while not (self.client.is_open and self.server.is_open):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                if not one.is_open:
                    one.shake_hands()
                other.receive(one.to_send())

    def to_server(self) -> None:
        self.server.receive(self.client.to_send())

    def read(self, size: int = 1 << 16) -> bytes:
        """What the server gets, with room for so much at a time."""
        room, got = memoryview(bytearray(size)), b""
        while count := self.server.read_into(room):
            got += bytes(room[:count])
        return got


def test_bytes_come_out_as_they_went_in(contexts):
    talk = Talk(contexts)
    talk.client.write(b"VOLT 12\n")
    sealed = talk.client.to_send()
    assert b"VOLT" not in sealed
    assert talk.client.to_send() == b""
    talk.server.receive(sealed)
    assert talk.read() == b"VOLT 12\n"


@settings(max_examples=30, deadline=None)
@given(
    messages=st.lists(st.binary(max_size=40_000), max_size=4),
    cuts=st.lists(st.integers(1, 20_000), min_size=1, max_size=8),
    room=st.integers(1, 50_000),
)
def test_bytes_come_out_as_they_went_in_however_they_are_cut(contexts, messages, cuts, room):
    """The network delivers in pieces of its own, and who reads has room of its own."""
    talk = Talk(contexts)
    for message in messages:
        talk.client.write(message)
    sealed, got, number = talk.client.to_send(), b"", 0
    while sealed:
        cut = cuts[number % len(cuts)]
        talk.server.receive(sealed[:cut])
        sealed, number = sealed[cut:], number + 1
        got += talk.read(room)
    assert got == b"".join(messages)


def test_end_is_known_from_a_pause(contexts):
    """What was written before it is read first."""
    talk = Talk(contexts)
    talk.client.write(b"last")
    talk.to_server()
    room = memoryview(bytearray(99))
    assert (talk.server.read_into(room), talk.server.is_at_end) == (4, False)
    assert (talk.server.read_into(room), talk.server.is_at_end) == (0, False)
    talk.client.end()
    talk.to_server()
    assert (talk.server.read_into(room), talk.server.is_at_end) == (0, True)


def test_who_has_ended_is_still_written_to(contexts):
    """A half-close: `printf '.#.ping' | socat - OPENSSL:...` gets its answer."""
    talk = Talk(contexts)
    talk.client.end()
    talk.to_server()
    talk.read()
    talk.server.write(b"pong\n")
    assert talk.server.to_send()


def test_record_that_was_changed_on_the_way_is_refused(contexts):
    talk = Talk(contexts)
    talk.client.write(b"VOLT 12\n")
    sealed = bytearray(talk.client.to_send())
    sealed[-1] ^= 1
    talk.server.receive(bytes(sealed))
    with pytest.raises(ssl.SSLError):
        talk.read()


def test_name_that_is_not_in_the_certificate_is_refused(contexts):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        Talk(contexts, "labpc")
