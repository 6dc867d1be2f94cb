"""Who is let in, and who of them may work."""

import pytest

from front_proc.access.admission import DESCRIPTOR_RESERVE, Admission, kicked_by
from front_proc.access.rights import EVERYTHING
from front_proc.serving.sessions import Client
from pyvisa_daemon.errors import Failure

LIMIT, RESERVE = 3, 2

#: Of descriptors: how many there may be, and one from which on they are kept.
DESCRIPTORS = 64
KEPT = DESCRIPTORS - DESCRIPTOR_RESERVE


class Door:
    """An admission, and clients that come to it."""

    def __init__(self):
        self.admission = Admission(LIMIT, RESERVE)

    def comes(self, *, is_loopback=True, descriptor=20):
        """The client, or None if it was not let in."""
        client = Client("10.0.0.9:1", is_loopback=is_loopback, rights=EVERYTHING)
        return client if self.admission.admit(client, descriptor, DESCRIPTORS) else None

    def may_work(self, client):
        return self.admission.may_work(client, lambda: DESCRIPTORS)


@pytest.fixture
def door():
    return Door()


def test_as_many_as_the_limit_says_may_work(door):
    """From wherever they come."""
    clients = [door.comes(is_loopback=number % 2 == 0) for number in range(LIMIT)]
    assert all(map(door.may_work, clients))
    assert door.comes(is_loopback=False) is None


def test_few_more_from_loopback_are_let_in_but_may_not_work(door):
    """So that somebody can always look, and stop the daemon."""
    for _ in range(LIMIT):
        door.comes(is_loopback=False)
    extra = [door.comes() for _ in range(RESERVE)]
    assert not any(map(door.may_work, extra))
    assert door.comes() is None
    assert len(door.admission.clients) == LIMIT + RESERVE


def test_place_of_who_left_goes_to_who_asks_for_it_first(door):
    """Be that one of the reserve, who may work from then on, or somebody new."""
    first, *_ = [door.comes(is_loopback=False) for _ in range(LIMIT)]
    one, other = door.comes(), door.comes()
    door.admission.leave(first)
    assert door.may_work(one)
    assert not door.may_work(other)
    door.admission.leave(one)
    assert door.comes(is_loopback=False) is not None
    assert not door.may_work(other)


def test_reserve_is_free_again_when_its_client_left(door):
    """It does not count as a place to work."""
    clients = [door.comes() for _ in range(LIMIT)]
    extra = [door.comes() for _ in range(RESERVE)]
    door.admission.leave(extra[0])
    assert door.comes(is_loopback=False) is None
    assert door.comes() is not None
    door.admission.leave(clients[0])
    assert door.comes(is_loopback=False) is not None


def test_last_descriptors_are_for_no_client(door):
    """But for the few who look; and those stay what they are, however many descriptors are free later."""
    assert door.may_work(door.comes(descriptor=KEPT - 1))
    assert door.comes(is_loopback=False, descriptor=KEPT) is None
    looker = door.comes(descriptor=KEPT)
    assert not door.may_work(looker)
    assert door.admission.may_work(looker, lambda: 2 * DESCRIPTORS), "the administrator raised the limit"


def test_who_left_may_not_be_asked_twice(door):
    """The end of a connection is told once, or more often."""
    client = door.comes()
    door.admission.leave(client)
    door.admission.leave(client)
    assert not door.admission.clients


# Strangers.


def stranger(door, *, is_loopback=False, descriptor=20):
    client = Client("10.0.0.9:1", is_loopback=is_loopback)
    return client if door.admission.admit(client, descriptor, DESCRIPTORS) else None


def test_strangers_take_no_place_of_those_who_work():
    """And none is taken for them by those."""
    door = Door()
    some = [stranger(door) for _ in range(10)]
    assert all(some)
    clients = [door.comes(is_loopback=False) for _ in range(LIMIT)]
    assert all(clients)
    assert door.comes(is_loopback=False) is None
    assert stranger(door) is not None


def test_oldest_stranger_makes_room_for_the_newest():
    """So who connects and says nothing keeps nobody out."""
    admission = Admission(LIMIT, strangers=2)
    first, second, third = (Client(f"10.0.0.9:{number}") for number in range(3))
    for client in (first, second):
        assert admission.admit(client, 20, DESCRIPTORS)
        assert admission.one_too_many() is None
    assert admission.admit(third, 20, DESCRIPTORS)
    assert admission.one_too_many() is first
    admission.leave(first)
    assert admission.one_too_many() is None


def test_stranger_that_is_one_no_more_has_a_place_if_there_is_one():
    """From loopback one of the reserve; from elsewhere it stays a stranger."""
    door = Door()
    strangers = [stranger(door) for _ in range(LIMIT + 1)]
    assert [door.admission.recognise(client) for client in strangers] == [True] * LIMIT + [False]
    assert door.may_work(strangers[0])
    local = stranger(door, is_loopback=True)
    assert door.admission.recognise(local)
    assert not door.may_work(local)
    door.admission.leave(strangers[0])
    assert door.may_work(local)
    assert not door.admission.recognise(strangers[-1])


def test_stranger_is_let_in_only_while_there_are_descriptors():
    door = Door()
    assert stranger(door, descriptor=KEPT) is None
    assert stranger(door, descriptor=KEPT - 1) is not None


# Who is sent away.


def people():
    return {
        name: Client(address, name=called)
        for name, address, called in [
            ("ann", "10.0.0.1:1", "ann"),
            ("bob", "10.0.0.2:1", "bob"),
            ("bobs other", "10.0.0.2:2", "bob"),
            ("impostor", "10.0.0.3:1", "10.0.0.1:1"),
        ]
    }


@pytest.mark.parametrize(
    ("who", "all_of_name", "meant"),
    [
        ("ann", False, ["ann"]),
        ("ann", True, ["ann"]),
        ("bob", True, ["bob", "bobs other"]),
        ("10.0.0.2:2", False, ["bobs other"]),
        ("10.0.0.1:1", True, ["ann"]),
    ],
)
def test_client_is_meant_by_its_address_or_its_name(who, all_of_name, meant):
    """Nobody takes another's place by calling itself by that one's address."""
    clients = people()
    assert kicked_by(who, set(clients.values()), all_of_name=all_of_name) == [clients[name] for name in meant]


@pytest.mark.parametrize(
    ("who", "says"),
    [("bob", "2 clients are called bob: 10.0.0.2:1, 10.0.0.2:2"), ("cid", "no other client is called cid")],
)
def test_nobody_is_meant_by_a_name_that_is_not_that_of_one(who, says):
    """Several are meant only if all are."""
    with pytest.raises(Failure, match=says) as raised:
        kicked_by(who, set(people().values()), all_of_name=False)
    assert raised.value.token == "BAD_ARGUMENT"
