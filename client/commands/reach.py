"""An instrument at the daemon that has it, for the subcommands that name one.

Runs in the user's process.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from client.choice import some_host_for
from client.text_socket import TCPVisaSocket
from pyvisa_daemon.errors import NOT_FOUND, Failure


def reach(resource: str, enter: Callable[[TCPVisaSocket, str], str] = TCPVisaSocket.enter) -> tuple[TCPVisaSocket, str]:
    """A connection to the daemon that has it or can reach it, where it is open now; its canonical name.

    `enter` opens it. Raises Failure, which for a name that nobody has says what is called like it; ConnectionError.
    """
    addresses = some_host_for(resource)
    for address in addresses:
        with contextlib.ExitStack() as unless_opened:
            socket = unless_opened.enter_context(TCPVisaSocket(address))
            try:
                name = enter(socket, resource)
            except Failure as failure:
                if failure.status not in NOT_FOUND:
                    raise
                if address != addresses[-1]:
                    continue
                from client.commands.suggestions import with_suggestion

                raise with_suggestion(failure, resource) from failure
            unless_opened.pop_all()
            return socket, name
    raise AssertionError("the last address raises")


def _completed(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from client.commands.completion import resources

    return resources(context, incomplete)


def resource_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument RESOURCE, which the shell completes: a name or an alias."""
    return click.argument("resource", shell_complete=_completed)(command)
