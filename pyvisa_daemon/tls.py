"""TLS for a connection to a daemon: whom to trust, the handshake, and a relay behind which it looks like any socket.

Runs in the user's process; imported, and `ssl` with it, by whoever connects in TLS and nobody else. There is no way to
leave the certificate unverified.

`channel` has its socket tuned to the microsecond, sends from one thread while another receives, and loses nothing to a
Ctrl-C because each transfer is one call of C. None of that an SSLSocket can do. So it is given one end of a pair of
plain sockets, and a thread moves the bytes between the other end and the network: the only one that touches TLS.
What one side has sent and the other does not take yet is held back, not gathered.
"""

import contextlib
import os
import socket
import ssl
import threading
from pathlib import Path
from time import monotonic
from weakref import ref

from pyvisa_daemon.sockets import Wanted, is_ready, wait_for_any
from pyvisa_daemon.tls_stream import TlsStream

#: Bytes moved at once.
_PIECE = 1 << 18

#: Seconds for what was sent last to reach the network: when the program closes the connection, and when it ends.
_LAST_WORDS = 5.0

#: What a TLS server can begin with: a handshake or an alert, of SSL 3 or later.
_BEGINNINGS = (b"\x16\x03", b"\x15\x03")

#: OpenSSL's X509_V_ERR_ numbers, and what to do about them.
_NOT_KNOWN = "it is not known here: give it, or your CA's, with ?ca_file=FILE or PYVISA_DAEMON_CA_FILE"
_REMEDIES = dict.fromkeys((7, 18, 19, 20, 21, 30), _NOT_KNOWN) | {
    9: "it is not valid yet: look at the clocks of both machines",
    10: "it has expired: the daemon needs a new one",
    62: "it is for another name: connect by a name that is in it, or have one made with this name",
    64: "it is for another address: connect by a name or an address that is in it, or have one made with this one",
}

#: All that run, for a forked process and for the end of this one.
_relays: "set[_Relay]" = set()

#: Their threads.
_threads: set[int] = set()


def secure(connection: socket.socket, host: str, ca_file: str | None, deadline: float) -> socket.socket:
    """A plain socket, whose bytes go through `connection` in TLS, once the host has proved who it is.

    `connection` does not block, and is the relay's from here on. `ca_file`: who is trusted, a CA or the very
    certificate; None: whom this system trusts. Raises ConnectionError, with what to do.
    """
    stream = TlsStream(_context(ca_file), host.partition("%")[0])
    try:
        _shake_hands(connection, stream, deadline)
    except ssl.SSLCertVerificationError as error:
        remedy = _REMEDIES.get(error.verify_code, error.verify_message)
        raise ConnectionError(f"its certificate is not accepted: {remedy}") from error
    except ssl.SSLError as error:
        raise ConnectionError(f"no TLS connection can be agreed on: {error.reason or error}") from error
    ours, theirs = socket.socketpair()
    relay = _Relay(connection, theirs, stream, ours)
    try:
        relay.start()
    except BaseException:
        ours.close()
        raise
    return ours


def is_relaying() -> bool:
    """Is this thread a relay's? Then it runs a finaliser of somebody else's, and bytes wait for it to end."""
    return threading.get_ident() in _threads


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, and checks the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
        return context
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a server's own certificate is trusted without its CA's
    try:
        context.load_verify_locations(Path(ca_file).expanduser())
    except (OSError, RuntimeError) as error:  # SSLError is an OSError; RuntimeError: no such user in ~USER
        reason = "no certificate in PEM form is in it" if isinstance(error, ssl.SSLError) else error
        raise ConnectionError(f"the ca_file {ca_file} cannot be used: {reason}") from error
    return context


def _shake_hands(connection: socket.socket, stream: TlsStream, deadline: float) -> None:
    """Raises ssl.SSLError, and ConnectionError for a server that does not speak TLS, or not at all."""
    begun = b""
    try:
        while not stream.shake_hands():
            connection.sendall(stream.to_send())  # much less than an empty send buffer takes
            if not is_ready(connection, False, max(0.0, deadline - monotonic())):
                raise ConnectionError("nothing comes back in the TLS handshake; is the daemon stopped or stuck?")
            data = connection.recv(_PIECE)
            if not data:
                raise ConnectionError("it hung up in the TLS handshake; is there a TLS port of a daemon?")
            begun = begun or data
            if not begun.startswith(tuple(start[: len(begun)] for start in _BEGINNINGS)):
                raise ConnectionError("it speaks no TLS there; give the daemon's TLS port, or ?tls=0 to do without")
            stream.receive(data)
    finally:
        with contextlib.suppress(OSError):  # the last word of the handshake, or why there will be none
            connection.sendall(stream.to_send())


class _Relay:
    """Moves bytes between `inner`, plain, and `outer`, sealed, in a thread that ends with either.

    `program` is the other end of `inner`, which belongs to somebody else.
    """

    def __init__(self, outer: socket.socket, inner: socket.socket, stream: TlsStream, program: socket.socket) -> None:
        self._outer, self._inner, self._stream = outer, inner, stream
        self._program = ref(program)
        self._outward = memoryview(b"")  # read from one side, and not yet taken by the other
        self._inward = memoryview(b"")
        self._room = memoryview(bytearray(_PIECE))
        self._thread = threading.Thread(target=self._run, name="TLS of a daemon's connection", daemon=True)

    def start(self) -> None:
        self._inner.setblocking(False)
        _relays.add(self)
        try:
            self._thread.start()
        except BaseException:
            if not self._thread.is_alive():  # no more threads; after a Ctrl-C it is there, and ends by itself
                _relays.discard(self)
                self._inner.close()
            raise

    def finish(self, deadline: float) -> None:
        """The program ends: what it has sent is to go out nevertheless."""
        program = self._program()
        if program is not None:
            with contextlib.suppress(OSError):
                program.shutdown(socket.SHUT_WR)
        self._thread.join(max(0.0, deadline - monotonic()))

    def leave_to_parent(self) -> None:
        """In a forked process, which has no thread of this: a copy left open would keep the connection alive."""
        self._outer.close()
        self._inner.close()

    def _run(self) -> None:
        # Whatever goes wrong out there, the program sees the end of its connection.
        _threads.add(threading.get_ident())
        with contextlib.suppress(OSError), self._outer, self._inner:  # SSLError is an OSError
            try:
                self._move()
            finally:
                _threads.discard(threading.get_ident())
                _relays.discard(self)
                self._outer.shutdown(socket.SHUT_RDWR)  # whatever forked processes have of it

    def _move(self) -> None:
        """Nothing is read from one side while the other has not taken what was read before."""
        self._take()  # what came with the end of the handshake
        is_going_on = True
        while is_going_on and not (self._stream.is_at_end and not self._inward):
            outer, inner = wait_for_any(
                Wanted(self._outer, reading=not self._inward, writing=bool(self._outward)),
                Wanted(self._inner, reading=not self._outward, writing=bool(self._inward)),
            )
            if outer.is_broken and not outer.reading:
                return
            if outer.writing:
                self._outward = _send(self._outer, self._outward)
            if inner.writing:
                self._inward = _send(self._inner, self._inward)
                self._take()
            if outer.reading:
                is_going_on = self._from_network()
            if inner.is_broken or (inner.reading and not self._from_program()):
                self._say_goodbye()
                return

    def _from_network(self) -> bool:
        """False if there will be no more. Raises OSError."""
        data = self._outer.recv(_PIECE)
        self._stream.receive(data)
        self._take()
        return bool(data)

    def _take(self) -> None:
        """Hands in what has come, as far as it is taken."""
        while not self._inward:
            count = self._stream.read_into(self._room)
            if not self._outward:  # there may be an answer of TLS's own
                self._outward = _send(self._outer, memoryview(self._stream.to_send()))
            if not count:
                return
            self._inward = memoryview(bytes(_send(self._inner, self._room[:count])))

    def _from_program(self) -> bool:
        """False if there will be no more. Raises OSError."""
        data = self._inner.recv(_PIECE)
        self._stream.write(data)
        self._outward = _send(self._outer, memoryview(self._stream.to_send()))
        return bool(data)

    def _say_goodbye(self) -> None:
        """The program has closed: what it sent before goes out, if the network takes it in time. Raises OSError."""
        self._outer.settimeout(_LAST_WORDS)
        self._outer.sendall(self._outward)
        with contextlib.suppress(BlockingIOError):
            while data := self._inner.recv(_PIECE):
                self._stream.write(data)
                self._outer.sendall(self._stream.to_send())
        self._stream.end()
        self._outer.sendall(self._stream.to_send())


def _send(to: socket.socket, data: memoryview) -> memoryview:
    """What of it was not taken. Raises OSError."""
    while data:
        try:
            data = data[to.send(data) :]
        except BlockingIOError:
            break
    return data


def finish_all() -> None:
    """The program ends: see `hosts`."""
    deadline = monotonic() + _LAST_WORDS
    for relay in _relays.copy():
        relay.finish(deadline)


def _leave_all_to_parent() -> None:
    for relay in _relays.copy():
        relay.leave_to_parent()
    _relays.clear()
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
