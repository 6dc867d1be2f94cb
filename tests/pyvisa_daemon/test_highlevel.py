"""The backend as PyVISA uses it, against a scripted daemon that checks what arrives."""

import pickle
import warnings
from typing import Any

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import StatusCode
from pyvisa.resources import GPIBInstrument, MessageBasedResource

from pyvisa_daemon import wire
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.refusals import DaemonIOError
from tests.pyvisa_daemon.conftest import Manage, open_message_based
from tests.pyvisa_daemon.peer import NAME, Bench, Conversation, echo, ending, opening


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
        peer.send(wire.Reply(open_.id, 0, [77, 2000]))
        ending(peer)

    manager = manage(script)
    resource = manager.open_resource(NAME, constants.AccessModes.exclusive_lock, 1500)
    assert type(resource) is GPIBInstrument
    resource.close()


def test_query_is_one_request_when_it_is_pyvisas_own(manage: Manage) -> None:
    """The daemon has the read together with the write: nothing waits in between."""

    def script(peer: Conversation) -> None:
        opening(peer)
        query = peer.expect(wire.Query)
        assert (query.session, query.data) == (77, b"*IDN?\r\n")
        peer.send(wire.Reply(query.id, 0, data=b"ACME\r\n"))
        ending(peer)

    resource = open_message_based(manage(script))
    assert resource.query("*IDN?") == "ACME\r\n"
    resource.close()


def test_query_is_one_round_trip_when_the_program_writes_and_reads(manage: Manage) -> None:
    """The daemon has the read before it answered the write."""

    def script(peer: Conversation) -> None:
        opening(peer)
        write = peer.expect(wire.Write)
        read = peer.expect(wire.Read)
        assert (write.session, write.data, read.session, read.after) == (77, b"*IDN?\r\n", 77, write.id)
        peer.send(wire.Reply(write.id, 0, value=7), wire.Reply(read.id, 0, data=b"ACME\r\n"))
        ending(peer)

    resource = open_message_based(manage(script))
    resource.write("*IDN?")
    assert resource.read() == "ACME\r\n"
    resource.close()


def test_query_raises_whose_error_it_was_when_it_failed(manage: Manage) -> None:
    """Whichever half it was, and whether the instrument may have acted: in the one reply."""

    def script(peer: Conversation) -> None:
        opening(peer)
        query = peer.expect(wire.Query)
        peer.send(wire.Reply(query.id, -1073807339, token="INSTRUMENT_HUNG", effect=Effect.MAYBE, text="killed"))
        ending(peer)

    resource = open_message_based(manage(script))
    with pytest.raises(DaemonIOError, match=r"\[INSTRUMENT_HUNG effect=maybe: killed\]$") as failed:
        resource.query("*IDN?")
    assert (failed.value.error_code, failed.value.effect) == (StatusCode.error_timeout, Effect.MAYBE)
    assert resource.last_status == StatusCode.error_timeout
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
    resource.write("*IDN?")
    with pytest.raises(DaemonIOError, match=r"\[INSTRUMENT_HUNG effect=maybe: killed\]$") as failed:
        resource.read()
    assert (failed.value.error_code, failed.value.effect) == (StatusCode.error_timeout, Effect.MAYBE)
    assert resource.last_status == StatusCode.error_timeout
    resource.close()


def test_next_call_raises_the_writes_error_when_nobody_reads(manage: Manage) -> None:
    """Whatever comes next on that session collects the outcome, once."""

    def script(peer: Conversation) -> None:
        opening(peer)
        write = peer.expect(wire.Write)
        peer.send(wire.Reply(write.id, -1073807298, token="VI_ERROR_IO", effect=Effect.MAYBE, text="no"))
        stb = peer.expect(wire.Call)
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
            peer.send(wire.Reply(peer.expect(wire.Call).id, constants.VI_WARN_CONFIG_NLOADED))
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


def test_alias_is_asked_of_the_daemon_when_a_name_does_not_parse(manager: pyvisa.ResourceManager, bench: Bench) -> None:
    """It opens as what it stands for, under its own name; a name that parses asks nobody."""
    bench.aliases["dmm"] = NAME
    info = manager.resource_info("dmm")
    assert (info.resource_name, info.alias, info.interface_board_number) == (NAME, "dmm", 0)
    resource = manager.open_resource("dmm")
    assert type(resource) is GPIBInstrument
    assert bench.seen(wire.Open)[0].resource == "dmm"
    before = len(bench.seen(wire.Resolve))
    assert manager.resource_info("GPIB0::9").resource_name == NAME
    assert len(bench.seen(wire.Resolve)) == before


def test_unknown_alias_stays_an_invalid_name_when_nobody_knows_it(
    manager: pyvisa.ResourceManager, bench: Bench
) -> None:
    """The status that PyVISA's own parser gives, also when the daemon cannot be asked."""
    library = manager.visalib
    assert library.parse_resource_extended(manager.session, "nobody")[1] == StatusCode.error_invalid_resource_name
    session = manager.session
    manager.close()
    assert library.parse_resource_extended(session, "nobody")[1] == StatusCode.error_invalid_resource_name


def test_user_data_is_the_programs_own_when_set(resource: MessageBasedResource, bench: Bench) -> None:
    """VI_ATTR_USER_DATA takes anything and travels nowhere."""
    before = len(bench.requests)
    assert resource.visalib.get_attribute(resource.session, constants.VI_ATTR_USER_DATA)[0] == 0  # type: ignore[arg-type]
    mine = object()
    resource.visalib.set_attribute(resource.session, constants.VI_ATTR_USER_DATA, mine)  # type: ignore[arg-type]
    assert resource.visalib.get_attribute(resource.session, constants.VI_ATTR_USER_DATA)[0] is mine  # type: ignore[arg-type]
    assert len(bench.requests) == before
