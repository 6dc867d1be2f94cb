"""The table of subcommands, and what a failure ends with.

Runs in the user's process. Lines on stdout, one line on stderr when something is wrong; never a traceback. To add a
subcommand: a module here, its row in COMMANDS, its line in the README.
"""

from importlib import import_module
from typing import Any

import click

from client.commands.terminal import NO_DAEMON, REFUSED, end
from pyvisa_daemon import hosts
from pyvisa_daemon.errors import NOT_FOUND, Failure
from pyvisa_daemon.version import __version__

#: name -> its module here, and its function there. In the order in which they are listed.
COMMANDS = {
    "list": ("listing", "list_"),
    "status": ("status", "status"),
    "query": ("asking", "query"),
    "write": ("asking", "write"),
    "read": ("asking", "read"),
    "capture": ("capture", "capture"),
    "shell": ("shell", "shell"),
    "lock": ("locks", "lock_"),
    "unlock": ("locks", "unlock"),
    "kick": ("locks", "kick"),
    "abort": ("recovery", "abort"),
    "reset": ("recovery", "reset"),
    "restart": ("recovery", "restart"),
    "safe": ("recovery", "safe"),
    "log": ("log", "log"),
    "token": ("token", "token"),
    "simulate": ("simulate", "simulate"),
    "completion": ("completion", "completion"),
}


class _Commands(click.Group):
    """Imports a subcommand when it is called. Ends with one line and an exit code for what a daemon or a missing daemon
    may do."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"client.commands.{module}"), function)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            hint = "; see `instruments list`" if failure.status in NOT_FOUND else ""
            end(REFUSED, f"{failure}{hint}")
        except BrokenPipeError:
            raise  # whoever reads our output has enough; click ends quietly
        except ConnectionError as error:
            end(NO_DAEMON, str(error))


_EPILOG = """\b
Examples:
  instruments list
  instruments --host labpc status
  instruments query TCPIP::192.168.1.189::INSTR '*IDN?'
  instruments log --since 2h --outcome failed
  instruments simulate --fault 'late on=MEAS* every=10 seconds=3'
  instruments token alice --role use

\b
Exit codes: 0 done, 1 refused by the daemon or the instrument, 2 wrong usage, 3 no daemon.
"""


def _known_hosts(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from client.commands.completion import known_hosts

    return known_hosts(context, parameter, incomplete)


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--host",
    metavar="H[:P]",
    shell_complete=_known_hosts,
    help="Ask this daemon only; port 1340 if none is given.",
)
@click.version_option(__version__, prog_name="instruments")
def main(host: str | None) -> None:
    """Shows and asks the instruments that daemons share.

    The daemons are those of PYVISA_DAEMON_HOSTS (host[:port], separated by commas), or 127.0.0.1. With ?ca_file=FILE or
    ?tls=1 behind it a host is asked in TLS, and with PYVISA_DAEMON_CA_FILE every one. A daemon that wants a token is
    shown the one of the file that PYVISA_DAEMON_TOKEN_FILE names, or ~/.config/pyvisa-daemon/token.
    """
    if host is not None:
        hosts.tryIps[:] = [host]
    for entry in hosts.tryIps:
        try:
            hosts.parse(entry)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
