"""What a PyVISA program asks beside messages: functions that pass through, locks, events, and that it waits no more.

The connection, the front behind and the instrument's process are played; time is the test's.
"""

import pytest

from front_proc.serving.events import RQS, SERVICE_REQUEST
from front_proc.serving.hold import SHORTEST
from front_proc.serving.sessions import VI_TMO_INFINITE
from instrument_proc import pipe
from pyvisa_daemon import wire
from pyvisa_daemon.errors import ERRORS, Effect
from pyvisa_daemon.functions import FUNCTIONS
from tests.front_proc.playbook import NAME
from tests.front_proc.wire_peer import Peer

EXCLUSIVE, SHARED = 1, 2


@pytest.fixture
def peer(stage, tmp_path):
    return Peer(stage, tmp_path)


@pytest.fixture
def stranger(stage):
    """Somebody else's session on the same resource."""
    return stage.opened()


def locked_by(stage, session):
    assert stage.result(stage.resource.lock(session, EXCLUSIVE, None, 0.0)).status == 0


# Functions that pass through.

#: An argument of each kind, and one that is none.
RIGHT = {"int": 1, "bool": True, "bytes": b"x", "ints": [1, 2], "int or None": None, "None": None}
WRONG = {"int": True, "bool": 1, "bytes": 1, "ints": 1, "int or None": b"x", "None": 1}


def right(function):
    return [RIGHT.get(parameter.kind, 1) for parameter in function.parameters]


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=lambda function: function.name)
def test_function_goes_to_the_child_with_its_arguments(stage, peer, function):
    """And its value comes back."""
    peer.sends(wire.Call(2, 1, function.name, right(function)))
    assert (stage.child.running.call, stage.child.running.arguments) == (function.name, right(function))
    stage.child.does(value=7)
    assert peer.heard() == [wire.Reply(2, 0, 7, effect="done")]


@pytest.mark.parametrize(
    ("function", "index"),
    [(function, index) for function in FUNCTIONS.values() for index in range(len(function.parameters) + 2)],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_function_with_wrong_arguments_never_reaches_the_child(stage, peer, function, index):
    """Too many, too few, or one of another kind: the child is not the one to find out."""
    arguments = right(function)
    if index == len(arguments):
        arguments = [*arguments, 1]
    elif index > len(arguments):
        arguments = arguments[:-1] if arguments else [None]
    else:
        arguments[index] = WRONG.get(function.parameters[index].kind, b"x")
    peer.sends(wire.Call(2, 1, function.name, arguments))
    assert peer.tokens() == [(2, "BAD_ARGUMENT")]
    assert stage.child.runs == []


@pytest.mark.parametrize("name", ["", "resynchronise", "read_ahead", "write", "query", "get_attribute", "x" * 100_000])
def test_function_that_is_not_in_the_table_never_reaches_the_child(stage, peer, name):
    """Not even one that the child knows: those have requests of their own, or are the daemon's."""
    peer.sends(wire.Call(2, 1, name, []))
    [reply] = peer.heard()
    assert (reply.token, reply.effect) == ("VI_ERROR_NSUP_OPER", "none")
    assert len(reply.text) < 200
    assert stage.child.runs == []


@pytest.mark.parametrize(
    ("name", "value", "data"),
    [("move_in_8", list(range(100)), b""), ("usb_control_in", None, b"\0\xff"), ("unmap_address", None, b"")],
)
def test_values_of_all_kinds_come_back(stage, peer, name, value, data):
    """A list of numbers, bytes, nothing."""
    peer.sends(wire.Call(2, 1, name, right(FUNCTIONS[name])))
    stage.child.does(data, value=value)
    assert peer.heard() == [wire.Reply(2, 0, value, data, effect="done")]


# Locks.


@pytest.mark.parametrize(
    ("kind", "key", "value"), [(EXCLUSIVE, None, None), (SHARED, "ours", "ours")], ids=["exclusive", "shared"]
)
def test_lock_keeps_others_out_until_it_is_given_back(stage, peer, stranger, kind, key, value):
    """The reply has the access key of a shared one."""
    peer.sends(wire.Lock(2, 1, kind, 0, key))
    assert peer.heard() == [wire.Reply(2, 0, value)]
    assert stage.submit(stranger).said == "VI_ERROR_RSRC_LOCKED none"
    peer.sends(wire.Unlock(3, 1))
    assert peer.heard() == [wire.Reply(3, 0)]
    assert stage.submit(stranger).is_open


def test_shared_lock_has_a_key_of_its_own_if_none_was_asked_for(stage, peer, stranger):
    """With it another session shares."""
    peer.sends(wire.Lock(2, 1, SHARED, 0, None))
    [reply] = peer.heard()
    assert stage.result(stage.resource.lock(stranger, SHARED, reply.value, 0.0)).value == reply.value
    assert stage.submit(stranger).is_open


def test_locks_of_a_session_are_counted(peer):
    """Its replies say which is left: VI_SUCCESS_NESTED_EXCLUSIVE, as viLock and viUnlock do."""
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, 0, None), wire.Lock(3, 1, EXCLUSIVE, 0, None))
    peer.sends(wire.Unlock(4, 1), wire.Unlock(5, 1), wire.Unlock(6, 1))
    replies = [(reply.id, reply.status, reply.token) for reply in peer.heard()]
    assert replies == [
        (2, 0, ""),
        (3, 0x3FFF009A, ""),
        (4, 0x3FFF009A, ""),
        (5, 0, ""),
        (6, ERRORS["VI_ERROR_SESN_NLOCKED"].status, "VI_ERROR_SESN_NLOCKED"),
    ]


@pytest.mark.parametrize(
    ("request_", "token"),
    [
        (wire.Lock(2, 1, 3, 0, None), "VI_ERROR_INV_LOCK_TYPE"),
        (wire.Lock(2, 1, SHARED, 0, "x" * 256), "VI_ERROR_INV_ACCESS_KEY"),
        (wire.Lock(2, 9, EXCLUSIVE, 0, None), "NO_RESOURCE"),
        (wire.Unlock(2, 1), "VI_ERROR_SESN_NLOCKED"),
        (wire.Unlock(2, 9), "NO_RESOURCE"),
    ],
)
def test_lock_that_makes_no_sense_is_refused(peer, request_, token):
    """By VISA's own status."""
    peer.sends(request_)
    assert peer.tokens() == [(2, token)]


def test_lock_waits_as_long_as_it_may_and_holds_up_nothing(stage, peer, stranger):
    """Other requests of the same session are answered meanwhile."""
    locked_by(stage, stranger)
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, 5000, None), wire.GetAttribute(3, 1, 0x3FFF0021))
    stage.child.does(value=9600)
    stage.pass_time(4.9)
    assert peer.tokens() == [(3, "")]
    stage.pass_time(0.2)
    assert peer.tokens() == [(2, "VI_ERROR_TMO")]


def test_lock_may_be_waited_for_for_ever(stage, peer, stranger):
    """VI_TMO_INFINITE."""
    locked_by(stage, stranger)
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, VI_TMO_INFINITE, None))
    stage.pass_time(100_000)
    assert peer.heard() == []
    stage.service.locks.unlock(stranger)
    stage.run()
    assert peer.tokens() == [(2, "")]


def test_lock_of_a_connection_is_given_back_when_that_is_gone(stage, peer, stranger):
    """And what it waits for is nobody's."""
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, 0, None), wire.Open(3, NAME, 0, 0), wire.Lock(4, 2, EXCLUSIVE, 9999, None))
    assert stage.submit(stranger).said == "VI_ERROR_RSRC_LOCKED none"
    peer.leaves()
    assert stage.submit(stranger).is_open
    assert stage.service.locks.describe() is None


# viOpen with a lock.


@pytest.mark.parametrize(("mode", "kind"), [(EXCLUSIVE, "exclusive"), (SHARED, "shared"), (4, None), (5, "exclusive")])
def test_open_may_lock(stage, peer, mode, kind):
    """VI_EXCLUSIVE_LOCK or VI_SHARED_LOCK; VI_LOAD_CONFIG beside them changes nothing here."""
    peer.sends(wire.Open(2, NAME, mode, 0))
    [reply] = peer.heard()
    assert (reply.status, reply.value) == (0, [2, 2000])
    description = stage.service.locks.describe()
    assert (description and description["kind"]) == kind


@pytest.mark.parametrize(("timeout_ms", "token"), [(0, "VI_ERROR_RSRC_LOCKED"), (1000, "VI_ERROR_TMO")])
def test_open_that_does_not_get_its_lock_leaves_no_session(stage, peer, stranger, timeout_ms, token):
    """VPP-4.3, 4.3.1: it fails."""
    locked_by(stage, stranger)
    sessions = set(stage.resource.sessions)
    peer.sends(wire.Open(2, NAME, EXCLUSIVE, timeout_ms))
    stage.pass_time(timeout_ms / 1000 + 0.1)
    assert peer.tokens() == [(2, token)]
    assert stage.resource.sessions == sessions


@pytest.mark.parametrize("mode", [3, 7, 8, -1, 1 << 31])
def test_access_mode_that_is_none_is_refused(peer, mode):
    """Nothing is opened."""
    peer.sends(wire.Open(2, NAME, mode, 0))
    assert peer.tokens() == [(2, "VI_ERROR_INV_ACC_MODE")]
    assert len(peer.client.sessions) == 1


# Names.


def test_alias_is_resolved(peer):
    """What is none is no name."""
    peer.sends(wire.Resolve(2, "scope"), wire.Resolve(3, "dmm"), wire.Find(4, NAME))
    replies = [(reply.id, reply.value, reply.token) for reply in peer.heard()]
    assert replies == [(2, NAME, ""), (3, None, "VI_ERROR_INV_RSRC_NAME"), (4, "listed", "")]


# Events.


def test_events_are_told_to_the_session_that_enabled_them(stage, peer, stranger):
    """With the session's number and the event's attributes; until it disables them."""
    peer.sends(wire.EnableEvent(2, 1, SERVICE_REQUEST))
    assert peer.heard() == []
    stage.child.does()
    assert peer.tokens() == [(2, "")]
    stage.child.happens(SERVICE_REQUEST, (0x3FFF4010, 7))
    assert peer.heard() == [wire.Happened(1, SERVICE_REQUEST, [(0x3FFF4010, 7)])]
    peer.sends(wire.DisableEvent(3, 1, SERVICE_REQUEST))
    stage.child.happens(SERVICE_REQUEST)
    stage.child.does()
    stage.child.happens(SERVICE_REQUEST)
    assert peer.tokens() == [(3, "")]


def test_each_session_of_a_connection_has_events_of_its_own(stage, peer):
    """Its number says whose it is."""
    peer.sends(wire.Open(2, NAME, 0, 0))
    peer.sends(wire.EnableEvent(3, 2, SERVICE_REQUEST))
    stage.child.does()
    peer.heard()
    stage.child.happens(SERVICE_REQUEST)
    assert peer.heard() == [wire.Happened(2, SERVICE_REQUEST)]


@pytest.mark.parametrize(
    ("event", "token"), [(0x3FFF2011, "VI_ERROR_INV_EVENT"), (SERVICE_REQUEST, "VI_ERROR_INV_EVENT")]
)
def test_event_that_is_not_to_be_had_is_refused(stage, peer, event, token):
    """A stream has no status byte to be polled."""
    peer.sends(wire.EnableEvent(2, 1, event))
    stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
    assert peer.tokens() == [(2, token)]


def test_disabling_what_is_not_enabled_is_answered(peer):
    """At once."""
    peer.sends(wire.DisableEvent(2, 1, SERVICE_REQUEST), wire.DisableEvent(3, 9, SERVICE_REQUEST))
    assert peer.tokens() == [(2, ""), (3, "NO_RESOURCE")]


def test_requests_that_are_polled_are_told(stage, tmp_path):
    """As those of a library."""
    peer = Peer(stage, tmp_path, ends=True)
    peer.sends(wire.EnableEvent(2, 1, SERVICE_REQUEST))
    stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
    while not peer.line._said:
        stage.child.does(value=0)
    assert peer.tokens() == [(2, "")]
    stage.pass_time(0.1)
    stage.child.does(value=RQS)
    assert peer.heard() == [wire.Happened(1, SERVICE_REQUEST)]


def test_event_is_not_told_to_a_client_that_does_not_read(stage, peer):
    """Its queue there is full by now; the daemon's memory shall not be."""
    peer.sends(wire.EnableEvent(2, 1, SERVICE_REQUEST))
    stage.child.does()
    peer.heard()
    peer.line.is_full = True
    for _ in range(3):
        stage.child.happens(SERVICE_REQUEST)
    assert peer.heard() == []
    peer.line.is_read()
    stage.child.happens(SERVICE_REQUEST)
    assert len(peer.heard()) == 1


@pytest.mark.parametrize("how", ["closes", "leaves"])
def test_event_is_not_told_to_a_session_that_is_gone(stage, peer, stranger, how):
    """Nor is anybody else disturbed."""
    peer.sends(wire.EnableEvent(2, 1, SERVICE_REQUEST))
    stage.child.does()
    if how == "closes":
        peer.sends(wire.Close(3, 1))
    else:
        peer.leaves()
    peer.heard()
    stage.child.happens(SERVICE_REQUEST)
    assert peer.heard() == []
    assert stage.submit(stranger).is_open


# Nobody waits any more.


def test_request_that_waits_is_not_carried_out_when_it_is_abandoned(stage, peer):
    """Ctrl-C in a program: what it had begun goes on, what it had not does not begin."""
    peer.sends(wire.Read(2, 1, 100), wire.Write(3, 1, b"VOLT 1"), wire.Write(4, 1, b"VOLT 2"))
    peer.sends(wire.Abandon(3), wire.Abandon(2))
    stage.child.does(b"5.0\n")
    stage.child.does()
    assert peer.tokens() == [(3, "CLIENT_GONE"), (2, ""), (4, "")]
    assert [run.data for run in stage.child.runs] == [b"", b"VOLT 2"]


def test_read_behind_an_abandoned_write_is_not_carried_out(stage, peer, stranger):
    """Nobody would answer it."""
    stage.submit(stranger)
    peer.sends(wire.Write(2, 1, b"MEAS?"), wire.Abandon(2), wire.Read(3, 1, 100, after=2))
    stage.child.does()
    assert peer.tokens() == [(2, "CLIENT_GONE"), (3, "WRITE_FAILED")]
    assert len(stage.child.runs) == 1


def test_lock_that_is_abandoned_is_never_had(stage, peer, stranger):
    """Whoever waits behind gets it. It has no reply: nobody would take it."""
    locked_by(stage, stranger)
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, VI_TMO_INFINITE, None))
    peer.sends(wire.Abandon(2))
    stage.service.locks.unlock(stranger)
    stage.run()
    assert stage.service.locks.describe() is None
    assert peer.heard() == []


def test_lock_that_is_abandoned_counts_for_nobody_who_waits(stage, peer, stranger):
    """Nor does it show in the status."""
    locked_by(stage, stranger)
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, VI_TMO_INFINITE, None))
    assert stage.service.locks.describe()["waiting"] == 1
    peer.sends(wire.Abandon(2))
    assert stage.service.locks.describe()["waiting"] == 0


def test_open_that_is_abandoned_leaves_no_session(stage, peer):
    """While it waits."""
    peer.front.may_open.clear()
    peer.sends(wire.Open(2, NAME, 0, 0))
    peer.sends(wire.Abandon(2))
    peer.front.may_open.set()
    stage.run()
    assert peer.heard() == []
    assert len(peer.client.sessions) == 1


def test_open_whose_reply_crosses_its_abandon_is_closed_again(stage, peer, stranger):
    """The program has no number for it; nobody else could ever close it."""
    peer.sends(wire.Open(2, NAME, EXCLUSIVE, 0))
    assert peer.heard() == [wire.Reply(2, 0, [2, 2000])]
    assert stage.submit(stranger).said == "VI_ERROR_RSRC_LOCKED none"
    peer.sends(wire.Abandon(2))
    assert len(peer.client.sessions) == 1
    assert stage.submit(stranger).is_open
    peer.sends(wire.Read(3, 2, 1))
    assert peer.tokens() == [(3, "NO_RESOURCE")]


@pytest.mark.parametrize("knows", [False, True])
def test_open_that_is_abandoned_in_the_moment_in_which_it_is_given_leaves_no_session(stage, peer, knows):
    """The process has just opened it; the request's task has heard of that, or has not yet."""
    peer.sends(wire.Close(2, 1))
    stage.resource.restart()
    stage.child.dies()
    stage.resource = stage.new_resource()
    peer.sends(wire.Open(3, NAME, 0, 0))
    assert stage.child.order.resource == NAME
    stage.child.on_report(pipe.Opened(0, "", "", False, []))
    if knows:
        peer.sends(wire.Abandon(3))  # the task is ahead of it
    else:
        peer.conversation.received(wire.encode(wire.Abandon(3)))
    stage.run()
    assert peer.client.sessions == set()
    assert stage.resource.sessions == set()


@pytest.mark.parametrize("number", [1, 2, 99])
def test_abandoning_what_has_ended_or_never_was_does_nothing(stage, peer, number):
    """But for a session that a program would otherwise have; and it has no reply."""
    peer.sends(wire.Call(2, 1, "read_stb", []))
    stage.child.does(value=1)
    peer.heard()
    peer.sends(wire.Abandon(number))
    assert peer.heard() == []
    assert len(peer.client.sessions) == (0 if number == 1 else 1)


def test_abandoning_a_session_that_was_closed_closes_no_other(stage, peer):
    """Numbers of sessions and of requests are different things."""
    peer.sends(wire.Open(2, NAME, 0, 0), wire.Close(3, 1))
    peer.sends(wire.Abandon(1))
    assert len(peer.client.sessions) == 1
    peer.sends(wire.Call(4, 2, "read_stb", []))
    stage.child.does(value=1)
    assert peer.tokens() == [(2, ""), (3, ""), (4, "")]


def test_answer_that_nobody_reads_any_more_is_its_session_s_all_the_same(stage, peer, stranger):
    """A read that was abandoned before its turn has read nothing: the next one finds the answer."""
    peer.sends(wire.Write(2, 1, b"MEAS?\n"))
    stage.child.does(value=6)
    query = stage.submit(stranger)
    peer.sends(wire.GetAttribute(3, 1, 0x3FFF0021), wire.Read(4, 1, 100), wire.Abandon(4))
    stage.child.does(value=1)
    stage.pass_time(SHORTEST - 0.5)
    peer.sends(wire.Read(5, 1, 100))
    stage.child.does(b"5.0\n")
    assert peer.heard()[-1] == wire.Reply(5, 0, data=b"5.0\n", effect="done")
    stage.child.does(b"mine\n")
    assert query.outcome.data == b"mine\n"
