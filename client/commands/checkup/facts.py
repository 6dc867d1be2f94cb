"""What is known when the checks are made: this machine, and what the daemons have said.

Pure. Every field has a default, that of a machine on which nothing is special, so a test names what it is about.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """Of an interface."""

    SERIAL = "serial"
    USB = "USB"
    GPIB = "GPIB"


@dataclass(frozen=True)
class Node:
    """A file in /dev behind which there is an instrument, or may be; `product`: vendor and product of a USB one."""

    path: str
    kind: Kind
    can_use: bool = True
    group: str = "root"
    mode: int = 0o660
    product: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class File:
    """A file that a setting names. `mode`: the bits for owner, group and others; None where there are no such."""

    path: str
    is_there: bool = True
    can_read: bool = True
    mode: int | None = 0o600
    flaw: str = ""  # what is wrong with its content


@dataclass(frozen=True)
class Library:
    """What PyVISA may work with: a backend, and the files of a VISA library where it needs them."""

    backend: str
    version: str = ""
    paths: tuple[str, ...] = ()


class Way(StrEnum):
    """How far the way to a daemon led."""

    ENTRY = "entry"  # what is written there is no address
    NAME = "name"  # the name has no address
    REFUSED = "refused"  # the machine is there, and nothing listens
    SILENT = "silent"  # nothing answers
    UNREACHABLE = "unreachable"  # no way leads there
    TOKEN = "token"  # noqa: S105 - it does not let us in
    TLS = "tls"  # no connection in TLS, or none that is trusted
    DAEMON = "daemon"  # something listens, and there is no talking to it
    THERE = "there"


@dataclass(frozen=True)
class Visit:
    """One known host. `status` is the daemon's own; `instruments` None if it could not list them."""

    entry: str
    way: Way = Way.THERE
    text: str = ""
    is_loopback: bool = False
    connected_ms: float = 0.0
    status: Mapping[str, Any] = field(default_factory=dict)
    instruments: tuple[str, ...] | None = ()


@dataclass(frozen=True)
class Search:
    """What PyVISA finds on this machine without any daemon; or why that is not known."""

    found: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class System:
    """Everything that the checks look at."""

    version: str = "0.1.0"
    platform: str = "linux"
    python: str = "3.11.0"
    #: Installed packages and their versions.
    packages: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[Library, ...] = ()
    has_libusb: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    #: The file where a token is looked for if nothing says otherwise, and what the settings name besides.
    token_files: tuple[File, ...] = ()
    ca_files: tuple[File, ...] = ()
    nodes: tuple[Node, ...] = ()
    user: str = "ann"
    #: Of this process, and of the user as the system's files have it: who was added must log in anew.
    groups: frozenset[str] = frozenset()
    future_groups: frozenset[str] = frozenset()
    visits: tuple[Visit, ...] = ()
    #: Daemons announced on the network, `host:port`; None if nobody has listened.
    announced: tuple[str, ...] | None = None
    search: Search | None = None
    now: datetime = datetime(2026, 11, 23)
    #: None where the system does not say.
    is_clock_set: bool | None = None

    @property
    def has_daemon_here(self) -> bool:
        return any(visit.is_loopback and visit.way is Way.THERE for visit in self.visits)
