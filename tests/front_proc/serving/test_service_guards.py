"""Guards at work in the service: what is refused, held back and let through, and what becomes of that otherwise.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.guarding.guard_service import _KINDS, HELD_LIMIT, STEP
from front_proc.guarding.guard_settings import limits, patterns
from front_proc.guarding.guarded_messages import UNIT_LIMIT, GuardedMessages
from front_proc.process.lifecycle import State
from front_proc.serving.sessions import VI_ATTR_SEND_END_EN
from front_proc.serving.spool import Spool
from front_proc.serving.tickets import WRITES, Ticket
from instrument_proc.calls import CALLS
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import PIECE_SIZE
from pyvisa_daemon.functions import FUNCTIONS, Guarded
from tests.front_proc.wire_peer import Peer

WRITING = sorted(WRITES | {"query", "query_block"})


def guard(stage, **keys):
    """The resource is guarded by these keys of the file; by default nothing may reset it."""
    accept = {"deny": patterns, "confirm": patterns, "limit": limits, "read_only": bool}
    stage.configure(**{key: accept[key](value) for key, value in (keys or {"deny": ["*RST"]}).items()})


def sent(stage):
    """What the instrument got, in one piece each."""
    return [run.arguments[0] if run.call == "buffer_write" else run.data for run in stage.child.runs]


@pytest.fixture
def bus(stage):
    """A session on a guarded resource with END."""
    guard(stage)
    return stage.opened(ends=True)


@pytest.fixture
def line(stage):
    """A session on a guarded resource without END."""
    guard(stage)
    return stage.opened()


def judged(stage, session, data, **fields):
    """A write of something long, as soon as it is read."""
    answers = stage.submit(session, "write", data=data, **fields)
    while stage.service._reading is not None:
        stage.run()
    return answers


def written(stage, session, data, call="write", **fields):
    """What became of it, by which nothing is left with the child."""
    answers = stage.submit(
        session, call, **({"arguments": [data]} if call == "buffer_write" else {"data": data}), **fields
    )
    if answers.is_open:
        stage.child.does(value=len(sent(stage)[-1]))
    return answers


# A record that cannot be made.


def test_what_acts_is_refused_while_there_can_be_no_record_and_queries_are_served(stage, line):
    """Of a guarded resource only; and as soon as the log can be written, everything is."""
    stage.house.audit.is_failing = True
    refused = [
        stage.submit(line, "write", data=b"VOLT 1\n"),
        stage.submit(line, "query", data=b"VOLT 1;VOLT?\n"),
        stage.submit(line, "assert_trigger", arguments=[0]),
        stage.submit(line, "buffer_write", arguments=[b"VOLT 1\n"]),
    ]
    assert [answers.said for answers in refused] == ["NO_RECORD none"] * 4
    assert written(stage, line, b"VOLT?;*OPC?\n", "query").said == "ok"
    stage.house.audit.is_failing = False
    assert written(stage, line, b"VOLT 1\n").said == "ok"
    assert sent(stage) == [b"VOLT?;*OPC?\n", b"VOLT 1\n"]


def test_confirmation_is_not_used_up_by_a_message_that_there_can_be_no_record_of(stage):
    guard(stage, confirm=["OUTPut ON"])
    session = stage.opened()
    stage.service.confirm(session, "the sample is out")
    stage.house.audit.is_failing = True
    assert stage.submit(session, "write", data=b"OUTP ON\n").said == "NO_RECORD none"
    stage.house.audit.is_failing = False
    assert written(stage, session, b"OUTP ON\n").said == "ok"


def test_query_that_has_to_be_confirmed_needs_a_record_as_well(stage):
    """That is what it is confirmed for."""
    guard(stage, confirm=["CALibration?"])
    session = stage.opened()
    stage.service.confirm(session, "nothing is connected")
    stage.house.audit.is_failing = True
    assert stage.submit(session, "query", data=b"CAL?\n").said == "NO_RECORD none"
    assert written(stage, session, b"VOLT?\n", "query").said == "ok"
    stage.house.audit.is_failing = False
    assert written(stage, session, b"CAL?\n", "query").said == "ok"


def test_resource_without_guards_is_served_though_there_can_be_no_record(stage):
    stage.house.audit.is_failing = True
    assert written(stage, stage.opened(), b"VOLT 1\n").said == "ok"


# What is refused.


@pytest.mark.parametrize("call", WRITING)
def test_every_call_that_writes_is_judged(stage, line, call):
    """With effect none, a text that names the rule, and a record."""
    answers = written(stage, line, b"*CLS;*rst\n", call)
    assert answers.said == "GUARDED none"
    assert 'deny "*RST"' in answers.outcome.text
    assert sent(stage) == []
    [record] = stage.house.audit.of("command")
    assert (record["outcome"], record["effect"], record["command"]) == ("GUARDED", "none", f"{call} *CLS;*rst")
    assert written(stage, line, b"*CLS\n", call).said == "ok"


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda function: function.name)
@pytest.mark.parametrize("is_read_only", [True, False])
def test_every_function_is_treated_as_its_row_says(stage, function, is_read_only):
    """What carries commands past the rules is refused on any guarded resource, what acts on one that is read-only."""
    guard(stage, deny=["FOO"], read_only=is_read_only)
    session = stage.opened(ends=True)
    data = [b"*CLS\n"] if function.name == "buffer_write" else [0] * len(function.parameters)
    answers = stage.submit(session, function.name, arguments=data)
    is_refused = function.guarded is Guarded.RAW or (is_read_only and function.guarded is not Guarded.PASSES)
    assert answers.said == ("GUARDED none" if is_refused else "")


def test_calls_that_the_table_does_not_have_are_known():
    """Whatever a client can have the child do: a call that nobody has thought of is refused."""
    of_the_daemon = {"read_on", "read_on_block", "read_ahead", "read_rest", "poll", "resynchronise"}
    assert set(_KINDS) == set(CALLS) - of_the_daemon


def test_trigger_is_judged_as_its_command(stage):
    """`*TRG` denied, or to be confirmed."""
    guard(stage, deny=["*TRG"])
    assert stage.submit(stage.opened(), "assert_trigger", arguments=[0]).said == "GUARDED none"
    guard(stage, confirm=["*TRG"])
    session = stage.opened()
    assert stage.submit(session, "assert_trigger", arguments=[0]).said == "CONFIRM_FIRST none"
    stage.service.confirm(session, "armed")
    assert stage.submit(session, "assert_trigger", arguments=[0]).is_open


def test_read_only_resource_is_asked_only(stage):
    """Each unit a query; and cleared, for that is how one begins anew."""
    guard(stage, read_only=True)
    session = stage.opened(ends=True)
    assert written(stage, session, b"MEAS?;:VOLT? MAX;*IDN?").said == "ok"
    assert written(stage, session, b"MEAS?;VOLT 1").said == "GUARDED none"
    assert written(stage, session, b"", "clear").said == "ok"


@pytest.mark.parametrize(
    ("state", "is_refused"), [(0, False), (1, True), (2, True), (3, False), (1.0, True), ("", True)]
)
def test_library_adds_nothing_to_what_was_judged(stage, line, state, is_refused):
    """VI_ASRL_END_TERMCHAR with `*` for that, and RST behind it; VI_ASRL_END_LAST_BIT, by which LF is none."""
    state = state.encode() if isinstance(state, str) else state
    answers = stage.submit(line, "set_attribute", arguments=[0x3FFF00B4, state])
    assert answers.said == ("GUARDED none" if is_refused else "")


def test_unguarded_resource_is_none_of_the_guards_affair(stage):
    """Nothing is looked at."""
    assert written(stage, stage.opened(), b'"*RST').said == "ok"


# Held back.


def test_message_in_pieces_goes_out_in_one_write(stage, line):
    """Each write has its count, and those that sent nothing have no effect."""
    first, second = written(stage, line, b"VOL"), written(stage, line, b"T 1;CURR")
    assert sent(stage) == []
    third = written(stage, line, b" 2\n")
    assert sent(stage) == [b"VOLT 1;CURR 2\n"]
    assert [answers.outcome.value for answers in (first, second, third)] == [3, 8, 3]
    assert [record["effect"] for record in stage.house.audit.of("command")] == ["none", "none", "done"]
    assert stage.house.audit.of("command")[-1]["command"] == "write VOLT 1;CURR 2"


def test_write_that_completes_what_is_forbidden_fails_and_all_is_dropped(stage, line):
    """The next message is one of its own."""
    assert written(stage, line, b"VOLT 1;*R").said == "ok"
    assert written(stage, line, b"ST\n").said == "GUARDED none"
    assert written(stage, line, b"VOLT 2\n").said == "ok"
    assert sent(stage) == [b"VOLT 2\n"]


def test_message_without_end_is_held_back_where_there_could_be_one(stage, bus):
    """VI_ATTR_SEND_END_EN is off, in any spelling of false."""
    stage.sets(bus, VI_ATTR_SEND_END_EN, 0)
    assert written(stage, bus, b"*R").said == "ok"
    stage.sets(bus, VI_ATTR_SEND_END_EN, True)
    assert written(stage, bus, b"ST").said == "GUARDED none"
    assert sent(stage) == []


def test_message_is_without_end_for_whatever_a_library_takes_for_false(stage, bus):
    """pyvisa-py keeps any state that it is given, and an empty text is no END to it."""
    for state in (False, 0, 0.0, ""):
        stage.sets(bus, VI_ATTR_SEND_END_EN, state)
        assert written(stage, bus, b"*R").said == "ok"
        assert written(stage, bus, b"ST\n").said == "GUARDED none", state
    assert sent(stage) == []


def test_buffered_write_counts_as_whole_only_with_a_line_end(stage, bus):
    """Nobody knows when the library's buffer goes out, and with what behind it."""
    assert written(stage, bus, b"*R", "buffer_write").said == "ok"
    assert written(stage, bus, b"ST\n", "buffer_write").said == "GUARDED none"
    assert written(stage, bus, b"*C", "buffer_write").said == "ok"
    last = written(stage, bus, b"LS\n", "buffer_write")
    assert (sent(stage), last.outcome.value) == ([b"*CLS\n"], 3)


def test_pieces_of_two_sessions_are_not_mixed(stage, line):
    """Each is held back for itself, and neither waits for the other."""
    other = stage.opened()
    assert written(stage, line, b"*R").said == written(stage, other, b"VOLT").said == "ok"
    assert written(stage, other, b" 1\n").said == "ok"
    assert written(stage, line, b"ST?\n").said == "ok"
    assert sent(stage) == [b"VOLT 1\n", b"*RST?\n"]


def test_read_is_served_while_something_is_held_back(stage, line):
    """It has nothing to do with it, even if it fails."""
    written(stage, line, b"VOLT")
    read = stage.submit(line, "read", arguments=[100])
    stage.child.fails("VI_ERROR_TMO", Effect.NONE)
    assert read.said == "VI_ERROR_TMO none"
    assert written(stage, line, b" 1\n").said == "ok"
    assert sent(stage)[-1] == b"VOLT 1\n"


@pytest.mark.parametrize("call", ["write_read", "query", "query_block"])
def test_query_without_an_end_is_refused_at_once(stage, line, call):
    """It would wait for an answer to what was not sent."""
    assert written(stage, line, b"*IDN?", call).said == "GUARDED none"
    written(stage, line, b"VO")
    assert written(stage, line, b"LT?\n", call).said == "ok"
    assert sent(stage) == [b"VOLT?\n"]


def test_what_is_held_back_is_dropped_when_the_session_clears(stage, line):
    written(stage, line, b"*R")
    written(stage, line, b"", "clear")
    assert written(stage, line, b"ST\n").said == "ok"  # no such command: nobody's reset


def test_what_is_held_back_is_dropped_when_the_session_closes(stage, line):
    """And nothing of it is kept."""
    written(stage, line, b"*R")
    stage.resource.drop_session(line)
    assert not stage.service._guard._held


def test_session_is_told_when_its_instrument_was_opened_anew(stage, line):
    """The rest of its message is not sent as if it were one."""
    other = stage.opened()
    written(stage, line, b"VOLT")
    stage.submit(other)
    stage.child.starts()
    stage.child.dies()
    stage.pass_time(1)
    stage.child.opens()
    assert written(stage, line, b" 1\n").said == "SESSION_RESET none"
    assert written(stage, line, b"VOLT 1\n").said == "ok"
    assert sent(stage) == [b"VOLT 1\n"]


def test_session_whose_own_command_failed_is_told_of_what_was_dropped(stage, line):
    """Though it knows of the new process already."""
    written(stage, line, b"VOLT")
    read = stage.submit(line, "read", arguments=[100])
    stage.child.starts()
    stage.child.dies()
    assert read.said.startswith("INSTRUMENT_CRASHED")
    stage.pass_time(1)
    stage.child.opens()
    assert written(stage, line, b" 1\n").said == "SESSION_RESET none"
    assert written(stage, line, b"VOLT 1\n").said == "ok"


def test_what_is_held_back_is_bounded(stage, line):
    """Beyond that all of it is dropped."""
    assert judged(stage, line, b"A" + b" " * (HELD_LIMIT - 1)).said == "ok"
    assert written(stage, line, b" ").said == "GUARDED none"
    assert written(stage, line, b"*CLS\n").said == "ok"
    assert sent(stage) == [b"*CLS\n"]


# Long messages.


def spool_of(folder, *parts):
    spool = Spool(folder)
    for part in parts:
        spool.add(part)
    return spool


def test_long_message_is_read_before_anything_of_it_goes_out(stage, line, tmp_path):
    """In turns of the loop between which others have theirs, and with what was held back in front of it."""
    written(stage, line, b"TRAC:DATA ")
    data = spool_of(tmp_path, b"#7%07d" % (3 * PIECE_SIZE), bytes(3 * PIECE_SIZE), b";*CLS\n")
    size = len(data)
    answers = judged(stage, line, data)
    stage.child.does(value=size + 10)
    assert (answers.said, answers.outcome.value) == ("ok", size)
    assert sent(stage)[0].startswith(b"TRAC:DATA #7")
    assert len(sent(stage)[0]) == size + 10


def test_long_piece_is_gone_on_with_by_a_short_one(stage, line):
    """As by any other."""
    assert judged(stage, line, b"TEXT '" + b"a" * 2 * STEP + b"';*R").said == "ok"
    assert written(stage, line, b"ST\n").said == "GUARDED none"
    assert judged(stage, line, b"TEXT '" + b"a" * 2 * STEP).said == "ok"
    assert judged(stage, line, b"a" * 2 * STEP).said == "ok"
    assert written(stage, line, b"';*CLS\n").said == "ok"
    assert len(sent(stage)[0]) == 4 * STEP + 13


@pytest.mark.parametrize("end", [b";*RST\n", b";TEXT 'a\n", b";*CLS", b"; *CLS;*RST\n"])
def test_long_message_is_refused_for_its_last_byte(stage, line, tmp_path, end):
    """Forbidden, not to be parsed, not whole: nothing of it was sent, and its file is closed."""
    data = spool_of(tmp_path, b"TRAC:DATA #7%07d" % (2 * PIECE_SIZE), bytes(2 * PIECE_SIZE), end)
    answers = judged(stage, line, data)
    assert answers.said == "GUARDED none"
    assert data._file.closed
    assert sent(stage) == []
    assert written(stage, line, b"VOLT 1\n").said == "ok"


def test_long_text_is_judged_by_its_header(stage, tmp_path):
    """Of a unit only the beginning is kept: a parameter behind it that a rule is about cannot be told."""
    guard(stage, limit={"LIST": [[0, 1]], "FAR": [*[[]] * UNIT_LIMIT, [0, 1]]}, deny=["*RST"])
    session = stage.opened()
    values = b"1," * PIECE_SIZE + b"1"
    for header, said in ((b"LIST ", "ok"), (b"LIST (", "GUARDED none"), (b"FAR ", "GUARDED none")):
        answers = judged(stage, session, spool_of(tmp_path, header, values, b"\n"))
        if answers.is_open:
            stage.child.does(value=0)
        assert answers.said == said, header


def test_long_message_that_is_withdrawn_while_it_is_read_is_gone(stage, line, tmp_path):
    """And whoever comes next has their turn."""
    data = spool_of(tmp_path, b"A;" * PIECE_SIZE)
    other = stage.opened()
    answers = stage.submit(line, "write", data=data)
    stage.service.abandon(answers.ticket)
    stage.run()
    assert answers.said == "CLIENT_GONE none"
    assert written(stage, other, b"VOLT 1\n").said == "ok"
    assert sent(stage) == [b"VOLT 1\n"]


def test_long_message_that_is_withdrawn_at_once_is_not_read(stage, line, tmp_path):
    """Write and abandon arrived together: its file is closed, and that is nobody's fault."""
    data = spool_of(tmp_path, b"A;" * PIECE_SIZE)
    ticket = Ticket(line, "write", lambda _: None, data=data)
    stage.service.submit(ticket)
    stage.service.abandon(ticket)
    stage.run()
    assert ticket.outcome.token == "CLIENT_GONE"
    assert stage.house.faults == []
    assert written(stage, line, b"VOLT 1\n").said == "ok"


def test_resource_lingers_though_its_last_session_left_while_its_message_was_read(stage, line, tmp_path):
    """Nothing of it is executed, and nobody has it open."""
    data = spool_of(tmp_path, b"A;" * PIECE_SIZE)
    answers = stage.submit(line, "write", data=data)
    assert stage.service.is_busy
    stage.resource.drop_session(line)
    assert answers.said == "CLIENT_GONE none"
    stage.pass_time(stage.house.linger + 1)
    assert stage.state is State.CLOSING


def test_message_of_many_units_is_judged_in_steps(stage, line):
    """Nobody else waits for that: not even a guard may take the loop for long."""
    data = b"A;" * STEP + b"*RST\n"
    read, steps = GuardedMessages.read, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GuardedMessages, "read", lambda self, data: steps.append(len(data)) or read(self, data))
        assert judged(stage, line, data).said == "GUARDED none"
    assert steps == [STEP, STEP, 5]


@pytest.mark.parametrize("size", [10, 10_000])
def test_message_that_cannot_be_judged_for_a_fault_of_ours_is_not_sent(stage, line, size):
    """One reply, one fault in the log, and the next message is judged as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GuardedMessages, "read", lambda self, data: 1 // 0)
        assert judged(stage, line, b"A" * size).said == "INTERNAL_ERROR none"
    assert [type(fault) for fault in stage.house.faults] == [ZeroDivisionError]
    assert written(stage, line, b"VOLT 1\n").said == "ok"


# Confirming.


@pytest.fixture
def supply(stage):
    guard(stage, confirm=["OUTPut[:STATe] ON"], deny=["*RST"])
    return stage.opened(stage.client("Ann"), ends=True)


def test_confirmation_is_for_one_message_and_on_record(stage, supply):
    """With its reason."""
    assert written(stage, supply, b"OUTP 1").said == "CONFIRM_FIRST none"
    assert not stage.service.confirm(supply, "  the sample\tis out ").failed
    assert written(stage, supply, b"VOLT 1").said == "ok"
    assert written(stage, supply, b"OUTP 1").said == "ok"
    assert written(stage, supply, b"OUTP 1").said == "CONFIRM_FIRST none"
    [given], [used] = stage.house.audit.of("confirm"), stage.house.audit.of("confirmed")
    assert given["reason"] == used["reason"] == "the sample is out"
    assert (used["name"], used["rule"], used["command"]) == ("Ann", 'confirm "OUTPut[:STATe] ON"', "OUTP 1")


def test_message_in_parts_is_confirmed_and_on_record_with_all_of_it(stage, supply, tmp_path):
    """Also when the part that completes it is long."""
    stage.sets(supply, VI_ATTR_SEND_END_EN, False)
    long = spool_of(tmp_path, b" ON;:VOLT 1" + b";VOLT 1" * 1000, b"\n")
    for rest in (b" ON\n", long):
        stage.service.confirm(supply, "the sample is out")
        assert written(stage, supply, b"OUTP").said == "ok"
        answers = judged(stage, supply, rest)
        stage.child.does(value=4 + len(rest))
        assert answers.said == "ok"
    short, cut = (record["command"] for record in stage.house.audit.of("confirmed"))
    assert short == "OUTP ON"
    assert cut.startswith("OUTP ON;:VOLT 1;VOLT 1;")
    assert cut.endswith(f" ... ({4 + len(long)} bytes)")
    commands = [record["command"] for record in stage.house.audit.of("command")]
    assert commands[1] == "write OUTP ON"
    assert commands[3] == f"write {cut}"


def test_confirmation_is_not_spent_on_what_is_refused_anyway(stage, supply):
    stage.service.confirm(supply, "reason")
    assert written(stage, supply, b"OUTP 1;*RST").said == "GUARDED none"
    assert written(stage, supply, b"OUTP 1").said == "ok"


def test_confirmation_is_its_sessions_own(stage, supply):
    other = stage.opened()
    stage.service.confirm(supply, "reason")
    assert written(stage, other, b"OUTP 1").said == "CONFIRM_FIRST none"


def test_confirmation_lapses(stage, supply):
    """Counted to the message's arrival, however long it waits for its turn."""
    stage.service.confirm(supply, "reason")
    stage.pass_time(LIMITS.confirm_time + 1)
    assert written(stage, supply, b"OUTP 1").said == "CONFIRM_FIRST none"
    stage.service.confirm(supply, "reason")
    other = stage.opened()
    stage.submit(other)
    answers = stage.submit(supply, "write", data=b"OUTP 1")
    stage.child.starts()
    for _ in range(40):
        stage.pass_time(LIMITS.confirm_time / 30)
        stage.child.gives(b".")
    stage.child.does(b"\n")
    assert answers.said == ""
    assert stage.child.running.data == b"OUTP 1"


def test_confirmation_does_not_count_for_what_was_asked_before(stage, supply):
    """A message that waits is not confirmed by a word that came after it."""
    stage.submit(stage.opened())
    answers = stage.submit(supply, "write", data=b"OUTP 1")
    stage.pass_time(0.5)
    stage.service.confirm(supply, "reason")
    stage.child.does(b"\n")
    assert answers.said == "CONFIRM_FIRST none"


@pytest.mark.parametrize("reason", ["", " \n", "x" * 257])
def test_reason_has_to_be_one(stage, supply, reason):
    assert stage.service.confirm(supply, reason).token == "BAD_ARGUMENT"


def test_closed_session_confirms_nothing(stage, supply):
    stage.opened()
    stage.resource.drop_session(supply)
    assert stage.service.confirm(supply, "reason").token == "NO_RESOURCE"


def test_unguarded_resource_takes_a_confirmation(stage):
    """A program need not know what is guarded."""
    assert not stage.service.confirm(stage.opened(), "reason").failed


# At the doors.


def test_wire_confirms_with_a_request_of_its_own(stage, tmp_path):
    """Which is answered at once, in order with the writes around it."""
    guard(stage, confirm=["OUTPut ON"])
    peer = Peer(stage, tmp_path, ends=True)
    peer.sends(
        wire.Confirm(2, 1, "for the test"), wire.Write(3, 1, b"OUTP 1"), wire.Confirm(4, 1, ""), wire.Confirm(5, 9, "x")
    )
    stage.child.does(value=6)
    assert sorted(peer.tokens()) == [(2, ""), (3, ""), (4, "BAD_ARGUMENT"), (5, "NO_RESOURCE")]
    assert sent(stage) == [b"OUTP 1"]


def test_read_behind_a_posted_write_that_was_refused_is_told(stage, tmp_path):
    """It waits for nothing."""
    guard(stage)
    peer = Peer(stage, tmp_path, ends=True)
    peer.sends(wire.Write(2, 1, b"X?;*RST"), wire.Read(3, 1, 100, after=2))
    assert peer.tokens() == [(2, "GUARDED"), (3, "WRITE_FAILED")]
