"""The child's loop: one order from the front at a time, each answered, until Close or until the front is gone.

Runs in a process of its own, on one thread: while a VISA call hangs here, nothing here runs, and nothing here has to;
the front's deadline and the kernel do the rest (see `guard`).
"""

from multiprocessing.connection import Connection

import pyvisa.resources  # noqa: F401 - a warm child has imported all that an open needs
from pyvisa import highlevel

from instrument_proc import pipe
from instrument_proc.calls import CALLS, Exchange, Result
from instrument_proc.guard import DeathPipe, bound_orphan_close, lock_resource
from instrument_proc.libraries import CallError, VisaSession, attempt, canonical, find_all, load
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import FRAME_LIMIT


class Child:
    """Serves one front over `connection`."""

    def __init__(self, connection: Connection, death: DeathPipe, library: str) -> None:
        self._connection = connection
        self._death = death
        self._session: VisaSession | None = None
        self._parts: list[bytes] = []
        self._lock: int | None = None
        self._library: highlevel.VisaLibraryBase | None = None
        self._send(pipe.Warm(self._warm_up(library)))

    def _warm_up(self, specification: str) -> str:
        """Load what an open will want, and keep it; why that failed, if it did."""
        try:
            with self._death.armed():
                self._library = load(specification)
        except CallError as error:
            return f"the VISA library {specification!r} cannot be loaded: {error.text}"
        return ""

    def serve(self) -> None:
        """Answer orders until Close; an orphan closes its instrument, within bounds."""
        try:
            while True:
                order = pipe.decode_order(self._connection.recv_bytes(FRAME_LIMIT))
                with self._death.armed():
                    if isinstance(order, pipe.Close):
                        self._close()
                        self._send(pipe.Closed())
                        return
                    self._obey(order)
        except (EOFError, ConnectionError):
            bound_orphan_close()
            self._close()

    def _obey(self, order: pipe.Order) -> None:
        match order:
            case pipe.Part():
                self._parts.append(order.data)
            case pipe.Run():
                self._run(order)
            case pipe.Name():
                self._name(order.resource)
            case pipe.List():
                self._list(order.library)
            case pipe.Open():
                self._open(order)

    def _send(self, report: pipe.Report) -> None:
        self._connection.send_bytes(pipe.encode(report))

    def _name(self, resource: str) -> None:
        try:
            self._send(pipe.Named(canonical(resource), ""))
        except CallError as error:
            self._send(pipe.Named(None, error.text))

    def _list(self, specification: str) -> None:
        try:
            self._send(pipe.Listed(find_all(load(specification)), 0, "", ""))
        except CallError as error:
            self._send(pipe.Listed([], error.status, error.token, error.text))

    def _open(self, order: pipe.Open) -> None:
        try:
            self._lock = attempt(lambda: lock_resource(order.lock_file))
            self._session = VisaSession(order.library, order.resource)
            local = self._session.local_attributes()
            for attribute, state in order.attributes:
                self._session.set_attribute(attribute, state)
        except CallError as error:
            self._send(pipe.Opened(error.status, error.token, error.text, False, []))
            return
        self._send(pipe.Opened(0, "", "", self._session.marks_end, local))

    def _run(self, order: pipe.Run) -> None:
        data = b"".join([*self._parts, order.data])
        self._parts.clear()
        assert self._session is not None, "the front runs nothing before Opened"
        exchange = Exchange(
            self._session,
            data,
            written=lambda: self._send(pipe.Written(order.ticket)),
            piece=lambda piece: self._send(pipe.Piece(order.ticket, piece)),
        )
        try:
            for attribute, state in order.attributes:
                self._session.set_attribute(attribute, state)
            self._send(pipe.Started(order.ticket))
            result: Result = CALLS[order.call](exchange, *order.arguments)
        except CallError as error:
            self._send(
                pipe.Done(
                    order.ticket,
                    error.status,
                    token=error.token,
                    effect=exchange.effect_of(error),
                    dirty=exchange.dirty,
                    text=error.text,
                )
            )
            return
        self._send(
            pipe.Done(
                order.ticket,
                result.status,
                result.value,
                result.data,
                effect=Effect.DONE,
                dirty=exchange.dirty,
            )
        )

    def _close(self) -> None:
        if self._session is None:
            return
        try:
            self._session.close()
        except CallError:
            return  # the process ends now; the kernel closes what the library could not
