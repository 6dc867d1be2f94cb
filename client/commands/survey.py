"""What every known daemon says, asked at the same time: for the subcommands that show more than one.

Runs in the user's process; a thread for each host, so one that is switched off keeps nobody waiting.
"""

import threading
from dataclasses import dataclass
from time import monotonic
from typing import Any

from client.text_socket import TCPVisaSocket
from pyvisa_daemon import credentials, hosts
from pyvisa_daemon.errors import Failure

#: Seconds for one daemon to say how it is; and VERDICT_TIME more if it is shown a token.
LIMIT = 3.0

Status = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """What the daemon at `address` said, or why it said nothing."""

    address: hosts.Address
    status: Status | None
    reason: str = ""


def statuses() -> list[Said]:
    """Of all known hosts, in their order; after LIMIT, without those that did not answer by then."""
    addresses = list(map(hosts.parse, hosts.tryIps))
    came: dict[int, Said | Exception] = {}

    def visit(place: int, address: hosts.Address) -> None:
        try:
            came[place] = _asked(address)
        except Exception as error:  # whatever it is, it is raised below
            came[place] = error

    began = monotonic()
    threads = [threading.Thread(target=visit, args=row, daemon=True) for row in enumerate(addresses)]
    for thread in threads:
        thread.start()
    said = []
    for place, (address, thread) in enumerate(zip(addresses, threads, strict=True)):
        limit = LIMIT + (hosts.VERDICT_TIME if credentials.is_there(address.options) else 0.0)
        thread.join(max(0.0, began + limit - monotonic()))
        one = came.get(place, Said(address, None, f"{address} did not answer within {limit:.0f} s"))
        if isinstance(one, Exception):
            raise one
        said.append(one)
    return said


def _asked(address: hosts.Address) -> Said:
    try:
        with TCPVisaSocket(address) as socket:
            return Said(address, socket.status())
    except (ConnectionError, Failure) as error:
        return Said(address, None, str(error))


def refuse_if_none(said: list[Said]) -> None:
    """Raises ConnectionError, with the reason for each host, if no daemon is alive."""
    if all(one.status is None for one in said):
        raise ConnectionError("; ".join(one.reason for one in said) or "no host is known: tryIps is empty")
