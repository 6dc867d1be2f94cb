"""The table of subcommands, and what a failure ends with.

Runs in the user's process. Lines on stdout, one line on stderr when something is wrong; never a traceback. To add a
subcommand: a module here, its row in COMMANDS, its line in the README.
"""

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click
from pyvisa.errors import VisaIOError

from client.commands.terminal import INTERRUPTED, NO_DAEMON, REFUSED, end
from pyvisa_daemon import hosts
from pyvisa_daemon.errors import ERRORS, NOT_FOUND, Failure
from pyvisa_daemon.version import __version__

#: name -> its module here, and its function there. In the order in which they are listed.
COMMANDS = {
    "list": ("listing", "list_"),
    "status": ("status", "status"),
    "doctor": ("doctor", "doctor"),
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


#: Those that ask no daemon; and `doctor`, which says what is wrong with the hosts beside all else.
_WITHOUT_HOSTS = frozenset({"doctor", "token", "simulate", "completion"})


class _Commands(click.Group):
    """Imports a subcommand when it is called. Ends with one line and an exit code for whatever may go wrong."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"client.commands.{module}"), function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from client.commands.suggestions import did_you_mean

            question = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"there is no command {args[0]!r}; {question or '`instruments --help` lists them'}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        _open_streams()
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise  # click's own words
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # behind the ^C that is there
            sys.exit(INTERRUPTED)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # whoever reads our output has enough; click ends quietly
            if _is_debugging(ctx):
                import traceback

                traceback.print_exception(error)
            end(*_ending(error))


def _open_streams() -> None:
    """Those that the caller has closed lead nowhere; Python has None in their place, on which anything fails."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the program runs


def _is_debugging(ctx: click.Context) -> bool:
    return bool(ctx.params.get("debug") or os.environ.get("PYVISA_DAEMON_DEBUG"))


def _ending(error: Exception) -> tuple[int, str]:
    """The exit code, and the line: what went wrong, and what to do next."""
    match error:
        case Failure():
            return REFUSED, _with_remedy(error)
        case VisaIOError():
            return REFUSED, str(error)
        case ConnectionError():
            return NO_DAEMON, f"{error}; `instruments doctor` looks closer"
        case OSError():
            return REFUSED, str(error)
    return REFUSED, (
        f"a fault of instruments itself: {type(error).__name__}: {error}; please report it, with what `instruments "
        "--debug` and the same words behind it says"
    )


def _with_remedy(failure: Failure) -> str:
    """What went wrong, and what people do about it where the daemon has not said so already."""
    line = str(failure)
    remedy = str(getattr(ERRORS.get(failure.token), "remedy", ""))
    if remedy and remedy.rstrip(".") not in line:
        line = _sentence(line) + " " + remedy
    if failure.status in NOT_FOUND and "instruments list" not in line:
        line = _sentence(line) + " See `instruments list`."
    return line


def _sentence(line: str) -> str:
    """With something at its end that ends it."""
    return line if line.endswith((".", "?", "!")) else f"{line}."


_EPILOG = """\b
Examples:
  instruments list
  instruments --host labpc status --watch
  instruments doctor
  instruments query TCPIP::192.168.1.189::INSTR '*IDN?'
  instruments log --since 2h --outcome failed
  instruments simulate --fault 'late on=MEAS* every=10 seconds=3'
  instruments token alice --role use

\b
Exit codes: 0 done, 1 refused by the daemon or the instrument, 2 wrong usage, 3 no daemon,
130 ended by Ctrl-C before it was done; what goes on until Ctrl-C ends with 0.
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
@click.option("--debug", is_flag=True, help="A traceback, too, when something fails; so does PYVISA_DAEMON_DEBUG=1.")
@click.version_option(__version__, prog_name="instruments")
@click.pass_context
def main(ctx: click.Context, host: str | None, debug: bool) -> None:
    """Shows and asks the instruments that daemons share.

    The daemons are those of PYVISA_DAEMON_HOSTS (host[:port], separated by commas), or 127.0.0.1. With ?ca_file=FILE or
    ?tls=1 behind it a host is asked in TLS, and with PYVISA_DAEMON_CA_FILE every one. A daemon that wants a token is
    shown the one of the file that PYVISA_DAEMON_TOKEN_FILE names, or ~/.config/pyvisa-daemon/token.
    """
    if host is not None:
        hosts.tryIps[:] = [host]
    if ctx.invoked_subcommand in _WITHOUT_HOSTS:
        return
    for entry in hosts.tryIps:
        try:
            hosts.parse(entry)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
