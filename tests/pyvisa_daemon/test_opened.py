"""What a program has open: resource managers, sessions, the connection below them, and their ends."""

import threading

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import StatusCode

from pyvisa_daemon import hosts, wire
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.refusals import DaemonIOError
from tests.pyvisa_daemon.conftest import Manage, open_message_based
from tests.pyvisa_daemon.peer import NAME, Bench, Conversation, Peer, echo, ending
from tests.support.waiting import DEADLINE, wait_until


def test_manager_closes_only_its_own_when_two_share_a_library() -> None:
    """Each viOpenDefaultRM is a session of its own."""
    with Peer(echo) as peer:
        library = DaemonVisaLibrary(peer.address)
        first, second = (library.open_default_resource_manager()[0] for _ in range(2))
        opened = [library.open(manager, NAME)[0] for manager in (first, second)]
        assert len({first, second, *opened}) == 4
        library.close(first)
        with pytest.raises(pyvisa.VisaIOError) as closed:
            library.read_stb(opened[0])
        assert closed.value.error_code == StatusCode.error_invalid_object
        with pytest.raises(pyvisa.VisaIOError):
            library.open(first, NAME)
        assert library.read_stb(opened[1])[0] == 16
        library.close(second)


def test_library_is_made_without_a_connection_when_init_runs_again() -> None:
    """No I/O before the first resource manager; a second `_init`, as QCoDeS calls it, forgets nothing."""
    with Peer(echo) as peer:
        library = DaemonVisaLibrary(peer.address)
        assert not peer._connections
        manager, _ = library.open_default_resource_manager()
        session, _ = library.open(manager, NAME)
        library._init()
        assert library.read_stb(session)[0] == 16
        library.close(manager)


def test_bad_address_is_refused_when_the_library_is_made() -> None:
    """Before anything is connected, naming what was given."""
    with pytest.raises(ValueError, match="labpc:x"):
        pyvisa.ResourceManager("labpc:x@daemon")


def test_bare_daemon_is_the_first_live_host_when_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """`@daemon` looks through the known hosts, and says which are dead if all are."""
    with Peer(echo) as peer:
        monkeypatch.setattr(hosts, "tryIps", [peer.address])
        manager = pyvisa.ResourceManager("@daemon")
        assert manager.open_resource(NAME).read_stb() == 16
        manager.close()
    with pytest.raises(ConnectionError, match=peer.address):
        pyvisa.ResourceManager("@daemon")


def test_old_sessions_are_lost_and_open_reconnects_when_the_daemon_restarted() -> None:
    """Only close and what comes before it stay quiet; the same resource manager opens anew."""
    with Peer(echo) as peer:
        manager = pyvisa.ResourceManager(f"{peer.address}@daemon")
        before = open_message_based(manager)
        assert before.query("A?") == "A?\r\n"
        peer.hang_up()
        with pytest.raises(pyvisa.VisaIOError) as lost:
            before.query("B?")
        assert lost.value.error_code == StatusCode.error_connection_lost
        after = open_message_based(manager)
        assert after.query("C?") == "C?\r\n"
        with pytest.raises(pyvisa.VisaIOError, match="CONN_LOST"):
            before.read_stb()
        before.close()
        after.close()
        manager.close()


def test_open_reconnects_when_it_is_the_first_call_after_a_restart() -> None:
    """The end of an idle connection is seen before the open goes out on it."""
    with Peer(echo) as peer:
        manager = pyvisa.ResourceManager(f"{peer.address}@daemon")
        peer.hang_up()
        channel = manager.visalib._channel  # type: ignore[attr-defined]
        wait_until(lambda: not channel.is_alive)
        assert manager.open_resource(NAME).read_stb() == 16
        manager.close()


def test_open_says_what_to_do_when_the_daemon_is_gone() -> None:
    """A VisaIOError for the program, a hint for its user."""
    with Peer(echo) as peer:
        manager = pyvisa.ResourceManager(f"{peer.address}@daemon")
    with pytest.raises(DaemonIOError, match="start one there") as gone:
        manager.open_resource(NAME)
    assert gone.value.error_code == StatusCode.error_connection_lost
    manager.close()


def test_threads_share_a_manager_when_each_has_its_resource(manage: Manage) -> None:
    """One connection, four threads, and every answer to whom it belongs."""
    manager = manage(echo)
    wrong: list[str] = []

    def work(number: int) -> None:
        resource = open_message_based(manager)
        for turn in range(100):
            answer = resource.query(f"{number} {turn}?")
            if answer != f"{number} {turn}?\r\n":
                wrong.append(answer)
        resource.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert not wrong


def test_timeout_of_a_session_is_the_daemons_when_opened(manage: Manage) -> None:
    """What the daemon opened it with, infinite too, says how long an answer is waited for."""

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.send(wire.Reply(peer.expect(wire.Open).id, 0, [77, constants.VI_TMO_INFINITE]))
        ending(peer)

    manager = manage(script)
    resource = manager.open_resource(NAME)
    library = manager.visalib
    assert isinstance(library, DaemonVisaLibrary)
    assert library._sessions[resource.session].timeout_ms == constants.VI_TMO_INFINITE
    resource.close()


def test_close_is_refused_when_there_is_no_such_session(manager: pyvisa.ResourceManager) -> None:
    """VI_ERROR_INV_OBJECT: the one thing that a close raises."""
    with pytest.raises(pyvisa.VisaIOError) as failed:
        manager.visalib.close(12345)  # type: ignore[arg-type]
    assert failed.value.error_code == StatusCode.error_invalid_object


def test_nothing_is_kept_of_a_session_when_it_is_closed(manager: pyvisa.ResourceManager) -> None:
    """A program that opens and closes for a year."""
    library = manager.visalib
    assert isinstance(library, DaemonVisaLibrary)
    before = set(library._last_status_in_session)
    for _ in range(3):
        resource = manager.open_resource(NAME)
        with resource.ignore_warning(StatusCode.success_max_count_read):
            resource.read_stb()
        resource.close()
    assert set(library._last_status_in_session) == before
    assert set(library._ignore_warning_in_session) <= {manager.session}
    assert not library._sessions


def test_finaliser_of_a_session_tells_the_log_the_truth_when_it_cannot_wait(
    manager: pyvisa.ResourceManager, library: DaemonVisaLibrary, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A posted write whose outcome nobody has seen has not failed for that."""
    session, _ = library.open(manager.session, NAME)
    bench.withhold(wire.Write)
    library.write(session, b"LAST?")
    channel = library._sessions[session].channel
    real = channel._send

    def interrupted(is_patient: bool) -> None:
        channel._send = real  # type: ignore[method-assign]
        library.close(session)
        real(is_patient)

    channel._send = interrupted  # type: ignore[method-assign]
    manager.list_resources()
    assert "closed before anybody saw what became of a write" in caplog.text
