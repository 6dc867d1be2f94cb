"""`instruments query`: an exchange with an instrument.

Runs in the user's process.
"""

import click

from client.commands.reach import reach


@click.command()
@click.argument("resource")
@click.argument("command")
def query(resource: str, command: str) -> None:
    """Ask a resource, print its answer.

    Writes COMMAND to RESOURCE at the daemon that has it, or that can reach it.
    """
    socket, _ = reach(resource)
    with socket:
        click.echo(socket.query(command).encode(errors="surrogateescape"))
