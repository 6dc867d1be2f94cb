"""What a session on a simulated instrument has beyond pyvisa-sim's: its instrument, and service request events.

Runs in the child; touches nothing but what it is given. Its methods return VISA statuses and raise nothing of their
own. Events are VPP-4.3's, section 3.7, of one type (VI_EVENT_SERVICE_REQ) and by two mechanisms (queue, handler).

To add a type of event: a count for each type in the queue, and a row in `refusal`.
"""

import threading
from typing import Any

from pyvisa import constants
from pyvisa.constants import EventMechanism, EventType, InterfaceType, StatusCode
from pyvisa.typing import VISAEventContext, VISAHandler, VISASession

from instrument_proc.simulated_instrument import SimulatedInstrument

#: Interfaces with a serial poll, or what stands for it. The others are streams of bytes.
_WITH_STATUS_BYTE = {(InterfaceType.gpib, "INSTR"), (InterfaceType.usb, "INSTR"), (InterfaceType.tcpip, "INSTR")}

QUEUE, HANDLER = int(EventMechanism.queue), int(EventMechanism.handler)
_SUSPENDED, _ALL = int(EventMechanism.suspend_handler), int(EventMechanism.all)


class SimulatedSession:
    """What pyvisa-sim's session lacks: its instrument, and its service request events (VPP-4.3, 3.7)."""

    def __init__(self, instrument: SimulatedInstrument, interface: tuple[InterfaceType, str]) -> None:
        self.instrument = instrument
        self.is_socket = interface[1] == "SOCKET"
        self.has_status_byte = interface in _WITH_STATUS_BYTE
        self.enabled = 0
        self.handlers: list[tuple[VISAHandler, Any]] = []
        self._queued = 0
        self._arrival = threading.Condition()

    def refusal(self, event_type: int, mechanism: int = _ALL) -> StatusCode | None:
        """Why this session takes no such event or mechanism, if so."""
        is_service_request = event_type == EventType.service_request and self.has_status_byte
        if not is_service_request and event_type != EventType.all_enabled:
            return StatusCode.error_invalid_event
        if mechanism != _ALL and (not mechanism or mechanism & ~(QUEUE | HANDLER | _SUSPENDED)):
            return StatusCode.error_invalid_mechanism
        return None

    def enable(self, event_type: int, mechanism: int) -> StatusCode:
        """viEnableEvent."""
        refusal = self.refusal(event_type, mechanism)
        if refusal is not None:
            return refusal
        if mechanism == _ALL:
            return StatusCode.error_invalid_mechanism
        if mechanism & _SUSPENDED:
            return StatusCode.error_nonsupported_mechanism
        if event_type == EventType.all_enabled and not self.enabled:
            return StatusCode.success
        if mechanism & HANDLER and not self.handlers:
            return StatusCode.error_handler_not_installed
        was_enabled = self.enabled & mechanism
        self.enabled |= mechanism
        return StatusCode.success_event_already_enabled if was_enabled else StatusCode.success

    def disable(self, event_type: int, mechanism: int) -> StatusCode:
        """viDisableEvent. What is in the queue stays there."""
        refusal = self.refusal(event_type, mechanism)
        if refusal is not None:
            return refusal
        asked = mechanism & (QUEUE | HANDLER)
        was_enabled = asked and not asked & ~self.enabled
        self.enabled &= ~mechanism
        return StatusCode.success if was_enabled else StatusCode.success_event_already_disabled

    def discard(self, event_type: int, mechanism: int) -> StatusCode:
        """viDiscardEvents."""
        refusal = self.refusal(event_type, mechanism)
        if refusal is not None:
            return refusal
        with self._arrival:
            discarded = self._queued if mechanism & QUEUE else 0
            self._queued -= discarded
        return StatusCode.success if discarded else StatusCode.success_queue_already_empty

    def enqueue(self, limit: int) -> None:
        """One more event in the queue; beyond `limit` it is lost."""
        with self._arrival:
            self._queued = max(self._queued, min(self._queued + 1, limit))
            self._arrival.notify()

    def wait(self, event_type: int, timeout_ms: int | None) -> StatusCode:
        """viWaitOnEvent: take an event from the queue. None waits for ever, as VI_TMO_INFINITE does."""
        refusal = self.refusal(event_type)
        if refusal is not None:
            return refusal
        timeout = None if timeout_ms in (None, constants.VI_TMO_INFINITE) else float(timeout_ms or 0) / 1000
        with self._arrival:
            if not self._queued and not self.enabled & QUEUE:
                return StatusCode.error_not_enabled
            if not self._arrival.wait_for(lambda: self._queued, timeout):
                return StatusCode.error_timeout
            self._queued -= 1
            return StatusCode.success_queue_not_empty if self._queued else StatusCode.success

    def install(self, event_type: int, handler: VISAHandler, user_handle: Any) -> StatusCode:
        """viInstallHandler."""
        if event_type == EventType.all_enabled or self.refusal(event_type) is not None:
            return StatusCode.error_invalid_event
        self.handlers.append((handler, user_handle))
        return StatusCode.success

    def uninstall(self, event_type: int, handler: VISAHandler, user_handle: Any) -> StatusCode:
        """viUninstallHandler."""
        if event_type == EventType.all_enabled or self.refusal(event_type) is not None:
            return StatusCode.error_invalid_event
        for index, installed in enumerate(self.handlers):
            if installed[0] == handler and installed[1] is user_handle:
                del self.handlers[index]
                return StatusCode.success
        return StatusCode.error_invalid_handler_reference if self.handlers else StatusCode.error_handler_not_installed

    def call_handlers(self, session: VISASession, context: VISAEventContext) -> None:
        """Last installed, first called, until one says that it was enough."""
        for handler, user_handle in self.handlers[::-1]:
            status: object = handler(session, EventType.service_request, context, user_handle)
            if status == StatusCode.success_no_more_handler_calls_in_chain:
                return


class ServiceRequestEvent:
    """What an event context stands for."""

    def get_attribute(self, attribute: int) -> tuple[Any, StatusCode]:
        if attribute == constants.EventAttribute.event_type:
            return EventType.service_request, StatusCode.success
        return 0, StatusCode.error_nonsupported_attribute

    def set_attribute(self, attribute: int, state: Any) -> StatusCode:
        return StatusCode.error_attribute_read_only
