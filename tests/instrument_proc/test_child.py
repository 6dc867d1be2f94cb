"""A real child on a simulated instrument and on a scripted one: every call, every way to fail, and what it says."""

import os
import socket as sockets
import struct
from pathlib import Path
from urllib.parse import quote

import pytest
from pyvisa.constants import BufferOperation, ResourceAttribute

from instrument_proc import pipe
from instrument_proc.calls import CALLS
from instrument_proc.signs import Step
from instrument_proc.visa_session import LOCAL_ATTRIBUTES
from pyvisa_daemon.errors import ERRORS, NOT_FOUND, Effect
from pyvisa_daemon.functions import FUNCTIONS
from tests.instrument_proc.conftest import IDN, LONG, MAV, TERMCHAR_EN, TIMEOUT_VALUE
from tests.instrument_proc.spawned import error_of
from tests.support.waiting import DEADLINE

#: The simulated instrument's answers are computed, and the longest take seconds on a busy machine.
PATIENT, USUAL = [(TIMEOUT_VALUE, int(DEADLINE * 1000))], [(TIMEOUT_VALUE, 2000)]

# Before anything is open.


def test_child_is_warm_when_it_has_imported_everything(child_factory, simulation):
    """And says nothing else unasked."""
    child = child_factory(simulation)
    assert child.warm == pipe.Warm("")
    assert not child.has_said_something(0.1)


def test_child_is_warm_but_says_why_its_library_cannot_be_loaded(child_factory, tmp_path):
    """The daemon then does not start, with this text."""
    child = child_factory(f"{tmp_path}/missing.yaml@sim")
    assert "cannot be loaded" in child.warm.trouble
    assert "missing.yaml" in child.warm.trouble
    child = child_factory("@nonsense")
    assert "@nonsense" in child.warm.trouble


def test_names_are_made_canonical_and_nothing_is_opened(child_factory, simulation):
    """By the library's own parsing; any number of times."""
    child = child_factory(simulation)
    for name, canonical in [
        ("gpib::8", "GPIB0::8::INSTR"),
        ("GPIB0::8::INSTR", "GPIB0::8::INSTR"),
        ("TCPIP::10.0.0.1::5025::SOCKET", "TCPIP0::10.0.0.1::5025::SOCKET"),
        ("ASRL1", "ASRL1::INSTR"),
    ]:
        child.send(pipe.Name(name))
        assert child.report() == pipe.Named(canonical, "")
    for name in ("no such thing", "VICP", ""):
        child.send(pipe.Name(name))
        assert child.report().resource is None


def test_resources_are_listed(child_factory, simulation, tmp_path):
    """All that the library finds; nothing found is no error, a library that fails is."""
    child = child_factory(simulation)
    child.send(pipe.List(simulation))
    assert sorted(child.report().resources) == ["ASRL1::INSTR", "GPIB0::8::INSTR"]
    empty = tmp_path / "empty.yaml"
    empty.write_text('spec: "1.1"\ndevices: {}\nresources: {}\n')
    child.send(pipe.List(f"{empty}@sim"))
    assert child.report() == pipe.Listed([], 0, "", "")
    child.send(pipe.List("@nonsense"))
    listed = child.report()
    assert listed.status < 0
    assert listed.token.startswith("VI_ERROR_")


# Opening.


def test_open_tells_the_local_attributes_and_whether_the_interface_marks_end(child_factory, simulation):
    """What the front needs to give each client a session of its own."""
    opened = child_factory(simulation).open("GPIB0::8::INSTR")
    assert (opened.status, opened.ends) == (0, True)
    known = dict(opened.attributes)
    assert known[TIMEOUT_VALUE] == 2000
    assert TERMCHAR_EN in known
    assert set(known) <= {int(attribute) for attribute in LOCAL_ATTRIBUTES}


def test_open_of_a_serial_line_or_socket_marks_no_end(child_factory, simulation, instrument, tmp_path):
    """A termination character ends messages there."""
    assert not child_factory(simulation).open("ASRL1::INSTR").ends
    assert not child_factory("@py").open(instrument.resource, lock_file=str(tmp_path / "other.lock")).ends


def test_open_sets_the_attributes_that_are_to_be_restored(child_factory, simulation):
    """But tells the local ones as they were before."""
    child = child_factory(simulation)
    opened = child.open("GPIB0::8::INSTR", [(TIMEOUT_VALUE, 777)])
    assert dict(opened.attributes)[TIMEOUT_VALUE] == 2000
    assert child.run("get_attribute", TIMEOUT_VALUE).end.value == 777


def test_local_attributes_can_all_be_set_to_what_they_are(child_factory, simulation, instrument, tmp_path):
    """The front sets them all when it does not know which of them are set."""
    for library, resource in [(simulation, "GPIB0::8::INSTR"), ("@py", instrument.resource)]:
        child = child_factory(library)
        opened = child.open(resource, lock_file=str(tmp_path / quote(resource, safe="")))
        assert opened.attributes
        assert child.run("read_stb", attributes=opened.attributes).step is Step.STARTED


@pytest.mark.parametrize(
    ("resource", "token"),
    [
        ("GPIB0::9::INSTR", "VI_ERROR_RSRC_NFOUND"),
        ("USB0::1::2::3::INSTR", "VI_ERROR_RSRC_NFOUND"),
        ("GPIB0::INTFC", "VI_ERROR_RSRC_NFOUND"),
    ],
)
def test_open_of_what_the_library_does_not_have_is_refused(child_factory, simulation, resource, token):
    """pyvisa-sim *returns* session 0; a class of session that it lacks it raises."""
    opened = child_factory(simulation).open(resource)
    assert (opened.token, opened.status) == (token, ERRORS[token].status)
    assert opened.text


def test_open_of_a_port_that_refuses_is_refused(child_factory, instrument_factory):
    """pyvisa-py opens it "successfully"."""
    instrument = instrument_factory()
    instrument.switch_off()
    opened = child_factory("@py").open(instrument.resource)
    assert opened.token == "VI_ERROR_RSRC_NFOUND"
    assert "ECONNREFUSED" in opened.text


@pytest.mark.parametrize("behind_host", ["5025::SOCKET", "inst0::INSTR", "hislip0::INSTR"])
def test_open_of_a_host_that_cannot_be_resolved_is_refused(child_factory, behind_host):
    """As one that is not there, whatever pyvisa-py makes of it: "Bad file descriptor", with VXI-11."""
    opened = child_factory("@py").open(f"TCPIP0::no-such-host.invalid::{behind_host}")
    assert opened.token == "VI_ERROR_RSRC_NFOUND"


def test_open_of_an_instrument_that_another_process_holds_is_refused_with_its_pid(child_factory, simulation):
    """A restarted daemon meets a hung orphan; when that is gone it may have it."""
    first, second, third = child_factory(simulation), child_factory(simulation), child_factory(simulation)
    assert first.open("GPIB0::8::INSTR").status == 0
    opened = second.open("GPIB0::8::INSTR")
    assert opened.token == "VI_ERROR_RSRC_BUSY"
    assert str(first.pid) in opened.text
    first.process.kill()
    first.exit_code()
    assert third.open("GPIB0::8::INSTR").status == 0


def test_open_without_a_place_for_the_lock_file_is_no_reason_to_look_elsewhere(child_factory, simulation, tmp_path):
    """Not found, it would send the client to its local VISA, and so two programs to one instrument."""
    opened = child_factory(simulation).open("GPIB0::8::INSTR", lock_file=str(tmp_path / "gone" / "resource.lock"))
    assert opened.status < 0
    assert opened.status not in NOT_FOUND


# Every call, on an interface that marks END.


def test_write_says_how_many_bytes_were_written(gpib):
    """Started before, written after."""
    answer = gpib.run("write", data=b"SET\n")
    assert answer.end == pipe.Done(answer.end.ticket, 0, value=4)
    assert answer.steps == ["WRITTEN", "Done"]


def test_read_gives_at_most_its_count(gpib):
    """The status says that there is more; the rest follows."""
    gpib.run("write", data=b"*IDN?\n")
    first = gpib.run("read", 5)
    assert (first.data, first.end.status) == (b"TEST,", 0x3FFF0006)
    rest = gpib.run("read", 1000)
    assert (rest.data, rest.end.status) == (IDN[5:], 0)
    assert first.steps == ["STARTED", "Done"]


def test_read_message_reads_to_the_end(gpib):
    """However long it is."""
    gpib.run("write", data=b"LONG?\n", attributes=PATIENT)
    answer = gpib.run("read_message")
    gpib.run("write", data=b"SET\n", attributes=USUAL)
    assert answer.data == LONG.encode() + b"\n"
    assert answer.steps == ["STARTED", "Piece", "Done"]


def test_write_read_writes_and_reads_at_most_its_count(gpib):
    """As a write and a read would, in one order."""
    answer = gpib.run("write_read", 5, data=b"*IDN?\n")
    assert (answer.data, answer.end.status) == (b"TEST,", 0x3FFF0006)
    assert answer.steps == ["WRITTEN", "Done"]
    assert gpib.run("read", 1000).data == IDN[5:]


def test_write_read_of_what_gives_no_answer_says_that_it_was_written(gpib):
    """The read failed, the write did not."""
    answer = gpib.run("write_read", 5, data=b"SET\n", attributes=[(TIMEOUT_VALUE, 100)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.DONE, True)
    gpib.run("clear", attributes=[(TIMEOUT_VALUE, 2000)])


def test_query_writes_and_reads(gpib):
    """One exchange."""
    answer = gpib.run("query", data=b"*IDN?\n")
    assert answer.data == IDN
    assert answer.steps == ["WRITTEN", "Done"]
    assert (answer.end.status, answer.end.effect, answer.end.dirty) == (0, Effect.DONE, False)


@pytest.mark.parametrize(
    ("question", "data"),
    [
        (b"BLOCK?", b"ab\ncd\n#15\n\n\n"),
        (b"INDEFINITE?", b"ab\ncd"),
        (b"LONGBLOCK?", LONG.encode()),
        (b"RAW?", b"1,2\n"),
        (b"HEX?", b"#H20\n"),
        (b"HASH?", b"#\n"),
        (b"BAD?", b"#3abc\n"),
        (b"LONG?", LONG.encode() + b"\n"),
    ],
)
def test_query_block_gives_a_block_s_content_or_the_raw_bytes(gpib, question, data):
    """The interface marks END: whatever is in the answer ends nothing. What only looks like a block is none."""
    assert gpib.run("query_block", data=question + b"\n", attributes=PATIENT).data == data
    assert gpib.run("query", data=b"*IDN?\n", attributes=USUAL).data == IDN


def test_query_block_of_a_block_cut_short_fails(gpib):
    """What came is not passed off as the answer."""
    answer = gpib.run("query_block", data=b"SHORT?\n", attributes=PATIENT)
    assert answer.end.token == "VI_ERROR_IO"
    assert answer.end.effect is Effect.DONE
    gpib.run("resynchronise", attributes=USUAL)
    assert gpib.run("query", data=b"*IDN?\n").data == IDN


def test_clear_empties_what_was_not_read(gpib):
    """pyvisa-sim has no device clear: it is done by hand."""
    gpib.run("write", data=b"*IDN?\n")
    gpib.run("write", data=b"RAW?\n")
    answer = gpib.run("clear")
    assert (answer.end.status, answer.end.effect, answer.end.dirty) == (0, Effect.DONE, False)
    assert gpib.run("query", data=b"*IDN?\n").data == IDN


def test_resynchronise_leaves_no_old_answer(gpib):
    """And the timeout as it was."""
    gpib.run("write", data=b"*IDN?\n", attributes=[(TIMEOUT_VALUE, 1234)])
    assert gpib.run("resynchronise").end.status == 0
    assert gpib.run("get_attribute", TIMEOUT_VALUE).end.value == 1234
    assert gpib.run("query", data=b"RAW?\n").data == b"1,2\n"


def test_status_byte_is_read(gpib):
    """An answer that waits is in it."""
    before = gpib.run("read_stb").end
    gpib.run("write", data=b"*IDN?\n")
    during = gpib.run("read_stb").end
    assert (before.status, before.value & MAV, during.value & MAV) == (0, 0, MAV)
    assert gpib.run("read", 100).data == IDN


def test_trigger_reaches_the_instrument(gpib):
    """It answers, as this one is defined to."""
    answer = gpib.run("assert_trigger", 0)
    assert (answer.end.status, answer.end.effect, answer.end.dirty) == (0, Effect.DONE, False)
    assert gpib.run("read", 100).data == b"TRIGGERED\n"


def test_flush_is_done(gpib):
    """There are no formatted buffers here."""
    assert gpib.run("flush", int(BufferOperation.discard_read_buffer)).end.status == 0


def test_answer_is_read_ahead_for_a_session_that_has_not_come(gpib):
    """With its own timeout, then the session's."""
    gpib.run("write", data=b"*IDN?\n", attributes=[(TIMEOUT_VALUE, 1234)])
    answer = gpib.run("read_ahead", 500)
    assert (answer.data, answer.end.dirty) == (IDN, False)
    answer = gpib.run("read_ahead", 50)
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.NONE, True)
    assert gpib.run("get_attribute", TIMEOUT_VALUE).end.value == 1234
    gpib.run("resynchronise")


# Attributes.


def test_attributes_are_set_and_got(gpib):
    """Numbers and names as VISA has them; a client's own before its command."""
    assert gpib.run("set_attribute", TIMEOUT_VALUE, 1500).end.status == 0
    assert gpib.run("get_attribute", TIMEOUT_VALUE).end.value == 1500
    assert gpib.run("get_attribute", TIMEOUT_VALUE, attributes=[(TIMEOUT_VALUE, 2500)]).end.value == 2500
    assert gpib.run("get_attribute", int(ResourceAttribute.resource_name)).end.value == "GPIB0::8::INSTR"


@pytest.mark.parametrize(
    ("call", "arguments", "token"),
    [
        ("get_attribute", (1,), "VI_ERROR_NSUP_ATTR"),
        ("set_attribute", (1, 2), "VI_ERROR_NSUP_ATTR"),
        ("get_attribute", (int(ResourceAttribute.asrl_baud_rate),), "VI_ERROR_NSUP_ATTR"),
        ("set_attribute", (int(ResourceAttribute.resource_name), b"x"), "VI_ERROR_ATTR_READONLY"),
    ],
)
def test_attribute_that_is_not_there_is_an_error_without_effect(gpib, call, arguments, token):
    """Unknown numbers, those of another interface, those that are read only."""
    assert error_of(gpib.run(call, *arguments)) == (token, Effect.NONE, False)


def test_attribute_that_cannot_be_set_fails_the_command_before_it_starts(gpib):
    """The instrument heard nothing."""
    answer = gpib.run("query", data=b"*IDN?\n", attributes=[(1, 1)])
    assert answer.steps == ["TAKEN", "Done"]
    assert error_of(answer) == ("VI_ERROR_NSUP_ATTR", Effect.NONE, False)
    assert gpib.run("query", data=b"RAW?\n").data == b"1,2\n"


def test_read_of_nothing_times_out_and_leaves_the_session_dirty(gpib):
    """The child is well; the answer may still come."""
    answer = gpib.run("read", 10, attributes=[(TIMEOUT_VALUE, 50)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.NONE, True)
    answer = gpib.run("query", data=b"SET\n", attributes=[(TIMEOUT_VALUE, 50)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.DONE, True)
    assert answer.steps == ["WRITTEN", "Done"]
    gpib.run("resynchronise", attributes=[(TIMEOUT_VALUE, 2000)])


def test_every_call_of_the_table_is_tried_here():
    """A new one needs its test; what only passes through has one for all."""
    text = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    assert [call for call in CALLS if call not in FUNCTIONS and f'"{call}"' not in text] == []


# The end of a session.


def test_close_ends_the_process_with_code_0(child_factory, simulation):
    """And says so before."""
    child = child_factory(simulation)
    child.open("GPIB0::8::INSTR")
    child.send(pipe.Close())
    assert child.report() == pipe.Closed()
    assert child.exit_code() == 0


def test_close_before_any_open_ends_the_process_too(child_factory, simulation):
    """A spare that is not needed."""
    child = child_factory(simulation)
    child.send(pipe.Close())
    assert child.report() == pipe.Closed()
    assert child.exit_code() == 0


def test_close_ends_the_connection_to_the_instrument(child_factory):
    """An orderly end, not a reset."""
    with sockets.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE)
        child = child_factory("@py")
        child.open(f"TCPIP0::127.0.0.1::{server.getsockname()[1]}::SOCKET")
        connection, _ = server.accept()
        with connection:
            connection.settimeout(DEADLINE)
            child.send(pipe.Close())
            assert connection.recv(100) == b""


def test_data_without_an_order_ends_the_process(child_factory, simulation):
    """As any other nonsense."""
    child = child_factory(simulation)
    child.send(pipe.Part(b"x"))
    assert child.exit_code() != 0


def test_nonsense_from_the_front_ends_the_process(child_factory, simulation):
    """It is not obeyed, and does not go on."""
    child = child_factory(simulation)
    child._connection.send_bytes(b"\xc1nonsense")
    assert child.exit_code() != 0


def test_frame_over_the_limit_ends_the_process(child_factory, simulation):
    """Before it is read."""
    child = child_factory(simulation)
    os.write(child._connection.fileno(), struct.pack("!i", 2_000_000_000))
    assert child.exit_code() is not None
