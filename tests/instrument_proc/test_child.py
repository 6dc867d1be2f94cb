"""A real child on a simulated instrument and on a scripted one: every call, every way to fail, and what it says."""

import os
import signal
import socket as sockets
import struct
from urllib.parse import quote

import pytest
from pyvisa.constants import ResourceAttribute

from instrument_proc import pipe
from instrument_proc.calls import CALLS
from instrument_proc.libraries import LOCAL_ATTRIBUTES, CallError, attempt, translate
from pyvisa_daemon.errors import ERRORS, NOT_FOUND, Effect
from tests.instrument_proc.conftest import LONG, TERMCHAR, TERMCHAR_EN
from tests.support.waiting import DEADLINE, wait_until

TIMEOUT_VALUE = int(ResourceAttribute.timeout_value)
IDN = b"TEST,SIMULATED,1,1.0\n"


def error_of(answer):
    """TOKEN, effect and whether an answer may still come."""
    return answer.end.token, answer.end.effect, answer.end.dirty


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
    child.send(pipe.Name("no such thing"))
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
        assert child.run("read_stb", attributes=opened.attributes).reports[0] == pipe.Started(1)


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


def test_open_of_a_host_that_cannot_be_resolved_is_refused(child_factory):
    """As one that is not there."""
    opened = child_factory("@py").open("TCPIP0::no-such-host.invalid::5025::SOCKET")
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
    assert answer.steps == ["Started", "Written", "Done"]


def test_read_gives_at_most_its_count(gpib):
    """The status says that there is more; the rest follows."""
    gpib.run("write", data=b"*IDN?\n")
    first = gpib.run("read", 5)
    assert (first.data, first.end.status) == (b"TEST,", 0x3FFF0006)
    rest = gpib.run("read", 1000)
    assert (rest.data, rest.end.status) == (IDN[5:], 0)
    assert first.steps == ["Started", "Done"]


def test_read_message_reads_to_the_end(gpib):
    """However long it is."""
    gpib.run("write", data=b"LONG?\n")
    answer = gpib.run("read_message")
    assert answer.data == LONG.encode() + b"\n"
    assert answer.steps == ["Started", "Piece", "Done"]


def test_query_writes_and_reads(gpib):
    """One exchange."""
    answer = gpib.run("query", data=b"*IDN?\n")
    assert answer.data == IDN
    assert answer.steps == ["Started", "Written", "Done"]
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
    assert gpib.run("query_block", data=question + b"\n").data == data
    assert gpib.run("query", data=b"*IDN?\n").data == IDN


def test_query_block_of_a_block_cut_short_fails(gpib):
    """What came is not passed off as the answer."""
    answer = gpib.run("query_block", data=b"SHORT?\n")
    assert answer.end.token == "VI_ERROR_IO"
    assert answer.end.effect is Effect.DONE
    gpib.run("resynchronise")
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


@pytest.mark.parametrize(("call", "arguments"), [("read_stb", ()), ("assert_trigger", (0,))])
def test_call_that_the_library_lacks_is_not_supported_and_has_no_effect(gpib, call, arguments):
    """Never a NotImplementedError, and nothing is left behind."""
    answer = gpib.run(call, *arguments)
    assert error_of(answer) == ("VI_ERROR_NSUP_OPER", Effect.NONE, False)


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
        ("set_attribute", (int(ResourceAttribute.resource_name), "x"), "VI_ERROR_ATTR_READONLY"),
    ],
)
def test_attribute_that_is_not_there_is_an_error_without_effect(gpib, call, arguments, token):
    """Unknown numbers, those of another interface, those that are read only."""
    assert error_of(gpib.run(call, *arguments)) == (token, Effect.NONE, False)


def test_attribute_that_cannot_be_set_fails_the_command_before_it_starts(gpib):
    """The instrument heard nothing."""
    answer = gpib.run("query", data=b"*IDN?\n", attributes=[(1, 1)])
    assert answer.steps == ["Done"]
    assert error_of(answer) == ("VI_ERROR_NSUP_ATTR", Effect.NONE, False)
    assert gpib.run("query", data=b"RAW?\n").data == b"1,2\n"


def test_read_of_nothing_times_out_and_leaves_the_session_dirty(gpib):
    """The child is well; the answer may still come."""
    answer = gpib.run("read", 10, attributes=[(TIMEOUT_VALUE, 50)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.NONE, True)
    answer = gpib.run("query", data=b"SET\n", attributes=[(TIMEOUT_VALUE, 50)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.DONE, True)
    assert answer.steps == ["Started", "Written", "Done"]
    gpib.run("resynchronise", attributes=[(TIMEOUT_VALUE, 2000)])


def test_every_call_of_the_table_is_tried_here():
    """A new one needs its test."""
    with open(__file__) as file:
        text = file.read()
    assert [call for call in CALLS if f'"{call}"' not in text] == []


# A serial line, and a socket: a termination character ends messages.


def test_query_block_reads_a_block_with_line_feeds_from_a_serial_line(child_factory, simulation):
    """The termination character is off while the block goes by, and on again after."""
    child = child_factory(simulation)
    child.open("ASRL1::INSTR")
    attributes = [(TERMCHAR, 10), (TERMCHAR_EN, True)]
    assert child.run("query_block", data=b"BLOCK?\n", attributes=attributes).data == b"ab\ncd\n#15\n\n\n"
    assert child.run("query", data=b"*IDN?\n").data == IDN


@pytest.mark.parametrize("length", [0, 1, 10, 11, 12, 300, 4096, 70_000, 600_000])
def test_query_block_reads_a_block_with_line_feeds_from_a_socket(socket, length):
    """Any length: its header counts, line feeds in it end nothing, and the next answer is the next."""
    answer = socket.run("query_block", data=b"BLOCK? %d\n" % length)
    assert answer.data == bytes(index % 256 for index in range(length))
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"


@pytest.mark.parametrize("text", ["1.5", "#", "##", "#H20", "#a", "#5x", "x#15hello", "x" * 65536, "y" * 200_000])
def test_query_block_gives_an_answer_that_is_no_block_as_it_is(socket, text):
    """In its order, however long."""
    assert socket.run("query_block", data=f"ECHO? {text}\n".encode()).data == text.encode() + b"\n"
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"


def test_long_data_is_written_in_one_piece(socket, instrument):
    """It came in parts; the instrument sees one message."""
    data = bytes(index % 256 for index in range(1_000_000))
    answer = socket.run("write", data=b"LOAD #7%07d" % len(data) + data + b"\n")
    assert answer.end.value == len(data) + 15
    assert socket.run("query", data=b"LOAD?\n").data == b"1000000\n"
    assert [message[:5] for message in instrument.history()] == ["LOAD ", "LOAD?"]


def test_half_an_answer_times_out(socket):
    """The effect is done: the question was sent."""
    answer = socket.run("query", data=b"HALF? abc\n", attributes=[(TIMEOUT_VALUE, 200)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.DONE, True)


def test_late_answer_does_not_answer_the_next_question_after_a_resynchronisation(socket, instrument):
    """A raw socket would do so for ever."""
    answer = socket.run("query", data=b"SLOW? 400,late\n", attributes=[(TIMEOUT_VALUE, 100)])
    assert error_of(answer) == ("VI_ERROR_TMO", Effect.DONE, True)
    assert socket.run("resynchronise", attributes=[(TIMEOUT_VALUE, 5000)]).end.status == 0
    wait_until(lambda: instrument.count("SLOW?") == 1)
    for number in range(3):
        assert socket.run("query", data=b"ECHO? %d\n" % number).data == b"%d\n" % number


def test_late_answer_does_not_answer_the_next_question_after_a_clear(socket):
    """The answer is on its way when the clear comes: emptying what is there already does not cure it."""
    socket.run("write", data=b"SLOW? 600,late\n", attributes=[(TIMEOUT_VALUE, 5000)])
    assert socket.run("clear").end.status == 0
    assert socket.run("query", data=b"ECHO? next\n").data == b"next\n"


def test_resynchronisation_of_a_socket_keeps_the_attributes(socket):
    """It is another connection, and the same session."""
    socket.run("write", data=b"SET\n", attributes=[(TIMEOUT_VALUE, 1717)])
    socket.run("resynchronise")
    assert socket.run("get_attribute", TIMEOUT_VALUE).end.value == 1717
    assert socket.run("get_attribute", TERMCHAR_EN).end.value


def test_instrument_that_drops_the_connection_is_lost_not_late(socket):
    """pyvisa-py would wait on a dead peer until the timeout, and say timeout."""
    answer = socket.run("query", data=b"DROP\n", attributes=[(TIMEOUT_VALUE, 500)])
    assert error_of(answer) == ("VI_ERROR_CONN_LOST", Effect.DONE, True)


def test_instrument_that_is_switched_off_is_lost(socket, instrument):
    """At the next command, whichever of its steps notices."""
    instrument.switch_off()
    answer = socket.run("query", data=b"ECHO? x\n", attributes=[(TIMEOUT_VALUE, 500)])
    assert answer.end.token == "VI_ERROR_CONN_LOST"


@pytest.mark.parametrize("call", ["write", "query", "clear", "resynchronise", "read_stb"])
def test_connection_that_is_reset_costs_one_error(socket, call, instrument):
    """The child lives on and answers, whatever its library raises or does."""
    instrument.switch_off()
    answer = socket.run(call, data=b"SET\n", attributes=[(TIMEOUT_VALUE, 300)])
    answer = socket.run(call, data=b"SET\n")
    assert answer.end.status < 0 or call in ("write", "clear")


def test_write_to_an_instrument_that_stops_reading_says_maybe_or_hangs_with_stacks(socket):
    """pyvisa-py's write may never return: then the front asks for the stacks and kills."""
    socket.run("write", data=b"STALL\n")
    socket.begin("write", data=b"SET " + b"x" * 5_000_000 + b"\n", attributes=[(TIMEOUT_VALUE, 300)])
    assert isinstance(socket.report(), pipe.Started)
    if socket.has_said_something(2):
        assert socket.report().effect is Effect.MAYBE
        return
    os.kill(socket.pid, signal.SIGUSR1)
    wait_until(lambda: "write" in socket.log_file.read_text(), what="the stacks of the hung child")
    socket.process.kill()
    assert socket.exit_code() == -signal.SIGKILL


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


# What drivers raise.


@pytest.mark.parametrize(
    ("error", "token"),
    [
        (NotImplementedError("no"), "VI_ERROR_NSUP_OPER"),
        (ConnectionRefusedError(111, "refused"), "VI_ERROR_RSRC_NFOUND"),
        (sockets.gaierror(-2, "unknown"), "VI_ERROR_RSRC_NFOUND"),
        (FileNotFoundError(2, "no such device"), "VI_ERROR_RSRC_NFOUND"),
        (TimeoutError("slow"), "VI_ERROR_TMO"),
        (ConnectionResetError(104, "reset"), "VI_ERROR_CONN_LOST"),
        (BrokenPipeError(32, "broken pipe"), "VI_ERROR_CONN_LOST"),
        (ConnectionAbortedError(103, "aborted"), "VI_ERROR_CONN_LOST"),
        (EOFError(), "VI_ERROR_CONN_LOST"),
        (OSError(16, "busy"), "VI_ERROR_RSRC_BUSY"),
        (OSError(19, "no device"), "VI_ERROR_CONN_LOST"),
        (OSError(5, "I/O"), "VI_ERROR_CONN_LOST"),
        (OSError(113, "no route"), "VI_ERROR_CONN_LOST"),
        (PermissionError(13, "denied"), "VI_ERROR_NPERMISSION"),
        (MemoryError(), "VI_ERROR_ALLOC"),
        (ValueError("a driver's own"), "VI_ERROR_SYSTEM_ERROR"),
        (ZeroDivisionError(), "VI_ERROR_SYSTEM_ERROR"),
    ],
)
def test_what_a_driver_raises_becomes_a_status(error, token):
    """With its words, and never an exception of another kind."""
    translated = translate(error)
    assert translated.token == token
    assert translated.text
    assert "\n" not in translated.text
    with pytest.raises(CallError):
        attempt(lambda: (_ for _ in ()).throw(error))


def test_traceback_in_a_driver_s_words_is_cut_to_its_end():
    """pyvisa-sim puts a whole one in there; a reply is one line."""
    error = translate(ValueError("Could not parse. 'Traceback (most recent call last):\\n  File x\\nKeyError: 1\\n'"))
    assert error.text == "KeyError: 1"
