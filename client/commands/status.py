"""`instruments status`: a daemon and its instruments.

Runs in the user's process.
"""

import json
from typing import Any

import click

from client.commands.locks import holders
from client.commands.terminal import print_table
from client.text_socket import SocketManager

_COLUMNS = ("resource", "state", "pid", "restarts", "queued", "sessions", "memory_mb", "lock", "last_error")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The daemon's own words: one line of JSON.")
@click.option("--clients", "has_clients", is_flag=True, help="Who is connected, too.")
def status(as_json: bool, has_clients: bool) -> None:
    """Show a daemon and its instruments.

    The first live daemon, and the instruments that it has a process for.
    """
    with SocketManager().open_socket() as socket:
        said = socket.status()
        if as_json:
            click.echo(json.dumps(said))
            return
        click.echo(
            f"daemon at {socket.address}: version {said['version']}, pid {said['pid']}, "
            f"up {said['uptime_s']:.0f} s, {said['clients']} clients"
        )
        for resource in said["resources"]:
            resource["lock"] = lock_cell(resource["lock"])
        if said.get("audit", {}).get("failing"):
            click.echo(f"its audit log cannot be written: {said['audit']['file']}")
        rows = [[_cell(resource.get(column)) for column in _COLUMNS] for resource in said["resources"]]
        if rows:
            print_table([list(_COLUMNS), *rows])
        if has_clients:
            print_table(client_rows(said))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-" if value is None or value == "" else " ".join(str(value).split())


def lock_cell(held: dict[str, Any] | None) -> str:
    """A lock in few words; empty without one."""
    if not held:
        return ""
    waiting = f", {held['waiting']} waiting" if held["waiting"] else ""
    return f"{held['kind']}: {holders(held)}{waiting}"


def client_rows(said: dict[str, Any]) -> list[list[str]]:
    """The daemon's connections, with a heading."""
    rows = [[row["client"], row["name"], row["language"], " ".join(row["open"])] for row in said["connections"]]
    return [["client", "name", "language", "open"], *[[cell or "-" for cell in row] for row in rows]]
