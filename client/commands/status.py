"""`instruments status`: the daemons and their instruments, once or live.

Runs in the user's process. What is shown is made in `client.commands.overview`; the live display is in
`client.commands.watching`.
"""

from typing import TYPE_CHECKING

import click

from client.commands import survey
from client.commands.overview import (
    COLUMNS,
    Row,
    Trouble,
    client_rows,
    columns_of,
    headline,
    resources,
    style_of,
    troubles,
    warnings,
)
from client.commands.survey import Said
from client.commands.terminal import console, is_rich, print_json, print_table, styled, table
from client.commands.terms import Seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

_EPILOG = """\b
Examples:
  instruments status
  instruments --host labpc status --watch
  instruments status --json | jq -r '.resources[]? | select(.state != "ready") | .resource'
"""


@click.command(epilog=_EPILOG)
@click.option("--watch", "is_watching", is_flag=True, help="Go on showing it until Ctrl-C.")
@click.option(
    "--interval",
    type=Seconds("from 0.1 to 3600", lambda seconds: 0.1 <= seconds <= 3600),
    default=1.0,
    show_default=True,
    metavar="S",
    help="With --watch: seconds between two looks, 0.1 to 3600.",
)
@click.option("--clients", "has_clients", is_flag=True, help="Who is connected, too.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's own words: a line of JSON for each daemon.")
def status(is_watching: bool, interval: float, has_clients: bool, as_json: bool) -> None:
    """Show the daemons and their instruments.

    Of each known host: the daemon, and the instruments that it has a process for. Their state; who holds one, and what
    for; what runs and how much waits; commands per second and the times that the last ones took; and what went wrong
    last, with what to do about it. A number that a daemon is too old to say is left out.
    """
    if is_watching:
        from client.commands.watching import watch

        watch(interval, has_clients=has_clients, as_json=as_json)
        return
    said = survey.statuses()
    survey.refuse_if_none(said)
    show(said, has_clients=has_clients, as_json=as_json)


def show(said: list[Said], *, has_clients: bool, as_json: bool) -> None:
    """Once, on stdout: for eyes, for a pipe, or for a program."""
    if as_json:
        for one in said:
            print_json(_words(one))
    elif is_rich():
        out = console()
        out.print(view(said, out.width, has_clients=has_clients))
    else:
        for one in said:
            _print(one, has_clients=has_clients)


def _words(said: Said) -> Row:
    """The daemon's, and where it is; `error` in their place if there are none."""
    if said.status is None:
        return {"address": str(said.address), "error": said.reason}
    return {**said.status, "address": str(said.address)}


# In a pipe.


def _print(said: Said, *, has_clients: bool) -> None:
    if said.status is None:
        print_table([[said.reason]])
        return
    print_table([[headline(said.address, said.status)], *[[warning] for warning in warnings(said.status)]])
    rows = resources(said.status)
    if rows:
        headings = [column.heading.replace(" ", "_") for column in COLUMNS]
        print_table([headings, *[[column.cell(row) or "-" for column in COLUMNS] for row in rows]])
    for trouble in troubles(said.status):
        print_table([[_sentence(trouble)]])
    if has_clients:
        print_table(client_rows(said.status))


def _sentence(trouble: Trouble) -> str:
    if trouble.is_over:
        return f"{trouble.resource} works again; before that: {trouble.text}"
    remedy = f"; what to do: {trouble.remedy}" if trouble.remedy else ""
    return f"{trouble.resource}: {trouble.text}{remedy}"


# On a terminal.


def view(said: list[Said], width: int, *, has_clients: bool = False) -> "RenderableType":
    """All daemons, one below the other, for a terminal of so many characters."""
    from rich.console import Group

    shown: list[RenderableType] = []
    for one in said:
        shown += ["", *_one(one, width, has_clients=has_clients)]
    return Group(*shown[1:])


def _one(said: Said, width: int, *, has_clients: bool) -> list["RenderableType"]:
    if said.status is None:
        return [styled(said.reason, "bold red")]
    shown: list[RenderableType] = [styled(headline(said.address, said.status), "bold")]
    if said.reason:  # what it said is old
        shown.append(styled(said.reason, "bold red"))
    shown += [styled(warning, "bold red") for warning in warnings(said.status)]
    rows = resources(said.status)
    if rows:
        columns = columns_of(rows, width)
        cells = [[styled(column.cell(row) or "-", style_of(column, row)) for column in columns] for row in rows]
        foldable = [column.heading for column in columns if column.is_foldable]
        shown.append(table([column.heading for column in columns], cells, foldable))
    else:
        shown.append(styled("no instrument is open; `instruments list` shows what there is", "dim"))
    for trouble in troubles(said.status):
        shown += _told(trouble)
    if has_clients:
        headings, *clients = client_rows(said.status)
        shown += ["", table(headings, [list(map(styled, row)) for row in clients], ["open"])]
    return shown


def _told(trouble: Trouble) -> list["RenderableType"]:
    from rich.padding import Padding

    if trouble.is_over:
        return [styled(_sentence(trouble), "dim")]
    line = styled(trouble.resource, "bold red").append(": ").append_text(styled(trouble.text))
    if not trouble.remedy:
        return [line]
    return [line, Padding(styled("what to do: ", "green").append_text(styled(trouble.remedy)), (0, 0, 0, 2))]
