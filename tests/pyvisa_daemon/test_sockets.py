"""A channel's socket: who may sleep on it, and what the short way to an answer is made of."""

import socket
from types import SimpleNamespace

import pytest

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import sockets, wire
from pyvisa_daemon.errors import Failure
from tests.pyvisa_daemon.conftest import Connect
from tests.pyvisa_daemon.peer import READ_STB, Conversation, echo
from tests.support.waiting import DEADLINE


class Counting:
    """A socket that counts what it is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        self.calls.append(name)
        return getattr(self._connection, name)


def never_sleeps(connection: socket.socket, seconds: int) -> bool:
    """As on Windows."""
    connection.setblocking(False)
    return False


def test_query_is_one_send_and_one_receive(connect: Connect) -> None:
    """Nothing is asked of the system that is not needed: each call costs every query."""

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.send(wire.Reply(peer.expect(wire.Query).id, 0, data=b"!"))

    channel = connect(script)
    if not channel._recv_sleeps:
        pytest.skip("this system has to be asked first")
    counting = channel._socket = Counting(channel._socket)  # type: ignore[assignment]
    assert channel.ask(DEADLINE, wire.Query, 1, b"?", 100).data == b"!"
    assert counting.calls == ["send", "recv_into"]


def test_channel_works_when_recv_never_sleeps(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks first whether anything is there, as it must on Windows; nothing else is different."""
    monkeypatch.setattr(channel_module, "let_recv_sleep", never_sleeps)
    channel = connect(echo)
    assert not channel._socket.getblocking()
    for turn in range(20):
        written = channel.start(wire.Write, 1, str(turn).encode())
        assert channel.ask(DEADLINE, wire.Read, 1, 100, written.id).data == str(turn).encode()
    with pytest.raises(Failure, match="has not answered"):
        connect(lambda peer: peer.greet() and list(peer.requests()) and None).ask(0.05, wire.Call, 1, *READ_STB)


def test_recv_never_sleeps_when_the_system_refuses_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than for ever. (What is replaced is the module's own name: whatever else packs is none of the test's.)"""
    monkeypatch.setattr(sockets, "struct", SimpleNamespace(pack=lambda *_: b"!"))
    theirs, ours = socket.socketpair()
    with theirs, ours:
        assert not sockets.let_recv_sleep(ours, 1)
        with pytest.raises(BlockingIOError):
            ours.recv(1)


def test_send_does_not_sleep_when_recv_may() -> None:
    """What the daemon does not take is waited for where other threads' turns and Ctrl-C are thought of."""
    theirs, ours = socket.socketpair()

    def send_for_ever() -> None:
        while True:
            ours.send(bytes(1 << 16), sockets.AT_ONCE)

    with theirs, ours:
        sockets.let_recv_sleep(ours, 1)
        with pytest.raises(BlockingIOError):
            send_for_ever()
