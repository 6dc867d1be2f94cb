"""Locks that end without their holder's doing: not used for as long as they may live, or forced. The clock is the
test's.

What the model of `test_locks` says for any history, told here sentence by sentence.
"""

import math

import pytest

from front_proc.serving.leases import REASON_LIMIT, TTL_LIMIT, Terms, terms
from front_proc.serving.lock_words import _ago, _ordinal
from front_proc.serving.locks import VI_NO_LOCK, LockKind
from pyvisa_daemon.errors import SUCCESS, Failure
from tests.front_proc.serving.test_locks import Door, ended

EXCLUSIVE, SHARED = LockKind.EXCLUSIVE, LockKind.SHARED


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


def told(door, session):
    """What it hears when it is refused."""
    return door.refusal_of(session).token


# The time to live.


def test_lock_ends_to_the_moment_when_it_was_not_used(door, ann, bob):
    """And the next is served."""
    assert ended(door.locks_exclusively(ann, ttl_s=10.0))
    waiting = door.locks_exclusively(bob, None)
    assert door.locks.expires_at() == door.now + 10
    door.passes_time(9.999)
    assert (waiting, door.losses) == ([], [])
    door.passes_time(0.001)
    assert ended(waiting)
    assert door.losses == [(ann, "it was not used for the 10 s that it may live", "")]


def test_lock_without_a_time_to_live_lives_on(door, ann):
    door.locks_exclusively(ann)
    door.passes_time(1e9)
    assert door.locks.state == EXCLUSIVE
    assert not door.locks.leases.limited


@pytest.mark.parametrize("moment", [0.5, 9.9])
def test_lock_lives_anew_from_each_use(door, ann, moment):
    door.locks_exclusively(ann, ttl_s=10.0)
    for _ in range(5):
        door.passes_time(moment)
        door.locks.used(ann, door.now)
    door.passes_time(9.9)
    assert door.locks.state == EXCLUSIVE
    door.passes_time(0.1)
    assert door.locks.state == VI_NO_LOCK


def test_use_of_another_session_is_none(door, ann, bob):
    door.locks_exclusively(ann, ttl_s=10.0)
    door.passes_time(9)
    door.locks.used(bob, door.now)
    door.passes_time(1)
    assert door.locks.state == VI_NO_LOCK


def test_lock_lives_while_a_command_is_under_way(door, ann):
    """It runs, or waits for its turn; then it was carried out."""
    door.locks_exclusively(ann, ttl_s=10.0)
    door.busy.add(ann)
    assert door.locks.expires_at() is None
    door.passes_time(100)
    assert door.locks.state == EXCLUSIVE
    door.busy.remove(ann)
    door.locks.used(ann, door.now)
    assert door.locks.expires_at() == door.now + 10


def test_time_stands_still_while_a_command_waits_in_vain(door, ann):
    """It ended without having been carried out: that is no use, but its wait is not held against it."""
    door.locks_exclusively(ann, ttl_s=10.0)
    door.passes_time(4)
    door.busy.add(ann)
    door.passes_time(100)
    door.busy.remove(ann)
    door.locks.stood_still(ann, 100, door.now)
    door.passes_time(5.9)
    assert door.locks.state == EXCLUSIVE
    door.passes_time(0.1)
    assert door.locks.state == VI_NO_LOCK


def test_time_stands_still_while_its_holder_waits_for_another_lock(door, ann, bob):
    """Who shares, and waits for the exclusive one that another has who shares."""
    door.shares(ann, "ours", ttl_s=10.0)
    door.shares(bob, "ours")
    door.locks_exclusively(bob)
    waiting = door.locks_exclusively(ann, 50.0)
    door.passes_time(50)
    assert ended(waiting, "VI_ERROR_TMO")
    assert not door.losses
    door.passes_time(9.9)
    assert not door.losses
    door.passes_time(0.1)
    assert [session for session, _, _ in door.losses] == [ann, bob]


def test_nested_lock_is_use_and_its_terms_count_from_then_on(door, ann):
    door.locks_exclusively(ann, ttl_s=10.0, reason="first")
    door.passes_time(9)
    door.locks_exclusively(ann)
    assert door.locks.expires_at() == door.now + 10
    door.locks_exclusively(ann, ttl_s=3.0, reason="second")
    assert door.locks.expires_at() == door.now + 3
    assert door.described()["holders"][0]["reason"] == "second"


def test_giving_back_one_of_several_locks_is_use(door, ann):
    door.locks_exclusively(ann, ttl_s=10.0)
    door.locks_exclusively(ann)
    door.passes_time(9)
    door.unlocks(ann)
    assert door.locks.expires_at() == door.now + 10
    door.unlocks(ann)
    assert door.locks.expires_at() is None


def test_all_locks_of_the_session_end_at_once(door, ann, bob):
    """Nested ones, and both kinds: as if it had unlocked them all."""
    door.shares(ann, "ours", ttl_s=5.0)
    door.shares(ann)
    door.locks_exclusively(ann)
    waiting = door.locks_exclusively(bob, None)
    door.passes_time(5)
    assert ended(waiting)
    door.unlocks(bob)
    assert door.locks.state == VI_NO_LOCK


def test_who_waits_until_the_moment_in_which_the_lock_ends_has_it(door, ann, bob):
    """And no timeout."""
    door.locks_exclusively(ann, ttl_s=5.0)
    waiting = door.locks_exclusively(bob, 5.0)
    door.passes_time(5)
    assert ended(waiting)


def test_terms_of_a_lock_that_was_given_back_are_gone(door, ann):
    door.locks_exclusively(ann, ttl_s=5.0, reason="first")
    door.unlocks(ann)
    door.locks_exclusively(ann)
    assert door.locks.expires_at() is None
    assert door.described()["holders"][0]["reason"] == ""


# The time to live of those who share.


def test_use_by_one_who_shares_is_use_for_all(door, ann, bob):
    """So whoever hands its key to another program need not do anything itself."""
    door.shares(ann, "ours", ttl_s=10.0)
    door.shares(bob, "ours")
    for _ in range(3):
        door.passes_time(9)
        door.locks.used(bob, door.now)
    assert door.locks.state == SHARED
    door.passes_time(10)
    assert door.locks.state == VI_NO_LOCK
    assert [session for session, _, _ in door.losses] == [ann, bob]


def test_command_of_one_who_shares_keeps_the_lock_for_all(door, ann, bob):
    door.shares(ann, "ours", ttl_s=10.0)
    door.shares(bob, "ours")
    door.busy.add(bob)
    door.passes_time(100)
    assert not door.losses


def test_who_joins_with_a_time_of_its_own_has_that(door, ann, bob):
    door.shares(ann, "ours")
    door.shares(bob, "ours", ttl_s=5.0)
    door.passes_time(5)
    assert [session for session, _, _ in door.losses] == [bob]
    assert door.admits(ann) == [True]


# Locks that are forced.


def test_force_takes_all_locks_from_all_who_have_any(door, ann, bob, cid):
    door.shares(ann, "ours")
    door.shares(bob, "ours", reason="measuring")
    door.locks_exclusively(bob)
    waiting = door.locks_exclusively(cid, None)
    assert door.locks.force("eve forced it", door.now) == 2
    assert door.losses == [(ann, "eve forced it", ""), (bob, "eve forced it", "measuring")]
    assert ended(waiting)


def test_force_without_a_lock_does_nothing(door):
    assert door.locks.force("by force", door.now) == 0


@pytest.mark.parametrize("waits", [1, 2])
def test_who_is_forced_out_waits_for_no_lock_of_old(door, ann, bob, waits):
    """It asked as one who shares. That tells it, and it is as any other then."""
    door.shares(ann, "ours")
    door.shares(bob, "ours")
    door.locks_exclusively(bob)
    waiting = [door.locks_exclusively(ann, None) for _ in range(waits)]
    door.locks.force("by force", door.now)
    assert all(ended(outcomes, "LOCK_LOST") for outcomes in waiting)
    assert door.admits(ann, bob) == [True, False]


# Whose lock was taken.


def test_who_lost_its_lock_is_told_once_and_goes_on_as_any_other(door, ann, bob):
    door.locks_exclusively(ann)
    door.locks.force("eve forced it", door.now)
    assert door.admits(ann, bob) == [False, True]
    outcome = door.refusal_of(ann)
    assert (outcome.token, outcome.effect) == ("LOCK_LOST", "none")
    assert outcome.text == "the lock on DMM was taken from this session: eve forced it; lock again, or stop"
    assert door.admits(ann, bob) == [True, True]


def test_who_lost_its_lock_hears_of_that_and_not_of_the_next_lock(door, ann, bob):
    door.locks_exclusively(ann)
    door.locks.force("by force", door.now)
    door.locks_exclusively(bob)
    assert [told(door, ann), told(door, ann)] == ["LOCK_LOST", "VI_ERROR_RSRC_LOCKED"]


def test_unlock_tells_who_lost_its_lock(door, ann):
    """At the end of a `with`, too."""
    door.locks_exclusively(ann)
    door.locks.force("by force", door.now)
    assert [door.unlock(ann).token for _ in range(2)] == ["LOCK_LOST", "VI_ERROR_SESN_NLOCKED"]


def test_lock_tells_who_lost_its_lock(door, ann):
    """Who believes to nest it must not take the first lock of something new for that."""
    door.locks_exclusively(ann)
    door.locks.force("by force", door.now)
    assert ended(door.locks_exclusively(ann, 5.0), "LOCK_LOST")
    assert ended(door.locks_exclusively(ann), SUCCESS)


def test_nothing_is_left_of_who_left(door, ann):
    door.locks_exclusively(ann, ttl_s=5.0)
    door.locks.force("by force", door.now)
    door.leaves(ann)
    assert (door.locks.lost, list(door.locks.leases)) == ({}, [])


# Joining.


def test_who_joins_shares_with_those_who_do(door, ann, bob):
    door.shares(ann, "ours")
    assert ended(door.shares(bob, "ours", joins=True), key="ours")


@pytest.mark.parametrize("others", [(), (SHARED, "theirs"), (EXCLUSIVE, None)])
def test_joining_makes_no_lock(door, ann, bob, others):
    """The group is gone, or never was: at once, however long it would wait."""
    if others:
        door.asks(bob, *others)
    assert ended(door.shares(ann, "ours", 50.0, joins=True), "LOCK_LOST")


# Words.


def test_refusal_tells_what_for_and_since_when_and_how_many_wait(door, ann, bob, cid):
    door.locks_exclusively(ann, reason="calibration")
    door.locks_exclusively(bob, None)
    door.now += 200
    told = "DMM is locked by 10.0.0.1:1 ann (calibration), since 3 min ago"
    assert door.refusal_of(cid).text == f"{told}; 1 wait for it"
    waiting = [door.locks_exclusively(cid, timeout_s)[:] for timeout_s in (0.0, 1.0)]
    assert waiting[0][0].text == f"{told}; you were 2nd of 2 who wait"


def test_timeout_tells_the_place_among_those_who_wait(door, ann, bob, cid):
    door.locks_exclusively(ann)
    bobs, cids = door.locks_exclusively(bob, 30.0), door.locks_exclusively(cid, 20.0)
    door.passes_time(20)
    door.passes_time(10)
    told = "the time to wait is up: DMM is locked by 10.0.0.1:1 ann, since"
    assert cids[0].text == f"{told} 20 s ago; you were 2nd of 2 who wait"
    assert bobs[0].text == f"{told} 30 s ago; you were 1st of 1 who wait"


def test_description_has_the_seconds_that_are_left(door, ann):
    """All of them while a command is under way."""
    door.locks_exclusively(ann, ttl_s=10.0, reason="calibration")
    door.passes_time(4)
    [row] = door.described()["holders"]
    assert (row["reason"], row["ttl_s"], row["left_s"], row["held_s"]) == ("calibration", 10.0, 6.0, 4.0)
    door.busy.add(ann)
    assert door.described()["holders"][0]["left_s"] == 10.0


@pytest.mark.parametrize(
    ("number", "word"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_place_is_an_ordinal(number, word):
    assert _ordinal(number) == word


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (119, "119 s"), (150, "2 min"), (8000, "2 h")])
def test_time_that_has_passed_is_in_round_numbers(seconds, words):
    assert _ago(seconds) == f"{words} ago"


def test_reason_is_cut_and_printable():
    assert terms(None, " two\nlines\x1b[31m \t").reason == "two lines [31m"
    assert len(terms(None, "x" * 1000).reason) == REASON_LIMIT


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, math.nan, math.inf, TTL_LIMIT + 1])
def test_time_to_live_has_bounds(ttl_s):
    with pytest.raises(Failure, match="more than 0") as raised:
        terms(ttl_s, "")
    assert raised.value.token == "BAD_ARGUMENT"


def test_terms_are_for_the_record():
    assert Terms(2.5, "two words").in_words() == " ttl 2.5 reason two words"
    assert Terms().in_words() == ""
