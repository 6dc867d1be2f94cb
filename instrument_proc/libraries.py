"""VISA libraries as they are, mended at this border: one way to open, to fail and to start over.

Runs in the child. PyVISA's wrappers differ: some return a negative status, some raise VisaIOError, pyvisa-py lets
whatever its drivers raise escape. `translate` turns all of it into a VISA status once, here. Nothing above this file
knows which library is at work.

To mend another library's quirk: a row in _STATUS_OF, or a hook beside `_after_open`.
"""

import errno
import re
import select
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from pyvisa import constants, errors, highlevel, rname
from pyvisa.constants import InterfaceType, ResourceAttribute, StatusCode
from pyvisa.typing import VISARMSession, VISASession

from instrument_proc.pipe import Attributes, State

T = TypeVar("T")

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

_NOT_REACHED = StatusCode.error_resource_not_found
_LOST = StatusCode.error_connection_lost

#: What a driver raised -> the status VPP-4.3 has for it, most special first.
_STATUS_OF: tuple[tuple[type[BaseException], StatusCode], ...] = (
    (NotImplementedError, StatusCode.error_nonsupported_operation),
    (ConnectionRefusedError, _NOT_REACHED),
    (socket.gaierror, _NOT_REACHED),
    (TimeoutError, StatusCode.error_timeout),
    (ConnectionError, _LOST),
    (EOFError, _LOST),
    (PermissionError, StatusCode.error_no_permission),
    (FileNotFoundError, _NOT_REACHED),
    (MemoryError, StatusCode.error_allocation),
)

_STATUS_OF_ERRNO = {
    errno.EBUSY: StatusCode.error_resource_busy,
    errno.ENODEV: _LOST,
    errno.ENXIO: _LOST,
    errno.EIO: _LOST,
    errno.EHOSTUNREACH: _LOST,
    errno.ENETUNREACH: _LOST,
    errno.EBADF: _LOST,
}


class CallError(Exception):
    """A VISA call that failed: its status, the status's name, and the words of whoever raised it."""

    def __init__(self, status: int, text: str = "") -> None:
        name, meaning = errors.completion_and_error_messages.get(status, ("VI_ERROR_SYSTEM_ERROR", "unknown status"))
        super().__init__(text or meaning)
        self.status = int(status)
        self.token = name

    @property
    def text(self) -> str:
        return str(self.args[0])


def translate(error: Exception, otherwise: StatusCode = StatusCode.error_system_error) -> CallError:
    """What a library raised, as a VISA status; `otherwise` for what no row knows."""
    if isinstance(error, errors.VisaIOError):
        return CallError(error.error_code)
    words = _in_a_line(str(error))
    if isinstance(error, OSError) and error.errno in _STATUS_OF_ERRNO:
        return CallError(_STATUS_OF_ERRNO[error.errno], words)
    for kind, status in _STATUS_OF:
        if isinstance(error, kind):
            return CallError(status, words)
    return CallError(otherwise, words)


_LINE_BREAK = re.compile(r"\\+n")


def _in_a_line(words: str) -> str:
    """A driver's words, fit for a reply: pyvisa-sim puts a whole traceback in there, of which the end counts."""
    if "Traceback" in words:
        words = _LINE_BREAK.sub("\n", words).rstrip("'\"\\\n ").rpartition("\n")[2]
    return " ".join(words.split())[:500]


def attempt(call: Callable[[], T], otherwise: StatusCode = StatusCode.error_system_error) -> T:
    """What `call` returns. Raises CallError for anything that a driver below raises."""
    try:
        return call()
    except CallError:
        raise
    except Exception as error:  # foreign code: nobody can list what a VISA driver raises
        raise translate(error, otherwise) from error


def checked(status: StatusCode | int | None) -> StatusCode:
    """`status` as a StatusCode. Raises CallError for a negative one; pyvisa-sim returns None for success."""
    if status is None:
        return StatusCode.success
    if status < 0:
        raise CallError(int(status))
    return StatusCode(status)


def load(specification: str) -> highlevel.VisaLibraryBase:
    """The VISA library that `pyvisa.ResourceManager(specification)` would use, without its warnings."""
    library = attempt(lambda: highlevel.open_visa_library(specification), StatusCode.error_library_not_found)
    library.issue_warning_on = set()
    return library


def canonical(resource: str) -> str:
    """The canonical name of a resource. Raises CallError(VI_ERROR_INV_RSRC_NAME)."""
    try:
        return str(rname.ResourceName.from_string(resource))
    except rname.InvalidResourceName as error:
        raise CallError(StatusCode.error_invalid_resource_name, str(error)) from error


def find_all(library: highlevel.VisaLibraryBase) -> list[str]:
    """viFindRsrc `?*`. Nothing found is an empty list, not an error."""
    manager, _ = library.open_default_resource_manager()
    try:
        return list(attempt(lambda: library.list_resources(manager, "?*")))
    except CallError as error:
        if error.status == _NOT_REACHED:
            return []
        raise


class VisaSession:
    """The one VISA session of this process."""

    def __init__(self, specification: str, resource: str) -> None:
        """viOpen. Raises CallError; a resource that the library cannot reach is VI_ERROR_RSRC_NFOUND."""
        self.library = load(specification)
        self.resource = resource
        parsed = rname.ResourceName.from_string(resource)
        self.is_socket = parsed.resource_class == "SOCKET"
        self.is_serial = parsed.interface_type_const == InterfaceType.asrl
        self._set: dict[int, State] = {}
        manager, _ = self.library.open_default_resource_manager()
        self._manager: VISARMSession = manager
        self._handle = self._open()

    @property
    def marks_end(self) -> bool:
        """Does the interface mark the END of a message (IEEE 488.1 EOI and its heirs)?"""
        return not (self.is_socket or self.is_serial)

    def _open(self) -> VISASession:
        handle, status = attempt(lambda: self.library.open(self._manager, self.resource), _NOT_REACHED)
        checked(status)
        _after_open(self.library, handle)
        return handle

    def close(self) -> None:
        """viClose."""
        checked(attempt(lambda: self.library.close(self._handle)))

    def write(self, data: bytes) -> int:
        """viWrite; the number of bytes written."""
        count, status = attempt(lambda: self.library.write(self._handle, data))
        checked(status)
        return int(count)

    def read(self, count: int) -> tuple[bytes, StatusCode]:
        """viRead of at most `count` bytes."""
        try:
            data, status = attempt(lambda: self.library.read(self._handle, count))
            return bytes(data), checked(status)
        except CallError as error:
            if error.status == StatusCode.error_timeout and _peer_has_closed(self.library, self._handle):
                raise CallError(_LOST, "the instrument closed the connection") from error
            raise

    def clear(self) -> None:
        """viClear."""
        checked(attempt(lambda: self.library.clear(self._handle)))

    def read_stb(self) -> int:
        """viReadSTB; 0 to 255."""
        stb, status = attempt(lambda: self.library.read_stb(self._handle))
        checked(status)
        return int(stb)

    def assert_trigger(self, protocol: int) -> None:
        """viAssertTrigger."""
        checked(attempt(lambda: self.library.assert_trigger(self._handle, constants.TriggerProtocol(protocol))))

    def get_attribute(self, attribute: int) -> State:
        """viGetAttribute."""
        state, status = attempt(lambda: self.library.get_attribute(self._handle, _attribute(attribute)))
        checked(status)
        return _plain(state)

    def set_attribute(self, attribute: int, state: State) -> StatusCode:
        """viSetAttribute; remembered, so that a reopened session has it too."""
        status = checked(attempt(lambda: self.library.set_attribute(self._handle, _attribute(attribute), state)))
        self._set[attribute] = state
        return status

    def local_attributes(self) -> Attributes:
        """The local attributes that this library knows, as they are now."""
        known: Attributes = []
        for attribute in LOCAL_ATTRIBUTES:
            try:
                known.append((int(attribute), self.get_attribute(attribute)))
            except CallError:
                continue
        return known

    def resynchronise(self) -> None:
        """Make sure that no answer to an old question is left: reopen a socket, clear an instrument, drain a line."""
        if self.is_socket:
            self.close()
            self._handle = self._open()
            for attribute, state in tuple(self._set.items()):
                self.set_attribute(attribute, state)
            return
        if not self.is_serial:
            try:
                self.clear()
            except CallError as error:
                if error.status != StatusCode.error_nonsupported_operation:
                    raise
        self._drain()

    def _drain(self) -> None:
        # A byte at a time: a library's timeout is for the whole read, so only such a read tells that it is quiet.
        timeout_ms = self.get_attribute(ResourceAttribute.timeout_value)
        self.set_attribute(ResourceAttribute.timeout_value, QUIET_MS)
        try:
            while True:
                self.read(1)
        except CallError as error:
            if error.status != StatusCode.error_timeout:
                raise
        finally:
            self.set_attribute(ResourceAttribute.timeout_value, timeout_ms)


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


def _socket_of(library: highlevel.VisaLibraryBase, handle: VISASession) -> socket.socket | None:
    """The TCP socket below a pyvisa-py `::SOCKET` session, if this is one."""
    session = getattr(library, "sessions", {}).get(handle)
    interface = getattr(session, "interface", None)
    return interface if isinstance(interface, socket.socket) else None


def _after_open(library: highlevel.VisaLibraryBase, handle: VISASession) -> None:
    """pyvisa-py opens a refused port "successfully", and leaves Nagle's algorithm on (44 ms a query)."""
    interface = _socket_of(library, handle)
    if interface is None:
        return
    refusal = interface.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if refusal:
        library.close(handle)
        raise CallError(_NOT_REACHED, f"cannot connect: {errno.errorcode.get(refusal, refusal)}")
    interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _peer_has_closed(library: highlevel.VisaLibraryBase, handle: VISASession) -> bool:
    """After a timeout: did pyvisa-py wait on a connection that the instrument had closed?"""
    interface = _socket_of(library, handle)
    if interface is None:
        return False
    readable, _, _ = select.select([interface], [], [], 0)
    try:
        return bool(readable) and interface.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
