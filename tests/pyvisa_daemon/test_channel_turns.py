"""The shared connection: who reads for whom, what is told on the way, what is abandoned."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import wire
from pyvisa_daemon.exchange import Pending, Waiter
from pyvisa_daemon.framing import PIECE_SIZE
from tests.pyvisa_daemon.conftest import Connect
from tests.pyvisa_daemon.peer import READ_STB, Bench, Conversation, echo
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until


class Switch(Waiter):
    """Done when a test says so."""

    is_on = False

    @property
    def is_done(self) -> bool:
        return self.is_on


@pytest.fixture
def no_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wakes up by himself: who is not woken sleeps until the test fails."""
    monkeypatch.setattr(channel_module, "_TICK", 100 * DEADLINE)


def test_wait_tells_whether_it_is_there_when_the_limit_is_over(connect: Connect) -> None:
    """`wait_for` raises for a lost connection only; no time at all is enough to look."""
    channel = connect(echo)
    switch = Switch()
    assert not channel.wait_for(switch, 0.0)
    assert not channel.wait_for(switch, -1.0)
    assert not channel.wait_for(switch, 0.02)
    switch.is_on = True
    assert channel.wait_for(switch, 0.0)
    assert not channel._waiting


def test_reading_is_passed_on_when_the_next_waiter_is_done_already(connect: Connect, no_tick: None) -> None:
    """Whoever is offered the reading and has no use for it offers it to the next."""
    bench = Bench()
    bench.withhold(wire.Call, wire.Read)
    channel = connect(bench)
    first, second = channel.start(wire.Call, 1, *READ_STB), channel.start(wire.Read, 2, 100)
    leading = in_thread(lambda: channel.wait(first, DEADLINE))
    wait_until(lambda: channel._turns)
    switch = Switch()
    idle = in_thread(lambda: channel.wait_for(switch, DEADLINE))
    wait_until(lambda: switch in channel._waiting)
    following = in_thread(lambda: channel.wait(second, DEADLINE))
    wait_until(lambda: len(channel._waiting) == 3 and len(bench.withheld) == 2)
    switch.is_on = True
    bench.answer(bench.withheld.pop(first.id))
    leading()
    assert idle()
    bench.release()
    assert following().data == b""


def test_reading_is_passed_on_when_a_look_took_it(connect: Connect, no_tick: None) -> None:
    """`is_alive` reads for an instant: who found the reading taken then is told."""
    bench = Bench()
    bench.withhold(wire.Call)
    channel = connect(bench)
    results: list[Callable[[], wire.Reply]] = []
    real = channel._read

    def slow_look(seconds: float, waiter: Waiter | None) -> None:
        if not seconds:
            results.append(in_thread(lambda: channel.ask(DEADLINE, wire.Call, 1, *READ_STB)))
            wait_until(lambda: channel._waiting and bench.withheld)
        real(seconds, waiter)

    channel._read = slow_look  # type: ignore[method-assign]
    assert channel.is_alive
    bench.release()
    (result,) = results
    assert result().value == 16


def test_reply_that_another_thread_read_just_before_the_turn_is_not_slept_for(connect: Connect, no_tick: None) -> None:
    """Between the look whether it is there and the turn to read is time for everything."""
    channel = connect(echo)
    ours = channel.start(wire.Call, 1, *READ_STB)
    real = channel._alone

    def preempted(turn: str, *work: Any) -> bool:
        if turn == "read":
            channel._alone = real  # type: ignore[method-assign]
            assert in_thread(lambda: channel.ask(DEADLINE, wire.Call, 2, *READ_STB))().value == 16
            assert ours.is_done
        return real(turn, *work)

    channel._alone = preempted  # type: ignore[method-assign]
    assert in_thread(lambda: channel.wait(ours, None))().value == 16


def test_bell_does_not_grow_when_its_waiter_reads_for_all(connect: Connect) -> None:
    """A listener that waits for months is rung for every event and never sleeps on its bell."""
    channel = connect(echo)
    switch = Switch()
    listening = in_thread(lambda: channel.wait_for(switch, None))
    wait_until(lambda: channel._turns)
    for _ in range(100):
        switch.bell.put(None)
        assert channel.ask(DEADLINE, wire.Call, 1, *READ_STB).value == 16
    assert switch.bell.qsize() < 50
    switch.is_on = True
    channel.ask(DEADLINE, wire.Call, 1, *READ_STB)
    assert listening()


def test_reply_is_told_once_when_somebody_else_reads_it(connect: Connect) -> None:
    """`on_reply` is called by whichever thread reads, while the one that sent it does something else."""
    channel = connect(echo)
    told: list[tuple[int, object]] = []
    channel.start_for(lambda pending: told.append((pending.id, pending.whole().value)), wire.Call, 1, *READ_STB)
    channel.ask(DEADLINE, wire.Call, 2, *READ_STB)
    assert told == [(1, 16)]
    assert not channel._pending


def test_data_is_whole_when_it_comes_in_pieces_of_one_byte(connect: Connect) -> None:
    """Python has one object for all equal bytes of length one; they are different pieces all the same."""

    def script(peer: Conversation) -> None:
        peer.greet()
        read = peer.expect(wire.Read)
        peer.send(*(wire.Piece(read.id, b"a") for _ in range(5)), wire.Reply(read.id, 0, data=b"a"))

    assert connect(script).ask(DEADLINE, wire.Read, 1, 10).data == b"aaaaaa"


def test_event_is_told_between_replies_when_it_happens(connect: Connect) -> None:
    """In the order in which they came, to whom the channel was given to tell."""

    def script(peer: Conversation) -> None:
        peer.greet()
        request = peer.expect(wire.Call)
        events = [wire.Happened(number, 5, [(1, "x")]) for number in range(3)]
        peer.send(*events, wire.Reply(request.id, 0))

    channel = connect(script)
    told: list[wire.Happened] = []
    channel.on_happened = told.append
    channel.ask(DEADLINE, wire.Call, 1, *READ_STB)
    assert told == [wire.Happened(number, 5, [(1, "x")]) for number in range(3)]


def test_abandoned_request_is_told_to_the_daemon_when_nobody_waits(connect: Connect) -> None:
    """Once, by its number; nothing of it is kept."""
    bench = Bench()
    bench.withhold(wire.Lock)
    channel = connect(bench)
    lock = channel.start(wire.Lock, 1, 1, 1000, None)
    channel.abandon(lock)
    assert channel.ask(DEADLINE, wire.Call, 1, *READ_STB).value == 16
    assert [request.id for request in bench.seen(wire.Abandon)] == [lock.id]
    assert not channel._pending


def test_abandoning_returns_at_once_when_the_daemon_takes_no_data(connect: Connect) -> None:
    """Ctrl-C is not followed by another wait; the word goes out with what comes next."""
    may_read = threading.Event()
    bench = Bench()

    def script(peer: Conversation) -> None:
        peer.greet()
        assert may_read.wait(DEADLINE)
        bench.serve(peer)

    channel = connect(script)
    write = wire.Write(998, 1, bytes(200 * PIECE_SIZE))
    channel._outbox.append(Pending(write))
    channel.abandon(Pending(wire.Close(999, 1)))  # fills what the network takes, and comes back
    assert channel._outbox
    may_read.set()
    channel.ask(DEADLINE, wire.Call, 1, *READ_STB)
    assert [request.id for request in bench.seen(wire.Abandon)] == [999]


def test_lost_channel_abandons_nothing_when_told_to(connect: Connect) -> None:
    """Quietly: there is nobody to be told."""
    channel = connect(echo)
    channel.close()
    channel.abandon(Pending(wire.Close(1, 1)))
    assert not channel._outbox
