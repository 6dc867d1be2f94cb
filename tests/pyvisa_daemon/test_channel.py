"""The shared connection against a scripted daemon: threads, posted requests, loss, finalisers, fork, Ctrl-C."""

import contextlib
import itertools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import hosts, wire
from pyvisa_daemon.channel import Channel, reply_limit
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.framing import PIECE_SIZE
from tests.pyvisa_daemon.peer import Conversation, Peer, echo
from tests.support.waiting import DEADLINE, wait_until

Connect = Callable[[Callable[[Conversation], None]], Channel]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A channel to a peer with this script; both are ended, and the script's failures raised."""
    with contextlib.ExitStack() as stack:

        def start(script: Callable[[Conversation], None]) -> Channel:
            peer = stack.enter_context(Peer(script))
            channel = hosts.connect(hosts.parse(peer.address))
            stack.callback(channel.close)
            return channel

        yield start


def in_thread(work: Callable[[], Any]) -> Callable[[], Any]:
    """Runs `work` in a thread; the function returned waits for it, and returns or raises what it did."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(work())
        except Failure as failure:
            outcome.append(failure)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(DEADLINE)
        assert not thread.is_alive()
        if isinstance(outcome[0], Failure):
            raise outcome[0]
        return outcome[0]

    return result


def test_reply_finds_its_request_when_replies_overtake(connect: Connect) -> None:
    """Replies of different sessions may come in any order."""

    def script(peer: Conversation) -> None:
        peer.greet()
        first, second = peer.expect(wire.ReadStb), peer.expect(wire.ReadStb)
        peer.send(wire.Reply(second.id, 0, value=2), wire.Reply(first.id, 0, value=1))

    channel = connect(script)
    first, second = channel.start(wire.ReadStb, 1), channel.start(wire.ReadStb, 2)
    assert channel.wait(first, DEADLINE).value == 1
    assert channel.wait(second, DEADLINE).value == 2


def test_follower_is_served_when_another_thread_reads(connect: Connect) -> None:
    """Whoever reads hands out the others' replies; a reader that is done leaves the reading to a follower."""
    numbers = range(1, 9)

    def script(peer: Conversation) -> None:
        peer.greet()
        requests = [peer.expect(wire.ReadStb) for _ in numbers]
        for request in sorted(requests, key=lambda request: request.session, reverse=True):
            peer.send(wire.Reply(request.id, 0, value=request.session))

    channel = connect(script)
    results = [in_thread(lambda n=n: channel.ask(DEADLINE, wire.ReadStb, n).value) for n in numbers]
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
            if isinstance(message, wire.ReadStb | wire.Write):
                peer.send(wire.Reply(message.id, 0))

    channel = connect(script)
    writing = in_thread(lambda: channel.ask(DEADLINE, wire.Write, 1, bytes(200 * PIECE_SIZE)))
    wait_until(lambda: channel._outbox and channel._sent)
    asking = in_thread(lambda: channel.ask(DEADLINE, wire.ReadStb, 2))
    wait_until(lambda: len(channel._outbox) == 2)
    may_read.set()
    writing()
    asking()
    assert seen.index(wire.ReadStb) < seen.index(wire.Write)


def test_every_waiter_gets_conn_lost_when_the_daemon_dies(connect: Connect) -> None:
    """Leader and followers alike, and whoever comes later."""
    asked = threading.Event()

    def script(peer: Conversation) -> None:
        peer.greet()
        for _ in range(3):
            peer.expect(wire.ReadStb)
        asked.set()

    channel = connect(script)
    results = [in_thread(lambda n=n: channel.ask(DEADLINE, wire.ReadStb, n)) for n in range(3)]
    assert asked.wait(DEADLINE)
    for result in results:
        with pytest.raises(Failure, match="open the resource again") as lost:
            result()
        assert (lost.value.token, lost.value.effect) == ("VI_ERROR_CONN_LOST", Effect.MAYBE)
    with pytest.raises(Failure) as late:
        channel.start(wire.ReadStb, 1)
    assert (late.value.token, late.value.effect) == ("VI_ERROR_CONN_LOST", Effect.NONE)


def test_channel_is_dead_when_the_daemon_left_while_nobody_asked(connect: Connect) -> None:
    """An idle connection's end is noticed before the next open uses it."""
    channel = connect(lambda peer: peer.greet() and None)
    wait_until(lambda: not channel.is_alive)


def test_channel_is_lost_when_the_daemon_talks_nonsense(connect: Connect) -> None:
    """A stream that is not ours is not read any further."""

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.expect(wire.ReadStb)
        peer.connection.sendall(b"\xff" * 100)
        list(peer.requests())

    channel = connect(script)
    with pytest.raises(Failure, match="lost"):
        channel.ask(DEADLINE, wire.ReadStb, 1)


def test_wait_gives_up_when_no_reply_comes_in_time(connect: Connect) -> None:
    """A daemon that accepts and says nothing costs the limit; a late reply harms nobody."""
    go_on = threading.Event()

    def script(peer: Conversation) -> None:
        peer.greet()
        late = peer.expect(wire.ReadStb)
        assert go_on.wait(DEADLINE)
        peer.send(wire.Reply(late.id, 0, value=1))
        next_ = peer.expect(wire.ReadStb)
        peer.send(wire.Reply(next_.id, 0, value=2))

    channel = connect(script)
    with pytest.raises(Failure) as timeout:
        channel.ask(0.05, wire.ReadStb, 1)
    assert (timeout.value.token, timeout.value.effect) == ("VI_ERROR_TMO", Effect.MAYBE)
    go_on.set()
    assert channel.ask(DEADLINE, wire.ReadStb, 1).value == 2


def test_limit_is_none_when_the_timeout_is_infinite() -> None:
    """VI_TMO_INFINITE waits for ever; else queue, twice the timeout, and slack."""
    assert reply_limit(0xFFFFFFFF) is None
    assert reply_limit(2000) == 120 + 4 + 60


@contextlib.contextmanager
def at_lines_of_channel(act: Callable[[int], None]) -> Iterator[None]:
    """Calls `act(n)` before the n-th line of channel.py that this thread executes: what a collection or a signal may
    do between any two instructions, at every place and every time the same."""
    lines = itertools.count()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != channel_module.__file__:
            return None
        if event == "line":
            act(next(lines))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def exchange(channel: Channel, session: int, text: str) -> None:
    """A posted write and its read."""
    written = channel.start(wire.Write, session, text.encode())
    assert channel.ask(DEADLINE, wire.Read, session, 100, written.id).data == text.encode()
    assert channel.wait(written, DEADLINE).value == len(text)


def test_finalisers_neither_deadlock_nor_tear_frames_when_they_call_inside_calls(connect: Connect) -> None:
    """A finaliser writes and waits before any single line of our own calls. Waiting may be refused, sending never."""
    channel = connect(echo)
    refused = []

    def last_word(line: int) -> None:
        if line == place:
            reached.append(line)
            try:
                channel.ask(DEADLINE, wire.Write, 2, f"place {place}".encode())
            except Failure as failure:
                refused.append(failure.token)

    for place in itertools.count():
        reached: list[int] = []
        with at_lines_of_channel(last_word):
            exchange(channel, 1, "interrupted")
        if not reached:
            break
        assert channel.ask(DEADLINE, wire.Read, 2, 100).data == f"place {place}".encode()
    assert set(refused) == {"VI_ERROR_SYSTEM_ERROR"}
    assert 0 < len(refused) < place


def test_channel_stays_in_step_when_ctrl_c_falls_before_any_line(connect: Connect) -> None:
    """KeyboardInterrupt before any single line of a write and its read: the next ones work, with their own answers."""
    channel = connect(echo)

    def press(line: int) -> None:
        if line == place:
            raise KeyboardInterrupt

    for place in itertools.count():
        try:
            with at_lines_of_channel(press):
                exchange(channel, 1, f"interrupted {place}")
            break
        except KeyboardInterrupt:
            exchange(channel, 1, f"after {place}")
    assert place > 100


def test_finaliser_is_refused_a_wait_when_it_interrupted_the_sending(connect: Connect) -> None:
    """Its request goes out behind the frame that it interrupted; waiting for the answer would wait for itself."""
    channel = connect(echo)
    tokens = []
    real = channel._take_frame

    def interrupted_take() -> bool:
        channel._take_frame = real  # type: ignore[method-assign]
        with pytest.raises(Failure) as refused:
            channel.ask(DEADLINE, wire.Write, 2, b"late")
        tokens.append(refused.value.token)
        return real()

    channel._take_frame = interrupted_take  # type: ignore[method-assign]
    assert channel.ask(DEADLINE, wire.Write, 1, b"first").value == 5
    assert tokens == ["VI_ERROR_SYSTEM_ERROR"]
    assert channel.ask(DEADLINE, wire.Read, 2, 100).data == b"late"


def test_reply_is_not_lost_when_ctrl_c_falls_into_the_wait(connect: Connect) -> None:
    """KeyboardInterrupt in a wait: the next calls get their own replies, the late one goes nowhere."""
    interrupt = threading.Event()

    def script(peer: Conversation) -> None:
        peer.greet()
        first = peer.expect(wire.ReadStb)
        interrupt.set()
        second = peer.expect(wire.ReadStb)
        peer.send(wire.Reply(first.id, 0, value=1), wire.Reply(second.id, 0, value=2))

    def press() -> None:
        assert interrupt.wait(DEADLINE)
        signal.raise_signal(signal.SIGINT) if os.name == "nt" else os.kill(os.getpid(), signal.SIGINT)

    channel = connect(script)
    pressing = in_thread(press)
    with pytest.raises(KeyboardInterrupt):
        channel.ask(DEADLINE, wire.ReadStb, 1)
    pressing()
    assert channel.ask(DEADLINE, wire.ReadStb, 2).value == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where there is fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_connection_stays_the_parents_when_forked(connect: Connect) -> None:
    """The child is told that it is not its own, sends nothing on it, and closing there leaves the parent's alone."""
    channel = connect(echo)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert not channel.is_alive
            try:
                channel.ask(DEADLINE, wire.ReadStb, 1)
            except Failure as failure:
                code = 0 if "forked" in failure.text else 2
            channel.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert channel.ask(DEADLINE, wire.ReadStb, 1).value == 16


def test_close_wakes_whoever_waits_when_called_by_another_thread(connect: Connect) -> None:
    """The program ends its connection while a thread of its own still waits on it."""
    asked = threading.Event()

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.expect(wire.ReadStb)
        asked.set()
        list(peer.requests())

    channel = connect(script)
    waiting = in_thread(lambda: channel.ask(DEADLINE, wire.ReadStb, 1))
    assert asked.wait(DEADLINE)
    channel.close()
    with pytest.raises(Failure, match="it was closed"):
        waiting()


def test_connection_is_without_delay_when_made(connect: Connect) -> None:
    """A posted write and its read are two small segments: Nagle would hold the second back."""
    channel = connect(echo)
    assert channel._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert channel._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
