"""What the kernel knows of a connection's other end, asked for real connections on loopback."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.doors import peer

ADDRESSES = {
    "IPv4": (socket.AF_INET, "127.0.0.1", socket.AF_INET, "127.0.0.1"),
    "IPv6": (socket.AF_INET6, "::1", socket.AF_INET6, "::1"),
    "IPv4 to an IPv6 listener": (socket.AF_INET6, "::", socket.AF_INET, "127.0.0.1"),
    "IPv4 as IPv6": (socket.AF_INET6, "::", socket.AF_INET6, "::ffff:127.0.0.1"),
}


@pytest.fixture(params=ADDRESSES)
def pair(request):
    """The two ends of a connection: the daemon's and the client's."""
    listening, address, calling, target = ADDRESSES[request.param]
    with socket.socket(listening) as listener, socket.socket(calling) as client:
        if listening == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, 0))
        listener.listen()
        client.connect((target, listener.getsockname()[1]))
        accepted, _ = listener.accept()
        with accepted:
            yield accepted, client


def test_peer_that_is_there_is_not_gone(pair):
    """Nor when it has ended its input, or is not reading."""
    accepted, client = pair
    assert not peer.is_gone(accepted)
    accepted.sendall(b"not read")
    client.shutdown(socket.SHUT_WR)
    assert accepted.recv(1) == b""
    assert not peer.is_gone(accepted)


def test_peer_that_closed_is_gone(pair):
    """At once, with its FIN; also if it had ended its input long before, which sends nothing more."""
    accepted, client = pair
    client.close()
    assert accepted.recv(1) == b""
    assert peer.is_gone(accepted)


def test_peer_that_closed_after_a_half_close_is_gone(pair):
    """As a killed netcat."""
    accepted, client = pair
    client.shutdown(socket.SHUT_WR)
    assert accepted.recv(1) == b""
    client.close()
    assert peer.is_gone(accepted)


def test_peer_whose_bytes_wait_to_be_read_is_gone_when_it_closed(pair):
    """Its FIN cannot be seen before they are."""
    accepted, client = pair
    client.sendall(bytes(100_000))
    client.close()
    assert peer.is_gone(accepted)


def test_peer_whose_socket_another_process_has_too_is_not_gone(pair):
    """It may still read."""
    accepted, client = pair
    with client.dup():
        client.close()
        assert not peer.is_gone(accepted)
    assert peer.is_gone(accepted)


def test_peer_that_reset_the_connection_is_gone(pair):
    """Its kernel has no socket any more, and ours knows."""
    accepted, client = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert peer.is_gone(accepted)


def test_peer_is_not_gone_where_the_kernel_does_not_tell(pair, monkeypatch):
    """A command is not withdrawn on a guess."""
    accepted, client = pair
    client.close()
    with monkeypatch.context() as patch:
        patch.setattr(peer.socket, "socket", no_netlink)
        assert not peer.is_gone(accepted)


def no_netlink(*_):
    raise OSError(97, "Address family not supported by protocol")


@given(st.binary(max_size=200))
def test_no_answer_is_misunderstood(answer):
    """Of whatever length: an inode, or none."""
    found = peer.inode(answer)
    assert found is None or found >= 0


def test_error_of_the_kernel_is_no_inode():
    """NLMSG_ERROR with ENOENT: there is no such socket, or nobody who could tell."""
    assert peer.inode(struct.pack("=IHHIIi", 36, 2, 0, 0, 0, -2) + bytes(100)) is None


@pytest.mark.parametrize(("seconds", "expected"), [(30.0, (15, 5, 3, 30_000)), (0.5, (1, 1, 3, 500))])
def test_silence_is_limited_in_both_ways(pair, seconds, expected):
    """Idle, by probes; with data under way, by their age. The kernel knows whole seconds."""
    accepted, _ = pair
    peer.limit_silence(accepted, seconds)
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    assert tuple(accepted.getsockopt(socket.IPPROTO_TCP, name) for name in names) == expected
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
