"""The backend as PyVISA uses it, against a scripted daemon that checks what arrives."""

import inspect
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import StatusCode
from pyvisa.highlevel import VisaLibraryBase
from pyvisa.resources import GPIBInstrument, MessageBasedResource

from pyvisa_daemon import hosts, wire
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.program_message import contains_query
from pyvisa_daemon.refusals import DaemonIOError
from tests.pyvisa_daemon.peer import Conversation, Peer, echo
from tests.support.waiting import DEADLINE, wait_until

NAME = "GPIB0::9::INSTR"
Manage = Callable[[Callable[[Conversation], None]], pyvisa.ResourceManager]


@pytest.fixture
def manage() -> Iterator[Manage]:
    """A resource manager whose daemon follows this script."""
    peers: list[Peer] = []
    managers: list[pyvisa.ResourceManager] = []

    def start(script: Callable[[Conversation], None]) -> pyvisa.ResourceManager:
        peers.append(Peer(script))
        managers.append(pyvisa.ResourceManager(f"{peers[-1].address}@daemon"))
        return managers[-1]

    yield start
    for manager in managers:
        manager.close()
    for peer in peers:
        peer.end()


def opening(peer: Conversation) -> None:
    """Hello and one open, as session 77."""
    peer.greet()
    peer.send(wire.Reply(peer.expect(wire.Open).id, 0, value=77))


def ending(peer: Conversation) -> None:
    """One close."""
    close = peer.expect(wire.Close)
    assert close.session == 77
    peer.send(wire.Reply(close.id, 0))


def open_message_based(manager: pyvisa.ResourceManager, **options: Any) -> MessageBasedResource:
    resource = manager.open_resource(NAME, **options)
    assert isinstance(resource, MessageBasedResource)
    return resource


def test_library_is_found_when_pyvisa_lists_backends() -> None:
    """PyVISA finds it by its module's name, and pyvisa-info can ask it."""
    assert "daemon" in pyvisa.highlevel.list_backends()
    assert pyvisa.highlevel.get_wrapper_class("daemon") is DaemonVisaLibrary
    assert "Version" in DaemonVisaLibrary.get_debug_info()


def test_open_is_pyvisas_own_object_when_opened(manage: Manage) -> None:
    """The class is what PyVISA registered for the name, and everything asked for travels along."""

    def script(peer: Conversation) -> None:
        peer.greet()
        open_ = peer.expect(wire.Open)
        assert (open_.resource, open_.access_mode, open_.open_timeout_ms) == (NAME, 1, 1500)
        peer.send(wire.Reply(open_.id, 0, value=77))
        ending(peer)

    manager = manage(script)
    resource = manager.open_resource(NAME, constants.AccessModes.exclusive_lock, 1500)
    assert type(resource) is GPIBInstrument
    resource.close()


def test_query_is_one_round_trip_when_the_write_contains_it(manage: Manage) -> None:
    """The daemon has the read before it answered the write: nothing waits in between."""

    def script(peer: Conversation) -> None:
        opening(peer)
        write = peer.expect(wire.Write)
        read = peer.expect(wire.Read)
        assert (write.session, write.data, read.session, read.after) == (77, b"*IDN?\r\n", 77, write.id)
        peer.send(wire.Reply(write.id, 0, value=7), wire.Reply(read.id, 0, data=b"ACME\r\n"))
        ending(peer)

    resource = open_message_based(manage(script))
    assert resource.query("*IDN?") == "ACME\r\n"
    resource.close()


def test_read_raises_the_writes_error_when_a_posted_write_failed(manage: Manage) -> None:
    """The read's own WRITE_FAILED says nothing; the write's says what happened, whether the instrument acted too."""

    def script(peer: Conversation) -> None:
        opening(peer)
        write, read = peer.expect(wire.Write), peer.expect(wire.Read)
        hung = wire.Reply(write.id, -1073807339, token="INSTRUMENT_HUNG", effect=Effect.MAYBE, text="killed")
        peer.send(hung, wire.Reply(read.id, -1073807312, token="WRITE_FAILED"))
        ending(peer)

    resource = open_message_based(manage(script))
    with pytest.raises(DaemonIOError, match=r"\[INSTRUMENT_HUNG effect=maybe: killed\]$") as failed:
        resource.query("*IDN?")
    assert (failed.value.error_code, failed.value.effect) == (StatusCode.error_timeout, Effect.MAYBE)
    assert resource.last_status == StatusCode.error_timeout
    resource.close()


def test_next_call_raises_the_writes_error_when_nobody_reads(manage: Manage) -> None:
    """Whatever comes next on that session collects the outcome, once."""

    def script(peer: Conversation) -> None:
        opening(peer)
        write = peer.expect(wire.Write)
        peer.send(wire.Reply(write.id, -1073807298, token="VI_ERROR_IO", effect=Effect.MAYBE, text="no"))
        stb = peer.expect(wire.ReadStb)
        peer.send(wire.Reply(stb.id, 0, value=4))
        ending(peer)

    resource = open_message_based(manage(script))
    assert resource.write("FETCH?") == 8
    with pytest.raises(DaemonIOError, match="VI_ERROR_IO"):
        resource.read_stb()
    assert resource.read_stb() == 4
    resource.close()


def test_close_tells_the_log_when_a_failed_write_was_never_collected(
    manage: Manage, caplog: pytest.LogCaptureFixture
) -> None:
    """Close never raises, but the error does not vanish."""

    def script(peer: Conversation) -> None:
        opening(peer)
        write = peer.expect(wire.Write)
        peer.send(wire.Reply(write.id, -1073807298, token="VI_ERROR_IO", text="out of paper"))
        ending(peer)

    resource = open_message_based(manage(script))
    resource.write("PRINT?")
    resource.close()
    assert "out of paper" in caplog.text


def test_write_waits_for_its_outcome_when_it_contains_no_query(manage: Manage) -> None:
    """A setting that failed raises at the call that made it."""

    def script(peer: Conversation) -> None:
        opening(peer)
        write = peer.expect(wire.Write)
        peer.send(wire.Reply(write.id, -1073807298, token="VI_ERROR_IO", text="no"))
        ending(peer)

    resource = open_message_based(manage(script))
    with pytest.raises(DaemonIOError):
        resource.write("VOLT 12")
    resource.close()


@pytest.mark.parametrize(("message", "is_query"), [(b"*IDN?\n", True), (b"VOLT 1\n", False), (b"", False)])
def test_query_is_seen_when_a_message_contains_one(message: bytes, is_query: bool) -> None:
    """Conservative: any question mark counts."""
    assert contains_query(message) is is_query


def test_everything_else_is_refused_as_visa_does_when_called() -> None:
    """Each method of PyVISA's base class that is left out raises VI_ERROR_NSUP_OPER, none NotImplementedError."""
    with Peer(echo) as peer:
        manager = pyvisa.ResourceManager(f"{peer.address}@daemon")
        library, resource = manager.visalib, manager.open_resource(NAME)
        refused = []
        for name, method in inspect.getmembers(VisaLibraryBase, inspect.isfunction):
            is_ours = getattr(DaemonVisaLibrary, name).__qualname__.startswith("DaemonVisaLibrary")
            if is_ours or "raise NotImplementedError" not in inspect.getsource(method):
                continue
            parameters = list(inspect.signature(method).parameters)[1:]
            arguments = [resource.session if parameter == "session" else 0 for parameter in parameters]
            with pytest.raises(pyvisa.VisaIOError) as error:
                getattr(library, name)(*arguments)
            assert error.value.error_code == StatusCode.error_nonsupported_operation
            assert library.last_status == StatusCode.error_nonsupported_operation
            refused.append(name)
        assert {"lock", "enable_event", "wait_on_event", "flush", "gpib_send_ifc", "get_buffer_from_id"} <= set(refused)
        manager.close()


def test_handlers_stay_here_when_installed(manage: Manage) -> None:
    """A handler must be callable; installing and removing one asks the daemon nothing."""
    resource = open_message_based(manage(echo))

    def handler(*_: Any) -> None:
        raise AssertionError

    with pytest.raises(pyvisa.VisaTypeError):
        resource.install_handler(constants.EventType.service_request, 1)  # type: ignore[arg-type]
    handle = resource.install_handler(constants.EventType.service_request, handler, "mine")
    resource.uninstall_handler(constants.EventType.service_request, handler, handle)
    resource.close()


def test_listing_is_filtered_here_when_asked(manage: Manage) -> None:
    """The daemon lists all; PyVISA's own expression chooses; nothing is an empty tuple."""
    manager = manage(echo)
    assert manager.list_resources() == ("ASRL1::INSTR", "GPIB0::9::INSTR")
    assert manager.list_resources("GPIB?*") == ("GPIB0::9::INSTR",)
    assert manager.list_resources("USB?*") == ()
    assert manager.last_status == StatusCode.success


def test_positive_status_warns_when_pyvisa_would(manage: Manage) -> None:
    """A success with a remark becomes PyVISA's warning, unless it is ignored."""

    def script(peer: Conversation) -> None:
        opening(peer)
        for _ in range(2):
            peer.send(wire.Reply(peer.expect(wire.Clear).id, constants.VI_WARN_CONFIG_NLOADED))
        ending(peer)

    resource = open_message_based(manage(script))
    with pytest.warns(pyvisa.errors.VisaIOWarning):
        resource.clear()
    with warnings.catch_warnings(), resource.ignore_warning(StatusCode.warning_configuration_not_loaded):
        warnings.simplefilter("error")
        resource.clear()
    assert resource.last_status == StatusCode.warning_configuration_not_loaded
    resource.close()


def test_attributes_travel_as_they_are_when_set_and_got(manage: Manage) -> None:
    """Numbers and states are VISA's; the resource manager's session is this program's own."""
    states: dict[int, Any] = {}

    def script(peer: Conversation) -> None:
        opening(peer)
        for message in peer.requests():
            match message:
                case wire.SetAttribute(id=number, attribute=attribute, state=state):
                    states[attribute] = state
                    peer.send(wire.Reply(number, 0))
                case wire.GetAttribute(id=number, attribute=attribute):
                    peer.send(wire.Reply(number, 0, value=states[attribute]))
                case wire.Close(id=number):
                    peer.send(wire.Reply(number, 0))

    manager = manage(script)
    resource = open_message_based(manager, read_termination="\n", timeout=None)
    assert states == {
        constants.VI_ATTR_TERMCHAR: 10,
        constants.VI_ATTR_TERMCHAR_EN: True,
        constants.VI_ATTR_TMO_VALUE: constants.VI_TMO_INFINITE,
    }
    assert resource.timeout == float("inf")
    rm_session = resource.get_visa_attribute(constants.ResourceAttribute.resource_manager_session)
    assert rm_session == manager.session
    with pytest.raises(TypeError):
        resource.set_visa_attribute(constants.ResourceAttribute.termchar, None)
    with pytest.raises(pyvisa.VisaIOError):
        manager.visalib.get_attribute(manager.session, constants.ResourceAttribute.termchar)
    resource.close()


@pytest.mark.parametrize("open_timeout", ["soon", None])
def test_open_refuses_a_timeout_when_it_is_no_integer(manage: Manage, open_timeout: Any) -> None:
    """As PyVISA's own library does."""
    with pytest.raises(ValueError, match="integer \\(or compatible type\\)"):
        manage(echo).open_resource(NAME, open_timeout=open_timeout)


def test_error_of_an_open_is_pickled_whole_when_a_pool_returns_it(manage: Manage) -> None:
    """multiprocessing hands exceptions about."""

    def script(peer: Conversation) -> None:
        peer.greet()
        peer.send(wire.Reply(peer.expect(wire.Open).id, -1073807343, token="VI_ERROR_RSRC_NFOUND", text="none such"))

    manager = manage(script)
    with pytest.raises(pyvisa.VisaIOError) as failed:
        manager.open_resource(NAME)
    assert str(pickle.loads(pickle.dumps(failed.value))) == str(failed.value)
    assert manager.last_status == StatusCode.error_resource_not_found


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
