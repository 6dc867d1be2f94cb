"""The aborter: cuts a call short that waits, by a device clear from a thread of its own, when the front says so.

Runs in the child, and only where the VISA library lets one thread clear the device while another waits in it
(`libraries.clears_while_waiting`). The thread sleeps in a read until there is something to abort.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from instrument_proc import pipe
from instrument_proc.failures import AbortedError, CallError


class Aborter:
    """Takes the front's aborts from `orders`."""

    def __init__(self, orders: Connection) -> None:
        self._orders = orders
        #: Held while the device is cleared: what was aborted ends after that.
        self._lock = threading.Lock()
        self._ticket: int | None = None
        self._is_cleared = False
        self.is_listening = False

    def start(self, clear: Callable[[], object]) -> None:
        """Listen from now on; `clear` is viClear."""
        self.is_listening = True
        threading.Thread(target=self._listen, args=(clear,), name="aborter", daemon=True).start()

    @contextmanager
    def may_abort(self, ticket: int) -> Iterator[None]:
        """Within this, an abort of `ticket` clears the device. Raises AbortedError in the place of the CallError by
        which it then ends."""
        with self._lock:
            self._ticket, self._is_cleared = ticket, False
        try:
            yield
        except CallError as error:
            if self._was_cleared() and not isinstance(error, AbortedError):
                raise AbortedError from error
            raise
        finally:
            with self._lock:
                self._ticket = None

    def check(self) -> None:
        """Raises AbortedError if the device was cleared: what was written may be lost, and nothing is to follow."""
        if self.is_listening and self._was_cleared():
            raise AbortedError

    def _was_cleared(self) -> bool:
        with self._lock:
            return self._is_cleared

    def _listen(self, clear: Callable[[], object]) -> None:
        while True:
            try:
                ticket = pipe.decode_abort(self._orders.recv_bytes()).ticket
            except EOFError:
                return  # the front is gone; the main thread sees to the rest
            with self._lock:
                if ticket == self._ticket:
                    self._is_cleared = _is_done(clear)


def _is_done(clear: Callable[[], object]) -> bool:
    try:
        clear()
    except CallError:
        return False  # the front has another way when its patience ends
    return True
