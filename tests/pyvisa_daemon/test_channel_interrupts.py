"""Whatever interrupts a call on the shared connection: finalisers, Ctrl-C, fork. Nothing is lost, nothing hangs."""

import itertools
import os

import pytest

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import exchange as exchange_module
from pyvisa_daemon import inbox as inbox_module
from pyvisa_daemon import wire
from pyvisa_daemon.channel import Channel
from pyvisa_daemon.errors import Failure
from tests.pyvisa_daemon.conftest import Connect
from tests.pyvisa_daemon.peer import READ_STB, Bench, Conversation, echo
from tests.pyvisa_daemon.threads import at_lines_of, ctrl_c, interrupted_everywhere
from tests.support.waiting import DEADLINE

EVERYTHING = (channel_module, exchange_module, inbox_module)


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
        with at_lines_of(last_word, *EVERYTHING):
            exchange(channel, 1, "interrupted")
        if not reached:
            break
        assert channel.ask(DEADLINE, wire.Read, 2, 100).data == f"place {place}".encode()
    assert set(refused) == {"VI_ERROR_SYSTEM_ERROR"}
    assert 0 < len(refused) < place


def test_finaliser_is_refused_a_wait_when_it_interrupted_the_sending(connect: Connect) -> None:
    """Its request goes out behind the frame that it interrupted; waiting for the answer would wait for itself."""
    channel = connect(echo)
    tokens = []
    real = channel._send

    def interrupted_send(is_patient: bool) -> None:
        channel._send = real  # type: ignore[method-assign]
        with pytest.raises(Failure) as refused:
            channel.ask(DEADLINE, wire.Write, 2, b"late")
        tokens.append(refused.value.token)
        real(is_patient)

    channel._send = interrupted_send  # type: ignore[method-assign]
    assert channel.ask(DEADLINE, wire.Write, 1, b"first").value == 5
    assert tokens == ["VI_ERROR_SYSTEM_ERROR"]
    assert channel.ask(DEADLINE, wire.Read, 2, 100).data == b"late"


def test_channel_stays_in_step_when_ctrl_c_falls_before_any_line(connect: Connect) -> None:
    """KeyboardInterrupt before any single line of a write and its read: the next ones work, with their own answers."""
    channel = connect(echo)
    texts = (f"interrupted {turn}" for turn in itertools.count())
    place = 0
    for place in interrupted_everywhere(lambda: exchange(channel, 1, next(texts)), *EVERYTHING):
        exchange(channel, 1, f"after {place}")
    assert place > 100
    assert not channel._outbox


def test_data_is_whole_when_ctrl_c_falls_into_reading_its_pieces(connect: Connect) -> None:
    """What another thread is read for by whoever was interrupted is neither torn nor doubled, nor is an event."""
    pieces = [b"a", b"a", b"bc", b""]

    def script(peer: Conversation) -> None:
        peer.greet()
        for request in peer.requests():
            if isinstance(request, wire.Read):
                peer.send(*(wire.Piece(request.id, piece) for piece in pieces), wire.Reply(request.id, 0, data=b"d"))
            elif isinstance(request, wire.Call):
                peer.send(wire.Happened(1, 5, [(9, request.id)]), wire.Reply(request.id, 0))

    channel = connect(script)
    told: list[wire.Happened] = []
    channel.on_happened = told.append

    def interrupted() -> None:
        pending.append(channel.start(wire.Read, 1, 100))
        channel.ask(DEADLINE, wire.Call, 2, *READ_STB)

    pending: list[exchange_module.Pending] = []
    for _ in interrupted_everywhere(interrupted, *EVERYTHING):
        if pending:
            assert channel.wait(pending.pop(), DEADLINE).data == b"aabcd"
    values = [value for event in told for _, value in event.attributes]
    times = [(value, len(list(alike))) for value, alike in itertools.groupby(values)]
    assert [value for value, _ in times] == sorted(set(values))
    assert {count for _, count in times} <= {1, 2}  # twice rather than not at all, where it is told just then
    assert len(times) > 100


def test_abandoned_requests_are_told_when_ctrl_c_falls_before_any_line(connect: Connect) -> None:
    """Whatever was interrupted is abandoned, sent or waited for, but for the one step between the two."""
    bench = Bench()
    bench.sessions[1] = 0
    channel = connect(bench)
    for _ in interrupted_everywhere(lambda: channel.ask(DEADLINE, wire.Lock, 1, 1, 0, None), channel_module):
        channel.ask(DEADLINE, wire.Call, 1, *READ_STB)
        assert len(channel._pending) <= 1
    locks, abandoned = ({request.id for request in bench.seen(kind)} for kind in (wire.Lock, wire.Abandon))
    assert len(locks) > 50
    assert len(locks - abandoned) <= 2  # that step, and the one that was got through


def test_reply_is_not_lost_when_ctrl_c_falls_into_the_wait(connect: Connect) -> None:
    """A real signal in a wait: the next calls get their own replies, the late one goes nowhere."""
    bench = Bench()
    bench.withhold(wire.Read)
    channel = connect(bench)
    with ctrl_c(lambda: bench.withheld):
        channel.ask(DEADLINE, wire.Read, 1, 100)
    late = bench.seen(wire.Read)[0]
    assert channel.ask(DEADLINE, wire.Call, 2, *READ_STB).value == 16
    assert [request.id for request in bench.seen(wire.Abandon)] == [late.id]
    bench.answer(late)
    assert channel.ask(DEADLINE, wire.Call, 2, *READ_STB).value == 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where there is fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_connection_stays_the_parents_when_forked(connect: Connect) -> None:
    """The child is told that it is not its own, sends nothing on it, and closing there leaves the parent's alone."""
    bench = Bench()
    channel = connect(bench)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert not channel.is_alive
            try:
                channel.ask(DEADLINE, wire.Call, 1, *READ_STB)
            except Failure as failure:
                code = 0 if "forked" in failure.text else 2
            channel.abandon(exchange_module.Pending(wire.Close(77, 1)))
            channel.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert channel.ask(DEADLINE, wire.Call, 1, *READ_STB).value == 16
    assert len(bench.requests) == 1
