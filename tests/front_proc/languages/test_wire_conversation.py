"""A conversation in the wire: requests become tickets, outcomes replies. The connection, the front behind and the
instrument's process are played; time is the test's."""

import pytest

from front_proc.languages.wire_conversation import SESSION_LIMIT, STATE_LIMIT
from front_proc.serving.sessions import NAME_LIMIT, VI_ATTR_RSRC_LOCK_STATE
from pyvisa_daemon import wire
from pyvisa_daemon.errors import ERRORS, VI_SUCCESS_MAX_CNT, Effect
from pyvisa_daemon.framing import frame
from tests.front_proc.playbook import GRACE, NAME, TIMEOUT
from tests.front_proc.wire_peer import Peer

TMO_VALUE = 0x3FFF001A


@pytest.fixture
def peer(stage, tmp_path):
    return Peer(stage, tmp_path)


def test_write_and_read_that_follows_it_are_one_exchange(stage, peer):
    """The write holds for as many answers as it has lines with a question."""
    peer.sends(wire.Write(2, 1, b"A?\nB\nC?\n"), wire.Read(3, 1, 100, after=2))
    stage.child.does(value=8)
    other = stage.submit(stage.opened())
    stage.child.does(b"a\n")
    assert peer.heard() == [wire.Reply(2, 0, 8, effect="done"), wire.Reply(3, 0, data=b"a\n", effect="done")]
    assert other.is_open
    peer.sends(wire.Read(4, 1, 100))
    stage.child.does(b"c\n")
    assert stage.child.running.call == "query"


# A query: a write and a read in one order to the process.


@pytest.fixture
def asked(stage, peer):
    """The process has a query."""
    peer.sends(wire.Query(2, 1, b"A?\n", 100))
    assert (stage.child.running.call, stage.child.running.arguments) == ("write_read", [100])
    return stage.child


def test_query_has_one_outcome_and_one_record_and_nobody_comes_between(stage, peer, asked):
    """Its hold ends with its answer."""
    other = stage.submit(stage.opened())
    asked.does(b"a\n")
    assert peer.heard() == [wire.Reply(2, 0, data=b"a\n", effect="done")]
    assert stage.child.running.call == "query"
    stage.child.does(b"b\n")
    assert other.outcome.data == b"b\n"
    assert [record["command"] for record in stage.house.audit.of("command")] == ["write_read 100 A?", "query"]


def test_query_that_ended_at_its_count_holds_for_the_rest(stage, peer, asked):
    """As a write and a read would."""
    other = stage.submit(stage.opened())
    asked.does(b"a", status=VI_SUCCESS_MAX_CNT)
    assert other.is_open
    peer.sends(wire.Read(3, 1, 100))
    assert stage.child.running.call == "read"
    stage.child.does(b"b\n")
    assert stage.child.running.call == "query"


def test_query_of_two_lines_has_a_second_answer(stage, peer):
    """On a stream each line has its own."""
    peer.sends(wire.Query(2, 1, b"A?\nB?\n", 100))
    stage.child.does(b"a\n")
    other = stage.submit(stage.opened())
    assert other.is_open
    assert stage.child.running.call == "write_read"
    peer.sends(wire.Read(3, 1, 100))
    stage.child.does(b"b\n")
    assert peer.heard()[-1] == wire.Reply(3, 0, data=b"b\n", effect="done")
    assert stage.child.running.call == "query"


@pytest.mark.parametrize(("effect", "dirty"), [(Effect.NONE, False), (Effect.MAYBE, True), (Effect.DONE, True)])
def test_query_that_fails_says_what_the_instrument_may_have_done(stage, peer, asked, effect, dirty):
    """Where an answer may still come, the next one finds an empty instrument."""
    other = stage.submit(stage.opened())
    asked.fails("VI_ERROR_TMO", effect, dirty=dirty)
    status = ERRORS["VI_ERROR_TMO"].status
    assert peer.heard() == [wire.Reply(2, status, token="VI_ERROR_TMO", effect=effect, text="it failed")]
    assert stage.child.running.call == ("resynchronise" if dirty else "query")
    assert other.is_open


def test_query_whose_answer_is_long_has_it_in_pieces(stage, peer, asked):
    """The reply ends it."""
    asked.gives(b"12345")
    asked.does(b"678\n")
    assert peer.heard() == [wire.Piece(2, b"12345"), wire.Reply(2, 0, data=b"678\n", effect="done")]


@pytest.mark.parametrize(("step", "effect"), [("", "none"), ("starts", "maybe"), ("writes", "maybe")])
def test_query_whose_process_dies_says_what_it_may_have_done(stage, peer, asked, step, effect):
    """By the last sign of life."""
    if step:
        getattr(asked, step)()
    asked.dies()
    assert [(reply.id, reply.token, reply.effect) for reply in peer.heard()] == [(2, "INSTRUMENT_CRASHED", effect)]


def test_query_gets_old_answers_first(stage, peer):
    """On a stream they come first; what was read ahead of them is here, and the new one is awaited."""
    [session] = stage.resource.sessions
    session.ahead.add(b"old\n", 0)
    peer.sends(wire.Query(2, 1, b"A?\n", 100))
    assert stage.child.running.call == "write"
    stage.child.does(value=3)
    assert peer.heard() == [wire.Reply(2, 0, data=b"old\n", effect="done")]
    other = stage.submit(stage.opened())
    assert other.is_open
    peer.sends(wire.Read(3, 1, 100))
    stage.child.does(b"a\n")
    assert peer.heard() == [wire.Reply(3, 0, data=b"a\n", effect="done")]


def test_query_is_not_carried_out_behind_a_lock_of_others(stage, peer):
    """It is I/O like any other."""
    other = stage.opened()
    stage.start(stage.resource.lock(other, 1, None, 0))
    peer.sends(wire.Query(2, 1, b"A?\n", 100))
    assert peer.tokens() == [(2, "VI_ERROR_RSRC_LOCKED")]


def test_read_after_a_write_that_failed_is_not_carried_out(stage, peer):
    """It would read what is another's."""
    peer.sends(wire.Write(2, 1, b"A?"), wire.Read(3, 1, 100, after=2))
    stage.child.fails("VI_ERROR_IO", dirty=True)
    assert peer.tokens() == [(2, "VI_ERROR_IO"), (3, "WRITE_FAILED")]


@pytest.mark.parametrize("after", [None, 17, 2])
def test_read_depends_on_the_write_that_it_names_and_on_no_other(stage, peer, after):
    """That is the newest of its session, once: a second read may be a second attempt."""
    peer.sends(wire.Write(2, 1, b"A?"), wire.Write(3, 1, b"B"), wire.Read(4, 1, 100, after=after))
    stage.child.fails("VI_ERROR_IO", dirty=True)
    while stage.child.running.call != "write":
        stage.child.does()
    stage.child.does()
    assert stage.child.running.call == "read"
    assert peer.tokens() == [(2, "VI_ERROR_IO"), (3, "")]


def test_read_names_a_write_only_once(stage, peer):
    """It failed as told; who reads again wants to see what there is."""
    peer.sends(wire.Write(2, 1, b"A?"))
    stage.child.fails("VI_ERROR_IO", dirty=True)
    for number in (3, 4):
        peer.sends(wire.Read(number, 1, 100, after=2))
    assert peer.tokens() == [(2, "VI_ERROR_IO"), (3, "WRITE_FAILED")]
    assert stage.child.running.call == "read"


def test_long_answer_comes_in_pieces(stage, peer):
    """Each as soon as the child has it; the reply ends it."""
    peer.sends(wire.Read(2, 1, 1000))
    stage.child.starts()
    stage.child.gives(b"12345")
    assert peer.heard() == [wire.Piece(2, b"12345")]
    stage.child.does(b"678\n")
    assert peer.heard() == [wire.Reply(2, 0, data=b"678\n", effect="done")]


def test_child_waits_for_a_client_that_does_not_keep_up(stage, peer):
    """Nobody's memory is filled by an answer, and no process is killed for a slow network."""
    peer.sends(wire.Read(2, 1, 1 << 30))
    stage.child.starts()
    stage.child.gives(b"1")
    assert not stage.child.is_paused
    peer.line.is_full = True
    stage.child.gives(b"2")
    assert stage.child.is_paused
    stage.pass_time(TIMEOUT + GRACE + 100)
    assert not stage.child.is_being_killed
    peer.line.is_read()
    assert not stage.child.is_paused
    stage.child.does(b"3")
    assert [getattr(answer, "data", None) for answer in peer.heard()] == [b"1", b"2", b"3"]


def test_child_does_not_wait_for_a_client_that_is_gone(stage, peer):
    """Others want it."""
    peer.line.is_full = True
    peer.sends(wire.Read(2, 1, 1 << 30))
    stage.child.starts()
    stage.child.gives(b"1")
    assert stage.child.is_paused
    peer.leaves()
    assert not stage.child.is_paused


@pytest.mark.parametrize("length", [STATE_LIMIT, STATE_LIMIT + 1])
def test_text_of_an_attribute_has_a_limit(stage, peer, length):
    """It would travel to every new process of the resource."""
    peer.sends(wire.SetAttribute(2, 1, TMO_VALUE, "x" * length))
    if length > STATE_LIMIT:
        assert peer.tokens() == [(2, "BAD_ARGUMENT")]
        assert stage.child.runs == []
    else:
        assert stage.child.running.arguments == [TMO_VALUE, b"x" * length]


def test_text_of_an_attribute_is_text_when_it_is_set_again(stage, peer):
    """On the pipe it travels as bytes; a new process is given what was set."""
    peer.sends(wire.SetAttribute(2, 1, 0x3FFF0001, "äöü"))
    stage.child.does()
    stage.child.dies()
    assert stage.child.order.attributes == [(0x3FFF0001, "äöü")]


def test_attribute_is_on_record_with_its_number_and_state(stage, peer):
    """What was set is what somebody will look for."""
    peer.sends(wire.SetAttribute(2, 1, TMO_VALUE, 5000))
    stage.child.does()
    assert stage.house.audit.of("command", command=f"set_attribute {TMO_VALUE} 5000")


def test_attribute_is_read_from_the_child(stage, peer):
    """Whatever type it has."""
    for number, state in enumerate((True, 9600, 1.5, "ASRL1::INSTR"), 2):
        peer.sends(wire.GetAttribute(number, 1, 0x3FFF0021))
        assert stage.child.running.arguments == [0x3FFF0021]
        stage.child.does(value=state)
        assert peer.heard() == [wire.Reply(number, 0, state, effect="done")]


def test_state_of_the_lock_is_known_here(stage, peer):
    """The library knows nothing of the daemon's locks: VI_ATTR_RSRC_LOCK_STATE never goes to the child."""
    peer.sends(wire.GetAttribute(2, 1, VI_ATTR_RSRC_LOCK_STATE), wire.Lock(3, 1, 1, 0, None))
    peer.sends(wire.GetAttribute(4, 1, VI_ATTR_RSRC_LOCK_STATE))
    assert [(reply.id, reply.value) for reply in peer.heard()] == [(2, 0), (3, None), (4, 1)]
    assert stage.child.runs == []


def test_name_of_a_program_has_a_limit(peer):
    """Every record has it."""
    assert peer.client.name == "x" * NAME_LIMIT


def test_name_of_a_program_is_one_line_that_no_terminal_obeys(peer):
    """Others see it in `status` and in errors; in the wire it may be any text."""
    peer.client.introduce("bob\nclient 10.0.0.1 root\x1b]0;title\x07\x1b[31m\x9b2J\u202e  Zoë")
    assert peer.client.name == "bob client 10.0.0.1 root ]0;title [31m 2J Zoë"


@pytest.mark.parametrize(
    "request_",
    [
        wire.Write(2, 1, b"VOLT 1"),
        wire.Read(2, 1, 100),
        wire.Call(2, 1, "clear", []),
        wire.GetAttribute(2, 1, TMO_VALUE),
        wire.SetAttribute(2, 1, TMO_VALUE, 1),
        wire.Lock(2, 1, 1, 0, None),
        wire.EnableEvent(2, 1, 0x3FFF200B),
        wire.Open(2, NAME, 0, 0),
        wire.ListResources(2),
        wire.Resolve(2, "scope"),
        wire.Find(2, NAME),
    ],
    ids=lambda request: type(request).__name__,
)
def test_daemon_that_stops_refuses_new_work(stage, peer, request_):
    """Nothing of it was done."""
    peer.front.is_stopping = True
    peer.sends(request_)
    [reply] = peer.heard()
    assert (reply.id, reply.token, reply.effect) == (2, "SHUTTING_DOWN", "none")
    assert stage.child.runs == []
    assert [noted[1:3] for noted in peer.front.noted] == [("SHUTTING_DOWN", "none")]


def test_request_that_came_to_no_instrument_is_on_record_when_it_failed(stage, peer):
    """With what was asked and how long it took."""
    peer.front.may_open.clear()
    peer.sends(wire.Open(2, "nonsense", 0, 0))
    stage.pass_time(0.5)
    peer.front.may_open.set()
    stage.run()
    [(command, outcome, effect, seconds)] = peer.front.noted
    assert (command, outcome, effect) == ("open nonsense", "VI_ERROR_RSRC_NFOUND", "none")
    assert seconds == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("request_", "command", "outcome"),
    [
        (wire.Write(2, 99, b"*RST\n"), "write *RST", "NO_RESOURCE"),
        (wire.Query(2, 99, b"A" * 2000, 100), "query " + "A" * 1024 + " ... (2000 bytes)", "NO_RESOURCE"),
        (wire.Open(2, "x" * 1_000_000, 0, 0), "open " + "x" * 1024 + " ... (1000000 bytes)", "VI_ERROR_RSRC_NFOUND"),
        (wire.Call(2, 1, "nonsense", []), "call nonsense", "VI_ERROR_NSUP_OPER"),
        (wire.Unlock(2, 99), "unlock", "NO_RESOURCE"),
        (wire.Lock(2, 99, 1, 0, None), "lock", "NO_RESOURCE"),
        (wire.Lock(2, 1, 1, 0, None, ttl_s=-1.0), "lock", "BAD_ARGUMENT"),
        (wire.Confirm(2, 1, ""), "confirm", "BAD_ARGUMENT"),
    ],
)
def test_request_that_fails_before_it_is_a_ticket_is_on_record(stage, peer, request_, command, outcome):
    """Once."""
    peer.sends(request_)
    assert peer.tokens() == [(2, outcome)]
    assert [noted[:3] for noted in peer.front.noted] == [(command, outcome, "none")]


def test_lock_that_is_refused_has_one_record(stage, peer):
    other = stage.opened()
    stage.service.locks.lock(other, 1, None, None, lambda _: None)
    peer.sends(wire.Lock(2, 1, 1, 0, None))
    assert peer.tokens() == [(2, "VI_ERROR_RSRC_LOCKED")]
    assert peer.front.noted == []
    outcomes = [record["outcome"] for record in stage.house.audit.of("command", command="lock 1")]
    assert outcomes == ["ok", "VI_ERROR_RSRC_LOCKED"]


def test_fault_of_our_own_costs_one_reply(stage, peer):
    """It goes to the log and on record; the client hears of it, and goes on."""
    peer.sends(wire.ListResources(2), wire.Call(3, 1, "read_stb", []))
    stage.child.does(value=4)
    assert peer.tokens() == [(2, "INTERNAL_ERROR"), (3, "")]
    assert len(peer.front.faults) == 1
    assert [noted[:3] for noted in peer.front.noted] == [("listresources", "INTERNAL_ERROR", "maybe")]


def test_requests_that_wait_have_a_limit(stage, peer):
    """Each has a task of its own; no client may have as many as it likes."""
    peer.front.may_open.clear()
    peer.sends(*(wire.Open(number, NAME, 0, 0) for number in range(2, SESSION_LIMIT + 3)))
    assert peer.tokens() == [(SESSION_LIMIT + 2, "QUEUE_FULL")]
    peer.leaves()


def test_sessions_of_a_connection_have_a_limit(stage, peer, monkeypatch):
    """A program that never closes any."""
    monkeypatch.setattr("front_proc.languages.wire_conversation.SESSION_LIMIT", 3)
    for number in range(2, 5):
        peer.sends(wire.Open(number, NAME, 0, 0))
    assert peer.tokens() == [(2, ""), (3, ""), (4, "VI_ERROR_ALLOC")]
    peer.sends(wire.Close(5, 1), wire.Open(6, NAME, 0, 0))
    assert peer.tokens() == [(5, ""), (6, "")]


def test_nothing_of_a_closed_session_is_remembered(stage, peer):
    """Neither it nor the write that a read might have followed."""
    peer.sends(wire.Write(2, 1, b"A?"))
    stage.child.does(value=2)
    session = peer.session
    peer.sends(wire.Close(3, 1))
    peer.sends(wire.Read(4, 1, 100, after=2))
    assert peer.tokens() == [(2, ""), (3, ""), (4, "NO_RESOURCE")]
    for kept in (peer.conversation._written, peer.conversation._sessions, peer.conversation._opened_by):
        assert kept == {}
    assert session not in stage.resource.sessions


def test_nothing_of_a_request_that_ended_is_remembered(stage, peer):
    """A connection may last for months."""
    peer.sends(wire.Write(2, 1, b"VOLT 1"), wire.Call(3, 1, "nonsense", []), wire.Read(4, 9, 1), wire.Find(5, NAME))
    stage.child.does()
    assert len(peer.heard()) == 4
    for kept in (peer.conversation._tickets, peer.conversation._tasks, peer.conversation._spools):
        assert kept == {}


@pytest.mark.parametrize(
    "data",
    [frame(b"\xc1"), b"\xff\xff\xff\xff", wire.encode(wire.Hello(wire.VERSION))],
    ids=["no message", "no frame", "second hello"],
)
def test_what_is_no_request_ends_the_conversation(stage, peer, data):
    """One word why, on record; what follows is not looked at."""
    peer.sends_bytes(data + wire.encode(wire.Write(2, 1, b"VOLT 1")))
    [refused] = peer.heard()
    assert (type(refused), refused.token) == (wire.Refused, "BAD_PROTOCOL")
    assert peer.line.is_over
    assert peer.front.audit.of("rejected", outcome="BAD_PROTOCOL")
    assert stage.child.runs == []
