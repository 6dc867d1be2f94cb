"""The child's loop: one order from the front at a time, each answered, until Close or until the front is gone.

Runs in a process of its own, on one thread: while a VISA call hangs here, nothing here runs, and nothing here has to;
the front's deadline and the kernel do the rest (see `guard`).
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import pyvisa.resources  # noqa: F401 - a warm child has imported all that an open needs
from pyvisa import highlevel
from pyvisa.constants import StatusCode

from instrument_proc import pipe
from instrument_proc.aborter import Aborter
from instrument_proc.calls import CALLS, WRITES, Exchange, Result
from instrument_proc.failures import AbortedError, CallError
from instrument_proc.guard import DeathPipe, ResourceBusyError, bound_orphan_close, lock_resource
from instrument_proc.libraries import canonical, find_all, load
from instrument_proc.visa_session import VisaSession
from pyvisa_daemon.framing import FRAME_LIMIT, FrameError


class Child:
    """Serves one front over `connection`."""

    def __init__(self, connection: Connection, death: DeathPipe, aborts: Connection, library: str) -> None:
        self._connection = connection
        self._death = death
        self._aborter = Aborter(aborts)
        self._session: VisaSession | None = None
        self._lock: int | None = None
        self._library: highlevel.VisaLibraryBase | None = None
        #: A library may tell of events from a thread of its own.
        self._sending = threading.Lock()
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
        is_over = False
        try:
            while not is_over:
                order = pipe.decode_order(self._connection.recv_bytes(FRAME_LIMIT))
                is_over = isinstance(order, pipe.Close)
                with self._death.armed():
                    report = self._obey(order)
                self._send(report)
        except (EOFError, ConnectionError):
            bound_orphan_close()
            self._close()

    def _obey(self, order: pipe.Order) -> pipe.Report:
        """Carry out one order; the report that ends it."""
        match order:
            case pipe.Run():
                return self._run(order)
            case pipe.Part():
                raise FrameError("data that belongs to no order")
            case pipe.Name():
                return self._name(order.resource)
            case pipe.List():
                return self._list(order.library)
            case pipe.Open():
                return self._open(order)
            case pipe.Close():
                self._close()
                return pipe.Closed()

    def _send(self, report: pipe.Report) -> None:
        with self._sending:
            self._connection.send_bytes(pipe.encode(report))

    def _name(self, resource: str) -> pipe.Named:
        try:
            return pipe.Named(canonical(resource, self._library), "")
        except CallError as error:
            return pipe.Named(None, error.text)

    def _list(self, specification: str) -> pipe.Listed:
        try:
            return pipe.Listed(find_all(load(specification)), 0, "", "")
        except CallError as error:
            return pipe.Listed([], error.status, error.token, error.text)

    def _open(self, order: pipe.Open) -> pipe.Opened:
        try:
            self._lock = _locked(order.lock_file)
            self._session = VisaSession(order.library, order.resource)
            local = self._session.local_attributes()
            for attribute, state in order.attributes:
                self._session.set_attribute(attribute, state)
            for event in order.events:
                self._session.enable_event(event, _Teller(0, self._send).happened)
        except CallError as error:
            return pipe.Opened(error.status, error.token, error.text, False, [])
        if self._session.can_abort:
            self._aborter.start(self._session.clear)
        return pipe.Opened(0, "", "", self._session.marks_end, local, self._session.can_abort)

    def _run(self, order: pipe.Run) -> pipe.Done:
        assert self._session is not None, "the front runs nothing before Opened"
        data = self._data(order)
        exchange = Exchange(self._session, data, _Teller(order.ticket, self._send))
        try:
            with self._aborter.may_abort(order.ticket):
                for attribute, state in order.attributes:
                    self._session.set_attribute(attribute, state)
                self._aborter.check()
                self._send(pipe.Started(order.ticket))
                result: Result = CALLS[order.call](exchange, *order.arguments)
                if order.call in WRITES:
                    self._aborter.check()
        except AbortedError as error:
            return pipe.Done(
                order.ticket, error.status, token=error.token, effect=exchange.effect_of(error), text=error.text
            )
        except CallError as error:
            effect = exchange.effect_of(error)
            return pipe.Done(
                order.ticket, error.status, token=error.token, effect=effect, dirty=exchange.dirty, text=error.text
            )
        finally:
            deque(data, maxlen=0)  # what of it was not wanted is not the next order
        return pipe.Done(order.ticket, result.status, result.value, result.data, dirty=exchange.dirty)

    def _data(self, order: pipe.Run) -> Iterator[bytes]:
        """The data of an order, each piece as soon as it is there."""
        left = order.following
        if order.data or not left:
            yield order.data
        while left:
            part = pipe.decode_order(self._connection.recv_bytes(FRAME_LIMIT))
            assert isinstance(part, pipe.Part), "the front sends all parts of an order before the next one"
            left -= len(part.data)
            yield part.data

    def _close(self) -> None:
        if self._session is None:
            return
        try:
            self._session.close()
        except CallError:
            return  # the process ends now; the kernel closes what the library could not


class _Teller:
    """Tells the front of one order."""

    def __init__(self, ticket: int, send: Callable[[pipe.Report], None]) -> None:
        self._ticket = ticket
        self._send = send

    def progress(self) -> None:
        self._send(pipe.Progress(self._ticket))

    def written(self) -> None:
        self._send(pipe.Written(self._ticket))

    def piece(self, data: bytes) -> None:
        self._send(pipe.Piece(self._ticket, data))

    def happened(self, event: int, attributes: pipe.Attributes) -> None:
        self._send(pipe.Happened(event, attributes))


def _locked(lock_file: str) -> int:
    """The resource's lock, for as long as this process lives. Raises CallError: never one that says "not found"."""
    try:
        return lock_resource(lock_file)
    except ResourceBusyError as error:
        raise CallError(StatusCode.error_resource_busy, str(error)) from error
    except OSError as error:
        raise CallError(StatusCode.error_system_error, f"{lock_file} cannot be locked: {error.strerror}") from error
