"""The one VISA session of a child: PyVISA's functions for it, in the terms of the pipe.

Runs in the child. Each method is one or two calls of the library; arguments and values are plain numbers, text and
bytes, and every failure is a CallError.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyvisa import constants
from pyvisa.attributes import AttributesPerResource
from pyvisa.constants import EventAttribute, EventMechanism, EventType, InterfaceType, ResourceAttribute, StatusCode
from pyvisa.typing import VISAEventContext, VISAHandler, VISARMSession, VISASession

from instrument_proc.failures import LOST, NOT_REACHED, CallError, attempt, checked, translate
from instrument_proc.identity import identity_of
from instrument_proc.libraries import after_open, arrived, clears_while_waiting, kind_of, load, peer_has_closed
from instrument_proc.pipe import Argument, Attributes, Identify, State
from instrument_proc.standard_attributes import StandardAttributes
from pyvisa_daemon.functions import Function

#: What a function gives beside its status.
Value = int | bytes | list[int] | None

#: Attributes that VPP-4.3 calls local: each session on a resource has its own.
LOCAL_ATTRIBUTES = (
    ResourceAttribute.timeout_value,
    ResourceAttribute.termchar,
    ResourceAttribute.termchar_enabled,
    ResourceAttribute.send_end_enabled,
    ResourceAttribute.suppress_end_enabled,
    ResourceAttribute.io_prot,
    ResourceAttribute.file_append_enabled,
    ResourceAttribute.dma_allow_enabled,
    ResourceAttribute.read_buffer_operation_mode,
    ResourceAttribute.write_buffer_operation_mode,
    ResourceAttribute.trigger_id,
)

#: How long a silent instrument counts as quiet while its output is drained.
QUIET_MS = 50

#: Seconds after which one that is never quiet is given up, and between two signs of life meanwhile.
DRAIN_LIMIT = 30.0
DRAIN_SIGN = 1.0

#: The shortest timeout of a TCPIP INSTR resource, in milliseconds. Its every operation is a remote call, so none could
#: succeed within VI_TMO_IMMEDIATE; vendors' VISA libraries make it this instead.
SHORTEST_LAN_MS = 10


class VisaSession:
    """The one VISA session of this process."""

    def __init__(self, specification: str, resource: str) -> None:
        """viOpen. Raises CallError; a resource that the library cannot reach is VI_ERROR_RSRC_NFOUND."""
        self.library = load(specification, resource)
        self.resource = resource
        interface, resource_class = kind_of(resource)
        self.is_socket = resource_class == "SOCKET"
        self.is_serial = interface == InterfaceType.asrl
        is_lan_instrument = interface == InterfaceType.tcpip and not self.is_socket
        self._shortest_ms = SHORTEST_LAN_MS if is_lan_instrument else 0
        self._standard = StandardAttributes()
        self._set: dict[int, State] = {}
        self._handlers: dict[int, VISAHandler] = {}
        self._identify: Identify | None = None
        #: Who answered when it was first asked; empty if it never was.
        self.identity = ""
        manager, _ = attempt(self.library.open_default_resource_manager)
        self._manager: VISARMSession = manager
        self._handle = self._open()

    @property
    def marks_end(self) -> bool:
        """Does the interface mark the END of a message (IEEE 488.1 EOI and its heirs)?"""
        return not (self.is_socket or self.is_serial)

    @property
    def can_abort(self) -> bool:
        """Does viClear end a call that waits in another thread, and the instrument's work? Not on a stream."""
        return self.marks_end and clears_while_waiting(self.library)

    def _open(self) -> VISASession:
        try:
            handle, status = attempt(lambda: self.library.open(self._manager, self.resource), NOT_REACHED)
            checked(status)
        except CallError as error:
            if error.status != LOST:
                raise
            raise CallError(NOT_REACHED, error.text) from error  # nothing was there that could be lost
        after_open(self.library, handle)
        return handle

    def close(self) -> None:
        """viClose."""
        checked(attempt(lambda: self.library.close(self._handle)))

    def raise_if_closed(self) -> None:
        """Raises CallError(VI_ERROR_CONN_LOST) if the instrument has ended the connection: what is written is lost."""
        if peer_has_closed(self.library, self._handle):
            raise CallError(LOST, "the instrument closed the connection")

    def write(self, data: bytes) -> int:
        """viWrite; the number of bytes written."""
        try:
            count, status = self.library.write(self._handle, data)
        except Exception as error:  # as in `attempt`
            raise translate(error) from error
        checked(status)
        return int(count)

    def read(self, count: int) -> tuple[bytes, int]:
        """viRead of at most `count` bytes."""
        try:
            data, status = self.library.read(self._handle, count)
            return bytes(data), checked(status)
        except Exception as raised:  # as in `attempt`
            error = translate(raised)
        if error.status == StatusCode.error_timeout and peer_has_closed(self.library, self._handle):
            raise CallError(LOST, "the instrument closed the connection") from error
        raise error

    def arrived(self) -> int:
        """Bytes that viRead would give without waiting, as far as that can be told; 0 if silence ends a read."""
        count = arrived(self.library, self._handle)
        return count if count and self.get_attribute(ResourceAttribute.suppress_end_enabled) else 0

    def waiting(self) -> int | None:
        """Bytes that have come on a stream and were not read; None if that cannot be told. Of a serial line that says
        there are none pyvisa-sim cannot be believed."""
        if not self.is_serial:
            return arrived(self.library, self._handle)
        try:
            return int(self.get_attribute(ResourceAttribute.asrl_avalaible_number)) or None
        except CallError:
            return None

    def read_soon(self, count: int, patience_ms: int) -> bytes:
        """At most `count` bytes: some that are here already, or the first that comes within `patience_ms`. Where only a
        read can tell what is here, it has a millisecond at least."""
        waiting = self.waiting()
        if waiting == 0 and not patience_ms:
            return b""
        timeout_ms = self.get_attribute(ResourceAttribute.timeout_value)
        # What is here takes no time, but a library that looks at its clock between two bytes has to be given some.
        self.set_attribute(ResourceAttribute.timeout_value, QUIET_MS if waiting else patience_ms or 1)
        try:
            return self._read_if_any(min(count, waiting or 1))
        finally:
            self.set_attribute(ResourceAttribute.timeout_value, timeout_ms)

    def clear(self) -> int:
        """viClear."""
        return checked(attempt(lambda: self.library.clear(self._handle)))

    def call(self, function: Function, arguments: Sequence[Argument]) -> tuple[Value, int]:
        """A function that needs nothing but passing on; its value as what it is on our borders."""
        pairs = zip(function.parameters, arguments, strict=True)
        converted = [_as_enum(parameter.enum, argument) for parameter, argument in pairs]

        def call() -> tuple[Value, int]:
            answer = getattr(self.library, function.name)(self._handle, *converted)
            value, status = answer if function.gives else (None, answer)
            status = checked(status)
            return _VALUES[function.gives](value), status

        return attempt(call)

    def enable_event(self, event: int, tell: Callable[[int, Attributes], None]) -> int:
        """viInstallHandler and viEnableEvent: `tell` is called for each, perhaps from a thread of the library's."""
        kind = _event_type(event)

        def handler(_: VISASession, event_type: EventType, context: VISAEventContext, __: object) -> None:
            tell(int(event_type), self._event_attributes(kind, context))

        if event not in self._handlers:
            attempt(lambda: self.library.install_visa_handler(self._handle, kind, handler))
            self._handlers[event] = handler
        return checked(attempt(lambda: self.library.enable_event(self._handle, kind, EventMechanism.handler)))

    def disable_event(self, event: int) -> int:
        """viDisableEvent and viUninstallHandler."""
        kind = _event_type(event)
        status = checked(attempt(lambda: self.library.disable_event(self._handle, kind, EventMechanism.handler)))
        handler = self._handlers.pop(event, None)
        if handler is not None:
            attempt(lambda: self.library.uninstall_visa_handler(self._handle, kind, handler))
        return status

    def _event_attributes(self, kind: EventType, context: VISAEventContext) -> Attributes:
        known: Attributes = []
        numbers = [row.attribute_id for row in AttributesPerResource[kind]]
        if kind == EventType.usb_interrupt:
            numbers.append(EventAttribute.status)  # which VPP-4.3 lists, and PyVISA's table does not
        for number in map(EventAttribute, numbers):
            try:
                state, status = attempt(lambda number=number: self.library.get_attribute(context, number))  # type: ignore[misc]
                checked(status)
                known.append((int(number), _plain(state)))
            except CallError:
                continue
        return known

    def get_attribute(self, attribute: int) -> State:
        """viGetAttribute."""
        try:
            state, status = attempt(lambda: self.library.get_attribute(self._handle, _attribute(attribute)))
            checked(status)
            return _plain(state)
        except CallError as error:
            if error.status != StatusCode.error_nonsupported_attribute or attribute not in self._standard:
                raise
            return self._standard.get(attribute)

    def set_attribute(self, attribute: int, state: State) -> int:
        """viSetAttribute; remembered, so that a reopened session has it too."""
        if attribute == ResourceAttribute.timeout_value and isinstance(state, int):
            state = max(state, self._shortest_ms)
        try:
            status = checked(attempt(lambda: self.library.set_attribute(self._handle, _attribute(attribute), state)))
        except CallError as error:
            if error.status != StatusCode.error_nonsupported_attribute or attribute not in self._standard:
                raise
            status = checked(self._standard.set(attribute, state))
        self._set[attribute] = state
        return status

    @contextmanager
    def having(self, attributes: Attributes) -> Iterator[None]:
        """Within this, these attributes are so."""
        before = [(attribute, self.get_attribute(attribute)) for attribute, _ in attributes]
        try:
            for attribute, state in attributes:
                self.set_attribute(attribute, state)
            yield
        finally:
            for attribute, state in before:
                self.set_attribute(attribute, state)

    def identify(self, how: Identify) -> None:
        """Ask who it is, now and whenever a connection was made anew. Raises CallError."""
        self._identify, self.identity = how, identity_of(self, how)

    def local_attributes(self) -> Attributes:
        """The local attributes that this library knows, as they are now."""
        known: Attributes = []
        for attribute in LOCAL_ATTRIBUTES:
            try:
                known.append((int(attribute), self.get_attribute(attribute)))
            except CallError:
                continue
        return known

    def resynchronise(
        self, late_answers: int = 0, patience: float = 0.0, go_on: Callable[[], None] = lambda: None
    ) -> None:
        """Make sure that no answer to an old question is left: reopen a socket, clear an instrument, drain a line.

        Where there is nothing but draining, or the clear fails, `late_answers` are waited for, each `patience` seconds
        at most. `go_on` is called now and then meanwhile.
        """
        if self.is_socket:
            self.close()
            self._handle = self._open()
            for attribute, state in tuple(self._set.items()):
                self.set_attribute(attribute, state)
            self._raise_if_another()
            return
        if not self.is_serial:
            try:
                self.clear()
                late_answers = 0  # whatever it was about to say, it says no more
            except CallError as error:
                if error.status == LOST:
                    raise
        self.drain(late_answers, patience, go_on)

    def _raise_if_another(self) -> None:
        """Who answers the new connection? Raises CallError(VI_ERROR_CONN_LOST) if not the one that was opened."""
        if self._identify is None:
            return
        try:
            found = identity_of(self, self._identify)
        except CallError as error:
            raise CallError(LOST, error.text) from error
        if found != self.identity:
            raise CallError(LOST, f"{found!r} answers in the place of {self.identity!r}")

    def drain(self, late_answers: int = 0, patience: float = 0.0, go_on: Callable[[], None] = lambda: None) -> None:
        """Read until it is quiet and has said what it has to say. Raises CallError(VI_ERROR_IO) if it never is."""
        with self.having([(ResourceAttribute.timeout_value, QUIET_MS)]):
            self._read_until_quiet(late_answers, patience, go_on)

    def _read_until_quiet(self, late_answers: int, patience: float, go_on: Callable[[], None]) -> None:
        end = bytes([int(self.get_attribute(ResourceAttribute.termchar))]) if late_answers else None
        began = heard = said = time.monotonic()
        while True:
            # A byte at a time: a library's timeout is for the whole read, so only such a read tells that it is quiet.
            byte = self._read_if_any()
            now = time.monotonic()
            if byte:
                heard = now
                late_answers -= byte == end
            elif late_answers <= 0 or now - heard >= patience:
                return
            if now - began >= DRAIN_LIMIT:
                raise CallError(StatusCode.error_io, "the instrument does not fall silent")
            if now - said >= DRAIN_SIGN:
                said = now
                go_on()

    def _read_if_any(self, count: int = 1) -> bytes:
        try:
            return self.read(count)[0]
        except CallError as error:
            if error.status != StatusCode.error_timeout:
                raise
            return b""


def _as_number(value: Any) -> int:
    """PyVISA's own wrapper gives addresses as ctypes objects, whose bytes int() would read as text; NULL is None."""
    return int(getattr(value, "value", value) or 0)


#: The kinds of a function's value -> the value as it travels.
_VALUES: dict[str, Callable[[Any], Value]] = {
    "": lambda _: None,
    "int": _as_number,
    "bytes": bytes,
    "ints": lambda values: [int(value) for value in values],
}


def _as_enum(name: str | None, argument: Argument) -> Any:
    """An argument as PyVISA's libraries take it; a number that the enum lacks goes through as it is."""
    if name is None:
        return argument
    try:
        return getattr(constants, name)(argument)
    except ValueError:
        return argument


def _event_type(number: int) -> EventType:
    try:
        return EventType(number)
    except ValueError as error:
        raise CallError(StatusCode.error_invalid_event, f"no VISA event has the number {number:#x}") from error


def _attribute(number: int) -> ResourceAttribute:
    try:
        return ResourceAttribute(number)
    except ValueError as error:
        raise CallError(
            StatusCode.error_nonsupported_attribute, f"no VISA attribute has the number {number}"
        ) from error


def _plain(state: Any) -> State:
    """An attribute's state as a plain number or text: enums are numbers on every border of ours."""
    if isinstance(state, bool | str):
        return state
    if isinstance(state, float):
        return state
    try:
        return int(state)
    except (TypeError, ValueError) as error:
        # pyvisa-sim's NotAvailable default and its like come back as a success.
        raise CallError(StatusCode.error_nonsupported_attribute) from error
