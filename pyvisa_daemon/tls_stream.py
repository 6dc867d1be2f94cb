"""One end of a TLS connection, as bytes in and bytes out: no socket, no clock, no thread.

Runs in the front (its `tls_door`) and in the user's process (`tls`). What comes from the network is given to
`receive`, what is to go there is taken from `to_send`, after every other call. Every method raises `ssl.SSLError` when
the other side breaks the rules; the connection is then of no use, but an alert may be in `to_send`.
"""

import contextlib
import ssl
from typing import cast


class TlsStream:
    """The client's end if it is told the server's `name`, which its certificate must be for; else the server's."""

    def __init__(self, context: ssl.SSLContext, name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sealed = context.wrap_bio(self._incoming, self._outgoing, server_side=name is None, server_hostname=name)
        #: The handshake is done: each side may write.
        self.is_open = False
        #: The other side has said that it will write no more (close_notify). An end without that may be somebody else's
        #: work.
        self.is_at_end = False

    def receive(self, data: bytes | memoryview) -> None:
        """What came from the network."""
        self._incoming.write(data)

    def to_send(self) -> bytes:
        """What is to go there; each byte once."""
        return self._outgoing.read()

    def shake_hands(self) -> bool:
        """Go on with the handshake: is it done?"""
        try:
            self._sealed.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.is_open = True
        return True

    def read_into(self, room: memoryview) -> int:
        """As much plain text as has come and has room; 0 if none is there, or will come."""
        filled = 0
        try:
            while filled < len(room) and not self.is_at_end and (self._incoming.pending or self._sealed.pending()):
                count = cast(int, self._sealed.read(len(room) - filled, room[filled:]))  # bytes only without a buffer
                self.is_at_end = not count
                filled += count
        except ssl.SSLWantReadError:
            pass  # a part of a record
        except ssl.SSLZeroReturnError:
            self.is_at_end = True
        return filled

    def write(self, data: bytes | memoryview) -> None:
        """All of it: `to_send` has it, sealed."""
        if len(data):
            self._sealed.write(data)

    def end(self) -> None:
        """Say that no more is written (close_notify). What the other side still writes is not read any more."""
        with contextlib.suppress(ssl.SSLError):  # it was said: that it has no answer yet is no matter
            self._sealed.unwrap()

    def certificate(self) -> bytes:
        """The other side's, in DER."""
        return self._sealed.getpeercert(binary_form=True) or b""

    def certificate_in_words(self) -> dict[str, object]:
        """The other side's, as `SSLSocket.getpeercert` tells it."""
        return dict(self._sealed.getpeercert() or {})
