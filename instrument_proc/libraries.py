"""VISA libraries as they are: how to load one, what a name means to it, what it finds, what its sessions lack.

Runs in the child. Nothing above this file and `visa_session` knows which library is at work.

To mend another library's quirk: a hook beside `after_open`; what it lacks altogether, as in `simulated`.
"""

import errno
import select
import socket
import sys
import time
from types import SimpleNamespace

from pyvisa import highlevel, rname
from pyvisa.constants import InterfaceType, StatusCode
from pyvisa.ctwrapper.highlevel import IVIVisaLibrary
from pyvisa.typing import VISASession

from instrument_proc.failures import NOT_REACHED, CallError, attempt, checked


def load(specification: str) -> highlevel.VisaLibraryBase:
    """The VISA library that `pyvisa.ResourceManager(specification)` would use, without its warnings; pyvisa-sim's with
    what it lacks."""
    opener = _open_simulated if specification.endswith("@sim") else highlevel.open_visa_library
    library = attempt(lambda: opener(specification), StatusCode.error_library_not_found)
    library.issue_warning_on = set()
    _mend_clock()
    return library


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


def canonical(resource: str, library: highlevel.VisaLibraryBase | None = None) -> str:
    """The canonical name of a resource, by PyVISA's parsing; else by `library`'s own, which may know more interfaces,
    and aliases. Raises CallError(VI_ERROR_INV_RSRC_NAME)."""
    try:
        return str(rname.ResourceName.from_string(resource))
    except (rname.InvalidResourceName, IndexError) as error:  # IndexError: PyVISA expects something behind VICP
        found = None if library is None else _parsed_by(library, resource)
        if found is None:
            raise CallError(StatusCode.error_invalid_resource_name, str(error)) from error
        return found


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


def after_open(library: highlevel.VisaLibraryBase, handle: VISASession) -> None:
    """pyvisa-py opens a refused port "successfully", and leaves Nagle's algorithm on (44 ms a query)."""
    interface = _socket_of(library, handle)
    if interface is None:
        return
    refusal = interface.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if refusal:
        library.close(handle)
        raise CallError(NOT_REACHED, f"cannot connect: {errno.errorcode.get(refusal, refusal)}")
    interface.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def clears_while_waiting(library: highlevel.VisaLibraryBase) -> bool:
    """May one thread call viClear while another waits in viRead? Vendors' libraries are made for several threads; in
    pyvisa-py both would read from the same connection."""
    return getattr(library, "clears_while_waiting", isinstance(library, IVIVisaLibrary))


def peer_has_closed(library: highlevel.VisaLibraryBase, handle: VISASession) -> bool:
    """Has the instrument closed the connection? pyvisa-py waits on it, and writes to it, all the same."""
    interface = _socket_of(library, handle)
    if interface is None:
        return False
    readable, _, _ = select.select([interface], [], [], 0)
    try:
        return bool(readable) and interface.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
