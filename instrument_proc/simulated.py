"""pyvisa-sim, completed: the VISA library of simulated instruments, with device clear, status byte, trigger and events.

Runs in the child, in the place of pyvisa-sim's own library. It touches pyvisa-sim and no instrument; it never prints,
logs or warns. What pyvisa-sim can do is pyvisa-sim's: an unknown resource is still a status that open returns. What is
added here returns or raises as PyVISA's libraries do (`handle_return_value`).

    simulated_instrument   the status model, and how a definition file describes it
    simulated_session      service request events
    here                   the VISA functions, and what pyvisa-sim gets wrong

A request for service is delivered inside the call that caused it: its handlers have run when that call returns, and
what they raise comes out of it.

To add a VISA function: a method here, its logic there. To mend an attribute: `_mend_attributes`.
"""

from contextlib import suppress
from typing import Any

from pyvisa import attributes, constants
from pyvisa.constants import BufferOperation, EventMechanism, EventType, InterfaceType, ResourceAttribute, StatusCode
from pyvisa.typing import VISAEventContext, VISAHandler, VISARMSession, VISASession
from pyvisa_sim.highlevel import SimVisaLibrary

from instrument_proc.simulated_instrument import ClearedError, SimulatedInstrument
from instrument_proc.simulated_session import HANDLER, QUEUE, ServiceRequestEvent, SimulatedSession

_RECEIVED = BufferOperation.discard_receive_buffer | BufferOperation.discard_receive_buffer2


class SimulatedLibrary(SimVisaLibrary):  # type: ignore[misc]  # pyvisa-sim ships no types
    """`SimulatedLibrary(path)`: the instruments that the definition file at `path` describes; "" for pyvisa-sim's own.

    Raises what pyvisa-sim raises for a file that it cannot take. As every PyVISA library, one object for each path.
    """

    #: viClear in one thread ends a viRead that waits in another, see `libraries.clears_while_waiting`.
    clears_while_waiting = True

    def _init(self) -> None:
        super()._init()
        names = self.devices.list_resources()
        self._instruments = {name: SimulatedInstrument(self.devices[name]) for name in names}
        self._opened: dict[VISASession, SimulatedSession] = {}

    def open(
        self,
        session: VISARMSession,
        resource_name: str,
        access_mode: constants.AccessModes = constants.AccessModes.no_lock,
        open_timeout: int = constants.VI_TMO_IMMEDIATE,
    ) -> tuple[VISASession, StatusCode]:
        """viOpen. A resource that is not described is returned as session 0 with its status."""
        opened, status = super().open(session, resource_name, access_mode, open_timeout)
        if status >= 0:
            simulated = self.sessions[opened]
            _mend_attributes(simulated)
            instrument = self._instruments[simulated.device.resource_name]
            self._opened[opened] = SimulatedSession(instrument, simulated.session_type)
        return opened, status

    def close(self, session: VISASession | VISARMSession | VISAEventContext) -> StatusCode:
        """viClose. With a socket goes what was on its way in it."""
        opened = self._opened.pop(VISASession(session), None)
        if opened is not None and opened.is_socket:
            opened.instrument.clear()
        status: StatusCode = super().close(session)
        return status

    def read(self, session: VISASession, count: int) -> tuple[bytes, StatusCode]:
        """viRead. A clear from another thread ends it."""
        if session in self._opened:
            self._opened[session].instrument.begin_to_read()
        try:
            read: tuple[bytes, StatusCode] = super().read(session, count)
        except ClearedError:
            return b"", self._ended(session, StatusCode.error_abort)
        return read

    def write(self, session: VISASession, data: bytes) -> tuple[int, StatusCode]:
        """viWrite."""
        written: tuple[int, StatusCode] = super().write(session, data)
        if session in self._opened:
            self._deliver(self._opened[session])
        return written

    def get_attribute(
        self, session: VISASession | VISARMSession | VISAEventContext, attribute: int
    ) -> tuple[Any, StatusCode]:
        """viGetAttribute."""
        state, status = 0, StatusCode.error_nonsupported_attribute
        if self.sessions.get(session) is not self:  # a resource manager's has none in pyvisa-sim
            state, status = super().get_attribute(session, attribute)
        if state is attributes.NotAvailable:
            state, status = 0, StatusCode.error_nonsupported_attribute
        return state, self._ended(session, status)

    def clear(self, session: VISASession) -> StatusCode:
        """viClear."""
        self._session(session).instrument.clear()
        return self._ended(session)

    def flush(self, session: VISASession, mask: BufferOperation) -> StatusCode:
        """viFlush. Only a stream has buffers, those of received and of unsent bytes; formatted I/O is PyVISA's own."""
        opened = self._session(session)
        if mask & ~sum(BufferOperation):
            return self._ended(session, StatusCode.error_invalid_mask)
        if not opened.has_status_byte and mask & _RECEIVED:
            opened.instrument.discard_output()
        if not opened.has_status_byte and mask & BufferOperation.discard_transmit_buffer:
            opened.instrument.discard_input()
        return self._ended(session)

    def read_stb(self, session: VISASession) -> tuple[int, StatusCode]:
        """viReadSTB: a serial poll. Clears RQS."""
        opened = self._session(session)
        if not opened.has_status_byte:
            return 0, self._ended(session, StatusCode.error_nonsupported_operation)
        return opened.instrument.serial_poll(), self._ended(session)

    def assert_trigger(self, session: VISASession, protocol: constants.TriggerProtocol) -> StatusCode:
        """viAssertTrigger: a group execute trigger, or what stands for it."""
        opened = self._session(session)
        if not opened.has_status_byte:
            return self._ended(session, StatusCode.error_nonsupported_operation)
        if protocol != constants.TriggerProtocol.default:
            return self._ended(session, StatusCode.error_invalid_protocol)
        opened.instrument.trigger()
        self._deliver(opened)
        return self._ended(session)

    def enable_event(
        self, session: VISASession, event_type: EventType, mechanism: EventMechanism, context: None = None
    ) -> StatusCode:
        """viEnableEvent. An instrument that requests service already is an event at once: SRQ is a level."""
        opened = self._session(session)
        before = opened.enabled
        status = self._ended(session, opened.enable(event_type, mechanism))
        if opened.instrument.requests_service():
            self._notify(session, opened, opened.enabled & ~before)
        return status

    def disable_event(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        """viDisableEvent."""
        return self._ended(session, self._session(session).disable(event_type, mechanism))

    def discard_events(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        """viDiscardEvents."""
        return self._ended(session, self._session(session).discard(event_type, mechanism))

    def wait_on_event(
        self, session: VISASession, in_event_type: EventType, timeout: int | None
    ) -> tuple[EventType, VISAEventContext, StatusCode]:
        """viWaitOnEvent, `timeout` in milliseconds. Only another thread's call can end a wait that has begun."""
        status = self._ended(session, self._session(session).wait(in_event_type, timeout))
        return EventType.service_request, self._register(ServiceRequestEvent()), status

    def install_handler(
        self, session: VISASession, event_type: EventType, handler: VISAHandler, user_handle: Any = None
    ) -> tuple[VISAHandler, Any, Any, StatusCode]:
        """viInstallHandler. Raises TypeError for a handler that cannot be called."""
        if not callable(handler):
            raise TypeError(f"a handler must be callable, {handler!r} is not")
        status = self._session(session).install(event_type, handler, user_handle)
        return handler, user_handle, handler, self._ended(session, status)

    def uninstall_handler(
        self, session: VISASession, event_type: EventType, handler: VISAHandler, user_handle: Any = None
    ) -> StatusCode:
        """viUninstallHandler."""
        return self._ended(session, self._session(session).uninstall(event_type, handler, user_handle))

    def _session(self, session: VISASession) -> SimulatedSession:
        if session not in self._opened:
            self._ended(session, StatusCode.error_invalid_object)
        return self._opened[session]

    def _ended(self, session: int, status: StatusCode = StatusCode.success) -> StatusCode:
        """`status`, remembered for `last_status`. Raises VisaIOError for an error."""
        ended: StatusCode = self.handle_return_value(session, status)
        return ended

    def _deliver(self, origin: SimulatedSession) -> None:
        """Tell every session on the instrument of what it has requested in this call."""
        for _ in range(origin.instrument.take_requests()):
            for session, opened in tuple(self._opened.items()):
                if opened.instrument is origin.instrument:
                    self._notify(session, opened, opened.enabled)

    def _notify(self, session: VISASession, opened: SimulatedSession, mechanisms: int) -> None:
        if mechanisms & QUEUE:
            opened.enqueue(self.sessions[session].get_attribute(ResourceAttribute.max_queue_length)[0])
        if mechanisms & HANDLER:
            context = self._register(ServiceRequestEvent())
            try:
                opened.call_handlers(session, context)
            finally:
                self.sessions.pop(context, None)


def _mend_attributes(session: Any) -> None:
    """What pyvisa-sim sets wrongly when it opens."""
    attrs, parsed = session.attrs, session.parsed
    if parsed.interface_type_const == InterfaceType.gpib:
        attrs[ResourceAttribute.termchar] = ord("\n")
        attrs[ResourceAttribute.interface_number] = int(parsed.board)
    if parsed.interface_type_const == InterfaceType.usb:
        for attribute, text in (
            (ResourceAttribute.manufacturer_id, parsed.manufacturer_id),
            (ResourceAttribute.model_code, parsed.model_code),
            (ResourceAttribute.usb_interface_number, parsed.usb_interface_number),
        ):
            with suppress(ValueError):  # a made-up name may hold anything there
                attrs[attribute] = int(text, 16 if text[:2] in ("0x", "0X") else 10)
