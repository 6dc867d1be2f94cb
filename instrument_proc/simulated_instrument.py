"""A simulated instrument: one of pyvisa-sim's devices, read as an instrument with IEEE 488.2's status model.

Runs in the child; touches pyvisa-sim's device and its private parts, nothing else.

A definition says everything with pyvisa-sim's own means, so plain pyvisa-sim takes the same file. What it answers to
these is looked up; what it leaves out does nothing:

    *ESR? *ESE?   bits set in both make ESB, bit 5. `operation_complete: 1` in the status register is what *OPC sets
    *SRE?         the bits of the status byte that request service
    *STB?         the bits of the instrument's own, a constant or a property; the answer becomes the whole status byte
    SYST:ERR?     an error queue that holds something is bit 2 (SCPI)
    *CLS          empties status registers and error queues
    *TRG          what a trigger does

To add a command that does more than its definition says: a method and a row in _EFFECTS.
"""

import re
from collections.abc import Callable
from typing import Any

#: Bits of the status byte: IEEE 488.2, 11.2, but for EAV, which is SCPI's. RQS is MSS when *STB? asks.
EAV, MAV, ESB, RQS = 0x04, 0x10, 0x20, 0x40

_SCPI_ERROR_QUEUE = re.compile(rb":?SYST(EM)?:ERR(OR)?(:NEXT)?\?", re.IGNORECASE)


class ServiceRequest:
    """RQS of one instrument (IEEE 488.2, 11.3)."""

    def __init__(self) -> None:
        self.is_pending = False
        self._reasons = 0

    def update(self, reasons: int) -> bool:
        """`reasons` is what of the status byte is enabled, without bit 6. True: service is requested from now on."""
        is_new = not self.is_pending and bool(reasons & ~self._reasons)
        self.is_pending = bool(reasons) and (self.is_pending or is_new)
        self._reasons = reasons
        return is_new

    def poll(self) -> bool:
        """RQS as a serial poll reads it, which clears it until there is a new reason."""
        was_pending, self.is_pending = self.is_pending, False
        return was_pending


class ClearedError(Exception):
    """The instrument was cleared while it was being read."""


class SimulatedInstrument:
    """Reads one of pyvisa-sim's devices as an IEEE 488.2 instrument."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._match: Callable[[bytes], Any] = device._match
        device._match = self._answer
        self._next_byte: Callable[[], Any] = device.read
        device.read = self._read
        self._was_cleared = False
        self._request = ServiceRequest()
        self._raised = 0

    def serial_poll(self) -> int:
        """The status byte with RQS, which is cleared."""
        self.notice()
        return self._summary() | (RQS if self._request.poll() else 0)

    def requests_service(self) -> bool:
        """RQS, without a poll."""
        self.notice()
        return self._request.is_pending

    def notice(self) -> None:
        """See whether what happened is a reason to request service. Needed before a change could be undone."""
        if self._request.update(self._reasons()):
            self._raised += 1

    def take_requests(self) -> int:
        """How often service was requested since the last call."""
        self.notice()
        raised, self._raised = self._raised, 0
        return raised

    def begin_to_read(self) -> None:
        """From here on a clear is one that comes between."""
        self._was_cleared = False

    def _read(self) -> Any:
        """The next byte, as pyvisa-sim's device gives it. Raises ClearedError."""
        if self._was_cleared:
            raise ClearedError
        return self._next_byte()

    def clear(self) -> None:
        """Device clear empties both buffers. Of the status byte it changes MAV only, and RQS if nothing else is left
        to request service for (IEEE 488.2, 5.8)."""
        self._was_cleared = True
        self.discard_input()
        self.discard_output()

    def discard_input(self) -> None:
        """Forget the message that has begun."""
        self._device._input_buffer.clear()

    def discard_output(self) -> None:
        """Forget what was not read."""
        self._device._output_buffers.clear()
        self.notice()

    def trigger(self) -> None:
        """Do what the definition says of *TRG; nothing, and no error, if it knows none."""
        response = self._answer(b"*TRG")
        if isinstance(response, bytes):
            self._device._output_buffers.append(bytearray(response) + self._device._response_eom)

    def clear_status(self) -> None:
        """*CLS (IEEE 488.2, 10.3). The output queue and the instrument's own bits stay."""
        for structure in (*self._device._status_registers.values(), *self._device._error_queues.values()):
            structure.clear()

    def complete_operation(self) -> None:
        """*OPC (IEEE 488.2, 10.18): whatever was begun is complete at once in a simulation."""
        self._device.error_response("operation_complete")

    def _answer(self, query: bytes) -> Any:
        """In the place of the device's own matching: None for what it does not know."""
        self.notice()
        byte = self._summary() | (RQS if self._reasons() else 0)
        try:
            response = self._match(query)
        except UnicodeDecodeError:  # pyvisa-sim reads every message as text; no definition holds other bytes
            return None
        if query == b"*STB?" and _is_number(response):
            return b"%d" % byte
        if query in _EFFECTS and response is not None:
            _EFFECTS[query](self)
        return response

    def _summary(self) -> int:
        """The status byte but for bit 6."""
        device = self._device
        byte = self._value(b"*STB?") & ~RQS
        if any(device._output_buffers):
            byte |= MAV
        if self._value(b"*ESR?") & self._value(b"*ESE?"):
            byte |= ESB
        if any(queue._queue for query, queue in device._error_queues.items() if _SCPI_ERROR_QUEUE.fullmatch(query)):
            byte |= EAV
        return byte

    def _reasons(self) -> int:
        return self._summary() & self._value(b"*SRE?")

    def _value(self, query: bytes) -> int:
        """The number that the definition has for `query`, which is not thereby executed; 0 if there is none."""
        device = self._device
        value: Any = 0
        if query in device._dialogues:
            value = device._dialogues[query]
        elif query in device._getters:
            value = device._properties[device._getters[query][0]].get_value()
        elif query in device._status_registers:
            value = device._status_registers[query].value
        try:
            return int(value) & 0xFF
        except (TypeError, ValueError, OverflowError):
            return 0


def _is_number(response: Any) -> bool:
    return isinstance(response, bytes) and response.removeprefix(b"+").isdigit()


_EFFECTS = {b"*CLS": SimulatedInstrument.clear_status, b"*OPC": SimulatedInstrument.complete_operation}
