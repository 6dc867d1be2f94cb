"""The child's loop: one order from the front at a time, each answered, until Close or until the front is gone.

Runs in a process of its own, on one thread: while a VISA call hangs here, nothing here runs, and nothing here has to;
the front's deadline and the kernel do the rest (see `guard`).
"""

from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pyvisa.resources  # noqa: F401 - a warm child has imported all that an open needs
from pyvisa import highlevel
from pyvisa.constants import StatusCode

from instrument_proc import pipe
from instrument_proc.aborter import Aborter
from instrument_proc.calls import CALLS, WRITES, Exchange, Result
from instrument_proc.failures import AbortedError, CallError
from instrument_proc.front_line import FrontLine
from instrument_proc.guard import DeathPipe, ResourceBusyError, bound_orphan_close, lock_resource
from instrument_proc.libraries import canonical, find_all, load
from instrument_proc.signs import Signs, Step
from instrument_proc.visa_session import VisaSession
from pyvisa_daemon.framing import FrameError


class Child:
    """Serves one front over `connection`."""

    def __init__(
        self, connection: Connection, death: DeathPipe, aborts: Connection, signs: Signs, library: str
    ) -> None:
        self._front = FrontLine(connection, death)
        self._teller = _Teller(signs, self._front)
        self._aborter = Aborter(aborts)
        self._session: VisaSession | None = None
        self._lock: int | None = None
        self._library: highlevel.VisaLibraryBase | None = None
        death.arm()  # loading a library is foreign code, too
        trouble = self._warm_up(library)
        death.disarm()
        self._front.send(pipe.Warm(trouble))

    def _warm_up(self, specification: str) -> str:
        """Load what an open will want, and keep it; why that failed, if it did."""
        try:
            self._library = load(specification, resource=None)
        except CallError as error:
            return f"the VISA library {specification!r} cannot be loaded: {error.text}"
        return ""

    def serve(self) -> None:
        """Answer orders until Close; an orphan closes its instrument, within bounds."""
        is_over = False
        try:
            while not is_over:
                order = self._front.next()
                is_over = isinstance(order, pipe.Close)
                self._front.send(self._obey(order))
        except (EOFError, ConnectionError):
            bound_orphan_close()
            self._close()

    def _obey(self, order: pipe.Order) -> pipe.Report:
        """Carry out one order; the report that ends it."""
        match order:
            case pipe.Run():  # first, for the time it takes
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
            if order.identify is not None:
                self._session.identify(order.identify)
            for attribute, state in order.attributes:
                self._session.set_attribute(attribute, state)
            for event in order.events:
                self._session.enable_event(event, self._teller.happened)
        except CallError as error:
            return pipe.Opened(error.status, error.token, error.text, False, [])
        if self._session.can_abort:
            self._aborter.start(self._session.clear)
        session = self._session
        return pipe.Opened(0, "", "", session.marks_end, local, session.can_abort, session.identity)

    def _run(self, order: pipe.Run) -> pipe.Done:
        assert self._session is not None, "the front runs nothing before Opened"
        data = self._parts(order.following) if order.following else (order.data,)
        self._teller.ticket = order.ticket
        exchange = Exchange(self._session, data, self._teller)
        try:
            if self._aborter.is_listening:
                with self._aborter.may_abort(order.ticket):
                    result = self._carry_out(order, exchange)
            else:
                result = self._carry_out(order, exchange)
        except CallError as error:
            is_dirty = exchange.dirty and not isinstance(error, AbortedError)  # the device was cleared
            effect = exchange.effect_of(error)
            return pipe.Done(
                order.ticket, error.status, token=error.token, effect=effect, dirty=is_dirty, text=error.text
            )
        finally:
            deque(data, maxlen=0)  # what of it was not wanted is not the next order
        return pipe.Done(order.ticket, result.status, result.value, result.data, dirty=exchange.dirty)

    def _carry_out(self, order: pipe.Run, exchange: Exchange) -> Result:
        for attribute, state in order.attributes:
            exchange.session.set_attribute(attribute, state)
        self._aborter.check()
        self._teller.progress()  # from here on the instrument may act
        result: Result = CALLS[order.call](exchange, *order.arguments)
        if order.call in WRITES:
            self._aborter.check()
        return result

    def _parts(self, left: int) -> Iterator[bytes]:
        """The data of an order that follows it, each piece as soon as it is there."""
        while left:
            part = self._front.next()
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
    """Tells the front of the order that is being carried out, whose number is `ticket`."""

    def __init__(self, signs: Signs, front: FrontLine) -> None:
        self.ticket = 0
        self._signs = signs
        self._front = front

    def progress(self) -> None:
        self._signs.show(self.ticket, Step.STARTED)

    def written(self) -> None:
        self._signs.show(self.ticket, Step.WRITTEN)

    def piece(self, data: bytes) -> None:
        self._front.send(pipe.Piece(self.ticket, data))

    def happened(self, event: int, attributes: pipe.Attributes) -> None:
        self._front.send(pipe.Happened(event, attributes))


def _locked(lock_file: str) -> int:
    """The resource's lock, for as long as this process lives. Raises CallError: never one that says "not found"."""
    try:
        return lock_resource(lock_file)
    except ResourceBusyError as error:
        raise CallError(StatusCode.error_resource_busy, str(error)) from error
    except OSError as error:
        raise CallError(StatusCode.error_system_error, f"{lock_file} cannot be locked: {error.strerror}") from error
