"""Which of the known daemons to try for a resource, best first.

Runs in the user's process. Asking opens nothing; see `hosts.find`.
"""

from pyvisa_daemon import hosts
from pyvisa_daemon.wire import FOUND

#: The best first. Who does not let us in comes last: opening says so, if nobody else has the resource.
_ORDER = (*FOUND, hosts.REFUSED)


def hosts_for(resource: str) -> list[hosts.Address]:
    """The live daemons: where it is open, then where it is listed, then configured, then the others.

    Equals stand in the order of `tryIps`. Those that do not know the resource are in it too: no VISA library lists a
    name such as TCPIP::192.168.1.5::5025::SOCKET, so only opening it shows who can reach it.
    """
    findings = sorted(hosts.find(resource), key=lambda finding: _ORDER.index(finding.found))
    return [finding.address for finding in findings]


def some_host_for(resource: str) -> list[hosts.Address]:
    """The same, and at least one. Raises ConnectionError, with the reason for each host."""
    addresses = hosts_for(resource)
    if not addresses:
        hosts.first_live().close()
    return addresses
