"""The queue of one resource: round-robin between clients, first come first served within a session.

Pure: no clock, no I/O. Runs in the front.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from front_proc.serving.sessions import Client, Session
from front_proc.serving.tickets import Ticket


class FairQueue:
    """Waiting tickets, by client in the order of their turns."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Client, deque[Ticket]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Ticket]:
        for tickets in self._waiting.values():
            yield from tickets

    def waiting_of(self, client: Client) -> int:
        """How many tickets this client has waiting."""
        return len(self._waiting.get(client, ()))

    def add(self, ticket: Ticket) -> None:
        """Last of its client's; a client new to the queue has its turn after all others."""
        self._waiting.setdefault(ticket.session.client, deque()).append(ticket)

    def next_of(self, session: Session) -> Ticket | None:
        """The oldest ticket of this session."""
        tickets = self._waiting.get(session.client, ())
        return next((ticket for ticket in tickets if ticket.session is session), None)

    def first(self) -> Ticket | None:
        """Whose turn it is."""
        for tickets in self._waiting.values():
            return tickets[0]
        return None

    def head(self, may_go: Callable[[Ticket], bool]) -> Ticket | None:
        """Whose turn it is, among those that `may_go`; none overtakes an older ticket of its own session."""
        for tickets in self._waiting.values():
            kept: set[Session] = set()
            for ticket in tickets:
                if ticket.session not in kept and may_go(ticket):
                    return ticket
                kept.add(ticket.session)
        return None

    def take(self, ticket: Ticket) -> None:
        """`ticket` is served: its client's next turn comes after all others'."""
        self._remove(ticket)
        if ticket.session.client in self._waiting:
            self._waiting.move_to_end(ticket.session.client)

    def withdraw(self, belongs: Callable[[Ticket], bool]) -> list[Ticket]:
        """Remove and return, in order, the tickets of which `belongs` says so."""
        withdrawn = [ticket for ticket in self if belongs(ticket)]
        for ticket in withdrawn:
            self._remove(ticket)
        return withdrawn

    def _remove(self, ticket: Ticket) -> None:
        client = ticket.session.client
        tickets = self._waiting[client]
        tickets.remove(ticket)
        if not tickets:
            del self._waiting[client]
