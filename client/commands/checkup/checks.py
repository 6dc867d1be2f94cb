"""All checks, in the order in which they are told: from this machine outwards.

Pure.
"""

from collections.abc import Callable

from client.commands.checkup import daemons, interfaces, settings, software
from client.commands.checkup.facts import System
from client.commands.checkup.findings import Finding, Findings

CHECKS: tuple[Callable[[System], Findings], ...] = (
    software.versions,
    software.extras,
    software.visa_libraries,
    software.chosen_library,
    settings.variables,
    settings.lock_variables,
    settings.token,
    settings.certificates,
    interfaces.rights,
    interfaces.local_instruments,
    daemons.reachable,
    daemons.versions,
    daemons.instruments,
    daemons.health,
    daemons.doors,
    daemons.announced,
    daemons.clock,
)


def examine(system: System) -> list[Finding]:
    return [finding for check in CHECKS for finding in check(system)]
