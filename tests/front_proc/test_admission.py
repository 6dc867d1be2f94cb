"""Who is let in, and who of them may work."""

import pytest

from front_proc.admission import DESCRIPTOR_RESERVE, Admission
from front_proc.sessions import Client

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
        client = Client("10.0.0.9:1", is_loopback=is_loopback)
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
