"""The locks of one resource, sentence by sentence of VPP-4.3, 3.6. The clock is the test's."""

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pyvisa import constants

from front_proc.serving import locks as locks_module
from front_proc.serving.leases import terms
from front_proc.serving.locks import (
    KEY_LIMIT,
    VI_NO_LOCK,
    VI_SUCCESS_NESTED_EXCLUSIVE,
    VI_SUCCESS_NESTED_SHARED,
    LockKind,
    Locks,
)
from front_proc.serving.sessions import Client, Session
from pyvisa_daemon.errors import ERRORS, SUCCESS, Effect

EXCLUSIVE, SHARED = LockKind.EXCLUSIVE, LockKind.SHARED


class Door:
    """The locks of one resource, and people who want in. Times are seconds; `now` is the test's to move."""

    def __init__(self):
        keys = count(1)
        #: Those whose locks were taken from them, why, and what the locks were for.
        self.losses = []
        #: Those of whom a command is under way.
        self.busy = set()
        self.locks = Locks(
            "DMM",
            lambda: f"made-{next(keys)}",
            lambda session, lease, why: self.losses.append((session, why, lease.reason)),
            lambda session: session in self.busy,
        )
        self.now = 100.0

    def person(self, name="", address="10.0.0.1:1"):
        client = Client(address)
        client.introduce(name)
        return Session(client, None)

    def asks(self, session, kind, key=None, timeout_s=0.0, *, ttl_s=None, reason="", joins=False):
        """The list that the outcome comes into; empty while it waits."""
        outcomes = []
        self.locks.request(session, kind, key, timeout_s, self.now, outcomes.append, terms(ttl_s, reason), joins=joins)
        return outcomes

    def locks_exclusively(self, session, timeout_s=0.0, **terms):
        return self.asks(session, EXCLUSIVE, None, timeout_s, **terms)

    def shares(self, session, key=None, timeout_s=0.0, **terms):
        return self.asks(session, SHARED, key, timeout_s, **terms)

    def unlocks(self, session):
        return self.unlock(session).status

    def unlock(self, session):
        return self.locks.unlock(session, self.now)

    def leaves(self, session):
        self.locks.left(session, self.now)

    def described(self):
        return self.locks.describe(self.now)

    def refusal_of(self, session):
        return self.locks.refusal(session, self.now)

    def passes_time(self, seconds):
        self.now += seconds
        self.locks.expire(self.now)

    def admits(self, *sessions):
        return [not self.locks.excludes(session) for session in sessions]


@pytest.fixture
def door():
    return Door()


@pytest.fixture
def ann(door):
    return door.person("ann")


@pytest.fixture
def bob(door):
    return door.person("bob")


@pytest.fixture
def cid(door):
    return door.person("cid")


def ended(outcomes, status=SUCCESS, key=None):
    """Did it end, once, and so? `status` is a number or the token of an error."""
    number = ERRORS[status].status if isinstance(status, str) else status
    return [(outcome.status, outcome.value, outcome.effect) for outcome in outcomes] == [(number, key, Effect.NONE)]


@pytest.mark.parametrize("name", ["VI_SUCCESS_NESTED_SHARED", "VI_SUCCESS_NESTED_EXCLUSIVE", "VI_NO_LOCK"])
def test_numbers_are_visa_s(name):
    assert getattr(locks_module, name) == getattr(constants, name)


def test_kinds_are_visa_s():
    assert dict(LockKind.__members__) == {
        "EXCLUSIVE": constants.VI_EXCLUSIVE_LOCK,
        "SHARED": constants.VI_SHARED_LOCK,
    }


# The exclusive lock.


def test_nobody_is_kept_out_without_a_lock(door, ann):
    assert door.admits(ann) == [True]
    assert door.locks.state == VI_NO_LOCK
    assert door.described() is None
    assert door.locks.expires_at() is None


def test_exclusive_lock_keeps_all_others_out(door, ann, bob):
    assert ended(door.locks_exclusively(ann))
    assert door.admits(ann, bob) == [True, False]
    assert door.locks.state == EXCLUSIVE
    assert door.unlocks(ann) == SUCCESS
    assert door.admits(ann, bob) == [True, True]
    assert door.locks.state == VI_NO_LOCK


def test_exclusive_lock_neither_takes_nor_gives_a_key(door, ann):
    """Rules 3.6.13 and 3.6.14: not even one that is too long."""
    assert ended(door.asks(ann, EXCLUSIVE, "k" * 1000))


def test_exclusive_lock_nests_and_is_counted(door, ann, bob):
    """Rules 3.6.10, 3.6.28, 3.6.32."""
    assert ended(door.locks_exclusively(ann))
    assert ended(door.locks_exclusively(ann), VI_SUCCESS_NESTED_EXCLUSIVE)
    assert ended(door.locks_exclusively(ann), VI_SUCCESS_NESTED_EXCLUSIVE)
    assert [door.unlocks(ann) for _ in range(2)] == [VI_SUCCESS_NESTED_EXCLUSIVE] * 2
    assert door.admits(bob) == [False]
    assert door.unlocks(ann) == SUCCESS
    assert door.admits(bob) == [True]


def test_unlock_is_an_error_without_a_lock(door, ann, bob):
    door.locks_exclusively(ann)
    assert door.unlock(bob).token == "VI_ERROR_SESN_NLOCKED"
    assert door.admits(ann, bob) == [True, False]
    door.unlocks(ann)
    outcome = door.unlock(ann)
    assert (outcome.token, outcome.effect) == ("VI_ERROR_SESN_NLOCKED", Effect.NONE)


@pytest.mark.parametrize("kind", [0, 3, 4, -1])
def test_unknown_kind_is_an_error(door, ann, kind):
    assert ended(door.asks(ann, kind, None, 5.0), "VI_ERROR_INV_LOCK_TYPE")
    assert door.locks.state == VI_NO_LOCK


# The shared lock and its key.


def test_shared_lock_makes_a_key_where_none_is_given(door, ann, bob):
    assert ended(door.shares(ann), key="made-1")
    assert door.locks.state == SHARED
    assert door.admits(ann, bob) == [True, False]


def test_empty_key_is_none(door, ann):
    """Observation 3.6.4: a zero-length string stands for VI_NULL."""
    assert ended(door.shares(ann, ""), key="made-1")
    assert ended(door.shares(ann, ""), VI_SUCCESS_NESTED_SHARED, "made-1")


def test_made_keys_are_unique_and_short_enough():
    """Rule 3.6.16."""
    keys = set()
    for _ in range(100):
        outcomes = []
        Locks("DMM").request(Door().person(), SHARED, None, 0.0, 0.0, outcomes.append)
        keys.add(outcomes[0].value)
    assert len(keys) == 100
    assert all(0 < len(key) <= KEY_LIMIT for key in keys)


def test_who_presents_the_key_shares(door, ann, bob, cid):
    assert ended(door.shares(ann, "ours"), key="ours")
    assert ended(door.shares(bob, "ours"), key="ours")
    assert door.admits(ann, bob, cid) == [True, True, False]
    assert door.unlocks(ann) == SUCCESS
    assert door.admits(ann, bob, cid) == [False, True, False]
    assert door.unlocks(bob) == SUCCESS
    assert door.admits(ann, bob, cid) == [True, True, True]


def test_shared_lock_nests_and_is_counted_by_session(door, ann, bob):
    """Rules 3.6.11, 3.6.20, 3.6.30, 3.6.33: and a nested request without a key gives the one in force."""
    door.shares(ann, "ours")
    door.shares(bob, "ours")
    assert ended(door.shares(ann, "ours"), VI_SUCCESS_NESTED_SHARED, "ours")
    assert ended(door.shares(ann), VI_SUCCESS_NESTED_SHARED, "ours")
    assert [door.unlocks(ann) for _ in range(2)] == [VI_SUCCESS_NESTED_SHARED] * 2
    assert door.unlocks(bob) == SUCCESS
    assert door.unlocks(ann) == SUCCESS
    assert door.locks.state == VI_NO_LOCK


def test_key_is_used_anew_when_the_resource_is_free(door, ann, bob):
    """Rule 3.6.18; and the old key opens nothing any more."""
    door.shares(ann, "ours")
    door.unlocks(ann)
    assert ended(door.shares(bob, "theirs"), key="theirs")
    assert ended(door.shares(ann, "ours"), "VI_ERROR_RSRC_LOCKED")


@pytest.mark.parametrize(("length", "status"), [(255, SUCCESS), (256, "VI_ERROR_INV_ACCESS_KEY")])
def test_key_has_at_most_255_characters(door, ann, length, status):
    """Rule 3.6.17."""
    key = "k" * length
    assert ended(door.shares(ann, key, 5.0), status, key if status == SUCCESS else None)


def test_another_key_is_invalid_for_who_shares(door, ann):
    """Rule 3.6.31: at once, for it would wait for itself."""
    door.shares(ann, "ours")
    assert ended(door.shares(ann, "theirs", 5.0), "VI_ERROR_INV_ACCESS_KEY")
    assert door.unlocks(ann) == SUCCESS


@pytest.mark.parametrize("key", ["theirs", None])
def test_another_key_waits_like_any_other_request(door, ann, bob, key):
    """No key is another one: it asks for a lock of its own."""
    door.shares(ann, "ours")
    assert ended(door.shares(bob, key), "VI_ERROR_RSRC_LOCKED")
    waiting = door.shares(bob, key, 5.0)
    assert waiting == []
    door.unlocks(ann)
    assert ended(waiting, key=key or "made-1")


# Both kinds.


def test_who_shares_may_lock_exclusively_though_others_share(door, ann, bob, cid):
    """They are shut out meanwhile; then the shared lock is as it was."""
    door.shares(ann, "ours")
    door.shares(bob, "ours")
    assert ended(door.locks_exclusively(ann))
    assert door.locks.state == EXCLUSIVE
    assert door.admits(ann, bob, cid) == [True, False, False]
    assert door.unlocks(ann) == VI_SUCCESS_NESTED_SHARED
    assert door.locks.state == SHARED
    assert door.admits(ann, bob, cid) == [True, True, False]
    assert ended(door.shares(cid, "ours"), key="ours")


def test_shared_lock_may_end_under_another_s_exclusive_one(door, ann, bob):
    """Bob unlocks what he shares while Ann has it exclusively."""
    door.shares(ann, "ours")
    door.shares(bob, "ours")
    door.locks_exclusively(ann)
    assert door.unlocks(bob) == SUCCESS
    assert door.admits(ann, bob) == [True, False]
    assert [door.unlocks(ann), door.unlocks(ann)] == [VI_SUCCESS_NESTED_SHARED, SUCCESS]
    assert door.admits(ann, bob) == [True, True]


def test_unlock_gives_back_the_exclusive_locks_first(door, ann):
    """Rules 3.6.34 and 3.6.35."""
    door.shares(ann)
    door.shares(ann)
    door.locks_exclusively(ann)
    door.locks_exclusively(ann)
    assert [door.unlocks(ann) for _ in range(4)] == [
        VI_SUCCESS_NESTED_EXCLUSIVE,
        VI_SUCCESS_NESTED_SHARED,
        VI_SUCCESS_NESTED_SHARED,
        SUCCESS,
    ]


@pytest.mark.parametrize("is_shared", [False, True])
def test_who_has_the_exclusive_lock_gets_no_shared_one(door, ann, is_shared):
    """Rule 3.6.12: at once, for it would wait for itself."""
    if is_shared:
        door.shares(ann, "ours")
    door.locks_exclusively(ann)
    assert ended(door.shares(ann, "ours", 5.0), "VI_ERROR_RSRC_LOCKED")


def test_nobody_joins_while_one_who_shares_has_it_exclusively(door, ann, bob, cid):
    """Not even a nested lock of another who shares."""
    door.shares(ann, "ours")
    door.shares(bob, "ours")
    door.locks_exclusively(ann)
    assert ended(door.shares(bob, "ours"), "VI_ERROR_RSRC_LOCKED")
    nested, joining = door.shares(bob, "ours", 5.0), door.shares(cid, "ours", 5.0)
    assert (nested, joining) == ([], [])
    door.unlocks(ann)
    assert ended(nested, VI_SUCCESS_NESTED_SHARED, "ours")
    assert ended(joining, key="ours")


def test_two_who_share_lock_exclusively_in_turn(door, ann, bob):
    door.shares(ann, "ours")
    door.shares(bob, "ours")
    door.locks_exclusively(ann)
    bobs = door.locks_exclusively(bob, 5.0)
    assert bobs == []
    door.unlocks(ann)
    assert ended(bobs)
    assert door.admits(ann, bob) == [False, True]


# Waiting.


def test_timeout_of_zero_does_not_wait(door, ann, bob):
    """VI_TMO_IMMEDIATE, rule 3.6.23."""
    door.locks_exclusively(ann)
    assert ended(door.locks_exclusively(bob, 0.0), "VI_ERROR_RSRC_LOCKED")
    assert ended(door.shares(bob, None, 0.0), "VI_ERROR_RSRC_LOCKED")
    door.unlocks(ann)
    assert door.admits(ann, bob) == [True, True]


def test_wait_that_ran_out_is_a_timeout_and_not_before(door, ann, bob):
    """Rule 3.6.22."""
    door.locks_exclusively(ann)
    waiting = door.locks_exclusively(bob, 5.0)
    assert door.locks.expires_at() == door.now + 5
    door.passes_time(4.999)
    assert waiting == []
    door.passes_time(0.001)
    assert ended(waiting, "VI_ERROR_TMO")
    assert door.locks.expires_at() is None
    door.unlocks(ann)
    assert door.locks.state == VI_NO_LOCK


def test_wait_may_be_for_ever(door, ann, bob):
    """VI_TMO_INFINITE."""
    door.locks_exclusively(ann)
    waiting = door.locks_exclusively(bob, None)
    assert door.locks.expires_at() is None
    door.passes_time(1e9)
    assert waiting == []
    door.unlocks(ann)
    assert ended(waiting)


def test_next_end_of_a_wait_is_the_nearest(door, ann, bob, cid):
    door.locks_exclusively(ann)
    for session, timeout_s in [(bob, 9.0), (cid, 3.0), (bob, None)]:
        door.locks_exclusively(session, timeout_s)
    assert door.locks.expires_at() == door.now + 3


def test_waits_are_served_first_come_first_served(door, ann, bob, cid):
    door.locks_exclusively(ann)
    bobs, cids = door.locks_exclusively(bob, 5.0), door.shares(cid, None, 5.0)
    door.unlocks(ann)
    assert ended(bobs)
    assert cids == []
    door.unlocks(bob)
    assert ended(cids, key="made-1")


def test_those_with_one_key_are_let_in_together(door, ann, bob, cid):
    """Dan, who came later, keeps none of them waiting."""
    dan = door.person("dan")
    door.locks_exclusively(ann)
    waiting = [door.shares(bob, "ours", 5.0), door.shares(cid, "ours", 5.0)]
    dans = door.locks_exclusively(dan, 5.0)
    door.unlocks(ann)
    assert all(ended(outcomes, key="ours") for outcomes in waiting)
    assert dans == []


def test_key_does_not_pass_one_who_waited_before_the_group_was(door, ann, bob, cid):
    """Dan wants it exclusively; Bob's group began after he came, so Cid, who came later, waits for him."""
    dan = door.person("dan")
    door.locks_exclusively(ann)
    bobs, dans, cids = door.shares(bob, "ours", 5.0), door.locks_exclusively(dan, 5.0), door.shares(cid, "ours", 5.0)
    door.unlocks(ann)
    assert ended(bobs, key="ours")
    assert (dans, cids) == ([], [])
    assert ended(door.shares(ann, "ours"), "VI_ERROR_RSRC_LOCKED")
    door.unlocks(bob)
    assert ended(dans)
    door.unlocks(dan)
    assert ended(cids, key="ours")


@pytest.mark.parametrize("stranger", [(EXCLUSIVE, None), (SHARED, "theirs"), (SHARED, None)])
def test_group_grows_while_one_of_old_shares_and_then_no_more(door, ann, bob, cid, stranger):
    """Ann gives Bob the key and waits for his work: a stranger in between must not stop them. But once Ann has gone,
    Bob does not hand the lock on for ever."""
    dan, eve = door.person("dan"), door.person("eve")
    door.shares(ann, "ours")
    dans = door.asks(dan, *stranger, None)
    assert ended(door.shares(bob, "ours"), key="ours")
    assert ended(door.shares(eve, "ours"), key="ours")
    door.leaves(eve)
    door.unlocks(ann)
    cids, anns = door.shares(cid, "ours", 5.0), door.shares(ann, "ours", 5.0)
    assert (cids, anns) == ([], [])
    assert ended(door.shares(bob, "ours"), VI_SUCCESS_NESTED_SHARED, "ours")
    door.unlocks(bob)
    door.unlocks(bob)
    assert len(dans) == 1
    assert door.admits(dan, ann, bob, cid) == [True, False, False, False]


def test_key_passes_again_when_the_stranger_gave_up(door, ann, bob, cid):
    """Nobody is left whom it would overtake."""
    dan = door.person("dan")
    door.shares(ann, "ours")
    dans = door.locks_exclusively(dan, 3.0)
    door.shares(bob, "ours")
    door.unlocks(ann)
    cids = door.shares(cid, "ours", 5.0)
    door.passes_time(3)
    assert ended(dans, "VI_ERROR_TMO")
    assert ended(cids, key="ours")


def test_who_has_the_lock_does_not_wait_for_those_who_wait_for_it(door, ann, bob):
    """Nested locks, and the exclusive one of a session that shares: anything else would never end."""
    door.shares(ann, "ours")
    waiting = door.locks_exclusively(bob, 5.0)
    assert ended(door.shares(ann), VI_SUCCESS_NESTED_SHARED, "ours")
    assert ended(door.locks_exclusively(ann))
    assert ended(door.locks_exclusively(ann), VI_SUCCESS_NESTED_EXCLUSIVE)
    assert waiting == []


def test_sharing_serves_the_same_session_s_earlier_wait_for_the_exclusive_lock(door, ann, bob):
    """Two threads of one program: with the key, what the other one waited for is an upgrade."""
    door.shares(ann, "ours")
    waiting = door.locks_exclusively(bob, 5.0)
    assert ended(door.shares(bob, "ours"), key="ours")
    assert ended(waiting)
    assert [door.unlocks(bob), door.unlocks(bob)] == [VI_SUCCESS_NESTED_SHARED, SUCCESS]


# Sessions that close, and lost connections.


@pytest.mark.parametrize("kind", [EXCLUSIVE, SHARED])
def test_who_leaves_loses_all_its_locks_and_the_next_is_served(door, ann, bob, kind):
    """Rule 3.6.21."""
    for _ in range(3):
        door.asks(ann, kind)
    waiting = door.locks_exclusively(bob, 5.0)
    door.leaves(ann)
    assert ended(waiting)
    assert door.unlock(ann).token == "VI_ERROR_SESN_NLOCKED"


def test_who_leaves_loses_both_kinds(door, ann, bob):
    door.shares(ann)
    door.locks_exclusively(ann)
    door.leaves(ann)
    assert door.locks.state == VI_NO_LOCK
    assert door.admits(bob) == [True]


def test_who_leaves_shares_no_more_but_others_do(door, ann, bob, cid):
    door.shares(ann, "ours")
    door.shares(bob, "ours")
    door.leaves(ann)
    assert door.admits(bob, cid) == [True, False]


def test_who_leaves_waits_no_more(door, ann, bob, cid):
    door.locks_exclusively(ann)
    bobs = [door.locks_exclusively(bob, 5.0), door.shares(bob, None, None)]
    cids = door.locks_exclusively(cid, 5.0)
    door.leaves(bob)
    assert all(ended(outcomes, "CLIENT_GONE") for outcomes in bobs)
    door.unlocks(ann)
    assert ended(cids)


def test_wait_of_one_who_left_keeps_nobody_waiting(door, ann, bob, cid):
    """Cid has the key and waited only for Dan, who came before."""
    dan = door.person("dan")
    door.shares(ann, "ours")
    door.locks_exclusively(dan, None)
    door.shares(bob, "ours")
    door.unlocks(ann)
    cids = door.shares(cid, "ours", 5.0)
    assert cids == []
    door.leaves(dan)
    assert ended(cids, key="ours")


def test_leaving_without_a_lock_changes_nothing(door, ann, bob):
    door.locks_exclusively(ann)
    door.leaves(bob)
    assert door.admits(ann, bob) == [True, False]


# Calling back.


def test_outcome_is_told_when_everything_is_consistent(door, ann, bob):
    """Who is told that it has the lock sees that it has."""
    seen = []
    door.locks_exclusively(ann)
    door.locks.request(
        bob, EXCLUSIVE, None, None, door.now, lambda _: seen.append((door.admits(ann, bob), door.described()))
    )
    door.unlocks(ann)
    [(admitted, described)] = seen
    assert admitted == [False, True]
    assert [holder["name"] for holder in described["holders"]] == ["bob"]
    assert (described["kind"], described["waiting"], described["waiters"]) == ("exclusive", 0, [])


@given(st.lists(st.sampled_from([(EXCLUSIVE, None), (SHARED, None), (SHARED, "a"), (SHARED, "b")])))
def test_all_are_served_in_order_when_each_unlocks_as_soon_as_told(wants):
    """The callback calls back in."""
    door, told = Door(), []
    first = door.person()
    door.locks_exclusively(first)
    for number, (kind, key) in enumerate(wants):
        session = door.person()

        def on_outcome(outcome, number=number, session=session):
            assert not outcome.failed
            told.append(number)
            assert door.unlocks(session) == SUCCESS
            door.leaves(session)

        door.locks.request(session, kind, key, None, door.now, on_outcome)
    door.unlocks(first)
    assert told == list(range(len(wants)))
    assert door.described() is None


def test_callback_that_fails_loses_nobody_else_s_outcome(door, ann, bob, cid):
    """The rest is told by the next call."""

    def fail(_):
        raise RuntimeError("a fault")

    door.locks_exclusively(ann)
    door.locks.request(bob, SHARED, "ours", None, door.now, fail)
    cids = door.shares(cid, "ours", None)
    with pytest.raises(RuntimeError, match="a fault"):
        door.unlock(ann)
    door.locks.expire(door.now)
    assert ended(cids, key="ours")


# What people are told.


def test_description_names_who_has_the_lock_and_never_the_key(door, bob):
    ann, cid = door.person("ann", "10.0.0.7:40000"), door.person("", "10.0.0.8:40000")
    door.shares(ann, "secret")
    door.shares(cid, "secret")
    door.now += 2.5
    door.locks_exclusively(bob, 5.0, reason="calibration")
    door.now += 1.5
    unlimited = {"reason": "", "held_s": 4.0, "ttl_s": None, "left_s": None}
    assert door.described() == {
        "kind": "shared",
        "holders": [
            {"client": "10.0.0.7:40000", "name": "ann", "user": "", **unlimited},
            {"client": "10.0.0.8:40000", "name": "", "user": "", **unlimited},
        ],
        "waiting": 1,
        "waiters": [
            {
                "client": "10.0.0.1:1",
                "name": "bob",
                "user": "",
                "kind": "exclusive",
                "reason": "calibration",
                "waited_s": 1.5,
            }
        ],
    }
    door.locks_exclusively(cid)
    description = door.described()
    assert (description["kind"], description["waiting"]) == ("exclusive", 1)
    assert [holder["client"] for holder in description["holders"]] == ["10.0.0.8:40000"]


def test_refusals_name_the_resource_and_who_has_the_lock(door, ann, bob):
    door.locks_exclusively(ann)
    refused, waiting = door.locks_exclusively(bob), door.locks_exclusively(bob, 1.0)
    door.passes_time(1)
    for outcome in [refused[0], waiting[0], door.refusal_of(bob)]:
        assert "DMM is locked by 10.0.0.1:1 ann" in outcome.text
    assert door.refusal_of(bob).token == "VI_ERROR_RSRC_LOCKED"


# PyVISA's own tests of an instrument's locks, without the instrument.


def test_shared_locking_as_pyvisa_tests_it(door, ann, bob, cid):
    key = door.shares(ann, None, 2.0)[0].value
    door.shares(bob, key, 2.0)
    assert door.admits(ann, bob, cid) == [True, True, False]
    assert ended(door.shares(cid, key, 2.0), key=key)
    assert door.admits(cid) == [True]
    assert door.unlocks(cid) == SUCCESS
    assert door.unlocks(bob) == SUCCESS
    assert door.admits(ann, bob, cid) == [True, False, False]
    assert door.unlocks(ann) == SUCCESS
    assert door.admits(ann, bob, cid) == [True, True, True]


def test_exclusive_locking_as_pyvisa_tests_it(door, ann, bob):
    for _ in range(2):
        assert ended(door.locks_exclusively(ann, 2.0))
        assert door.admits(ann, bob) == [True, False]
        assert door.unlocks(ann) == SUCCESS
        assert door.admits(ann, bob) == [True, True]


# Whatever happens, in whatever order.


class Model:
    """The same rules, told naively: lists of who has what, and for each wait who shared when it began."""

    def __init__(self):
        self.exclusive = []  # the session that has it, once for each lock
        self.shared = []  # (session, its stay), once for each lock
        self.key = None
        self.waiting = []  # (number, session, kind, key, deadline, stays when it came)
        self.made = count(1)
        self.stays = count()
        self.ends = []  # (number, status, key), as they come
        self.leases = {}  # session: [seconds to live without use, when it was used last]
        self.busy = set()
        self.lost = set()  # and not told
        self.taken = []

    def group(self, session):
        sharing = {who for who, _ in self.shared}
        return sharing if session in sharing else {session}

    def use(self, session, now, seconds=None):
        """All of the time until `now`, or so many seconds of it."""
        for member in self.group(session) & self.leases.keys():
            used_at = self.leases[member][1]
            self.leases[member][1] = max(used_at, now) if seconds is None else min(now, used_at + seconds)

    def is_in_use(self, session):
        return any(
            member in self.busy or member in [wait[1] for wait in self.waiting] for member in self.group(session)
        )

    def carry(self, session, ttl_s, now):
        if session not in self.leases:
            eldest = min(self.shared, key=lambda each: each[1], default=(session, 0))[0]
            inherited = self.leases.get(eldest, [None])[0] if session not in self.exclusive else None
            self.leases[session] = [inherited, now]
        if ttl_s is not None:
            self.leases[session][0] = ttl_s

    def forget(self):
        having = {who for who, _ in self.shared} | set(self.exclusive)
        self.leases = {who: lease for who, lease in self.leases.items() if who in having}

    def take(self, sessions):
        for session in sessions:
            self.taken.append(session)
            self.lost.add(session)
            self.exclusive = [who for who in self.exclusive if who != session]
            self.shared = [(who, stay) for who, stay in self.shared if who != session]
            self.forget()

    def is_told(self, session):
        """Does it fail with LOCK_LOST?"""
        was_lost = session in self.lost
        self.lost.discard(session)
        return was_lost

    def force(self, now):
        holders = list(self.leases)
        self.take(holders)
        self.lost -= {wait[1] for wait in self.waiting if wait[1] in holders}
        self.end_waits(lambda wait: wait[1] in holders, "LOCK_LOST", now)

    def ends_at(self, session):
        ttl_s, used_at = self.leases[session]
        return float("inf") if ttl_s is None or self.is_in_use(session) else used_at + ttl_s

    def stay(self, session):
        return next((stay for who, stay in self.shared if who == session), None)

    def may_have(self, place):
        _, session, kind, key, *_ = self.waiting[place]
        if self.exclusive:
            return kind == EXCLUSIVE and session in self.exclusive
        if self.stay(session) is not None:
            return kind == EXCLUSIVE or key in (None, self.key)
        if not self.shared:
            return True
        present = {stay for _, stay in self.shared}
        strangers = [wait for wait in self.waiting[:place] if wait[3] != key or wait[2] != kind]
        return kind == SHARED and key == self.key and all(wait[5] & present for wait in strangers)

    def serve(self, now):
        place = 0
        while place < len(self.waiting):
            if not self.may_have(place):
                place += 1
                continue
            number, session, kind, key, _, _, ttl_s, _ = self.waiting.pop(place)
            if kind == SHARED:
                self.carry(session, ttl_s, now)
            if kind == EXCLUSIVE:
                status = VI_SUCCESS_NESTED_EXCLUSIVE if self.exclusive else SUCCESS
                if session not in self.leases:
                    self.leases[session] = [None, now]
                self.exclusive.append(session)
                self.carry(session, ttl_s, now)
                self.ends.append((number, status, None))
            else:
                if not self.shared:
                    self.key = key or f"made-{next(self.made)}"
                stay = self.stay(session)
                status = SUCCESS if stay is None else VI_SUCCESS_NESTED_SHARED
                self.shared.append((session, next(self.stays) if stay is None else stay))
                self.ends.append((number, status, self.key))
            self.use(session, now)
            place = 0

    def request(self, number, session, kind, key, timeout_s, now, ttl_s=None, joins=False):
        key = key if kind == SHARED else None
        if self.is_told(session) or (joins and (kind != SHARED or not self.shared or key != self.key)):
            self.ends.append((number, "LOCK_LOST", None))
        elif kind == SHARED and session in self.exclusive:
            self.ends.append((number, "VI_ERROR_RSRC_LOCKED", None))
        elif kind == SHARED and self.stay(session) is not None and key not in (None, self.key):
            self.ends.append((number, "VI_ERROR_INV_ACCESS_KEY", None))
        else:
            deadline = float("inf") if timeout_s is None else now + timeout_s
            wait = (number, session, kind, key, deadline, {stay for _, stay in self.shared}, ttl_s, now)
            self.waiting.append(wait)
            self.serve(now)
            if timeout_s == 0 and wait in self.waiting:
                self.waiting.remove(wait)
                self.ends.append((number, "VI_ERROR_RSRC_LOCKED", None))

    def unlock(self, session, now):
        if self.is_told(session):
            return "LOCK_LOST"
        if session in self.exclusive:
            self.exclusive.remove(session)
        elif self.stay(session) is not None:
            self.shared.remove((session, self.stay(session)))
        else:
            return "VI_ERROR_SESN_NLOCKED"
        status = VI_SUCCESS_NESTED_SHARED if self.stay(session) is not None else SUCCESS
        status = VI_SUCCESS_NESTED_EXCLUSIVE if session in self.exclusive else status
        if status != SUCCESS:
            self.use(session, now)
        self.forget()
        self.serve(now)
        return status

    def end_waits(self, belongs, status, now):
        for wait in [wait for wait in self.waiting if belongs(wait)]:
            self.waiting.remove(wait)
            self.use(wait[1], now, now - wait[7])
            self.ends.append((wait[0], status, None))
        self.serve(now)

    def left(self, session, now):
        self.exclusive = [who for who in self.exclusive if who != session]
        self.shared = [(who, stay) for who, stay in self.shared if who != session]
        self.forget()
        self.lost.discard(session)
        self.end_waits(lambda wait: wait[1] == session, "CLIENT_GONE", now)

    def expire(self, now):
        self.take([session for session in list(self.leases) if self.ends_at(session) <= now])
        self.serve(now)
        self.end_waits(lambda wait: wait[4] <= now, "VI_ERROR_TMO", now)


people = st.integers(0, 4)
wants = st.sampled_from(
    [(EXCLUSIVE, None), (EXCLUSIVE, "a"), (SHARED, None), (SHARED, "a"), (SHARED, "a"), (SHARED, "b")]
)
ttls = st.sampled_from([None, None, 0.75, 2.0, 7.0])


class Histories(RuleBasedStateMachine):
    """Real locks and the model side by side; and a ledger of what each was told, which knows no rules of waiting."""

    def __init__(self):
        super().__init__()
        self.door, self.model = Door(), Model()
        self.sessions = [self.door.person(f"person {number}") for number in range(5)]
        self.asked = 0
        self.ends = []
        self.has = {(who, kind): 0 for who in range(5) for kind in LockKind}
        self.keys = {}
        self.losses = 0

    def note_losses(self):
        """Whose locks were taken has none, whatever it had."""
        for session, _, _ in self.door.losses[self.losses :]:
            self.has |= {(self.sessions.index(session), kind): 0 for kind in LockKind}
        self.losses = len(self.door.losses)

    @rule(who=people, want=wants, timeout_s=st.sampled_from([0.0, 1.0, 5.0, None]), ttl_s=ttls, joins=st.booleans())
    def request(self, who, want, timeout_s, ttl_s, joins=False):
        kind, key = want
        number, self.asked = self.asked, self.asked + 1

        def on_outcome(outcome):
            self.note_losses()
            self.ends.append((number, outcome.token or outcome.status, outcome.value))
            if not outcome.failed:
                self.has[who, kind] += 1
                assert (outcome.status != SUCCESS) == (self.has[who, kind] > 1)
                if kind == SHARED:
                    self.keys[who] = outcome.value

        now, asked = self.door.now, terms(ttl_s, "")
        self.door.locks.request(self.sessions[who], kind, key, timeout_s, now, on_outcome, asked, joins=joins)
        self.model.request(number, who, kind, key, timeout_s, now, ttl_s, joins)

    @rule(who=people, want=wants, ttl_s=ttls)
    def wait_for_ever(self, who, want, ttl_s):
        self.request(who, want, None, ttl_s)

    @precondition(lambda self: self.asked > len(self.ends))
    @rule(which=people)
    def unlock_what_somebody_waits_for(self, which):
        inside = self.having(EXCLUSIVE) or self.having(SHARED)
        self.unlock(inside[which % len(inside)])

    @rule(who=people)
    def unlock(self, who):
        kind = next((kind for kind in LockKind if self.has[who, kind]), None)
        if kind is not None:
            self.has[who, kind] -= 1
        outcome = self.door.unlock(self.sessions[who])
        assert (kind is None) == outcome.failed
        assert (outcome.token or outcome.status) == self.model.unlock(who, self.door.now)

    @rule(who=people, seconds=st.sampled_from([None, 0.5, 1.0, 5.0]))
    def time_passes_or_somebody_leaves(self, who, seconds):
        if seconds is not None:
            self.door.passes_time(seconds)
            self.model.expire(self.door.now)
            self.note_losses()
            return
        self.has |= {(who, kind): 0 for kind in LockKind}
        self.door.leaves(self.sessions[who])
        self.model.left(who, self.door.now)

    @rule(who=people, waited_s=st.sampled_from(["begins", None, 0.5, 5.0]))
    def command_begins_or_ends(self, who, waited_s):
        """It is carried out, or not after so many seconds."""
        if waited_s == "begins":
            self.door.busy.add(self.sessions[who])
            self.model.busy.add(who)
            return
        self.door.busy.discard(self.sessions[who])
        self.model.busy.discard(who)
        if waited_s is None:
            self.door.locks.used(self.sessions[who], self.door.now)
        else:
            self.door.locks.stood_still(self.sessions[who], waited_s, self.door.now)
        self.model.use(who, self.door.now, waited_s)

    @precondition(lambda self: any(ttl_s is not None for ttl_s, _ in self.model.leases.values()))
    @rule(which=people, timeout_s=st.sampled_from([0.0, 1.0, 5.0]))
    def who_has_a_time_to_live_locks_again(self, which, timeout_s):
        limited = [who for who, (ttl_s, _) in self.model.leases.items() if ttl_s is not None]
        self.request(limited[which % len(limited)], (EXCLUSIVE, None), timeout_s, None)

    @precondition(lambda self: self.having(EXCLUSIVE) or self.having(SHARED))
    @rule()
    def somebody_forces_it_open(self):
        having = {*self.having(EXCLUSIVE), *self.having(SHARED)}
        assert self.door.locks.force("by force", self.door.now) == len(having)
        self.model.force(self.door.now)
        self.note_losses()

    @rule(who=people)
    def somebody_is_refused(self, who):
        """What is kept out is refused; who has lost a lock hears that, and once."""
        if self.door.locks.excludes(self.sessions[who]):
            token = self.door.refusal_of(self.sessions[who]).token
            assert (token == "LOCK_LOST") == self.model.is_told(who)

    def having(self, kind):
        return [who for who in range(5) if self.has[who, kind]]

    @invariant()
    def at_most_one_has_it_exclusively_and_everybody_else_is_out(self):
        exclusive, shared = self.having(EXCLUSIVE), self.having(SHARED)
        assert len(exclusive) <= 1
        inside = set(exclusive or shared or range(5)) - self.model.lost
        assert self.door.admits(*self.sessions) == [who in inside for who in range(5)]

    @invariant()
    def those_who_share_have_one_key(self):
        assert len({self.keys[who] for who in self.having(SHARED)}) <= 1

    @invariant()
    def state_and_description_tell_what_is(self):
        kind = next((kind for kind in LockKind if self.having(kind)), None)
        assert self.door.locks.state == (kind or VI_NO_LOCK)
        description = self.door.described()
        if kind is None:
            assert description is None
            assert self.asked == len(self.ends), "somebody waits for a free resource"
        else:
            names = [holder["name"] for holder in description["holders"]]
            assert sorted(names) == [f"person {who}" for who in self.having(kind)]
            assert description["kind"] == kind.name.lower()
            assert description["waiting"] == self.asked - len(self.ends)
            waiters = [waiter["name"] for waiter in description["waiters"]]
            assert waiters == [f"person {wait[1]}" for wait in self.model.waiting]

    @invariant()
    def everything_happens_as_the_model_says(self):
        assert self.ends == self.model.ends
        ends = [wait[4] for wait in self.model.waiting] + [self.model.ends_at(who) for who in self.model.leases]
        assert self.door.locks.expires_at() == min((end for end in ends if end != float("inf")), default=None)

    @invariant()
    def each_loss_is_told_of_once(self):
        taken = sorted(self.sessions.index(session) for session, _, _ in self.door.losses)
        assert taken == sorted(self.model.taken)
        assert {self.sessions.index(session) for session in self.door.locks.lost} == self.model.lost

    @invariant()
    def nothing_ends_twice(self):
        numbers = [number for number, _, _ in self.ends]
        assert len(numbers) == len(set(numbers))

    def teardown(self):
        for session in self.sessions:
            self.door.leaves(session)
        assert self.door.locks.state == VI_NO_LOCK
        assert self.door.described() is None
        assert list(self.door.locks.leases) == []
        assert sorted(number for number, _, _ in self.ends) == list(range(self.asked)), "a request is forgotten"


Histories.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase


def test_session_has_a_lock_of_whatever_kind_until_it_gives_the_last_one_back(door, ann, bob):
    """Whether or not it is the one in force; who only waits has none."""
    door.asks(ann, LockKind.SHARED, "ours")
    door.asks(bob, LockKind.SHARED, "ours")
    door.locks_exclusively(ann)
    door.locks_exclusively(bob)
    assert [door.locks.has_any(who) for who in (ann, bob)] == [True, True]
    door.unlocks(ann)
    door.unlocks(ann)
    assert [door.locks.has_any(who) for who in (ann, bob)] == [False, True]
