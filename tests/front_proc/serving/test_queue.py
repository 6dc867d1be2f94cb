"""The queue is fair between clients and keeps the order within a session."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from front_proc.serving.queue import FairQueue
from front_proc.serving.sessions import Client, Session
from front_proc.serving.tickets import Ticket

#: Who asks: (client, which of its two sessions).
askers = st.tuples(st.integers(0, 3), st.integers(0, 1))


class People:
    """Clients with two sessions each, and what they asked in order."""

    def __init__(self):
        self.clients = [Client(f"10.0.0.1:{number}") for number in range(4)]
        self.sessions = {
            (number, which): Session(client, None) for number, client in enumerate(self.clients) for which in range(2)
        }
        self.queue = FairQueue()
        self.asked = []

    def ask(self, asker, call="query"):
        ticket = Ticket(self.sessions[asker], call, lambda _: None, lambda _: None, number=len(self.asked))
        self.asked.append(ticket)
        self.queue.add(ticket)
        return ticket

    def serve(self, may_go=lambda _: True):
        ticket = self.queue.head(may_go)
        if ticket is not None:
            self.queue.take(ticket)
        return ticket


@given(st.lists(askers))
def test_queue_serves_everything_once(order):
    """Nothing is lost, nothing twice."""
    people = People()
    for asker in order:
        people.ask(asker)
    assert len(people.queue) == len(order)
    served = [people.serve() for _ in order]
    assert sorted(ticket.number for ticket in served) == list(range(len(order)))
    assert people.serve() is None
    assert not people.queue


@given(st.lists(st.one_of(askers, st.none()), max_size=60))
def test_queue_keeps_each_client_s_order_when_it_is_served_meanwhile(steps):
    """First come, first served, within a client and so within each of its sessions. None serves one."""
    people, served = People(), []
    for step in steps:
        if step is not None:
            people.ask(step)
        elif (ticket := people.serve()) is not None:
            served.append(ticket)
    while (ticket := people.serve()) is not None:
        served.append(ticket)
    for client in people.clients:
        numbers = [ticket.number for ticket in served if ticket.session.client is client]
        assert numbers == sorted(numbers)


@given(st.lists(st.one_of(askers, st.none()), max_size=60))
def test_queue_never_serves_a_client_twice_while_another_waits_all_along(steps):
    """Round-robin: between two turns of one client, every other that waited had one."""
    people, waited_since = People(), {}
    for step in steps:
        if step is not None:
            ticket = people.ask(step)
            waited_since.setdefault(ticket.session.client, Counter())
            continue
        ticket = people.serve()
        if ticket is None:
            continue
        for other, turns in waited_since.items():
            if other is not ticket.session.client:
                turns[ticket.session.client] += 1
                assert turns[ticket.session.client] <= 1
        if people.queue.waiting_of(ticket.session.client):
            waited_since[ticket.session.client] = Counter()
        else:
            del waited_since[ticket.session.client]


@given(st.lists(askers), askers)
def test_only_those_who_may_go_are_served(order, holder):
    """A holder, in its order; everybody else waits."""
    people = People()
    for asker in order:
        people.ask(asker)
    session = people.sessions[holder]
    served = []
    while (ticket := people.serve(lambda ticket: ticket.session is session)) is not None:
        served.append(ticket)
    assert served == [ticket for ticket in people.asked if ticket.session is session]
    assert len(people.queue) == len(order) - len(served)


@given(st.lists(st.tuples(askers, st.sampled_from(["query", "read_stb"]))), askers)
def test_who_may_pass_others_does_not_pass_its_own_session(order, holder):
    """The status byte is read while another's answer is awaited, but not before what its own session asked first."""
    people = People()
    for asker, call in order:
        people.ask(asker, call)
    session, served = people.sessions[holder], []
    while ticket := people.serve(lambda ticket: ticket.session is session or ticket.call == "read_stb"):
        served.append(ticket)
    for other in people.sessions.values():
        mine = [ticket for ticket in people.asked if ticket.session is other]
        may_go = (
            len(mine) if other is session else next((i for i, t in enumerate(mine) if t.call == "query"), len(mine))
        )
        assert [ticket for ticket in served if ticket.session is other] == mine[:may_go]


@given(st.lists(askers), st.sets(askers))
def test_withdrawn_are_exactly_those_asked_for(order, leaving):
    """And nobody else loses a turn or a place."""
    people, others = People(), People()
    for asker in order:
        people.ask(asker)
        if asker not in leaving:
            others.ask(asker)
    gone = {people.sessions[asker] for asker in leaving}
    withdrawn = people.queue.withdraw(lambda ticket: ticket.session in gone)
    assert sorted(ticket.number for ticket in withdrawn) == [
        ticket.number for ticket in people.asked if ticket.session in gone
    ]
    assert people.queue.withdraw(lambda ticket: ticket.session in gone) == []
    left = [ticket for ticket in people.asked if ticket.session not in gone]
    assert sorted(ticket.number for ticket in people.queue) == [ticket.number for ticket in left]
    for client in people.clients:
        mine = [ticket for ticket in left if ticket.session.client is client]
        assert people.queue.waiting_of(client) == len(mine)
        assert [ticket for ticket in people.queue if ticket.session.client is client] == mine


@given(st.lists(askers, min_size=1))
def test_head_is_not_taken_until_it_is_served(order):
    """Looking changes nothing."""
    people = People()
    for asker in order:
        people.ask(asker)
    assert people.queue.first() is people.queue.first()
    assert len(people.queue) == len(order)
