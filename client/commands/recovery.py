"""`instruments reset`, `restart`, `abort` and `safe`: an operator's word about one instrument.

Runs in the user's process. Each is said to the daemon that has the resource and to no other: who refuses it for another
reason than that it does not have it is not passed over.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from client.choice import some_host_for
from client.commands.overview import row_of
from client.commands.reach import resource_argument
from client.commands.terminal import REFUSED, plain
from client.commands.terms import SECONDS
from client.text_socket import TCPVisaSocket
from pyvisa_daemon import hosts, wire
from pyvisa_daemon.errors import NOT_FOUND, Failure

#: What a daemon says of a resource that is no business of its own; and, of a safe state, that it knows of none.
_NOT_HERE = frozenset({"NO_RESOURCE"})
_NOT_HERE_OR_NOT_SAFE = frozenset({"NO_RESOURCE", "BAD_ARGUMENT"})

#: States of an instrument's process from which it goes on by itself within seconds, and those in which it serves.
_PASSING = frozenset({"starting", "opening", "resync", "aborting", "killing", "closing", "terminating"})
_SERVING = frozenset({"ready", "busy", "closed"})

#: Seconds that an instrument has to be back, by default, and between looks.
_WAIT, _LOOK = 30.0, 0.1

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_wait = click.option(
    "--wait", type=SECONDS, default=_WAIT, show_default=True, metavar="S", help="See for so long what becomes of it."
)


@click.command()
@resource_argument
@_wait
@_json
def reset(resource: str, wait: float, as_json: bool) -> None:
    """Start an instrument again that is given up.

    What has failed there is forgotten: use it when a broken, offline or failing instrument is mended. Exit code 1 if it
    does not work again. Takes the role admin.
    """
    with _said(resource, TCPVisaSocket.reset, _NOT_HERE) as socket:
        _tell_state(socket, resource, "is reset", wait, as_json)


@click.command()
@resource_argument
@_wait
@_json
def restart(resource: str, wait: float, as_json: bool) -> None:
    """End an instrument's process, open it again.

    Whatever it does is cut short. Exit code 1 if the instrument does not work again. Takes the role admin.
    """
    with _said(resource, TCPVisaSocket.restart, _NOT_HERE) as socket:
        _tell_state(socket, resource, "is started anew", wait, as_json)


@click.command()
@resource_argument
@_json
def abort(resource: str, as_json: bool) -> None:
    """Cut the command short that runs there.

    Whoever's it is; its client is told. What waits in the queue is not aborted.
    """
    with _said(resource, TCPVisaSocket.abort, _NOT_HERE) as socket:
        _tell(socket, resource, "runs no command any more", {"aborted": True}, as_json)


@click.command()
@resource_argument
@click.option("--forget", is_flag=True, help="Do not send what is due and cannot be sent for now.")
@_json
def safe(resource: str, forget: bool, as_json: bool) -> None:
    """Make an instrument safe, before anybody's command.

    Sends the messages of its `safe-state` in the daemon's settings, and opens it for that if nobody has it open. Takes
    the role admin.
    """
    with _said(resource, lambda socket, name: socket.safe(name, forget=forget), _NOT_HERE_OR_NOT_SAFE) as socket:
        done = "has no safe state to come any more" if forget else "is safe: its safe state is sent"
        _tell(socket, resource, done, {"safe": "forgotten" if forget else "sent"}, as_json)


def _said(resource: str, say: Callable[[TCPVisaSocket, str], object], elsewhere: frozenset[str]) -> TCPVisaSocket:
    """The connection to the daemon that took the word. Raises the first refusal if none does."""
    refusal = None
    for address in some_host_for(resource):
        socket = TCPVisaSocket(address)
        try:
            say(socket, resource)
            return socket
        except BaseException as error:
            socket.close()
            if not isinstance(error, Failure):
                raise
            if error.token not in elsewhere and error.status not in NOT_FOUND:
                raise
            refusal = refusal or error
    assert refusal is not None, "there is at least one daemon"
    raise refusal


def _tell_state(socket: TCPVisaSocket, resource: str, done: str, wait: float, as_json: bool) -> None:
    """What became of it; ends with REFUSED unless it serves, or goes on becoming."""
    name = _canonical(socket.address, resource)
    deadline = time.monotonic() + wait
    while True:
        row = row_of(socket.status(), name)
        state = str(row.get("state", "closed"))
        if state not in _PASSING or time.monotonic() > deadline:
            break
        time.sleep(_LOOK)
    error = row.get("last_error") if state not in _SERVING else None
    text = f"{done}: {'it opens with its next use' if state == 'closed' else f'now {state}'}"
    _tell(socket, resource, text + (f", {error}" if error else ""), {"state": state, "last_error": error}, as_json)
    if state not in _SERVING:
        sys.exit(REFUSED)


def _canonical(address: hosts.Address, resource: str) -> str:
    channel = hosts.connect(address)
    try:
        reply = channel.ask(hosts.FIND_LIMIT, wire.Resolve, resource)
    finally:
        channel.close()
    return str(reply.value) if reply.status >= 0 else resource


def _tell(socket: TCPVisaSocket, resource: str, text: str, fields: dict[str, Any], as_json: bool) -> None:
    where = {"resource": resource, "daemon": str(socket.address)}
    line = json.dumps(where | fields) if as_json else plain(" ".join(f"{resource} at {socket.address} {text}".split()))
    click.echo(line)
