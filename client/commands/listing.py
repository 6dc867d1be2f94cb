"""`instruments list`: the resources of all known daemons.

Runs in the user's process.
"""

import click

from client.commands.terminal import REFUSED, end, print_table
from pyvisa_daemon import hosts, wire

_LIST_LIMIT = 30.0  # seconds: a daemon asks every interface, some by broadcast


@click.command("list")
def list_() -> None:
    """List resources and where they are.

    All that each live daemon finds or has configured.
    """
    answers = hosts.ask(lambda channel: channel.start(wire.ListResources), _LIST_LIMIT)
    if not answers:
        hosts.first_live().close()  # raises, with the reason for each host
    rows = []
    for address, reply in answers:
        if reply is None or reply.status < 0 or not isinstance(reply.value, list):
            text = reply.text if reply is not None else f"no answer within {_LIST_LIMIT:.0f} s"
            end(REFUSED, f"{address} could not list its resources: {text}")
        rows += [[str(name), str(address)] for name in reply.value]
    print_table(rows)
