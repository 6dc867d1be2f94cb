"""A channel whose bytes a relay moves (see `tls`): one thread more in which the collector may strike.

Runs in the user's process. Whatever a finaliser asks in a relay's thread, an answer would have to come through that
very thread, or through another relay's whose collector waits for this one. So there it may say something, as where it
has interrupted the channel's own work, and wait for nothing.
"""

from pyvisa_daemon.channel import Channel
from pyvisa_daemon.errors import Effect, Failure
from pyvisa_daemon.exchange import Waiter
from pyvisa_daemon.tls import is_relaying


class RelayedChannel(Channel):
    """As any other, to everybody but finalisers."""

    @property
    def is_interrupted(self) -> bool:
        return is_relaying() or super().is_interrupted

    def wait_for(self, waiter: Waiter, limit: float | None) -> bool:
        if not waiter.is_done and is_relaying():
            raise Failure(
                "VI_ERROR_SYSTEM_ERROR",
                "a finaliser that interrupted the relay of a TLS connection cannot wait for an answer",
                Effect.MAYBE,
            )
        return super().wait_for(waiter, limit)

    def _flush(self) -> None:
        if is_relaying():
            self._alone("send", self._send, False)  # what the relay does not take now goes out before the next request
        else:
            super()._flush()
