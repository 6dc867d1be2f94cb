"""Events and asynchronous operations of the library that PyVISA sees (VPP-4.3, 3.7 and 6.1).

Runs in the user's process, under `highlevel`. What happens at the instrument is told by the daemon once for each
event; queues, masks and handlers are this program's own (see `events`). The completion of an asynchronous operation
never leaves this process. Handlers run on a thread of their own, one for each session that has any enabled.
"""

import ctypes
import logging
import operator
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, NoReturn, SupportsBytes, cast
from weakref import WeakValueDictionary

from pyvisa import constants
from pyvisa.constants import EventAttribute, EventMechanism, EventType, StatusCode
from pyvisa.typing import VISAEventContext, VISAHandler, VISAJobID, VISASession

from pyvisa_daemon import wire
from pyvisa_daemon.channel import INFINITE_MS
from pyvisa_daemon.errors import ERRORS, SUCCESS, Failure
from pyvisa_daemon.events import CallWaiter, EventWaiter, Mechanism, Occurrence
from pyvisa_daemon.exchange import Pending
from pyvisa_daemon.opened import Job, OpenSession
from pyvisa_daemon.passed_functions import PassedFunctions
from pyvisa_daemon.refusals import refuse

_logger = logging.getLogger(__name__)

_COMPLETED = int(EventType.io_completion)


class _Buffer(bytearray):
    """Takes what an asynchronous read brings; known by its job for as long as somebody keeps it."""

    def __bytes__(self) -> bytes:
        return bytes(memoryview(self))


class EventFunctions(PassedFunctions):
    """viEnableEvent to viWaitOnEvent, viInstallHandler, viReadAsync, viWriteAsync, viMoveAsync, viTerminate."""

    _buffers: "WeakValueDictionary[int, _Buffer]"

    def _init(self) -> None:
        super()._init()
        if not hasattr(self, "_buffers"):
            self._buffers = WeakValueDictionary()

    def enable_event(
        self, session: VISASession, event_type: EventType, mechanism: EventMechanism, context: None = None
    ) -> StatusCode:
        """viEnableEvent. VI_ERROR_INV_EVENT for an event that the resource does not have. All enabled events means
        those that are enabled by any means so far."""
        try:
            opened = self._opened(session)
            events, mechanisms = opened.events.selected(_known(event_type)), _mechanisms(mechanism)
            has_handlers = {kind for kind, _, _ in opened.handlers}.issuperset(events)
            if Mechanism.HANDLER in mechanisms and not has_handlers:
                raise Failure("VI_ERROR_HNDLR_NINSTALLED", "install a handler for that event type first")
            before = [self._enable(opened, event, mechanisms) for event in events]
            if Mechanism.HANDLER in mechanisms:
                self._listen(session, opened)
        except Failure as failure:
            refuse(self, session, failure)
        is_old = any(earlier & mechanisms for earlier in before)
        return self.handle_return_value(session, StatusCode.success_event_already_enabled if is_old else SUCCESS)

    def _enable(self, opened: OpenSession, event: int, mechanisms: Mechanism) -> Mechanism:
        """Returns by what means it was enabled before."""
        before = opened.events.mechanisms(event)
        is_told = bool(before) or event == _COMPLETED
        if not is_told:
            opened.collect()
        opened.events.enable(event, mechanisms)  # before the daemon does: an event may come right behind its reply
        if not is_told:
            try:
                opened.ask(wire.EnableEvent, event)
            except BaseException:
                opened.events.disable(event, mechanisms)
                raise
        return before

    def disable_event(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        """viDisableEvent: a success when nothing was enabled, and when the connection is lost."""
        opened = self._sessions.get(session)
        if opened is not None:
            for event in opened.events.disable(int(event_type), _all_mechanisms(mechanism)):
                if event != _COMPLETED:
                    self._tell_disabled(opened, event)
        return self.handle_return_value(session, SUCCESS)

    def _tell_disabled(self, opened: OpenSession, event: int) -> None:
        try:
            opened.ask(wire.DisableEvent, event)
        except Failure as failure:  # a lost connection, or a finaliser: there is nothing more to be told of
            _logger.debug("event type %#x was not disabled at the daemon: %s", event, failure)

    def discard_events(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        """viDiscardEvents: a success with or without any."""
        opened = self._sessions.get(session)
        had_any = opened is not None and opened.events.discard(int(event_type), _all_mechanisms(mechanism))
        return self.handle_return_value(session, SUCCESS if had_any else StatusCode.success_queue_already_empty)

    def wait_on_event(
        self, session: VISASession, in_event_type: EventType, timeout: int | None
    ) -> tuple[EventType, VISAEventContext, StatusCode]:
        """viWaitOnEvent. `timeout` in milliseconds, for ever if it is infinite or, as PyVISA has it, None; holds up no
        other call."""
        event = int(in_event_type)
        limit = None if timeout is None or timeout >= INFINITE_MS else timeout / 1000
        try:
            opened = self._opened(session)
            opened.collect()
            occurrence = self._awaited(opened, event, limit)
        except Failure as failure:
            refuse(self, session, failure)
        status = StatusCode.success
        if opened.events.take_overflow():
            status = StatusCode.warning_queue_overflow
        elif opened.events.has(event):
            status = StatusCode.success_queue_not_empty
        context = self._context_of(occurrence)
        return EventType(occurrence.event), context, self.handle_return_value(session, status)

    def _awaited(self, opened: OpenSession, event: int, limit: float | None) -> Occurrence:
        deadline = None if limit is None else monotonic() + limit
        waiter = EventWaiter(opened.events, event)
        try:
            opened.events.waits(waiter)
            opened.channel.is_alive  # noqa: B018 - takes in what has already come, however short the limit
            while (occurrence := opened.events.take(event)) is None:  # another thread may have been quicker
                if not opened.events.is_queued(event):
                    raise Failure("VI_ERROR_NENABLED", "no such event is enabled for the queue")
                if not opened.channel.wait_for(waiter, None if deadline is None else deadline - monotonic()):
                    raise Failure("VI_ERROR_TMO", f"no such event within {limit} s")
        finally:
            opened.events.waits_no_more(waiter)
        return occurrence

    def _context_of(self, occurrence: Occurrence) -> VISAEventContext:
        context = VISAEventContext(next(self._numbers))
        self._contexts[context] = occurrence
        return context

    def _event_attribute(self, context: VISAEventContext, attribute: int) -> tuple[Any, StatusCode]:
        """viGetAttribute of an event."""
        occurrence = self._contexts[context]
        attributes = {int(EventAttribute.event_type): occurrence.event} | occurrence.attributes
        if attribute not in attributes:
            refuse(self, None, Failure("VI_ERROR_NSUP_ATTR", "this event has no such attribute"))
        return attributes[attribute], self.handle_return_value(context, SUCCESS)

    # Handlers.

    def install_handler(
        self, session: VISASession, event_type: EventType, handler: VISAHandler, user_handle: Any
    ) -> tuple[VISAHandler, Any, Any, StatusCode]:
        """viInstallHandler. Gives the user handle as the handler will: numbers, text and lists as ctypes objects, as
        PyVISA's own library does, anything else as it is. Raises TypeError if `handler` cannot be called."""
        if not callable(handler):
            raise TypeError(f"the handler {handler!r} is not callable")
        converted = _as_ctypes(user_handle)
        try:
            self._opened(session).handlers.append((int(event_type), handler, converted))
        except Failure as failure:
            refuse(self, session, failure)
        return handler, converted, handler, self.handle_return_value(session, SUCCESS)

    def uninstall_handler(
        self, session: VISASession, event_type: EventType, handler: VISAHandler, user_handle: Any = None
    ) -> StatusCode:
        """viUninstallHandler."""
        opened = self._sessions.get(session)
        if opened is not None:
            for installed in reversed(opened.handlers):
                if installed[0] == event_type and installed[1] == handler and installed[2] is user_handle:
                    opened.handlers = [other for other in opened.handlers if other is not installed]
                    break
        return self.handle_return_value(session, SUCCESS)

    def _listen(self, session: VISASession, opened: OpenSession) -> None:
        listener = threading.Thread(
            target=self._call_handlers_of, args=(session, opened), name=f"VISA events of {session}", daemon=True
        )
        if opened.turns.setdefault("listen", listener) is listener:
            listener.start()

    def _call_handlers_of(self, session: VISASession, opened: OpenSession) -> None:
        """The listener's life: until the session has nothing enabled for handlers, or its connection is lost."""
        waiter = CallWaiter(opened.events)
        me, is_mine = threading.current_thread(), True
        try:
            opened.events.waits(waiter)
            while is_mine:
                while opened.events.has_handlers:
                    opened.channel.wait_for(waiter, None)
                    if (occurrence := opened.events.take_call()) is not None:
                        self._call_handlers(session, opened, occurrence)
                del opened.turns["listen"]
                # They may have been enabled again by somebody who found the turn taken a moment ago.
                is_mine = opened.events.has_handlers and opened.turns.setdefault("listen", me) is me
        except Failure as failure:
            _logger.debug("no more events for session %s: %s", session, failure)
        finally:
            opened.events.waits_no_more(waiter)

    def _call_handlers(self, session: VISASession, opened: OpenSession, occurrence: Occurrence) -> None:
        context = self._context_of(occurrence)
        event_type = EventType(occurrence.event)
        for kind, handler, user_handle in reversed(opened.handlers.copy()):  # the newest first (VPP-4.3, 3.7.4)
            if kind != occurrence.event:
                continue
            try:
                handler(session, event_type, context, user_handle)
            except BaseException:  # a program's own code: what it raises, sys.exit() too, has nowhere to go
                _logger.exception("a handler of session %s failed", session)
        self._contexts.pop(context, None)
        self._last_status_in_session.pop(context, None)

    # Asynchronous operations.

    def read_asynchronously(self, session: VISASession, count: int) -> tuple[SupportsBytes, VISAJobID, StatusCode]:
        """viReadAsync: an io_completion event tells its end, once the session's next call or wait has taken it in."""
        buffer = _Buffer(count)
        opened, rest = self._sessions.get(session), b""
        if opened is not None and opened.ahead is not None:
            taken = opened.ahead.take(count)
            if taken is not None:
                return self._read_at_once(session, opened, buffer, *taken)
            rest, opened.ahead = opened.ahead.rest, None

        def end(job: int, reply: wire.Reply) -> Occurrence:
            data = rest + reply.data
            buffer[: len(data)] = data
            return _completion("viReadAsync", job, reply.status, len(data), buffer)

        job, status = self._start_job(session, end, wire.Read, count - len(rest), None)
        self._buffers[job] = buffer
        return buffer, VISAJobID(job), status

    def _read_at_once(
        self, session: VISASession, opened: OpenSession, buffer: "_Buffer", data: bytes, status: int
    ) -> tuple[SupportsBytes, VISAJobID, StatusCode]:
        """viReadAsync of what is here already: done before it returns."""
        job = next(self._numbers)
        buffer[: len(data)] = data
        opened.events.happened(_completion("viReadAsync", job, status, len(data), buffer))
        self._buffers[job] = buffer
        return buffer, VISAJobID(job), self.handle_return_value(session, SUCCESS)

    def write_asynchronously(self, session: VISASession, data: bytes) -> tuple[VISAJobID, StatusCode]:
        """viWriteAsync."""

        def end(job: int, reply: wire.Reply) -> Occurrence:
            return _completion("viWriteAsync", job, reply.status, _count(reply), data)

        job, status = self._start_job(session, end, wire.Write, bytes(memoryview(data)))
        return VISAJobID(job), status

    def move_asynchronously(
        self,
        session: VISASession,
        source_space: constants.AddressSpace,
        source_offset: int,
        source_width: constants.DataWidth,
        destination_space: constants.AddressSpace,
        destination_offset: int,
        destination_width: constants.DataWidth,
        length: int,
    ) -> tuple[VISAJobID, StatusCode]:
        """viMoveAsync."""
        source = (source_space, source_offset, source_width)
        destination = (destination_space, destination_offset, destination_width)
        arguments = [operator.index(value) for value in (*source, *destination, length)]

        def end(job: int, reply: wire.Reply) -> Occurrence:
            return _completion("viMoveAsync", job, reply.status, length if reply.status >= SUCCESS else 0, b"")

        job, status = self._start_job(session, end, wire.Call, "move", arguments)
        return VISAJobID(job), status

    def get_buffer_from_id(self, job_id: VISAJobID) -> SupportsBytes | None:
        """The buffer of an asynchronous read; None for any other job, and when nobody has kept it."""
        return self._buffers.get(job_id) if isinstance(job_id, int) else None

    def terminate(self, session: VISASession, degree: None, job_id: VISAJobID) -> StatusCode:
        """viTerminate of one job, or of all with VI_NULL: the completion of each is VI_ERROR_ABORT. What the instrument
        has begun it may still carry out."""
        try:
            opened = self._opened(session)
            numbers = [cast(int, job_id)] if job_id else list(opened.jobs)
            jobs = {number: job for number in numbers if (job := opened.jobs.pop(number, None)) is not None}
            if job_id and not jobs:
                raise Failure("VI_ERROR_INV_JOB_ID", "no such operation is under way on this session")
            for job in jobs.values():
                if job.pending is not None:
                    opened.channel.abandon(job.pending)
        except Failure as failure:
            refuse(self, session, failure)
        for number in jobs:
            opened.events.happened(_completion("viTerminate", number, ERRORS["VI_ERROR_ABORT"].status, 0, b""))
        return self.handle_return_value(session, SUCCESS)

    def _start_job(
        self,
        session: VISASession,
        end: Callable[[int, wire.Reply], Occurrence],
        kind: Callable[..., wire.Request],
        *arguments: object,
    ) -> tuple[int, StatusCode]:
        """Sends a request whose reply becomes an event."""
        number = next(self._numbers)

        def completed(pending: Pending) -> None:
            if number in opened.jobs:  # else it was terminated
                opened.events.happened(end(number, pending.whole()))
                opened.jobs.pop(number, None)

        try:
            opened = self._opened(session)
            opened.collect()
            opened.jobs[number] = job = Job()  # the reply may be here before `start_for` returns
            try:
                job.pending = opened.channel.start_for(completed, kind, opened.number, *arguments)
            except BaseException:
                opened.jobs.pop(number, None)
                raise
        except Failure as failure:
            refuse(self, session, failure)
        return number, self.handle_return_value(session, SUCCESS)


def _completion(operation: str, job: int, status: int, count: int, buffer: object) -> Occurrence:
    attributes = {
        EventAttribute.status: status,  # a plain number: a library may have one that PyVISA does not know
        EventAttribute.operation_name: operation,
        EventAttribute.job_id: job,
        EventAttribute.return_count: count,
        EventAttribute.buffer: buffer,
    }
    return Occurrence(_COMPLETED, {int(number): value for number, value in attributes.items()})


def _count(reply: wire.Reply) -> int:
    return reply.value if isinstance(reply.value, int) else 0


def _known(event_type: int) -> int:
    """Raises Failure(VI_ERROR_INV_EVENT) for what is no event type of VISA's."""
    try:
        return EventType(event_type).value
    except ValueError:
        raise Failure("VI_ERROR_INV_EVENT", f"{int(event_type):#x} is no type of event") from None


def _mechanisms(mechanism: int) -> Mechanism:
    """Raises Failure(VI_ERROR_INV_MECH): handlers cannot both run and be suspended (VPP-4.3, 3.7.1)."""
    mechanisms = Mechanism(int(mechanism) & 0b111)
    is_both = Mechanism.HANDLER in mechanisms and Mechanism.SUSPENDED in mechanisms
    if not mechanisms or is_both or int(mechanism) & ~0b111:
        _refuse_mechanism(mechanism)
    return mechanisms


def _all_mechanisms(mechanism: int) -> Mechanism:
    """Of viDisableEvent and viDiscardEvents, which take VI_ALL_MECH too."""
    return Mechanism(int(mechanism) & 0b111)


def _refuse_mechanism(mechanism: int) -> NoReturn:
    raise Failure("VI_ERROR_INV_MECH", f"{int(mechanism):#x} is no mechanism that can be enabled")


def _as_ctypes(user_handle: Any) -> Any:
    match user_handle:
        case bool() | int():
            return ctypes.c_long(user_handle)
        case float():
            return ctypes.c_double(user_handle)
        case str():
            return ctypes.c_wchar_p(user_handle)
        case [*numbers] if isinstance(user_handle, list):
            is_whole = all(isinstance(number, int) for number in numbers)
            return ((ctypes.c_long if is_whole else ctypes.c_double) * len(numbers))(*numbers)
        case _:
            return user_handle
