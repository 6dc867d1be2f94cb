"""Who is let in: so many clients, and from loopback a few more, who may look and stop the daemon but not work.

Strangers, who have no rights before they show a token, take no place of a client's. They have a few of their own, and
when those are taken the one goes that has been here longest: so nobody keeps others out by connecting and saying
nothing, for who has a token shows it at once.

Pure. Runs in the front. Two things can be short: places, of which `[limits]` says how many there are, and descriptors,
of which some are kept for the processes of instruments, for logs, and for the clients that are being refused.
"""

from collections.abc import Callable

from front_proc.configuration.limits import DEFAULTS
from front_proc.serving.sessions import Client
from pyvisa_daemon.errors import Failure

#: Descriptors that no client gets, but those of the reserve.
DESCRIPTOR_RESERVE = 24


class Admission:
    """The clients that are connected. `limit` is how many may work at once, `reserve` how many loopback has beyond,
    `strangers` how many have no rights yet."""

    def __init__(
        self, limit: int, reserve: int = DEFAULTS.reserved_clients, strangers: int = DEFAULTS.strangers
    ) -> None:
        self._limit = limit
        self._reserve = reserve
        self._most_strangers = strangers
        self.clients: set[Client] = set()
        #: Those who came when there was no room for them, and the descriptors of their connections.
        self._in_reserve: dict[Client, int] = {}
        #: Those without rights, in the order in which they came, and the descriptors of their connections.
        self._strangers: dict[Client, int] = {}

    def limit(self, limit: int, reserve: int, strangers: int) -> None:
        """Other numbers hold from now on, for who comes."""
        self._limit, self._reserve, self._most_strangers = limit, reserve, strangers

    def admit(self, client: Client, descriptor: int, descriptors: int) -> bool:
        """Count a new client in, if there is room.

        `descriptor` is its connection's, of `descriptors` that the process may have: the lowest that was free, so a
        high one means that few are left.
        """
        if client.is_stranger and not is_short(descriptor, descriptors):
            self._strangers[client] = descriptor
        elif is_short(descriptor, descriptors) or self._is_full():
            if not client.is_loopback or len(self._in_reserve) >= self._reserve:
                return False
            self._in_reserve[client] = descriptor
        self.clients.add(client)
        return True

    def one_too_many(self) -> Client | None:
        """The stranger that has to make room, if there are too many."""
        return next(iter(self._strangers)) if len(self._strangers) > self._most_strangers else None

    def recognise(self, client: Client) -> bool:
        """A stranger is none any more: is there a place for it?"""
        if client not in self._strangers:
            return client in self.clients
        if self._is_full():
            if not client.is_loopback or len(self._in_reserve) >= self._reserve:
                return False
            self._in_reserve[client] = self._strangers[client]
        del self._strangers[client]
        return True

    def may_work(self, client: Client, count_descriptors: Callable[[], int]) -> bool:
        """May it do more than look and stop? Who came when there was no room may as soon as there is."""
        if client not in self._in_reserve:
            return True
        if is_short(self._in_reserve[client], count_descriptors()) or self._is_full():
            return False
        del self._in_reserve[client]
        return True

    def leave(self, client: Client) -> None:
        self.clients.discard(client)
        self._in_reserve.pop(client, None)
        self._strangers.pop(client, None)

    def _is_full(self) -> bool:
        return len(self.clients) - len(self._in_reserve) - len(self._strangers) >= self._limit


def kicked_by(who: str, clients: set[Client], *, all_of_name: bool) -> list[Client]:
    """Whom of `clients` `who` means: the one with that address, or those with that name. Raises
    Failure(BAD_ARGUMENT) for nobody, and for several unless all are meant."""
    meant = [client for client in clients if client.address == who]
    meant = meant or sorted((client for client in clients if client.name == who), key=lambda client: client.address)
    if not meant:
        raise Failure("BAD_ARGUMENT", f"no other client is called {who}; `connections` in the status has them all")
    if len(meant) > 1 and not all_of_name:
        addresses = ", ".join(client.address for client in meant)
        raise Failure("BAD_ARGUMENT", f"{len(meant)} clients are called {who}: {addresses}; say which, or {who} all")
    return meant


def is_short(descriptor: int, descriptors: int) -> bool:
    """Is a connection's descriptor one of those that are kept?"""
    return descriptor >= descriptors - DESCRIPTOR_RESERVE
