"""A read that ends within a block goes on with the rest of it: for whom, how far, and what becomes of it.

A PyVISA program at one end (see `wire_peer`), a played process at the other (see `playbook`); time is the test's.
"""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.languages.wire_conversation import AHEAD_LIMIT
from front_proc.process.lifecycle import State
from front_proc.serving.sessions import VI_ATTR_TERMCHAR, VI_ATTR_TERMCHAR_EN, VI_ATTR_TMO_VALUE
from pyvisa_daemon import wire
from pyvisa_daemon.errors import ERRORS, VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR, Effect
from tests.front_proc.playbook import GRACE, TIMEOUT
from tests.front_proc.wire_peer import Peer

ASK, READ, AGAIN = 10, 11, 12
COUNT, AHEAD = 20_000, 1 << 20

#: The beginning of a block of 100 000 bytes, 10 of which are in it.
BEGINNING = b"#6100000" + b"0123456\n89"


@pytest.fixture
def peer(stage, tmp_path):
    return Peer(stage, tmp_path)


@pytest.fixture
def bus(stage, tmp_path):
    """One whose interface marks the END."""
    return Peer(stage, tmp_path, ends=True)


def asks(stage, peer):
    """A query is written, its answer awaited."""
    peer.sends(wire.Write(ASK, 1, b"CURV?\n"))
    stage.child.does(value=6)
    peer.heard()


def reads(stage, peer, data=BEGINNING, status=VI_SUCCESS_TERM_CHAR, *, count=COUNT, ahead=AHEAD):
    """The first read of an answer."""
    asks(stage, peer)
    peer.sends(wire.Read(READ, 1, count, None, ahead))
    stage.child.does(data, status=status)


def sets_termination(stage, peer, state, character=10):
    stage.sets(peer.session, VI_ATTR_TERMCHAR, character)
    stage.sets(peer.session, VI_ATTR_TERMCHAR_EN, state)


def rest(stage):
    """How many bytes of a block the process is to read on."""
    assert stage.child.running.call == "read_on_block", stage.child.running
    (count,) = stage.child.running.arguments
    return count


def calls(stage):
    return [run.call for run in stage.child.runs]


# For whom, and how far.


def test_answer_whose_beginning_is_not_known_is_not_read_on(stage, peer):
    """On a stream the rest of an old block comes before the answer to the new question."""
    reads(stage, peer, status=VI_SUCCESS_MAX_CNT, ahead=0)
    asks(stage, peer)
    peer.sends(wire.Read(AGAIN, 1, COUNT, None, AHEAD))
    stage.child.does(b"#550000 is data\n", status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "read"
    assert peer.heard()[-1].id == AGAIN


@pytest.mark.parametrize(("ahead", "at_most"), [(AHEAD, 99_990), (50_000, 50_000)])
def test_read_within_a_block_is_followed_by_what_has_come_of_it(stage, peer, ahead, at_most):
    """As much as there is to come, and its client takes."""
    reads(stage, peer, ahead=ahead)
    assert rest(stage) == at_most
    assert stage.child.running.ticket == stage.child.runs[-2].ticket


@pytest.mark.parametrize("data", [BEGINNING, b"5.0,"])
@pytest.mark.parametrize("status", [VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR])
def test_nothing_is_read_on_where_end_is_marked(stage, bus, data, status):
    """Nobody can tell what has arrived, and to wait for more may be in vain."""
    reads(stage, bus, data, status)
    assert calls(stage) == ["write", "read"]
    assert bus.heard() == [wire.Reply(READ, status, data=data, effect=Effect.DONE)]


@pytest.mark.parametrize("character", [b"abc", 1.5, 256, -1])
def test_nothing_is_read_on_by_a_termination_that_is_no_character(stage, peer, character):
    """Some libraries take anything for one."""
    sets_termination(stage, peer, True, character)
    reads(stage, peer)
    assert calls(stage) == ["write", "read"]
    assert peer.heard()[-1].data == BEGINNING


def test_no_more_is_read_on_than_the_daemon_has_room_for(stage, peer):
    """Whatever the client says."""
    reads(stage, peer, b"#9999999999abc", ahead=1 << 40)
    assert rest(stage) == AHEAD_LIMIT


@pytest.mark.parametrize(
    ("is_enabled", "termination"), [(True, 10), (1, 10), (False, -1), (0, -1)], ids=["on", "1", "off", "0"]
)
@pytest.mark.parametrize("status", [VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR])
def test_client_is_told_what_its_reads_would_end_at(stage, peer, is_enabled, termination, status):
    """One reply with all of the data, and one audit record."""
    sets_termination(stage, peer, is_enabled)
    reads(stage, peer, status=status)
    assert peer.heard() == [wire.Piece(READ, BEGINNING)]
    stage.child.starts()
    stage.child.gives(b"x" * 50_000)
    stage.child.does(b"y" * 49_989, status=VI_SUCCESS_MAX_CNT)
    piece, reply = peer.heard()
    assert piece == wire.Piece(READ, b"x" * 50_000)
    assert reply == wire.Reply(READ, VI_SUCCESS_MAX_CNT, termination, b"y" * 49_989, effect=Effect.DONE)
    [record] = stage.house.audit.of("command", command=f"read {COUNT}")
    assert (record["outcome"], record["bytes"]) == ("ok", len(BEGINNING) + 99_989)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"5.0\n", VI_SUCCESS_TERM_CHAR),
        (b"#H20\n", VI_SUCCESS_TERM_CHAR),
        (b"#0abc\n", VI_SUCCESS_TERM_CHAR),
        (b"'#6100000\n'", VI_SUCCESS_TERM_CHAR),
        (b"x#6100000\n", VI_SUCCESS_TERM_CHAR),
        (b"#210abcdefghij\n", VI_SUCCESS_TERM_CHAR),
    ],
)
def test_read_that_does_not_end_within_a_block_is_all_there_is(stage, peer, data, status):
    """Text, what looks like a block, and blocks that are whole."""
    reads(stage, peer, data, status)
    assert calls(stage) == ["write", "read"]
    assert peer.heard() == [wire.Reply(READ, status, data=data, effect=Effect.DONE)]


@pytest.mark.parametrize("data", [b"5 #", b"#", b"#6", b"#61000"])
def test_header_that_is_not_whole_promises_nothing(stage, peer, data):
    """It may be a prompt, or text: what is certain to come begins behind it."""
    reads(stage, peer, data)
    assert calls(stage) == ["write", "read"]
    assert peer.heard()[0].data == data


@pytest.mark.parametrize("ends", [True, False])
def test_read_that_ended_for_another_reason_than_count_and_character_is_all_there_is(stage, tmp_path, ends):
    """With END the answer is over, whatever its block had promised; without it some libraries end a read when nothing
    more has come for a while."""
    peer = Peer(stage, tmp_path, ends=ends)
    reads(stage, peer, BEGINNING, 0)
    assert calls(stage) == ["write", "read"]
    assert peer.heard() == [wire.Reply(READ, 0, data=BEGINNING, effect=Effect.DONE)]


@pytest.mark.parametrize("ahead", [0, -1])
def test_client_that_takes_nothing_ahead_gets_nothing(stage, peer, ahead):
    """An asynchronous read, say."""
    reads(stage, peer, ahead=ahead)
    assert calls(stage) == ["write", "read"]
    assert peer.heard() == [wire.Reply(READ, VI_SUCCESS_TERM_CHAR, data=BEGINNING, effect=Effect.DONE)]


@pytest.mark.parametrize("count", [0, -1])
def test_read_of_nothing_is_all_there_is(stage, peer, count):
    """In viReads of so many bytes it would go on for ever."""
    reads(stage, peer, b"#6100000abc", VI_SUCCESS_MAX_CNT, ahead=0)
    peer.sends(wire.Read(AGAIN, 1, count, None, AHEAD))
    stage.child.does(b"", status=VI_SUCCESS_MAX_CNT)
    assert calls(stage) == ["write", "read", "read"]
    assert peer.heard()[-1].id == AGAIN


def test_read_that_failed_is_all_there_is(stage, peer):
    """Nothing of its answer can be relied on."""
    reads(stage, peer, ahead=0)
    peer.sends(wire.Read(AGAIN, 1, COUNT, None, AHEAD))
    stage.child.fails("VI_ERROR_TMO", Effect.NONE, dirty=True)
    assert calls(stage) == ["write", "read", "read"]
    [_, reply] = peer.heard()
    assert (reply.token, reply.value) == ("VI_ERROR_TMO", None)


def test_serial_line_is_not_read_on(stage, peer, monkeypatch):
    """Its reads may end in ways of their own."""
    monkeypatch.setattr(stage.resource, "name", "ASRL1::INSTR")
    reads(stage, peer)
    assert calls(stage) == ["write", "read"]


def test_read_without_a_hold_is_all_there_is(stage, peer):
    """Nobody knows what it is a part of."""
    peer.sends(wire.Read(READ, 1, COUNT, None, AHEAD))
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    assert calls(stage) == ["read"]
    assert peer.heard() == [wire.Reply(READ, VI_SUCCESS_TERM_CHAR, data=BEGINNING, effect=Effect.DONE)]


def test_late_rest_of_a_block_is_not_read_on(stage, peer):
    """The read within the block failed: how much of it came with that, nobody knows."""
    reads(stage, peer, ahead=0)
    peer.sends(wire.Read(AGAIN, 1, COUNT, None, AHEAD))
    stage.child.fails("VI_ERROR_TMO", Effect.NONE, dirty=True)
    peer.heard()
    peer.sends(wire.Read(AGAIN + 1, 1, COUNT, None, AHEAD))
    stage.child.does(b"late\n", status=VI_SUCCESS_TERM_CHAR)
    assert calls(stage) == ["write", "read", "read", "read"]
    assert peer.heard() == [wire.Reply(AGAIN + 1, VI_SUCCESS_TERM_CHAR, data=b"late\n", effect=Effect.DONE)]


def test_block_of_somebody_who_left_is_not_read_on_for_another(stage, peer):
    """After the instrument was emptied of it."""
    gone = stage.opened()
    stage.asked(gone)
    stage.submit(gone, "read", arguments=[COUNT])
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    stage.resource.drop_session(gone)
    peer.sends(wire.Write(ASK, 1, b"*CLS\n"))
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does(value=5)
    peer.heard()
    peer.sends(wire.Read(READ, 1, COUNT, None, AHEAD))
    stage.child.does(b"hello\n", status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "read"
    assert peer.heard() == [wire.Reply(READ, VI_SUCCESS_TERM_CHAR, data=b"hello\n", effect=Effect.DONE)]


# Other answers, on a stream.


@pytest.mark.parametrize("data", [b"1.0,2.0,", b"#3010abcdefghij", b"#6", b"x"])
def test_read_that_ended_at_its_count_is_followed_by_what_has_come(stage, peer, data):
    """To the end of the answer, which is for the process to see, or as far as its client takes it."""
    reads(stage, peer, data, VI_SUCCESS_MAX_CNT, ahead=70_000)
    assert stage.child.running.call == "read_on"
    assert stage.child.running.arguments == [70_000]
    stage.child.does(b"3.0\n", status=VI_SUCCESS_TERM_CHAR)
    assert peer.heard() == [
        wire.Piece(READ, data),
        wire.Reply(READ, VI_SUCCESS_TERM_CHAR, -1, b"3.0\n", effect=Effect.DONE),
    ]


def somebody_waits_as_it_reads(stage, peer):
    """The query of another client, behind the first read of an answer."""
    asks(stage, peer)
    query = stage.submit(stage.opened())
    peer.sends(wire.Read(READ, 1, COUNT, None, AHEAD))
    stage.child.does(b"1.0,", status=VI_SUCCESS_MAX_CNT)
    return query


def test_answer_that_was_read_on_to_its_end_is_over(stage, peer):
    """The next client is served, though this one has yet to ask for the rest of it."""
    query = somebody_waits_as_it_reads(stage, peer)
    assert not query.outcomes
    stage.child.does(b"2.0\n", status=VI_SUCCESS_TERM_CHAR)
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_answer_that_was_not_read_on_to_its_end_holds_as_before(stage, peer):
    """Nothing more had come."""
    query = somebody_waits_as_it_reads(stage, peer)
    stage.child.does(b"", status=VI_SUCCESS_MAX_CNT)
    assert stage.child.running.call == "read_on"
    peer.sends(wire.Read(AGAIN, 1, COUNT, None, AHEAD))
    stage.child.does(b"2.0\n", status=VI_SUCCESS_TERM_CHAR)
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_exact_reader_of_whole_blocks_is_read_on_for(stage, peer):
    """Who never reads the LF behind its blocks knows where the next one begins all the same."""
    reads(stage, peer, b"#15abcde", VI_SUCCESS_MAX_CNT)
    stage.child.does(b"", status=VI_SUCCESS_MAX_CNT)
    asks(stage, peer)
    peer.sends(wire.Read(AGAIN, 1, COUNT, None, AHEAD))
    stage.child.does(b"\n" + BEGINNING, status=VI_SUCCESS_MAX_CNT)
    assert rest(stage)


def test_query_in_one_order_is_read_on(stage, peer):
    """As `query_binary_values` sends them."""
    peer.sends(wire.Query(ASK, 1, b"CURV?\n", COUNT, AHEAD))
    assert calls(stage) == ["write_read"]
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    assert rest(stage)
    stage.child.does(b"more", status=VI_SUCCESS_MAX_CNT)
    assert peer.heard() == [
        wire.Piece(ASK, BEGINNING),
        wire.Reply(ASK, VI_SUCCESS_MAX_CNT, -1, b"more", effect=Effect.DONE),
    ]
    [record] = stage.house.audit.of("command", outcome="ok")
    assert record["bytes"] == len(BEGINNING) + 4


# What comes between.


def test_failure_comes_behind_what_came_before_it(stage, peer):
    """It is that of the viRead that would have met it."""
    reads(stage, peer)
    stage.child.starts()
    stage.child.gives(b"before")
    stage.child.fails("VI_ERROR_TMO", Effect.NONE, dirty=True)
    *pieces, reply = peer.heard()
    assert b"".join(piece.data for piece in pieces) == BEGINNING + b"before"
    assert (reply.status, reply.token, reply.value) == (ERRORS["VI_ERROR_TMO"].status, "VI_ERROR_TMO", -1)
    [record] = stage.house.audit.of("command", command=f"read {COUNT}")
    assert record["outcome"] == "VI_ERROR_TMO"
    stage.submit(stage.opened())
    assert stage.child.running.call == "resynchronise"


def test_read_fails_when_the_process_dies_while_it_reads_on(stage, peer):
    """Once, and after that the session is told of the new process."""
    reads(stage, peer)
    stage.child.starts()
    stage.child.gives(b"before")
    stage.child.dies()
    *pieces, reply = peer.heard()
    assert b"".join(piece.data for piece in pieces) == BEGINNING + b"before"
    assert (reply.id, reply.token) == (READ, "INSTRUMENT_CRASHED")
    assert len(stage.house.audit.of("command", command=f"read {COUNT}")) == 1


def test_reading_on_is_aborted_with_its_process(stage, peer):
    """A stream has no device clear."""
    reads(stage, peer)
    stage.child.starts()
    aborting = stage.start(stage.service.abort("somebody pressed the button"))
    stage.child.dies()
    assert aborting.done()
    assert peer.heard()[-1].token == "COMMAND_ABORTED"


def test_query_that_failed_as_it_was_read_on_was_written(stage, peer):
    """Its effect is that of the write."""
    peer.sends(wire.Query(ASK, 1, b"CURV?\n", COUNT, AHEAD))
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    stage.child.fails("VI_ERROR_IO", Effect.NONE, dirty=True)
    assert peer.heard()[-1].effect is Effect.DONE
    [record] = stage.house.audit.of("command", outcome="VI_ERROR_IO")
    assert record["effect"] == "done"


def test_read_whose_process_is_being_killed_is_not_read_on(stage, peer):
    """What it says has crossed that."""
    asks(stage, peer)
    peer.sends(wire.Read(READ, 1, COUNT, None, AHEAD))
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE + LIMITS.begin_time)
    assert stage.child.is_being_killed
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    assert calls(stage) == ["write", "read"]


def test_deadline_begins_anew(stage, peer):
    """A read that took its time leaves the reading on with all of its own; and that has no more than that."""
    asks(stage, peer)
    peer.sends(wire.Read(READ, 1, COUNT, None, AHEAD))
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE - 0.1)
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    assert rest(stage)
    stage.child.starts()
    stage.pass_time(TIMEOUT + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.child.gives(b"a sign of life")
    stage.pass_time(TIMEOUT + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.pass_time(0.2)
    assert stage.child.is_being_killed


# Who comes next.


def test_hold_goes_on_to_the_end_of_the_answer(stage, peer):
    """The next client is served when the LF behind the block was read, and not before."""
    other = stage.opened()
    reads(stage, peer)
    query = stage.submit(other)
    so_many = rest(stage)
    stage.child.does(b"\n" * so_many, status=VI_SUCCESS_MAX_CNT)
    assert stage.child.running.call == "read_on_block"
    peer.sends(wire.Read(AGAIN, 1, COUNT, None, AHEAD))
    stage.child.does(b"z" * (99_990 - so_many) + b"\n", status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "query"
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_long_block_is_read_on_again_and_again(stage, peer):
    """What is missing is reckoned from all that came: in the read, in pieces, in the last of it."""
    reads(stage, peer, ahead=1000)
    so_many = rest(stage)
    stage.child.starts()
    stage.child.gives(b"\n" * 400)
    stage.child.does(b"#15\n" * ((so_many - 400) // 4) + b"x" * ((so_many - 400) % 4), status=VI_SUCCESS_MAX_CNT)
    peer.sends(wire.Read(AGAIN, 1, 5, None, AHEAD))
    stage.child.does(b"#2222", status=VI_SUCCESS_MAX_CNT)
    missing = 99_990 - so_many - 5
    assert rest(stage) == missing


def test_client_that_left_is_not_read_on_for(stage, peer):
    """Its read went on to its end, and that is all."""
    asks(stage, peer)
    peer.sends(wire.Read(READ, 1, COUNT, None, AHEAD))
    stage.child.starts()
    query = stage.submit(stage.opened())
    peer.leaves()
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_client_that_leaves_while_it_is_read_on_costs_the_others_a_resynchronisation(stage, peer):
    """What comes of it is dropped."""
    other = stage.opened()
    reads(stage, peer)
    query = stage.submit(other)
    stage.child.starts()
    stage.child.gives(b"before")
    peer.leaves()
    stage.child.does(b"more", status=VI_SUCCESS_MAX_CNT)
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"


def test_client_that_does_not_keep_up_pauses_its_process(stage, peer):
    """That waits as long as it takes, and no deadline runs; then it goes on."""
    asks(stage, peer)
    peer.sends(wire.Read(READ, 1, COUNT, None, AHEAD))
    peer.line.is_full = True
    stage.child.does(BEGINNING, status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.is_paused
    assert rest(stage)
    stage.child.starts()
    stage.pass_time(10 * (TIMEOUT + GRACE))
    assert not stage.child.is_being_killed
    peer.line.is_read()
    assert not stage.child.is_paused
    stage.pass_time(TIMEOUT + GRACE - 0.1)
    assert not stage.child.is_being_killed
    stage.child.does(b"more", status=VI_SUCCESS_MAX_CNT)
    assert peer.heard()[-1].data == b"more"
    assert stage.state is State.READY


def test_infinite_timeout_has_no_deadline_while_it_is_read_on(stage, peer):
    """As for any of its reads."""
    stage.sets(peer.session, VI_ATTR_TMO_VALUE, 0xFFFFFFFF)
    reads(stage, peer)
    stage.child.starts()
    stage.pass_time(3600)
    assert not stage.child.is_being_killed
    stage.child.does(b"more", status=VI_SUCCESS_MAX_CNT)
    assert peer.heard()[-1].data == b"more"


def waits(stage, peer):
    """Another client's query, behind the first read of a long block whose reader takes its time."""
    sets_termination(stage, peer, True)
    reads(stage, peer, ahead=50_000)
    query = stage.submit(stage.opened())
    stage.child.does(b"\n" * 50_000, status=VI_SUCCESS_MAX_CNT)
    peer.heard()
    return query


def test_rest_of_a_block_is_kept_for_a_reader_that_is_idle(stage, peer):
    """To the end of the block, whatever it is made of, and the LF behind it; then others are served, and the reader
    finds the rest of its own."""
    query = waits(stage, peer)
    stage.pass_time(TIMEOUT + 0.1)
    assert (stage.child.running.call, stage.child.running.arguments[1]) == ("read_ahead", 49_990)
    stage.child.gives(b"\n" * 49_990)
    stage.child.does(b"\n", status=VI_SUCCESS_TERM_CHAR)
    assert stage.child.running.call == "query"
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"
    peer.sends(wire.Read(AGAIN, 1, 100_000, None, AHEAD))
    assert peer.heard()[-1].data == b"\n" * 49_991


def test_nothing_is_kept_of_a_block_of_which_nobody_knows_how_much_is_to_come(stage, peer):
    """Its header is cut: the instrument is emptied of it."""
    sets_termination(stage, peer, True)
    reads(stage, peer, b"#61", VI_SUCCESS_MAX_CNT, ahead=0)
    stage.submit(stage.opened())
    stage.pass_time(TIMEOUT + 0.1)
    assert stage.child.running.call == "resynchronise"


def test_reader_that_says_that_it_is_reading_is_not_idle(stage, peer):
    """It is busy with what it took ahead, and nobody takes its turn."""
    query = waits(stage, peer)
    for number in range(5):
        stage.pass_time(TIMEOUT - 0.2)
        peer.sends(wire.Reading(100 + number, 1))
        assert peer.heard() == [wire.Reply(100 + number, 0)]
    assert not query.outcomes
    assert calls(stage)[-1] == "read_on_block"
    stage.pass_time(TIMEOUT + 0.1)
    assert stage.child.running.call == "read_ahead"


def test_answer_of_a_session_that_left_with_its_message_on_the_way_is_dirt(stage, peer):
    """The answer before it was kept here, so only its message went to the process; then the session was gone."""
    session = peer.session
    session.ahead.add(b"old\n", VI_SUCCESS_TERM_CHAR)
    peer.sends(wire.Query(ASK, 1, b"X?\n", COUNT, AHEAD))
    assert stage.child.running.call == "write"
    peer.leaves()
    stage.child.does(value=3)
    query = stage.submit(stage.opened())
    assert stage.child.running.call == "resynchronise"
    stage.child.does()
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"
