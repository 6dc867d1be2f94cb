"""The shared connection against a scripted daemon: threads, posted requests, loss."""

import os
import socket
import threading

import pytest

from pyvisa_daemon import wire
from pyvisa_daemon.channel import reply_limit
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.framing import PIECE_SIZE
from tests.pyvisa_daemon.conftest import Connect
from tests.pyvisa_daemon.peer import READ_STB, Conversation, echo
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until


def test_reply_finds_its_request_when_replies_overtake(connect: Connect) -> None:
    """Replies of different sessions may come in any order."""

    def script(peer: Conversation) -> None:
        peer.greet()
        first, second = peer.expect(wire.Call), peer.expect(wire.Call)
        peer.send(wire.Reply(second.id, 0, value=2), wire.Reply(first.id, 0, value=1))

    channel = connect(script)
    first, second = channel.start(wire.Call, 1, *READ_STB), channel.start(wire.Call, 2, *READ_STB)
    assert channel.wait(first, DEADLINE).value == 1
    assert channel.wait(second, DEADLINE).value == 2


def test_follower_is_served_when_another_thread_reads(connect: Connect) -> None:
    """Whoever reads hands out the others' replies; a reader that is done leaves the reading to a follower."""
    numbers = range(1, 9)

    def script(peer: Conversation) -> None:
        peer.greet()
        requests = [peer.expect(wire.Call) for _ in numbers]
        for request in sorted(requests, key=lambda request: request.session, reverse=True):
            peer.send(wire.Reply(request.id, 0, value=request.session))

    channel = connect(script)
    results = [in_thread(lambda n=n: channel.ask(DEADLINE, wire.Call, n, *READ_STB).value) for n in numbers]
    assert [result() for result in results] == list(numbers)


def test_threads_get_their_own_replies_when_all_ask_at_once(connect: Connect) -> None:
    """Eight threads, each with its own session, five hundred writes and reads each: none gets another's answer."""
    channel = connect(echo)

    def work(session: int) -> bool:
        for turn in range(500):
            data = f"{session} {turn}".encode()
            written = channel.start(wire.Write, session, data)
            reply = channel.ask(DEADLINE, wire.Read, session, 100, written.id)
            if reply.data != data or channel.wait(written, DEADLINE).value != len(data):
                return False
        return True

    assert all(result() for result in [in_thread(lambda n=n: work(n)) for n in range(8)])


def test_long_write_travels_in_parts_when_sent(connect: Connect) -> None:
    """Data of any length goes in frames that the daemon takes, and comes back whole from pieces."""
    data = os.urandom(3 * PIECE_SIZE + 5)

    def script(peer: Conversation) -> None:
        peer.greet()
        parts = [peer.expect(wire.Part) for _ in range(3)]
        write = peer.expect(wire.Write)
        assert {part.id for part in parts} == {write.id}
        assert b"".join(part.data for part in parts) + write.data == data
        peer.send(*(wire.Piece(write.id, part.data) for part in parts), wire.Reply(write.id, 0, data=write.data))

    channel = connect(script)
    assert channel.ask(DEADLINE, wire.Write, 1, data).data == data


def test_short_request_goes_between_parts_when_a_long_write_is_under_way(connect: Connect) -> None:
    """A daemon that is slow to take one session's data still gets the other sessions' requests."""
    may_read = threading.Event()
    seen: list[type] = []

    def script(peer: Conversation) -> None:
        peer.greet()
        assert may_read.wait(DEADLINE)
        for message in peer.requests():
            seen.append(type(message))
            if isinstance(message, wire.Call | wire.Write):
                peer.send(wire.Reply(message.id, 0))

    channel = connect(script)
    writing = in_thread(lambda: channel.ask(DEADLINE, wire.Write, 1, bytes(200 * PIECE_SIZE)))
    wait_until(lambda: channel._outbox and channel._outbox[0].sent)
    asking = in_thread(lambda: channel.ask(DEADLINE, wire.Call, 2, *READ_STB))
    wait_until(lambda: len(channel._outbox) == 2)
    may_read.set()
    writing()
    asking()
    assert seen.index(wire.Call) < seen.index(wire.Write)


def test_every_waiter_gets_conn_lost_when_the_daemon_dies(connect: Connect) -> None:
    """Leader and followers alike, and whoever comes later."""
    asked = threading.Event()

    def script(peer: Conversation) -> None:
        peer.greet()
        for _ in range(3):
            peer.expect(wire.Call)
        asked.set()

    channel = connect(script)
    results = [in_thread(lambda n=n: channel.ask(DEADLINE, wire.Call, n, *READ_STB)) for n in range(3)]
    assert asked.wait(DEADLINE)
    for result in results:
        with pytest.raises(Failure, match="open the resource again") as lost:
            result()
        assert (lost.value.token, lost.value.effect) == ("VI_ERROR_CONN_LOST", Effect.MAYBE)
    with pytest.raises(Failure) as late:
        channel.start(wire.Call, 1, *READ_STB)
    assert (late.value.token, late.value.effect) == ("VI_ERROR_CONN_LOST", Effect.NONE)


def test_channel_is_dead_when_the_daemon_left_while_nobody_asked(connect: Connect) -> None:
    """An idle connection's end is noticed before the next open uses it."""
    channel = connect(lambda peer: peer.greet() and None)
    wait_until(lambda: not channel.is_alive)


def test_channel_is_lost_when_the_daemon_talks_nonsense(connect: Connect) -> None:
    """A stream that is not ours is not read any further."""

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.expect(wire.Call)
        peer.connection.sendall(b"\xff" * 100)
        list(peer.requests())

    channel = connect(script)
    with pytest.raises(Failure, match="lost"):
        channel.ask(DEADLINE, wire.Call, 1, *READ_STB)


def test_wait_gives_up_when_no_reply_comes_in_time(connect: Connect) -> None:
    """A daemon that accepts and says nothing costs the limit, and is told so; a late reply harms nobody."""
    go_on = threading.Event()

    def script(peer: Conversation) -> None:
        peer.greet()
        late = peer.expect(wire.Call)
        assert peer.expect(wire.Abandon).id == late.id
        assert go_on.wait(DEADLINE)
        peer.send(wire.Reply(late.id, 0, value=1))
        next_ = peer.expect(wire.Call)
        peer.send(wire.Reply(next_.id, 0, value=2))

    channel = connect(script)
    with pytest.raises(Failure) as timeout:
        channel.ask(0.05, wire.Call, 1, *READ_STB)
    assert (timeout.value.token, timeout.value.effect) == ("VI_ERROR_TMO", Effect.MAYBE)
    go_on.set()
    assert channel.ask(DEADLINE, wire.Call, 1, *READ_STB).value == 2


def test_limit_is_none_when_the_timeout_is_infinite() -> None:
    """VI_TMO_INFINITE waits for ever; else queue, twice the timeout, and slack."""
    assert reply_limit(0xFFFFFFFF) is None
    assert reply_limit(2000) == 120 + 4 + 60


def test_close_wakes_whoever_waits_when_called_by_another_thread(connect: Connect) -> None:
    """The program ends its connection while a thread of its own still waits on it."""
    asked = threading.Event()

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.expect(wire.Call)
        asked.set()
        list(peer.requests())

    channel = connect(script)
    waiting = in_thread(lambda: channel.ask(DEADLINE, wire.Call, 1, *READ_STB))
    assert asked.wait(DEADLINE)
    channel.close()
    with pytest.raises(Failure, match="it was closed"):
        waiting()


def test_connection_is_without_delay_when_made(connect: Connect) -> None:
    """A posted write and its read are two small segments: Nagle would hold the second back."""
    channel = connect(echo)
    assert channel._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert channel._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
