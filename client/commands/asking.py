"""`instruments query`, `write` and `read`: exchanges with an instrument.

Runs in the user's process. All of one call go through one connection, in order. To add a kind of exchange: a
function that makes one, and its subcommand.
"""

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from client.commands.reach import reach, resource_argument
from client.commands.terminal import REFUSED, plain, say
from client.commands.terms import INTERVAL, Terms, with_terms
from client.text_socket import TCPVisaSocket
from pyvisa_daemon.errors import Failure

#: What is asked again and again, by default: once a second.
_INTERVAL = 1.0


class Manner(NamedTuple):
    """How often, and how it is shown."""

    repeat: int | None = 1  # None: until Ctrl-C
    interval: float = _INTERVAL
    keep_going: bool = False
    as_json: bool = False

    @property
    def is_once(self) -> bool:
        return self.repeat == 1


#: One exchange with the current resource: the command that was sent, and what came of it.
Exchange = tuple[str, Callable[[TCPVisaSocket], str | int]]

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document; of repeated ones one on each line.")
_confirm = click.option("--confirm", metavar="REASON", help="It is meant, where a guard wants that confirmed.")

_QUERY_EPILOG = """\b
Examples:
  instruments query multimeter '*IDN?'
  instruments query supply 'VOLT?' 'CURR?' --json
  instruments query multimeter 'READ?' --repeat 60 --interval 1 > readings.tsv
  instruments query sweeper 'SWEEP?' --timeout 600
"""


@click.command(epilog=_QUERY_EPILOG)
@resource_argument
@click.argument("commands", nargs=-1, required=True, metavar="COMMAND...")
@click.option("--repeat", type=click.IntRange(1), metavar="N", help="So often, each time on a line with the time.")
@click.option(
    "--interval", type=INTERVAL, metavar="S", help="Every S seconds, 1 by default; until Ctrl-C without --repeat."
)
@click.option("--keep-going", is_flag=True, help="Tell of what fails and go on; the exit code is 1 then.")
@with_terms
@_confirm
@_json
def query(
    resource: str,
    commands: tuple[str, ...],
    repeat: int | None,
    interval: float | None,
    keep_going: bool,
    as_json: bool,
    confirm: str | None,
    **terms: Any,
) -> None:
    """Ask a resource, print its answers.

    Writes COMMAND to RESOURCE at the daemon that has it, or that can reach it, and reads the answer, as one exchange
    that nobody comes between. Several are asked one after the other. Asked repeatedly they stand on one line, behind
    the time (UTC) and separated by tabs.
    """
    if repeat is None:
        repeat = 1 if interval is None else None
    manner = Manner(repeat, interval or _INTERVAL, keep_going, as_json)
    _exchange(resource, Terms(**terms), [(each, _asked(each, confirm)) for each in commands], manner)


_WRITE_EPILOG = """\b
Examples:
  instruments write supply 'VOLT 3.3'
  instruments write supply 'VOLT 5' 'OUTP 1' --confirm 'the heater is connected'
"""


@click.command(epilog=_WRITE_EPILOG)
@resource_argument
@click.argument("commands", nargs=-1, required=True, metavar="COMMAND...")
@with_terms
@_confirm
@_json
def write(resource: str, commands: tuple[str, ...], as_json: bool, confirm: str | None, **terms: Any) -> None:
    """Send commands to a resource.

    Returns when each COMMAND is written; prints nothing. Whether the instrument has understood, it tells who asks:
    `instruments query RESOURCE 'SYST:ERR?'`.
    """
    _exchange(resource, Terms(**terms), [(each, _written(each, confirm)) for each in commands], Manner(as_json=as_json))


@click.command()
@resource_argument
@with_terms
@_json
def read(resource: str, as_json: bool, **terms: Any) -> None:
    """Read what a resource says by itself.

    For instruments that talk without being asked. The answer to a question comes with `instruments query`: one that
    nobody has read is gone with the connection that asked.
    """
    _exchange(resource, Terms(**terms), [("", lambda socket: socket.read())], Manner(as_json=as_json))


def _asked(command: str, confirm: str | None) -> Callable[[TCPVisaSocket], str]:
    def ask(socket: TCPVisaSocket) -> str:
        if confirm is not None:
            socket.confirm(confirm)
        return socket.query(command)

    return ask


def _written(command: str, confirm: str | None) -> Callable[[TCPVisaSocket], int]:
    def write(socket: TCPVisaSocket) -> int:
        if confirm is not None:
            socket.confirm(confirm)
        return socket.write(command)

    return write


def _exchange(resource: str, terms: Terms, exchanges: list[Exchange], manner: Manner) -> None:
    """All of it, from reaching the instrument to the exit code."""
    socket, name = reach(resource)
    has_failed = False
    with socket:
        try:
            terms.apply(socket)
            for _ in _rounds(manner):
                rows = [_row(socket, exchange, manner.keep_going) for exchange in exchanges]
                has_failed = has_failed or any("error" in row for row in rows)
                _show(rows, {"resource": name, "daemon": str(socket.address)}, manner)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        except KeyboardInterrupt:
            if manner.repeat is not None:
                raise  # it was not done; what goes on until Ctrl-C is
    if has_failed:
        sys.exit(REFUSED)


def _rounds(manner: Manner) -> Iterator[int]:
    """Paced by the clock: a round that took long makes the next one late, not all that follow."""
    began, number = time.monotonic(), 0
    while manner.repeat is None or number < manner.repeat:
        yield number
        number += 1
        late = time.monotonic() - began
        if number == manner.repeat:
            return
        due = manner.interval * number
        if late > due:  # what was missed is not made up for
            began += late - due
        else:
            time.sleep(due - late)


def _row(socket: TCPVisaSocket, exchange: Exchange, keep_going: bool) -> dict[str, Any]:
    """One exchange, as JSON has it. Raises Failure."""
    command, do = exchange
    asked = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    row: dict[str, Any] = {"time": asked, "command": command} if command else {"time": asked}
    try:
        came = do(socket)
    except Failure as failure:
        if not keep_going:
            raise
        say(f"{asked} {command}: {failure}")
        return row | {"error": {"token": failure.token, "effect": failure.effect.value, "text": failure.text}}
    return row | ({"bytes": came} if isinstance(came, int) else _answer(came))


def _answer(came: str) -> dict[str, str]:
    """Bytes that are no text cannot stand in JSON."""
    try:
        came.encode()
    except UnicodeEncodeError:
        return {"base64": base64.b64encode(came.encode(errors="surrogateescape")).decode()}
    return {"answer": came}


def _show(rows: list[dict[str, Any]], where: dict[str, str], manner: Manner) -> None:
    if manner.as_json and manner.is_once:
        click.echo(json.dumps(where | {"exchanges": rows}))
    elif manner.as_json:
        for row in rows:
            click.echo(json.dumps(row))
    elif manner.is_once:
        for row in rows:
            if not row.keys() & {"bytes", "error"}:  # of a write, and of what failed, there is nothing to print
                click.echo(_cell(row))
    else:
        click.echo(b"\t".join([rows[0]["time"].encode(), *map(_cell, rows)]))


def _cell(row: dict[str, Any]) -> bytes:
    """An answer as it came, and on a terminal one that this does not obey."""
    answer = base64.b64decode(row["base64"]) if "base64" in row else row.get("answer", "").encode()
    if sys.stdout.isatty():
        return plain(answer.decode(errors="backslashreplace")).encode(sys.stdout.encoding, "backslashreplace")
    return answer
