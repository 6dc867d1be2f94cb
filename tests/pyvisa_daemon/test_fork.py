"""A forked process: it has nothing of its parent's, and the parent never notices."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import EventMechanism, EventType, StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import wire
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from tests.pyvisa_daemon.peer import NAME, Bench, Conversation, Peer
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until

SRQ = EventType.service_request
QUEUE, HANDLER = EventMechanism.queue, EventMechanism.handler
LONG = int(DEADLINE * 1000)


@pytest.fixture
def forked() -> Callable[[Callable[[], Any]], int]:
    """Runs work in a forked process: 0 if it came through, which it must within the deadline."""

    def run(work: Callable[[], Any]) -> int:
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join(DEADLINE)
        if child.is_alive():
            child.kill()
            child.join()
            return -1
        return child.exitcode or 0

    return run


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="only where there is fork")
may_fork = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@fork
@may_fork
def test_sessions_stay_the_parents_when_forked(
    manager: pyvisa.ResourceManager,
    resource: MessageBasedResource,
    bench: Bench,
    forked: Callable[[Callable[[], Any]], int],
) -> None:
    """The child is refused each of them, closes without a sound, and opens its own; the parent's listener, queue and
    waiting threads never notice."""
    called: list[int] = []
    resource.install_handler(SRQ, lambda *_: called.append(1))
    resource.enable_event(SRQ, HANDLER)
    other = manager.open_resource(NAME, read_termination="\n", write_termination="\n")
    assert isinstance(other, MessageBasedResource)
    other.enable_event(SRQ, QUEUE)
    waiting = in_thread(lambda: other.wait_on_event(SRQ, LONG))
    before = len(bench.requests)

    def child() -> None:
        calls: tuple[Callable[[], Any], ...] = (
            lambda: resource.query("A?"),
            lambda: resource.wait_on_event(SRQ, 0),
            lambda: other.wait_on_event(SRQ, LONG),
            lambda: other.lock(10),
            lambda: resource.enable_event(EventType.trig, QUEUE),
        )
        for call in calls:
            with pytest.raises(pyvisa.VisaIOError) as refused:
                call()
            assert refused.value.error_code in (StatusCode.error_connection_lost, StatusCode.error_not_enabled)
        own = manager.open_resource(NAME, read_termination="\n", write_termination="\n")
        assert isinstance(own, MessageBasedResource)
        assert own.query("own?") == "own?"
        for each in (resource, other, own):
            each.close()
        manager.close()

    assert forked(child) == 0
    theirs = [request for request in bench.requests[before:] if isinstance(request, wire.Open | wire.Query)]
    assert [type(request) for request in theirs] == [wire.Open, wire.Query]
    bench.happen(SRQ)
    wait_until(lambda: called == [1])
    assert waiting().ret == StatusCode.success
    assert resource.query("parent?") == "parent?"


@fork
@may_fork
def test_child_connects_when_forked_while_another_thread_was_connecting(
    forked: Callable[[Callable[[], Any]], int],
) -> None:
    """That thread is not in the child to give its turn back."""
    bench = Bench()
    connections: list[Conversation] = []
    may_greet = threading.Event()

    def script(peer: Conversation) -> None:
        connections.append(peer)
        if len(connections) == 2:
            assert may_greet.wait(DEADLINE)
        bench(peer)

    with Peer(script) as peer:
        manager = pyvisa.ResourceManager(f"{peer.address}@daemon")
        assert manager.list_resources()
        bench.hang_up()
        assert isinstance(manager.visalib, DaemonVisaLibrary)
        channel = manager.visalib._channel
        assert channel is not None
        wait_until(lambda: not channel.is_alive)
        opening = in_thread(lambda: manager.open_resource(NAME))
        wait_until(lambda: len(connections) == 2)
        code = forked(lambda: manager.open_resource(NAME).close())
        may_greet.set()
        assert code == 0
        opening().close()
        manager.close()
