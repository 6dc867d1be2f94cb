"""Gathers the facts of this machine.

Runs in the user's process. Reads what the system tells everybody: the environment, files' modes, /dev and /sys; opens
no device. What cannot be read is taken for not there.
"""

import contextlib
import ctypes
import getpass
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib import metadata, util
from pathlib import Path

from client.commands.checkup.facts import File, Kind, Library, Node
from pyvisa_daemon import addresses, credentials

#: What the checks have a use for.
PACKAGES = (
    "pyvisa", "pyvisa-py", "pyvisa-sim", "pyserial", "pyusb", "zeroconf", "gpib", "gpib-ctypes", "libusb-package",
)  # fmt: skip

_SERIAL = re.compile(r"tty(USB|ACM|AMA|S|O|mxc)\d+")
_GPIB = re.compile(r"gpib\d+")

#: The interface class and subclass of USBTMC.
_USBTMC = ("fe", "03")

#: Of adjtimex: bytes that are enough for its struct on any machine, and what it returns for a clock that nobody keeps.
_TIMEX_SIZE, _TIME_ERROR = 512, 5


def packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    if "gpib" not in found and util.find_spec("gpib") is not None:  # linux-gpib's is no distribution
        found["gpib"] = "(of linux-gpib)"
    return found


def libraries() -> tuple[Library, ...]:
    """The backends that PyVISA has, and the VISA libraries that its own finds."""
    from pyvisa.ctwrapper.highlevel import IVIVisaLibrary
    from pyvisa.highlevel import list_backends

    found = []
    for backend in list_backends():
        paths: tuple[str, ...] = ()
        if backend == "ivi":
            with contextlib.suppress(OSError):
                paths = tuple(dict.fromkeys(str(path) for path in IVIVisaLibrary.get_library_paths()))
        found.append(Library(backend, _version(f"pyvisa-{backend}"), paths))
    return tuple(found)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def has_libusb() -> bool:
    """What pyusb looks for, in its order; loading it opens nothing."""
    try:
        from usb.backend import libusb0, libusb1, openusb
    except ImportError:
        return False
    with contextlib.suppress(ImportError):
        import libusb_package

        if libusb_package.get_libusb1_backend() is not None:
            return True
    return any(library.get_backend() is not None for library in (libusb1, libusb0, openusb))


# Files that settings name.


def token_files(entries: list[addresses.Address]) -> tuple[File, ...]:
    """Those that are read for the known hosts."""
    names = [address.options["token_file"] for address in entries if address.options.get("token_file")]
    if named := os.environ.get("PYVISA_DAEMON_TOKEN_FILE"):
        names.append(named)
    elif not os.environ.get("PYVISA_DAEMON_TOKEN") and os.path.exists(credentials.default_file()):
        names.append(credentials.default_file())
    return tuple(_file(name, _flaw_of_token) for name in dict.fromkeys(names))


def ca_files(entries: list[addresses.Address]) -> tuple[File, ...]:
    names = [name for name in (*(address.ca_file for address in entries), os.environ.get(addresses.CA_FILE)) if name]
    return tuple(_file(name, _flaw_of_certificates) for name in dict.fromkeys(names))


def _file(name: str, flaw_of: Callable[[bytes], str]) -> File:
    path = Path(os.path.expanduser(name))
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if os.name == "posix" else None
    except OSError:
        return File(str(path), is_there=False)
    try:
        content = path.read_bytes()
    except OSError:
        return File(str(path), can_read=False, mode=mode)
    return File(str(path), mode=mode, flaw=flaw_of(content))


def _flaw_of_token(content: bytes) -> str:
    words = content.split()
    if not words:
        return "is empty"
    return "" if len(words) == 1 else "holds more than a token: one word and nothing else"


def _flaw_of_certificates(content: bytes) -> str:
    return "" if b"-----BEGIN CERTIFICATE-----" in content else "holds no certificate in PEM form"


# Devices.


def user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, in a container
        return str(os.getuid()) if hasattr(os, "getuid") else "this user"


def groups() -> frozenset[str]:
    """Of this process."""
    if sys.platform == "win32":
        return frozenset()
    return frozenset(map(_group, {os.getegid(), *os.getgroups()}))


def future_groups() -> frozenset[str]:
    """Of the user as the system's files have it."""
    if sys.platform == "win32":
        return frozenset()
    import grp

    name = user()
    return frozenset(row.gr_name for row in grp.getgrall() if name in row.gr_mem)


def _group(number: int) -> str:
    if sys.platform == "win32":
        return str(number)
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def nodes(dev: Path = Path("/dev"), sys_: Path = Path("/sys")) -> tuple[Node, ...]:
    """The serial lines, USB instruments and GPIB boards of a Linux machine; none elsewhere."""
    if sys.platform != "linux":
        return ()
    found = [*_serial_lines(dev, sys_), *_usb_instruments(dev, sys_), *_gpib_boards(dev)]
    return tuple(node for node in found if node is not None)


def _node(path: Path, kind: Kind, product: tuple[str, str] = ("", "")) -> Node | None:
    try:
        status = path.stat()
    except OSError:
        return None
    can_use = os.access(path, os.R_OK | os.W_OK)
    return Node(str(path), kind, can_use, _group(status.st_gid), stat.S_IMODE(status.st_mode), product)


def _serial_lines(dev: Path, sys_: Path) -> Iterator[Node | None]:
    """Without the ports that a PC's driver makes and its hardware does not have: those are of type 0."""
    for path in sorted(dev.glob("tty*")):
        if _SERIAL.fullmatch(path.name) and _text(sys_ / "class" / "tty" / path.name / "type") != "0":
            yield _node(path, Kind.SERIAL)


def _usb_instruments(dev: Path, sys_: Path) -> Iterator[Node | None]:
    for interface in sorted((sys_ / "bus" / "usb" / "devices").glob("*:*")):
        if (_text(interface / "bInterfaceClass"), _text(interface / "bInterfaceSubClass")) != _USBTMC:
            continue
        device = interface.parent / interface.name.partition(":")[0]
        bus, number = _text(device / "busnum"), _text(device / "devnum")
        if bus.isdigit() and number.isdigit():
            path = dev / "bus" / "usb" / f"{int(bus):03}" / f"{int(number):03}"
            yield _node(path, Kind.USB, (_text(device / "idVendor"), _text(device / "idProduct")))


def _gpib_boards(dev: Path) -> Iterator[Node | None]:
    """The first only: linux-gpib makes sixteen files, however many boards there are."""
    boards = sorted(path for path in dev.glob("gpib*") if _GPIB.fullmatch(path.name))
    return (_node(path, Kind.GPIB) for path in boards[:1])


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""


# The clock.


def now() -> datetime:
    return datetime.now().astimezone()


def is_clock_set() -> bool | None:
    """Does the kernel say that somebody keeps it right? adjtimex with no modes set changes nothing."""
    if sys.platform != "linux":
        return None
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_SIZE))) != _TIME_ERROR
    except (OSError, AttributeError):
        return None
