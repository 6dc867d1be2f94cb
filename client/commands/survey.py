"""What every known daemon says, asked at the same time: for the subcommands that show more than one.

Runs in the user's process; a thread for each host, so one that is switched off keeps nobody waiting.
"""

import threading
from collections.abc import Callable
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


def status_of(socket: TCPVisaSocket) -> Status:
    """Raises ConnectionError for an answer that is no status."""
    try:
        return socket.status()
    except ValueError as error:  # no JSON
        raise ConnectionError(f"{socket.address} answers, and not as an instrument daemon does: {error}") from error


def statuses() -> list[Said]:
    """Of all known hosts, in their order; after LIMIT, without those that did not answer by then."""
    return ask_all(status_of)


def ask_all(ask: Callable[[TCPVisaSocket], Status]) -> list[Said]:
    """What `ask` gets of each known host."""
    addresses = list(map(hosts.parse, hosts.tryIps))
    came: dict[int, Said] = {}

    def visit(place: int, address: hosts.Address) -> None:
        try:
            with TCPVisaSocket(address) as socket:
                came[place] = Said(address, ask(socket))
        except (ConnectionError, Failure) as error:
            came[place] = Said(address, None, str(error))

    began = monotonic()
    threads = [threading.Thread(target=visit, args=row, daemon=True) for row in enumerate(addresses)]
    for thread in threads:
        thread.start()
    said = []
    for place, (address, thread) in enumerate(zip(addresses, threads, strict=True)):
        limit = LIMIT + (hosts.VERDICT_TIME if credentials.is_there(address.options) else 0.0)
        thread.join(max(0.0, began + limit - monotonic()))
        silence = Said(address, None, f"{address} did not answer within {limit:.0f} s")
        said.append(came.get(place, silence))
    return said


def refuse_if_none(said: list[Said]) -> None:
    """Raises ConnectionError, with the reason for each host, if no daemon is alive."""
    if all(one.status is None for one in said):
        raise ConnectionError("; ".join(one.reason for one in said) or "no host is known: tryIps is empty")
