"""Who is let in: so many clients, and from loopback a few more, who may look and stop the daemon but not work.

Pure. Runs in the front. Two things can be short: places, of which `[limits]` says how many there are, and descriptors,
of which some are kept for the processes of instruments, for logs, and for the clients that are being refused.
"""

from collections.abc import Callable

from front_proc.sessions import Client

#: Descriptors that no client gets, but those of the reserve.
DESCRIPTOR_RESERVE = 24


class Admission:
    """The clients that are connected. `limit` is how many may work at once, `reserve` how many loopback has beyond."""

    def __init__(self, limit: int, reserve: int) -> None:
        self._limit = limit
        self._reserve = reserve
        self.clients: set[Client] = set()
        #: Those who came when there was no room for them, and the descriptors of their connections.
        self._in_reserve: dict[Client, int] = {}

    def admit(self, client: Client, descriptor: int, descriptors: int) -> bool:
        """Count a new client in, if there is room.

        `descriptor` is its connection's, of `descriptors` that the process may have: the lowest that was free, so a
        high one means that few are left.
        """
        if is_short(descriptor, descriptors) or self._is_full():
            if not client.is_loopback or len(self._in_reserve) >= self._reserve:
                return False
            self._in_reserve[client] = descriptor
        self.clients.add(client)
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

    def _is_full(self) -> bool:
        return len(self.clients) - len(self._in_reserve) >= self._limit


def is_short(descriptor: int, descriptors: int) -> bool:
    """Is a connection's descriptor one of those that are kept?"""
    return descriptor >= descriptors - DESCRIPTOR_RESERVE
