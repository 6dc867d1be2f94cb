"""The service at one instrument: whose turn it is, how each command ends, and what the child is told of attributes.

The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.serving.sessions import VI_ATTR_TMO_VALUE, VI_TMO_INFINITE
from front_proc.serving.spool import Spool
from instrument_proc import pipe
from pyvisa_daemon.errors import Effect
from tests.front_proc.playbook import BAUD_RATE

# Serving.


def test_one_command_is_with_the_child_at_a_time(stage):
    """The next goes when the one before is answered."""
    session = stage.opened()
    first, second = stage.submit(session, data=b"A?\n"), stage.submit(session, data=b"B?\n")
    assert [run.data for run in stage.child.runs] == [b"A?\n"]
    stage.child.does(b"a\n")
    assert [run.data for run in stage.child.runs] == [b"A?\n", b"B?\n"]
    stage.child.does(b"b\n")
    assert (first.outcome.data, second.outcome.data) == (b"a\n", b"b\n")


def test_clients_take_turns(stage):
    """One that asks much does not keep out one that asks little."""
    busy, modest = stage.opened(), stage.opened()
    for number in range(3):
        stage.submit(busy, data=b"%d" % number)
    stage.submit(modest, data=b"x")
    for _ in range(4):
        stage.child.does()
    assert [run.data for run in stage.child.runs] == [b"0", b"1", b"x", b"2"]


def test_pieces_of_an_answer_go_ahead_of_its_outcome(stage):
    """And count as its bytes."""
    answers = stage.submit(stage.opened())
    stage.child.starts()
    stage.child.gives(b"12345")
    assert answers.pieces == [b"12345"]
    assert answers.is_open
    stage.child.does(b"678")
    [record] = stage.house.audit.of("command")
    assert record["bytes"] == 8


def test_record_tells_who_its_client_was_at_that_moment(stage, monkeypatch):
    """Whatever that calls itself by the time that the writer's thread comes to it."""
    noted = []
    monkeypatch.setattr(stage.house.audit, "note", lambda event, fields: noted.append(fields))
    client = stage.client("Ann")
    stage.submit(stage.opened(client))
    stage.child.does(b"me\n")
    address, client.address = client.address, "10.0.0.66:1"
    client.introduce("Mallory")
    [fields] = noted
    assert (fields()["client"], fields()["name"]) == (address, "Ann")


def test_every_command_is_recorded_once_with_how_it_went(stage):
    """When, who, which, what, outcome, effect, how long waited and run, bytes."""
    session = stage.opened(stage.client("Ann"))
    stage.submit(session, data=b"*IDN?\n")
    stage.pass_time(0.5)
    stage.child.does(b"me\n")
    [record] = stage.house.audit.of("command")
    assert record["name"] == "Ann"
    assert record["command"] == "query *IDN?"
    assert (record["outcome"], record["effect"], record["bytes"]) == ("ok", "done", 3)
    assert record["ran_ms"] == pytest.approx(500)


def test_queue_of_one_client_is_limited(stage):
    """What is too much is refused; what waits is not touched, and other clients may still come."""
    session, other = stage.opened(), stage.opened()
    waiting = [stage.submit(session) for _ in range(LIMITS.queue_length + 1)]  # one of them runs
    assert stage.submit(session).said == "QUEUE_FULL none"
    assert stage.submit(other).is_open
    assert all(answers.is_open for answers in waiting)


def test_command_fails_when_it_waited_too_long_for_its_turn(stage):
    """It was not executed; what runs goes on."""
    endless, session = stage.opened(), stage.opened()
    stage.sets(endless, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE)
    running = stage.submit(endless)
    stage.child.starts()
    waiting = stage.submit(session)
    stage.pass_time(LIMITS.queue_time - 1)
    assert waiting.is_open
    stage.pass_time(2)
    assert waiting.said == "QUEUE_TIMEOUT none"
    assert running.is_open


def test_command_on_a_closed_session_is_refused(stage):
    """The instrument hears nothing of it."""
    session = stage.opened()
    stage.resource.drop_session(session)
    assert stage.submit(session).said == "NO_RESOURCE none"


def test_commands_that_wait_are_withdrawn_when_their_session_closes(stage):
    """What runs goes on to its end; nothing else of that client is executed."""
    session = stage.opened()
    running, waiting = stage.submit(session), stage.submit(session)
    stage.resource.drop_session(session)
    assert waiting.said == "CLIENT_GONE none"
    stage.child.does()
    assert running.said == "ok"
    assert len(stage.child.runs) == 1


def test_read_is_not_carried_out_when_the_write_that_it_follows_failed(stage):
    """A posted write: its read must not read somebody else's answer."""
    session = stage.opened()
    write = stage.submit(session, "write", data=b"MEAS?\n")
    read = stage.submit(session, "read", after=write.ticket)
    stage.child.fails("VI_ERROR_IO", Effect.MAYBE, dirty=True)
    assert read.said == "WRITE_FAILED none"


# Attributes: to each session its own.


def test_child_gets_the_attributes_of_the_session_it_serves(stage):
    """Only what differs from what is set."""
    slow, plain = stage.opened(), stage.opened()
    stage.sets(slow, VI_ATTR_TMO_VALUE, 30000)
    for session in (slow, plain, plain, slow):
        stage.submit(session)
        stage.child.does()
    assert [run.attributes for run in stage.child.runs] == [
        [(VI_ATTR_TMO_VALUE, 30000)],
        [(VI_ATTR_TMO_VALUE, 2000)],
        [],
        [(VI_ATTR_TMO_VALUE, 30000)],
    ]


def test_attribute_that_the_library_does_not_know_is_not_set(stage):
    """It would fail every command."""
    session = stage.opened()
    stage.sets(session, 0x3FFF0999, 1)
    stage.submit(session)
    assert stage.child.running.attributes == []


def test_attributes_that_were_ever_set_are_set_again_when_setting_them_failed(stage):
    """Which of them were set is unknown; the others are as viOpen left them."""
    session = stage.opened()
    stage.sets(session, VI_ATTR_TMO_VALUE, 5)
    answers = stage.submit(session)
    stage.child.say(pipe.Done(stage.child.running.ticket, -1073807330, token="VI_ERROR_NSUP_ATTR_STATE", text="no"))
    assert answers.outcome.failed
    stage.submit(session)
    assert stage.child.running.attributes == [(VI_ATTR_TMO_VALUE, 5)]


def test_attributes_of_a_session_are_restored_on_a_new_process(stage):
    """And those of the resource are set when it opens."""
    session = stage.opened()
    stage.submit(session, "set_attribute", arguments=[VI_ATTR_TMO_VALUE, 9000])
    stage.child.does()
    stage.submit(session, "set_attribute", arguments=[BAUD_RATE, 19200])
    stage.child.does()
    stage.resource.restart()
    stage.child.dies()
    assert stage.child.order.attributes == [(BAUD_RATE, 19200)]
    stage.child.opens()
    assert stage.submit(session).said == "SESSION_RESET none"
    stage.submit(session)
    assert stage.child.running.attributes == [(VI_ATTR_TMO_VALUE, 9000)]


def test_outcome_that_nobody_can_take_is_a_fault_of_ours_and_the_others_go_on(stage):
    """Whoever asked may be in any state; the record is written, and the next one is served."""
    session, other = stage.opened(), stage.opened()
    error = ZeroDivisionError("a fault of ours")

    def fail(_):
        raise error

    stage.submit(session, on_outcome=fail, data=b"A?\n")
    waiting = stage.submit(other)
    stage.child.does()
    assert stage.house.faults == [error]
    assert len(stage.house.audit.of("command", command="query A?", outcome="ok")) == 1
    stage.child.does(b"mine\n")
    assert waiting.outcome.data == b"mine\n"


# Who waits no more, and faults of our own.


def test_command_that_is_abandoned_before_its_turn_is_not_carried_out(stage):
    """Nobody waits for it; what its session asked before and after is."""
    session = stage.opened()
    first, second, third = (stage.submit(session, data=data) for data in (b"A?\n", b"B?\n", b"C?\n"))
    stage.service.abandon(second.ticket)
    assert second.said == "CLIENT_GONE none"
    stage.child.does()
    stage.child.does()
    assert (first.said, third.said) == ("ok", "ok")
    assert [run.data for run in stage.child.runs] == [b"A?\n", b"C?\n"]


def test_command_that_runs_is_not_ended_by_abandoning_it(stage):
    """It has begun, and goes on to its end; so it is with one that has ended."""
    session = stage.opened()
    answers = stage.submit(session)
    stage.service.abandon(answers.ticket)
    assert answers.is_open
    stage.child.does(b"5.0\n")
    stage.service.abandon(answers.ticket)
    assert answers.outcome.data == b"5.0\n"


def test_read_behind_an_abandoned_write_is_not_carried_out(stage):
    """It would wait for an answer that nobody gives, or read another's."""
    session, other = stage.opened(), stage.opened()
    stage.submit(other)
    write = stage.submit(session, "write", data=b"MEAS?\n")
    read = stage.submit(session, "read", after=write.ticket)
    stage.service.abandon(write.ticket)
    stage.child.does()
    assert (write.said, read.said) == ("CLIENT_GONE none", "WRITE_FAILED none")
    assert len(stage.child.runs) == 1


@pytest.mark.parametrize("what", ["_hold", "attributes"])
def test_fault_of_ours_in_what_a_command_leads_to_costs_its_process_and_not_its_outcome(stage, monkeypatch, what):
    """The child's end of the pipe closes by that (see `child`); whoever asked is told all the same."""
    session, other = stage.opened(), stage.opened()
    answers = stage.submit(session, "set_attribute", arguments=[BAUD_RATE, 9600])
    waiting = stage.submit(other)

    def fail(*_, **__):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        faulty = getattr(stage.service, what)
        patch.setattr(faulty, "ended" if what == "_hold" else "were_set", fail)
        with pytest.raises(ZeroDivisionError):
            stage.child.does()
    assert answers.is_open
    stage.child.babbles()
    stage.child.dies()
    assert answers.said == "INSTRUMENT_CRASHED maybe"
    assert waiting.said == "SESSION_RESET none"
    stage.child.opens()
    again = stage.submit(session)
    stage.child.does()
    assert again.said == "ok"


# Long messages, which are on disk.


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path)
    spool.add(b"DATA " + bytes(1000))
    yield spool
    spool.close()


def is_closed(spool):
    try:
        return next(spool.pieces(), None) is None and not len(spool)
    except ValueError:
        return True


def test_long_message_goes_out_whole_and_leaves_nothing_on_disk(stage, spool):
    """It is there for as long as its command."""
    answers = stage.submit(stage.opened(), "write", data=spool)
    assert stage.child.running.data == b"DATA " + bytes(1000)
    assert not is_closed(spool)
    stage.child.does(value=1005)
    assert answers.said == "ok"
    assert is_closed(spool)


@pytest.mark.parametrize("how", ["refused", "abandoned", "client gone", "crash"])
def test_long_message_that_does_not_go_out_leaves_nothing_on_disk(stage, spool, how):
    """However its command ends."""
    session = stage.opened()
    if how == "refused":
        stage.resource.drop_session(session)
    if how in ("abandoned", "client gone"):
        stage.submit(session)
    answers = stage.submit(session, "write", data=spool)
    if how == "abandoned":
        stage.service.abandon(answers.ticket)
    elif how == "client gone":
        stage.resource.drop_session(session)
    elif how == "crash":
        stage.child.dies()
    assert answers.outcome.failed
    assert is_closed(spool)
