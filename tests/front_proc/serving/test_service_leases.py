"""Locks with a time to live among the commands, forced locks, and what becomes of commands when a lock is lost.

The rules themselves are `test_leases`'s. The process is played (see `playbook`), and time is the test's.
"""

import pytest

from front_proc.serving.events import SERVICE_REQUEST
from front_proc.serving.leases import Terms
from front_proc.serving.locks import LockKind
from pyvisa_daemon import wire
from tests.front_proc.languages.test_text_on_instrument import Instrumented, error_of
from tests.front_proc.playbook import BAUD_RATE, NAME, failure_of
from tests.front_proc.serving.test_service_locks import LOCKED, unlocks
from tests.front_proc.wire_peer import Peer

EXCLUSIVE, SHARED = LockKind.EXCLUSIVE, LockKind.SHARED

LOST = "LOCK_LOST none"


@pytest.fixture
def losses(stage, monkeypatch):
    """What the service was told: the session, and why."""
    told = []
    before = stage.service.locks._on_lost

    def on_lost(session, why):
        told.append((session, why))
        before(session, why)

    monkeypatch.setattr(stage.service.locks, "_on_lost", on_lost)
    return told


def leases(stage, session, ttl_s=10.0, kind=EXCLUSIVE, key=None, timeout_s=0.0, reason="", **options):
    """viLock with a time to live, as a task."""
    return stage.start(stage.resource.lock(session, kind, key, timeout_s, Terms(ttl_s, reason), **options))


def uses(stage, session, call="query"):
    answers = stage.submit(session, call)
    stage.child.does(b"1\n")
    assert answers.said == "ok"


def test_lock_that_is_not_used_is_lost_and_the_next_has_it(stage, losses):
    """It is on record, whoever is to know is told, and the one who slept learns of it by its next command."""
    owner, other = stage.opened(stage.client("Ann")), stage.opened()
    leases(stage, owner, reason="calibration")
    waiting = leases(stage, other, None, timeout_s=None)
    stage.pass_time(9.9)
    assert not waiting.done()
    stage.pass_time(0.2)
    assert waiting.result().status == 0
    assert losses == [(owner, "it was not used for the 10 s that it may live")]
    assert stage.house.audit.of("lease_over") == [
        {
            "event": "lease_over",
            **owner.client.who(),
            "resource": NAME,
            "reason": "calibration",
            "ttl_s": 10.0,
        }
    ]
    assert [stage.submit(owner).said for _ in range(2)] == [LOST, LOCKED]
    assert stage.child.runs == []


def test_who_was_told_goes_on_as_any_other(stage):
    owner = stage.opened()
    leases(stage, owner)
    stage.pass_time(11)
    assert stage.submit(owner).said == LOST
    uses(stage, owner)


def test_lock_lives_on_while_it_is_used(stage):
    owner = stage.opened()
    leases(stage, owner)
    for _ in range(5):
        stage.pass_time(9)
        uses(stage, owner)
    stage.pass_time(9)
    uses(stage, owner)
    stage.pass_time(10.1)
    assert stage.service.locks.describe() is None


@pytest.mark.parametrize("looks", ["polls", "state", "others"])
def test_looking_is_no_use(stage, losses, looks):
    """The daemon's own polling of the status byte, the lock's state, what others do."""
    owner, other = stage.opened(ends=True), stage.opened()
    if looks == "polls":
        stage.service.events.enable(owner, SERVICE_REQUEST, lambda outcome: None)
        stage.child.does()
        if stage.child.running.call == "enable_event":
            stage.child.fails("VI_ERROR_INV_EVENT")
    leases(stage, owner)
    for _ in range(12):
        stage.pass_time(0.9)
        if looks == "polls" and stage.service.is_busy:
            stage.child.does(value=0)
        assert stage.service.locks.state in (0, EXCLUSIVE)
        if looks == "others":
            stage.submit(other)
    assert [session for session, _ in losses] == [owner]


def test_refusal_is_no_use(stage):
    """Whoever shares, and is kept out by the exclusive lock of another who does."""
    owner, other = stage.opened(), stage.opened()
    leases(stage, owner, kind=SHARED, key="ours")
    leases(stage, other, None, kind=SHARED, key="ours")
    leases(stage, other, None)
    for _ in range(9):
        stage.pass_time(1)
        assert stage.submit(owner).said == LOCKED
    stage.pass_time(1.1)
    assert stage.service.locks.describe() is None


def test_lock_lives_while_a_command_runs(stage):
    """However long; and from its end on for all of its time."""
    owner = stage.opened()
    leases(stage, owner, 1.0)
    running = stage.submit(owner)
    stage.pass_time(1.9)
    assert stage.service.locks.describe()["holders"][0]["left_s"] == 1.0
    stage.child.does(b"1\n")
    assert running.said == "ok"
    stage.pass_time(0.9)
    assert stage.service.locks.state == EXCLUSIVE
    stage.pass_time(0.2)
    assert stage.service.locks.describe() is None


def test_lock_lives_while_a_command_waits_for_its_turn(stage):
    """Behind one that began before the lock was there."""
    owner, other = stage.opened(), stage.opened()
    stage.submit(other)
    leases(stage, owner, 1.0)
    waiting = stage.submit(owner)
    stage.pass_time(1.5)
    assert stage.service.locks.state == EXCLUSIVE
    stage.child.does(b"1\n")
    stage.child.does(b"2\n")
    assert waiting.said == "ok"


def test_lock_lives_while_its_process_starts_anew(stage):
    """What waited then is refused, once; that it waited is not held against the lock."""
    owner = stage.opened()
    leases(stage, owner, 3.0)
    stage.submit(owner)
    waiting = stage.submit(owner)
    stage.child.dies()
    assert waiting.said == "SESSION_RESET none"
    assert stage.service.locks.state == EXCLUSIVE


@pytest.mark.parametrize("says_something", [True, False])
def test_lock_is_not_lost_by_a_front_that_was_stopped(stage, says_something):
    """What its holder said meanwhile is read first, and is use."""
    owner = stage.opened()
    leases(stage, owner)
    stage.stop_front(11)
    stage.pass_time(0.1)
    assert stage.service.locks.state == EXCLUSIVE
    if says_something:
        uses(stage, owner)
    stage.pass_time(9)
    assert (stage.service.locks.describe() is None) is not says_something


def test_lock_lives_while_a_long_message_comes(stage):
    """Before it is whole nobody knows what it is for."""
    ann = Instrumented(stage)
    ann.sends(b".#.lock ttl 5\n")
    ann.sends(b".#.write_binary X #6100000")
    for _ in range(10):
        ann.sends(b"x" * 1000)
        stage.pass_time(2)
    assert stage.service.locks.describe() is not None
    stage.pass_time(4)
    assert stage.service.locks.describe() is None


def test_answer_that_was_read_ahead_is_use_when_it_is_read(stage):
    """Though the instrument has no part in it."""
    owner = stage.opened()
    leases(stage, owner)
    stage.pass_time(9)
    owner.ahead.add(b"1\n", 0)
    assert stage.submit(owner, "read").said == "ok"
    stage.pass_time(9)
    assert stage.service.locks.state == EXCLUSIVE


def test_client_that_reads_what_it_has_already_uses_its_lock(stage):
    """As it says from time to time."""
    owner = stage.opened()
    leases(stage, owner)
    for _ in range(3):
        stage.pass_time(9)
        stage.service.goes_on(owner)
    assert stage.service.locks.state == EXCLUSIVE


def test_command_costs_one_look_where_no_lock_has_a_time_to_live(stage, monkeypatch):
    """Nothing is called for it."""
    owner = stage.opened()
    leases(stage, owner, None)
    monkeypatch.setattr(stage.service.locks, "ended", None)
    monkeypatch.setattr(stage.service.locks, "was_used", None)
    uses(stage, owner)
    stage.service.goes_on(owner)


# Forced.


def forces(stage, by="root"):
    number = stage.service.locks.force(stage.client(by))
    stage.run()
    return number


def test_forced_lock_is_on_record_with_who_did_it(stage, losses):
    owner, other = stage.opened(stage.client("Ann")), stage.opened()
    leases(stage, owner, None, reason="calibration")
    waiting = leases(stage, other, None, timeout_s=None)
    assert forces(stage) == 1
    [record] = stage.house.audit.of("unlocked")
    assert (record["name"], record["resource"], record["reason"]) == ("Ann", NAME, "calibration")
    assert record["by"].endswith(" root")
    assert losses == [(owner, f"{record['by']} has forced it open")]
    assert waiting.result().status == 0
    assert forces(stage) == 1
    assert forces(stage) == 0


def test_what_waits_is_not_executed_when_its_lock_is_lost(stage):
    """What runs goes on to its end. So its client is told, and what it sends then is executed."""
    owner = stage.opened()
    leases(stage, owner, None)
    running, waiting = stage.submit(owner), [stage.submit(owner, "write", data=b"GO\n") for _ in range(2)]
    attribute = stage.submit(owner, "get_attribute", arguments=[BAUD_RATE])
    forces(stage)
    assert [answers.said for answers in waiting] == [LOST, LOST]
    stage.child.does(b"1\n")
    assert running.said == "ok"
    stage.child.does(value=9600)
    assert attribute.said == "ok"
    uses(stage, owner)


def test_what_has_no_lock_to_heed_tells_nobody(stage):
    """Getting an attribute is no I/O."""
    owner = stage.opened()
    leases(stage, owner, None)
    forces(stage)
    stage.submit(owner, "get_attribute", arguments=[BAUD_RATE])
    stage.child.does(value=9600)
    assert stage.submit(owner).said == LOST


def test_unlock_and_lock_tell_as_well(stage):
    owner = stage.opened()
    leases(stage, owner, None)
    forces(stage)
    assert unlocks(stage, owner).token == "LOCK_LOST"
    leases(stage, owner, None)
    forces(stage)
    assert failure_of(leases(stage, owner, None)) == LOST
    assert leases(stage, owner, None).result().status == 0


# Whose client is gone.


@pytest.mark.parametrize("gone", ["its connection is gone", ""])
def test_lock_of_a_client_that_is_gone_is_lost_and_that_of_a_closed_session_is_given_back(stage, losses, gone):
    owner = stage.opened()
    leases(stage, owner)
    owner.client.gone = gone
    stage.resource.drop_session(owner)
    assert losses == ([(owner, gone)] if gone else [])
    stage.pass_time(20)
    assert stage.house.audit.of("lease_over") == []


def test_client_that_is_gone_without_a_lock_has_lost_none(stage, losses):
    owner = stage.opened()
    owner.client.gone = "its connection is gone"
    stage.resource.drop_session(owner)
    assert losses == []


# In the text protocol.


def test_text_lock_has_a_time_to_live_and_a_reason(stage):
    ann = Instrumented(stage)
    assert ann.sends(b".#.lock shared ours 0 ttl 2.5 reason a  long job\n") == b"ours\n"
    [holder] = stage.service.locks.describe()["holders"]
    assert (holder["reason"], holder["ttl_s"]) == ("a long job", 2.5)
    [record] = stage.house.audit.of("command", outcome="ok")
    assert record["command"] == "lock 2 ttl 2.5 reason a long job"
    stage.pass_time(3)
    assert error_of(ann.sends(b".#.query_resource *IDN?\n")) == LOST


def test_waiting_for_a_service_request_is_use(stage):
    """A sweep of an hour needs no time to live of an hour."""
    ann = Instrumented(stage)
    ann.sends(b".#.wait_srq 0\n")
    stage.child.does()
    assert error_of(ann.heard()) == "VI_ERROR_TMO none"
    ann.sends(b".#.lock ttl 5\n")
    ann.sends(b".#.wait_srq 100000\n")
    stage.pass_time(50)
    assert stage.service.locks.state == EXCLUSIVE
    stage.pass_time(60)
    assert stage.service.locks.describe() is None


def test_await_loss_tells_why_when_the_lock_is_lost(stage):
    """And that was the telling: the next command is as any other's."""
    ann = Instrumented(stage)
    ann.sends(b".#.lock ttl 5\n")
    ann.heard()
    assert ann.sends(b".#.await_loss\n") == b""
    stage.pass_time(4)
    assert ann.heard() == b""
    assert ann.waits(2) == b"it was not used for the 5 s that it may live\n"
    ann.sends(b".#.query_resource *IDN?\n")
    assert stage.child.running.call == "query"


def test_await_loss_tells_of_a_loss_that_was_before(stage):
    ann = Instrumented(stage)
    ann.sends(b".#.lock ttl 5\n")
    stage.pass_time(6)
    ann.heard()
    assert ann.sends(b".#.await_loss\n").startswith(b"it was not used")
    assert error_of(ann.sends(b".#.await_loss\n")) == "VI_ERROR_SESN_NLOCKED none"


@pytest.mark.parametrize("is_pipelined", [False, True])
def test_await_loss_ends_when_its_client_says_more(stage, is_pipelined):
    """An empty line is enough. Nothing is lost by that: not the lock, and no later loss."""
    ann = Instrumented(stage)
    ann.sends(b".#.lock ttl 5\n")
    ann.heard()
    if is_pipelined:
        assert ann.sends(b".#.await_loss\n.#.ping\n") == b"ok\npong\n"
    else:
        assert ann.sends(b".#.await_loss\n") == b""
        assert ann.sends(b"\n") == b"ok\n"
        assert ann.sends(b".#.ping\n") == b"pong\n"
    assert stage.service.locks.describe() is not None
    assert not stage.service.locks._watches
    stage.pass_time(6)
    assert error_of(ann.sends(b".#.query_resource *IDN?\n")) == LOST


def test_await_loss_ends_with_a_client_that_says_no_more(stage):
    """One on another machine that was killed says so, and nobody knows for a minute that it does not read either."""
    ann = Instrumented(stage)
    ann.sends(b".#.lock\n")
    ann.heard()
    ann.sends(b".#.await_loss\n")
    assert ann.half_closes() == b"ok\n"
    assert ann.line.is_over


def test_await_loss_ends_with_its_client(stage):
    ann = Instrumented(stage)
    ann.sends(b".#.lock\n")
    ann.sends(b".#.await_loss\n")
    ann.leaves()
    assert stage.service.locks.describe() is None
    assert not stage.service.locks._watches


# On the wire.


def test_wire_lock_has_a_time_to_live_and_a_reason(stage, tmp_path):
    peer = Peer(stage, tmp_path)
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, 0, None, 2.5, "a job"))
    assert peer.tokens() == [(2, "")]
    [holder] = stage.service.locks.describe()["holders"]
    assert (holder["reason"], holder["ttl_s"]) == ("a job", 2.5)
    stage.pass_time(3)
    peer.sends(wire.Read(3, 1, 100), wire.Unlock(4, 1))
    assert peer.tokens() == [(3, "LOCK_LOST"), (4, "VI_ERROR_SESN_NLOCKED")]


def test_wire_lock_lives_while_a_long_message_comes(stage, tmp_path):
    peer = Peer(stage, tmp_path)
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, 0, None, 5.0))
    for _ in range(10):
        peer.sends(wire.Part(3, b"x" * 1000))
        stage.pass_time(2)
    assert stage.service.locks.describe() is not None
    stage.pass_time(4)
    assert stage.service.locks.describe() is None
    peer.leaves()


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, float("nan"), float("inf")])
def test_wire_lock_with_no_time_to_live_at_all_is_refused(stage, tmp_path, ttl_s):
    peer = Peer(stage, tmp_path)
    peer.sends(wire.Lock(2, 1, EXCLUSIVE, 0, None, ttl_s))
    assert peer.tokens() == [(2, "BAD_ARGUMENT")]


def test_wire_lock_may_join_and_nothing_else(stage, tmp_path):
    peer, other = Peer(stage, tmp_path), stage.opened()
    peer.sends(wire.Lock(2, 1, SHARED, 9000, "ours", None, "", True))
    leases(stage, other, None, kind=SHARED, key="ours")
    peer.sends(wire.Lock(3, 1, SHARED, 9000, "ours", None, "", True))
    assert peer.tokens() == [(2, "LOCK_LOST"), (3, "")]
