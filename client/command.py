"""`instruments`: what the daemons share, for people at a terminal.

Runs in the user's process, over the same rooms as a program that imports `client`. Lines on stdout, one line on stderr
when something is wrong; never a traceback. To add a subcommand: a function here, its line in the README.
"""

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from client import lock_command
from client.choice import some_host_for
from client.log_command import log
from client.log_records import plain
from client.text_socket import SocketManager, TCPVisaSocket
from client.token_command import token
from pyvisa_daemon import hosts, wire
from pyvisa_daemon.errors import NOT_FOUND, Failure
from pyvisa_daemon.version import __version__

#: Exit codes besides 0.
REFUSED = 1
WRONG_USAGE = 2  # click's own
NO_DAEMON = 3

_LIST_LIMIT = 30.0  # seconds: a daemon asks every interface, some by broadcast
_COLUMNS = ("resource", "state", "pid", "restarts", "queued", "sessions", "memory_mb", "lock", "last_error")


class _Plain(click.Group):
    """Ends with one line and an exit code for what a daemon or a missing daemon may do."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            hint = "; see `instruments list`" if failure.status in NOT_FOUND else ""
            _end(REFUSED, f"{failure}{hint}")
        except BrokenPipeError:
            raise  # whoever reads our output has enough; click ends quietly
        except ConnectionError as error:
            _end(NO_DAEMON, str(error))


def _end(code: int, line: str) -> NoReturn:
    click.echo(f"instruments: {plain(' '.join(line.split()))}", err=True)
    sys.exit(code)


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


@click.group(cls=_Plain, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", metavar="H[:P]", help="Ask this daemon only; port 1340 if none is given.")
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


@main.command("list")
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
            _end(REFUSED, f"{address} could not list its resources: {text}")
        rows += [[str(name), str(address)] for name in reply.value]
    _print_table(rows)


@main.command()
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
            resource["lock"] = lock_command.lock_cell(resource["lock"])
        if said.get("audit", {}).get("failing"):
            click.echo(f"its audit log cannot be written: {said['audit']['file']}")
        rows = [[_cell(resource.get(column)) for column in _COLUMNS] for resource in said["resources"]]
        if rows:
            _print_table([list(_COLUMNS), *rows])
        if has_clients:
            _print_table(lock_command.client_rows(said))


@main.command()
@click.argument("resource")
@click.argument("command")
def query(resource: str, command: str) -> None:
    """Ask a resource, print its answer.

    Writes COMMAND to RESOURCE at the daemon that has it, or that can reach it.
    """
    addresses = some_host_for(resource)
    for address in addresses:
        with TCPVisaSocket(address) as socket:
            try:
                socket.enter(resource)
            except Failure as failure:
                if failure.status in NOT_FOUND and address != addresses[-1]:
                    continue
                raise
            answer = socket.query(command)
            click.echo(answer.encode(errors="surrogateescape"))
            return


class _Simulate(click.Command):
    """Its help ends with the table of faults, which is imported for that only: the other commands stay light."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from demo_bench.faults import KINDS
        from demo_bench.schedule import COMMON

        kinds = [
            (" ".join([name, *(f"{key}={default:g}" for key, default in kind.parameters.items())]), kind.help)
            for name, kind in KINDS.items()
        ]
        with formatter.section("KIND, with the defaults of what it has beside on, after, every and times"):
            formatter.write_dl(kinds)
        with formatter.section("KEY, with its default"):
            formatter.write_dl([(f"{key.name} ({key.default})", key.help) for key in COMMON if key.name != "kind"])
        super().format_epilog(ctx, formatter)


_SIMULATE_EPILOG = """\b
Examples:
  instruments simulate faults.toml --record record.jsonl
  instruments simulate --port 5025 --fault 'late on=MEAS* every=10' --fault 'crash on=*RST'

\b
Exit codes: 0 interrupted, 1 cannot listen or write the record, 2 wrong usage or schedule.
"""


@main.command(cls=_Simulate, epilog=_SIMULATE_EPILOG)
@click.argument("schedule", required=False, type=click.Path(path_type=Path), metavar="[SCHEDULE.toml]")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="'KIND KEY=VALUE ...'",
    help="A fault, before the file's; may be repeated.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="TCP port; 0, the default: a free one."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Another gives other garbage.")
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="A file, written anew: a line for each message.",
)
@click.option("--quiet", is_flag=True, help="Say READY and the sum at the end, and no more.")
def simulate(
    schedule: Path | None, faults: tuple[str, ...], port: int, seed: int, record: Path | None, quiet: bool
) -> None:
    """Play an instrument that fails by schedule.

    It is slow, late, silent, talks rubbish, hangs or crashes when SCHEDULE.toml says so, and else answers as it says
    there. The first line is READY and its VISA resource. Messages end with LF. It needs no daemon.
    """
    from demo_bench.journal import Journal, JournalError
    from demo_bench.schedule import ScheduleError
    from demo_bench.simulator import SimulationError, run, schedule_of

    try:
        read = schedule_of(schedule, faults)
        with Journal(record, is_quiet=quiet) as journal:
            run(read, port, seed, journal)
    except ScheduleError as error:
        _end(WRONG_USAGE, str(error))
    except (SimulationError, JournalError) as error:
        _end(REFUSED, str(error))


for each in (lock_command.lock_, lock_command.unlock, lock_command.kick, token, log):
    main.add_command(each)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-" if value is None or value == "" else " ".join(str(value).split())


def _print_table(rows: list[list[str]]) -> None:
    """Aligned. What daemons say of others is shown, and not obeyed by the terminal."""
    rows = [list(map(plain, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
