"""The text protocol's client end: replies whatever the chunks, errors, and a daemon that misbehaves."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import client
from client.text_connection import Reply, TextConnection, first_reply, refusal_in
from pyvisa_daemon import hosts
from pyvisa_daemon.errors import ERRORS, Effect
from tests.support.waiting import DEADLINE

Script = Callable[[socket.socket], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Script], hosts.Address]]:
    """A thread that plays a daemon on one connection: mode and hello, then `script`."""
    with contextlib.ExitStack() as stack:

        def start(script: Script) -> hosts.Address:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def run() -> None:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(ConnectionError):
                    assert connection.recv(100) == b".#.mode tagged\n"
                    connection.sendall(b"ok tagged\n")
                    script(connection)

            thread = threading.Thread(target=run)
            thread.start()
            stack.callback(thread.join, DEADLINE)
            return hosts.Address("127.0.0.1", listener.getsockname()[1])

        yield start


def as_sent(content: bytes) -> bytes:
    """As the contract has it: a block if it holds an LF, starts with # and a digit, or is no UTF-8."""
    with contextlib.suppress(UnicodeDecodeError):
        content.decode()
        if b"\n" not in content and not (content[:1] == b"#" and content[1:2].isdigit()) and content[-1:] != b"\r":
            return content
    length = str(len(content)).encode()
    return b"#%d%b%b" % (len(length), length, content)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=30)), max_size=5), st.booleans())
def test_replies_come_back_whole_when_they_trickle_in(replies: list[tuple[bool, bytes]], is_tagged: bool) -> None:
    """Byte by byte, text and blocks, good and bad: each reply as it was, no sooner than its last byte."""
    received = bytearray()
    for is_error, content in replies:
        if is_error:
            content = b".#.error X effect=none " + content.replace(b"\n", b"").replace(b"\r", b"")
        elif not is_tagged and content.startswith(b".#.error "):
            continue
        sent = content if is_error else as_sent(content)
        for byte in (b"ok ", b"err ")[is_error] * is_tagged + sent + b"\n":
            assert first_reply(bytes(received), is_tagged) is None
            received.append(byte)
        reply = first_reply(bytes(received), is_tagged)
        assert reply == Reply(content, is_error, len(received))
        del received[:]


@pytest.mark.parametrize("token", [*ERRORS, "VI_ERROR_NLISTENERS"])
def test_refusal_carries_what_the_daemon_said_when_parsed(token: str) -> None:
    """The daemon's own tokens and any VISA completion code: token, effect, text, VISA's number."""
    refusal = refusal_in(f".#.error {token} effect=maybe it is so".encode())
    assert (refusal.token, refusal.effect, refusal.text) == (token, Effect.MAYBE, "it is so")
    assert client.constants.StatusCode(refusal.status) < 0
    assert str(refusal) == f"{token} effect=maybe: it is so"


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n", b"err what\n", b"ok #3x12\n"])
def test_connection_is_lost_when_something_else_answers(serve: Callable[[Script], hosts.Address], noise: bytes) -> None:
    """Not our protocol: a ConnectionError, not a guess."""

    def script(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(noise)
        connection.recv(100)

    with contextlib.closing(TextConnection(serve(script))) as connection, pytest.raises(ConnectionError):
        connection.ask(b".#.ping", DEADLINE)


def test_connection_is_lost_when_no_reply_comes_in_time(serve: Callable[[Script], hosts.Address]) -> None:
    """After the limit nothing can be trusted to be the right reply: the socket is closed, and says so."""
    with contextlib.closing(TextConnection(serve(lambda connection: connection.recv(100) and None))) as connection:
        with pytest.raises(ConnectionError, match="open another socket"):
            connection.ask(b".#.ping", 0.0)
        with pytest.raises(ConnectionError, match="is closed"):
            connection.ask(b".#.ping", 0.0)


def test_stale_reply_is_skipped_when_ctrl_c_fell_into_the_wait(serve: Callable[[Script], hosts.Address]) -> None:
    """The next request gets its own reply."""

    def script(connection: socket.socket) -> None:
        connection.recv(100)
        os.kill(os.getpid(), signal.SIGINT)
        connection.recv(100)
        connection.sendall(b"ok first\nok second\n")

    with contextlib.closing(TextConnection(serve(script))) as connection:
        with pytest.raises(KeyboardInterrupt):
            connection.ask(b".#.query_resource FIRST?", DEADLINE)
        assert connection.ask(b".#.query_resource SECOND?", DEADLINE) == b"second"


def test_socket_refuses_when_nobody_is_alive() -> None:
    """open_socket() with no daemon: ConnectionError, with the reason for each host."""
    client.tryIps = ["127.0.0.1:9"]
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9"):
        client.SocketManager().open_socket()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9"):
        client.SocketManager().open_socket("127.0.0.1:9")
