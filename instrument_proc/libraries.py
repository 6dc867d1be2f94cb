"""VISA libraries as they are: how to load one, what a name means to it, what it finds, what its sessions lack.

Runs in the child. Nothing above this file and `visa_session` knows which library is at work.

To mend another library's quirk: a hook beside `after_open`; what it lacks altogether, as in `simulated`.
"""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import importlib
import re
import select
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable
from types import SimpleNamespace

from pyvisa import highlevel, rname
from pyvisa.constants import InterfaceType, StatusCode
from pyvisa.typing import VISASession

from instrument_proc.failures import NOT_REACHED, CallError, attempt, checked
from instrument_proc.lean_imports import lean

#: Modules of pyvisa-py that only some kinds of resources need, in the order in which it imports them itself. That of
#: USB looks for libusb as it is imported, for which Python starts a compiler.
_SESSIONS = ("pyvisa_py.serial", "pyvisa_py.usb", "pyvisa_py.prologix", "pyvisa_py.gpib")

#: Which of them each kind needs; one that is not here may need any.
_NEEDED: dict[InterfaceType, tuple[str, ...]] = {
    InterfaceType.tcpip: (),
    InterfaceType.vicp: (),
    InterfaceType.asrl: ("pyvisa_py.serial",),
    InterfaceType.usb: ("pyvisa_py.usb",),
    InterfaceType.gpib: ("pyvisa_py.serial", "pyvisa_py.prologix", "pyvisa_py.gpib"),
}


def load(specification: str, resource: str | None = "?*") -> highlevel.VisaLibraryBase:
    """The VISA library that `pyvisa.ResourceManager(specification)` would use, without its warnings; pyvisa-sim's with
    what it lacks. It has imported what it needs for `resource`: for every one that there may be, or None at all."""
    opener = _open_simulated if specification.endswith("@sim") else highlevel.open_visa_library
    library = attempt(lambda: _opened(opener, specification, resource), StatusCode.error_library_not_found)
    library.issue_warning_on = set()
    _mend_clock()
    return library


def _opened(
    opener: Callable[[str], highlevel.VisaLibraryBase], specification: str, resource: str | None
) -> highlevel.VisaLibraryBase:
    needed = () if resource is None else _NEEDED.get(kind_of(resource)[0], _SESSIONS)
    try:
        with lean(absent=_SESSIONS):
            library = opener(specification)
    except Exception:  # "no such library", or whatever it says to it that it cannot do without
        library = opener(specification)
    if "pyvisa_py.highlevel" in sys.modules:
        for module in needed:
            _add(module)
    return library


@functools.cache
def _add(module: str) -> None:
    """Import one of _SESSIONS, by which it is known to pyvisa-py; what that needs may not be installed."""
    with contextlib.suppress(Exception):  # as in pyvisa-py
        importlib.import_module(module)


#: Where pyvisa-py reckons its timeouts by the wall clock: a step of it would end a read, or keep it for an hour.
_BY_THE_WALL_CLOCK = ("pyvisa_py.sessions", "pyvisa_py.tcpip", "pyvisa_py.protocols.rpc")
_MONOTONIC = SimpleNamespace(**vars(time) | {"time": time.monotonic})


def _mend_clock() -> None:
    for name in _BY_THE_WALL_CLOCK:
        if name in sys.modules:
            vars(sys.modules[name])["time"] = _MONOTONIC


def _open_simulated(specification: str) -> highlevel.VisaLibraryBase:
    from instrument_proc.simulated import SimulatedLibrary  # the other libraries do without pyvisa-sim

    return SimulatedLibrary(specification.removesuffix("@sim"))


#: Parts of a name that are numbers: in decimal, and those that pyvisa-py reads as Python would; how VISA writes them.
_DECIMAL = ("board", "primary_address", "secondary_address", "port", "usb_interface_number")
_ANY_BASE = ("manufacturer_id", "model_code")
_AS_IN_VISA = re.compile("[0-9]+|0[xX][0-9a-fA-F]+")

#: What pyserial opens by a URL (`ASRLsocket://labpc:4001::INSTR`), of which some is no serial line: `spy://` writes a
#: file that is named in it, `alt://` makes an object of any of its classes.
_SERIAL_URLS = frozenset({"hwgrep", "loop", "rfc2217", "socket"})


def canonical(resource: str, library: highlevel.VisaLibraryBase | None = None) -> str:
    """The canonical name of a resource, by PyVISA's parsing; else by `library`'s own, which may know more interfaces,
    and aliases. Raises CallError(VI_ERROR_INV_RSRC_NAME)."""
    try:
        parsed = rname.ResourceName.from_string(resource)
        _refuse_url_of_no_line(parsed)
        return str(dataclasses.replace(parsed, **_odd_numbers_of(parsed)))
    except (rname.InvalidResourceName, IndexError) as error:  # IndexError: PyVISA expects something behind VICP
        found = None if library is None else _parsed_by(library, resource)
        if found is None:
            raise CallError(StatusCode.error_invalid_resource_name, str(error)) from error
        return found


def _odd_numbers_of(parsed: rname.ResourceName) -> dict[str, str]:
    """The parts that are numbers to Python only (`+22`, `5_025`, other scripts' digits), as VISA writes them."""
    written = {}
    for part in (*_DECIMAL, *_ANY_BASE):
        given = getattr(parsed, part, None)
        if isinstance(given, str) and not _AS_IN_VISA.fullmatch(given):
            with contextlib.suppress(ValueError):  # it is none: `ASRL/dev/ttyS0`
                written[part] = f"0x{int(given, 0):04X}" if part in _ANY_BASE else str(int(given))
    return written


def _refuse_url_of_no_line(parsed: rname.ResourceName) -> None:
    if parsed.interface_type not in ("ASRL", "PRLGX-ASRL"):
        return
    device = str(getattr(parsed, "serial_device", "") or getattr(parsed, "board", ""))
    scheme, mark, _ = device.partition("://")
    if mark and scheme.lower() not in _SERIAL_URLS:
        known = ", ".join(sorted(_SERIAL_URLS))
        text = f"{scheme}:// is not opened as a serial line; of URLs there are {known}"
        raise CallError(StatusCode.error_invalid_resource_name, text)


def _parsed_by(library: highlevel.VisaLibraryBase, resource: str) -> str | None:
    """viParseRsrcEx, where the library has one of its own."""
    if type(library).parse_resource_extended is highlevel.VisaLibraryBase.parse_resource_extended:
        return None
    try:
        manager, _ = attempt(library.open_default_resource_manager)
        try:
            found, status = attempt(lambda: library.parse_resource_extended(manager, resource))
            checked(status)
        finally:
            attempt(lambda: library.close(manager))
    except CallError:
        return None
    return found.resource_name or None


def kind_of(resource: str) -> tuple[InterfaceType, str]:
    """Interface type and resource class of a canonical name, as far as they matter here."""
    try:
        parsed = rname.ResourceName.from_string(resource)
    except rname.InvalidResourceName:  # PyVISA knows no PXI INSTR, say
        return InterfaceType.unknown, resource.rpartition("::")[2]
    return parsed.interface_type_const, str(parsed.resource_class)


def find_all(library: highlevel.VisaLibraryBase) -> list[str]:
    """viFindRsrc `?*`. Nothing found is an empty list, not an error."""
    try:
        manager, _ = attempt(library.open_default_resource_manager)
        return list(attempt(lambda: library.list_resources(manager, "?*")))
    except CallError as error:
        if error.status == NOT_REACHED:
            return []
        raise


def _socket_of(library: highlevel.VisaLibraryBase, handle: VISASession) -> socket.socket | None:
    """The TCP socket below a pyvisa-py `::SOCKET` session, if this is one."""
    session = getattr(library, "sessions", {}).get(handle)
    interface = getattr(session, "interface", None)
    return interface if isinstance(interface, socket.socket) else None


#: Bytes that pyvisa-py asks a socket for at once; its own 4096 make long answers slow.
RECEIVE_SIZE = 1 << 18


def after_open(library: highlevel.VisaLibraryBase, handle: VISASession) -> None:
    """pyvisa-py opens a refused port "successfully", leaves Nagle's algorithm on (44 ms for a write and a query), and
    receives in small pieces."""
    interface = _socket_of(library, handle)
    if interface is None:
        return
    refusal = interface.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if refusal:
        library.close(handle)
        raise CallError(NOT_REACHED, f"cannot connect: {errno.errorcode.get(refusal, refusal)}")
    interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    getattr(library, "sessions", {})[handle].max_recv_size = RECEIVE_SIZE


def clears_while_waiting(library: highlevel.VisaLibraryBase) -> bool:
    """May one thread call viClear while another waits in viRead? Vendors' libraries are made for several threads; in
    pyvisa-py both would read from the same connection."""
    return getattr(library, "clears_while_waiting", _is_vendors(library))


def _is_vendors(library: highlevel.VisaLibraryBase) -> bool:
    wrapper = sys.modules.get("pyvisa.ctwrapper.highlevel")  # a child without such a library is without ctypes
    return wrapper is not None and isinstance(library, wrapper.IVIVisaLibrary)


def arrived(library: highlevel.VisaLibraryBase, handle: VISASession) -> int | None:
    """Bytes that a pyvisa-py `::SOCKET` session has, or the kernel for it; None for any other."""
    interface = _socket_of(library, handle)
    if interface is None:
        return None
    (waiting,) = _C_INT.unpack(fcntl.ioctl(interface, termios.FIONREAD, bytes(_C_INT.size)))
    return int(waiting) + len(getattr(getattr(library, "sessions", {})[handle], "_pending_buffer", b""))


_C_INT = struct.Struct("i")

#: tcpi_state, the first byte of Linux's struct tcp_info, of a connection that neither side has ended.
_TCP_ESTABLISHED = 1


def peer_has_closed(library: highlevel.VisaLibraryBase, handle: VISASession) -> bool:
    """Has the instrument closed the connection? pyvisa-py waits on it, and writes to it, all the same."""
    interface = _socket_of(library, handle)
    if interface is None:
        return False
    try:
        if interface.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED:
            return False
        readable, _, _ = select.select([interface], [], [], 0)
        return bool(readable) and interface.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
