"""PyVISA's ResourceManager, whose `open_resource` can look for the instrument at the known daemons first.

Runs in the user's process. Whatever is opened belongs to a resource manager of PyVISA's own, local or of a daemon;
this one remembers what was opened through it. The local one is made when it is needed first, so a machine that uses
daemons only needs no VISA library.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any
from weakref import WeakSet

import pyvisa
from pyvisa.constants import VI_TMO_IMMEDIATE, AccessModes
from pyvisa.highlevel import VisaLibraryBase
from pyvisa.resources import Resource
from pyvisa.typing import VISARMSession

from client.choice import hosts_for
from pyvisa_daemon import hosts
from pyvisa_daemon.credentials import CredentialError
from pyvisa_daemon.errors import NOT_FOUND

_logger = logging.getLogger(__name__)


class ResourceManager(pyvisa.ResourceManager):
    """As PyVISA's, with `open_resource(..., checkSocket=True)`. `visa_library` specifies the local one."""

    _visa_library: str | VisaLibraryBase
    _managers: dict[str | VisaLibraryBase, pyvisa.ResourceManager]

    def __new__(cls, visa_library: str | VisaLibraryBase = "") -> "ResourceManager":
        # Not PyVISA's __new__: that may return what another caller made of the same library, and give ours to others.
        manager = object.__new__(cls)
        manager._visa_library = visa_library
        manager._managers = {}
        manager._created_resources = WeakSet()
        return manager

    @property
    def visalib(self) -> VisaLibraryBase:  # type: ignore[override] # nobody assigns it: see __new__
        """The local VISA library."""
        return self._manager(self._visa_library).visalib

    @property  # type: ignore[misc] # as above
    def session(self) -> VISARMSession:
        """The local resource manager's session."""
        return self._manager(self._visa_library).session

    def __repr__(self) -> str:
        return f"<client.ResourceManager({self._visa_library!r})>"

    __str__ = __repr__

    def open_resource(
        self,
        resource_name: str,
        access_mode: AccessModes = AccessModes.no_lock,
        open_timeout: int = VI_TMO_IMMEDIATE,
        resource_pyclass: type[Resource] | None = None,
        *,
        checkSocket: bool = False,  # noqa: N803 - the original's name
        **kwargs: Any,
    ) -> Resource:
        """PyVISA's open_resource; with `checkSocket` at the known daemons first, `client.tryIps`.

        It is opened locally only if no daemon answers, or every one says that it has no such resource. Any other
        refusal is raised, as VisaIOError: a daemon that has the instrument shares it, and two programs on one
        instrument without knowing of each other must not be.
        """

        def open_with(manager: pyvisa.ResourceManager) -> Resource:
            return manager.open_resource(resource_name, access_mode, open_timeout, resource_pyclass, **kwargs)

        resource = self._open_at_daemon(resource_name, open_with) if checkSocket else None
        if resource is None:
            resource = open_with(self._manager(self._visa_library))
        self._created_resources.add(resource)
        return resource

    def close(self) -> None:
        """Closes what was opened through this resource manager, and nothing that others opened."""
        for resource in list(self._created_resources):
            resource.close()
        self._managers.clear()

    def _open_at_daemon(
        self, resource_name: str, open_with: Callable[[pyvisa.ResourceManager], Resource]
    ) -> Resource | None:
        asked = []
        for address in hosts_for(resource_name):
            try:
                return open_with(self._manager(f"{address.entry}@daemon"))
            except (hosts.RefusedError, CredentialError):
                raise  # it may have it: not to be opened behind its back
            except ConnectionError:
                continue  # it was alive a moment ago
            except pyvisa.VisaIOError as error:
                if error.error_code not in NOT_FOUND:
                    raise
                asked.append(str(address))
        reason = f"{', '.join(asked)} cannot find it" if asked else "no daemon answers"
        _logger.warning("%s: opened with local VISA and not shared, for %s", resource_name, reason)
        return None

    def _manager(self, specification: str | VisaLibraryBase) -> pyvisa.ResourceManager:
        """PyVISA's own; anew if somebody else closed the one that PyVISA gives to all."""
        manager = self._managers.get(specification)
        if manager is None or manager._session is None:
            manager = self._managers[specification] = pyvisa.ResourceManager(specification)
        return manager


@cache
def _everybodys() -> ResourceManager:
    return ResourceManager()


def open_resource(name: str, checkSocket: bool = True, **kwargs: Any) -> Resource:  # noqa: N803 - the original's name
    """Opens `name` at the daemon that has it, else locally: `ResourceManager().open_resource`, the daemons asked."""
    return _everybodys().open_resource(name, checkSocket=checkSocket, **kwargs)
