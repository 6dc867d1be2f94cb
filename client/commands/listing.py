"""`instruments list`: the resources of all known daemons.

Runs in the user's process. The names come from each daemon's search; what is open there, and who has it, from its
status, which is asked meanwhile and costs nothing.
"""

import sys
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import click

from client.commands import survey
from client.commands.overview import STATE_STYLES, aliases_of, every_alias, holder, resources, text_of
from client.commands.terminal import REFUSED, console, end, is_rich, print_json, print_table, say, styled, table
from pyvisa_daemon import hosts, wire

if TYPE_CHECKING:
    from rich.text import Text

_LIST_LIMIT = 30.0  # seconds: a daemon asks every interface, some by broadcast
_DISCOVER_TIME = 2.0  # seconds: who is there has answered by then


@dataclass(frozen=True)
class _Row:
    """One resource; what is not known of it is empty. The state is empty for what nobody has open."""

    resource: str
    host: str
    aliases: list[str]
    state: str
    holder: str

    def cells(self) -> list[str]:
        cells = (self.resource, self.host, ", ".join(self.aliases), self.state, self.holder)
        return [cell or "-" for cell in cells]


@click.command("list")
@click.option("--discover", "is_discovering", is_flag=True, help="Also ask daemons that are announced on the network.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list, with an object for each resource.")
def list_(is_discovering: bool, as_json: bool) -> None:
    """List resources and where they are.

    All that each live daemon finds or has configured: its name, the daemon, and its aliases; where it is open also its
    state, and who keeps others out. Daemons that cannot be asked are told of on stderr.
    """
    if is_discovering:
        _add_announced()
    said = survey.statuses()
    survey.refuse_if_none(said)
    rows, refusals = _rows({str(one.address): one.status or {} for one in said})
    if as_json:
        print_json([asdict(row) for row in rows])
    elif is_rich():
        _show(rows)
    else:
        print_table([row.cells() for row in rows])
    for reason in (one.reason for one in said if one.status is None):
        say(reason)
    for refusal in refusals:
        say(refusal)
    if refusals:
        sys.exit(REFUSED)


def _show(rows: list[_Row]) -> None:
    """On a terminal: each daemon's under its address, for which there is no room on every line."""
    out = console()
    for host, theirs in groupby(rows, key=lambda row: row.host):
        out.print(styled(f"at {host}", "bold"))
        out.print(table(["resource", "alias", "state", "held by"], [_styled(row) for row in theirs], ["held by"]))


def _styled(row: _Row) -> list["Text"]:
    resource, _, alias, state, holder = row.cells()
    return [
        styled(resource, "bold"),
        styled(alias, "cyan"),
        styled(state, STATE_STYLES.get(state, "dim")),
        styled(holder, "yellow"),
    ]


def _rows(statuses: dict[str, survey.Status]) -> tuple[list[_Row], list[str]]:
    """All resources; and what those daemons say that could not list theirs."""
    rows, refusals = [], []
    for address, reply in hosts.ask(lambda channel: channel.start(wire.ListResources), _LIST_LIMIT):
        if reply is None or reply.status < 0 or not isinstance(reply.value, list):
            text = reply.text if reply is not None else f"no answer within {_LIST_LIMIT:.0f} s"
            refusals.append(f"{address} could not list its resources: {text}")
            continue
        status = statuses.get(str(address), {})
        opened, aliases = _opened(status), every_alias(status)
        names = [*map(str, reply.value)]
        names += [name for name in opened if name not in names]  # who opened it knew its name, which no library lists
        rows += [_row(name, address, opened.get(name, {}), aliases.get(name, [])) for name in names]
    return rows, refusals


def _opened(status: survey.Status) -> dict[str, dict[str, object]]:
    return {text_of(row.get("resource")): row for row in resources(status)}


def _row(name: str, address: hosts.Address, said: dict[str, object], aliases: list[str]) -> _Row:
    return _Row(name, str(address), aliases or aliases_of(said), text_of(said.get("state")), holder(said))


def _add_announced() -> None:
    """To the hosts that are asked: those that are announced and not among them. Anybody on the network can announce
    anything, so they are shown no token; who wants one is told of only."""
    try:
        from client.discovery import list_daemons

        found = list_daemons(timeout_s=_DISCOVER_TIME)
    except (ImportError, OSError) as error:  # no zeroconf, or no network
        end(REFUSED, str(error))
    known = {str(hosts.parse(entry)) for entry in hosts.tryIps}
    for daemon in found:
        if daemon.address in known:
            continue
        if daemon.needs_token:
            has = f"{daemon.address} ({daemon.name}) has {daemon.resources} instruments and wants a token"
            say(f"{has}; with --host, or in PYVISA_DAEMON_HOSTS, it is asked")
        else:
            hosts.tryIps.append(f"{daemon.address}?token_file={'&tls=1' if daemon.tls else ''}")
    if not found:
        say("no daemon is announced on this network; those that listen on loopback only are not")
