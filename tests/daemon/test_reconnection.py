"""A daemon that goes away and comes back: what its clients' programs are told, and how they go on."""

import os
import signal
import socket
import threading
from collections.abc import Callable

import pytest
import pyvisa
from pyvisa.constants import VI_TMO_INFINITE, EventMechanism, EventType, StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import hosts
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.refusals import DaemonIOError
from tests.support.daemon import Daemon
from tests.support.tcp_instrument import TcpInstrument
from tests.support.waiting import DEADLINE, wait_until

MULTIMETER = "GPIB0::22::INSTR"
SRQ, QUEUE = EventType.service_request, EventMechanism.queue

Start = Callable[..., Daemon]


def kill(daemon: Daemon) -> None:
    """As a power cut does."""
    daemon.process.kill()
    daemon.process.wait(DEADLINE)
    daemon.assert_nothing_left()


ENDS = {"killed": kill, "ended": Daemon.end}


def open_message_based(manager: pyvisa.ResourceManager, name: str) -> MessageBasedResource:
    resource = manager.open_resource(name, read_termination="\n", write_termination="\n")
    assert isinstance(resource, MessageBasedResource)
    return resource


def fails_as_lost(call: Callable[[], object]) -> DaemonIOError:
    with pytest.raises(DaemonIOError) as lost:
        call()
    assert lost.value.error_code == StatusCode.error_connection_lost
    return lost.value


def calls_on(session: MessageBasedResource) -> list[Callable[[], object]]:
    """Whatever a program does with a session but closing it."""
    return [
        lambda: session.query("*IDN?"),
        lambda: session.write("*CLS"),
        session.read,
        lambda: session.timeout,
        lambda: setattr(session, "timeout", 500),
        session.read_stb,
        session.clear,
        lambda: session.lock(10),
        session.unlock,
        lambda: session.enable_event(EventType.trig, QUEUE),
    ]


@pytest.mark.parametrize("end", ENDS)
def test_program_goes_on_when_the_daemon_came_back(daemon_factory: Start, end: str) -> None:
    """Every call on an old session says that it is lost and what to do, closing it is quiet, and the same resource
    manager opens the instrument again, with none of what was enabled, locked or set before."""
    first = daemon_factory("--demo")
    manager = pyvisa.ResourceManager(f"{first.address}@daemon")
    old = [open_message_based(manager, MULTIMETER) for _ in range(2)]
    old[0].enable_event(SRQ, QUEUE)
    old[0].lock_excl()
    old[0].timeout = 700
    assert "MULTIMETER" in old[0].query("*IDN?")
    ENDS[end](first)
    second = daemon_factory("--demo", "--port", str(first.port))
    assert second.port == first.port
    for session in old:
        for call in calls_on(session):
            assert "open the resource again" in fails_as_lost(call).text
    fails_as_lost(lambda: old[0].wait_on_event(SRQ, 0))
    fails_as_lost(lambda: old[0].wait_on_event(SRQ, 10_000))
    assert MULTIMETER in manager.list_resources()
    new = open_message_based(manager, MULTIMETER)
    assert "MULTIMETER" in new.query("*IDN?")
    assert new.timeout == 2000
    with pytest.raises(pyvisa.VisaIOError) as unlocked:
        new.unlock()
    assert unlocked.value.error_code == StatusCode.error_session_not_locked
    with pytest.raises(pyvisa.VisaIOError) as disabled:
        new.wait_on_event(SRQ, 0)
    assert disabled.value.error_code == StatusCode.error_not_enabled
    for session in old:
        session.close()
    assert "MULTIMETER" in new.query("*IDN?")
    manager.close()


def test_manager_closes_quietly_when_the_daemon_is_gone(daemon_factory: Start) -> None:
    """With everything that it opened; a program's end is no place for errors."""
    daemon = daemon_factory("--demo")
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    resource = open_message_based(manager, MULTIMETER)
    resource.install_handler(SRQ, print)
    resource.enable_event(SRQ, EventMechanism.handler)
    resource.write("*IDN?")
    daemon.end()
    manager.close()
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("VISA events")])


def test_everybody_who_waits_is_told_when_the_daemon_dies(daemon_factory: Start, instrument: TcpInstrument) -> None:
    """In the middle of a read, of a wait for a lock, of a wait for an event: at once, and what may have happened."""
    daemon = daemon_factory()
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    reading, holding, locking = (open_message_based(manager, instrument.resource) for _ in range(3))
    reading.timeout = 30_000
    failures: dict[str, DaemonIOError] = {}

    def wait(name: str, call: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            failures[name] = fails_as_lost(call)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    threads = [wait("read", lambda: reading.query("SLOW? 20000,late"))]
    wait_until(lambda: instrument.count("SLOW?"))
    holding.lock_excl(1000)
    threads.append(wait("lock", lambda: locking.lock(30_000)))
    holding.enable_event(EventType.io_completion, QUEUE)
    threads.append(wait("event", lambda: holding.wait_on_event(EventType.io_completion, VI_TMO_INFINITE)))
    library = manager.visalib
    wait_until(lambda: len(library._channel._waiting) == 3)  # type: ignore[attr-defined]
    kill(daemon)
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert failures.keys() == {"read", "lock", "event"}
    for failure in failures.values():
        assert (failure.token, failure.effect) == ("VI_ERROR_CONN_LOST", Effect.MAYBE)
        assert f"the daemon at {daemon.address} is lost" in failure.text
        assert "open the resource again" in failure.text
    manager.close()


def test_read_fails_with_a_hint_when_the_daemon_is_ended_in_its_middle(
    daemon_factory: Start, instrument: TcpInstrument
) -> None:
    """`end_daemon` waits for no instrument: the read is told so by the daemon, or by the end of the connection."""
    daemon = daemon_factory("--grace", "0.5")
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    reading = open_message_based(manager, instrument.resource)
    reading.timeout = 30_000
    failed: list[DaemonIOError] = []
    thread = threading.Thread(target=lambda: failed.append(fails_as_lost(lambda: reading.query("SLOW? 20000,late"))))
    thread.start()
    wait_until(lambda: instrument.count("SLOW?"))
    daemon.end()
    thread.join(DEADLINE)
    (failure,) = failed
    assert failure.token in ("SHUTTING_DOWN", "VI_ERROR_CONN_LOST")
    assert failure.text
    manager.close()


def test_read_ends_when_the_daemon_is_stopped_in_its_middle(
    daemon_factory: Start, instrument: TcpInstrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that neither answers nor hangs up costs a time limit that the error names; when it goes on, so does the
    session, and the late answer is nobody's."""
    daemon = daemon_factory()
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    resource = open_message_based(manager, instrument.resource)
    assert resource.query("ECHO? 1") == "1"
    resource.write("SET 1")
    monkeypatch.setattr(channel_module, "QUEUE_LIMIT", 0.0)
    monkeypatch.setattr(channel_module, "SLACK", 0.2)
    resource.timeout = 100
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        with pytest.raises(DaemonIOError, match="has not answered within") as stopped:
            resource.query("ECHO? 2")
        assert stopped.value.error_code == StatusCode.error_timeout
        assert stopped.value.effect == Effect.MAYBE
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
        monkeypatch.undo()
    resource.timeout = 5000
    resource.clear()
    assert resource.query("ECHO? 3") == "3"
    manager.close()


def test_connecting_fails_with_a_hint_when_nothing_listens(daemon_factory: Start) -> None:
    """An OSError of the resource manager's, a VisaIOError of an open: both say where, and what to do."""
    daemon = daemon_factory("--demo")
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    daemon.end()
    assert "start one there" in fails_as_lost(lambda: manager.open_resource(MULTIMETER)).text
    with pytest.raises(pyvisa.VisaIOError):
        manager.list_resources()
    manager.close()
    with pytest.raises(OSError, match=f"no instrument daemon answers at {daemon.address}.*start one there"):
        pyvisa.ResourceManager(f"{daemon.address}@daemon")


def test_connecting_fails_with_a_hint_when_the_versions_differ(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which side is the older one, as a new daemon and an old one see it."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    manager.visalib._channel.close()  # type: ignore[attr-defined]
    for version, older in ((hosts.VERSION - 1, "client"), (hosts.VERSION + 1, "daemon")):
        monkeypatch.setattr(hosts, "VERSION", version)
        hint = f"BAD_VERSION: .*update pyvisa-daemon on the {older}"
        with pytest.raises(OSError, match=hint):
            hosts.connect(hosts.parse(daemon.address))
        with pytest.raises(pyvisa.VisaIOError, match=hint) as failed:
            manager.open_resource(MULTIMETER)
        assert failed.value.error_code == StatusCode.error_connection_lost
        monkeypatch.undo()
    assert "MULTIMETER" in open_message_based(manager, MULTIMETER).query("*IDN?")
    manager.close()


def test_connecting_fails_with_a_hint_when_something_else_listens() -> None:
    """A web server, say: it answers, in words of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        with pytest.raises(OSError, match=f"{address} is no instrument daemon; correct the address"):
            pyvisa.ResourceManager(f"{address}@daemon")
        thread.join(DEADLINE)
