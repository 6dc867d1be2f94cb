"""Opens instruments through whichever daemon has them, and locally when none has: `import client as visa`.

Runs in the user's process. Everything of PyVISA is here too, so it stands in for `import pyvisa as visa`; what is
opened is PyVISA's own object in either case. Reading tour:

    choice             which of the known daemons to try, best first
    resource_manager   PyVISA's ResourceManager with `checkSocket`
    text_socket        the text protocol, a method for each command
    text_connection    under it: one request, one reply
    confirmations      the reason for a message that a guard wants confirmed
    discovery          the daemons that announce themselves
    locking            a lock for the length of a `with`, with a reason and a time to live
    commands           `instruments`, for people at a terminal
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pyvisa

from client.confirmations import confirm
from client.locking import lock
from client.resource_manager import ResourceManager, open_resource
from client.text_socket import SocketManager, TCPVisaSocket
from pyvisa_daemon import hosts
from pyvisa_daemon.errors import Failure

if TYPE_CHECKING:  # it is imported when it is asked for: most programs know their daemon
    from client.discovery import list_daemons

__all__ = [
    "Failure",
    "ResourceManager",
    "SocketManager",
    "TCPVisaSocket",
    "confirm",
    "list_daemons",
    "lock",
    "open_resource",
    "tryIps",
]


class _Client(ModuleType):
    """This module's class: `client.tryIps` is the list in `hosts`, also for whoever assigns a new one."""

    @property
    def tryIps(self) -> list[str]:  # noqa: N802 - the original's name
        """The hosts that are asked, in this order, each `host[:port]`."""
        return hosts.tryIps

    @tryIps.setter
    def tryIps(self, entries: list[str]) -> None:  # noqa: N802
        if isinstance(entries, str):
            raise TypeError(f"tryIps is a list of hosts: [{entries!r}]")
        hosts.tryIps[:] = entries


def __getattr__(name: str) -> Any:
    if name == "list_daemons":
        from client.discovery import list_daemons

        return list_daemons
    return getattr(pyvisa, name)


sys.modules[__name__].__class__ = _Client
