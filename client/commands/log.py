"""`instruments log`: an audit log, read and verified.

Runs in the user's process, on the machine where the log is. Reads files only; the daemon is asked for nothing but the
name of its log. To add an option: here, and in `client.commands.log_records.Filter` if it is a filter.
"""

import contextlib
import re
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from client.commands.log_files import LOOK_TIME, Followed, lines
from client.commands.log_reading import Output, Reading, Source, log_here, unreadable
from client.commands.log_records import Filter, moment
from client.commands.log_verification import Verification
from client.commands.terminal import INTERRUPTED
from pyvisa_daemon.audit_chain import KEY_SIZE

#: Bytes from which on a progress display is worth its line, and between its steps.
_LONG = 1 << 25
_STEP = 1 << 20

#: Records that `--follow` begins with if nothing is said.
_BEGIN_WITH = 10


class _Log(click.Group):
    """What is no subcommand's name is the beginning of what `show` is given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Log)
def log() -> None:
    """Read an audit log, or verify it.

    `instruments log` is short for `instruments log show`, and so it is with options and files behind it:
    `instruments log show --help` has them. A file that is called like a command is named with its folder: ./verify.
    """


def _as_moment(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else moment(value, datetime.now(UTC))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{value!r} is no time: such as 2026-11-23T14:05, 10m, 2h, 3d, today, yesterday"
        ) from error


_SHOW_EPILOG = """\b
Examples:
  instruments log --last 20
  instruments log --follow --outcome failed
  instruments log --since 2h --resource 'GPIB0::22*' --csv > today.csv
  instruments log /var/lib/instrument-daemon/audit.jsonl.* --user alice

\b
TIME is in UTC, as in the log: 2026-11-23, 2026-11-23T14:05, with an offset
such as +01:00 if you like; or so long ago: 30s, 10m, 2h, 3d; or today, yesterday.
PATTERN is in any case, and has * for any text and ? for one character.
"""


@log.command(epilog=_SHOW_EPILOG)
@click.argument("files", nargs=-1, metavar="[FILE...]", type=click.Path(path_type=Path))
@click.option("--resource", metavar="PATTERN", help="Of these resources, by their canonical names.")
@click.option("--client", metavar="PATTERN", help="Of these clients: an address, with or without its port.")
@click.option("--user", metavar="PATTERN", help="Of the users of these tokens.")
@click.option("--name", metavar="PATTERN", help="Of clients that call themselves so.")
@click.option("--event", "events", multiple=True, metavar="EVENT", help="Of this kind; may be repeated.")
@click.option(
    "--outcome", "outcomes", multiple=True, metavar="TOKEN", help="That ended so: ok, failed, or a token; repeatable."
)
@click.option("--since", metavar="TIME", callback=_as_moment, help="From then on.")
@click.option("--until", metavar="TIME", callback=_as_moment, help="Before then.")
@click.option("--last", type=click.IntRange(1, sys.maxsize), metavar="N", help="The newest N only.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C; begins with the last 10.")
@click.option("--csv", "form", flag_value="csv", help="Comma-separated, with a line of headings.")
@click.option("--json", "form", flag_value="json", help="The lines as they stand in the log.")
def show(files: tuple[Path, ...], last: int | None, follow: bool, form: str | None, **wanted: Any) -> None:
    """Print records of an audit log.

    Without FILE it is the log of the daemon that `instruments status` shows, which must run on this machine, with the
    rotated files beside it. Several files are read in the order given; .gz files are unpacked.
    """
    wanted = {key: value for key, value in wanted.items() if value is not None}
    if follow and last is None and "since" not in wanted:
        last = _BEGIN_WITH
    reading = Reading(Filter(**wanted))
    output = Output(form)
    try:
        with contextlib.ExitStack() as afterwards:
            named, written = (list(files), None) if files else log_here(wanted.get("since", ""))
            if follow and written is None:
                written = Followed(named.pop())
            sources: list[Source] = [partial(lines, file) for file in named]
            if written is not None:
                afterwards.callback(written.close)
                sources.append(written.news)
            output.show(reading.records(sources, last))
            while follow and written is not None:
                time.sleep(LOOK_TIME)
                output.show(reading.records([written.news], None))
    except KeyboardInterrupt:
        pass
    except ConnectionError:
        raise  # there is no daemon; or whoever reads our output has enough
    except OSError as error:
        raise click.UsageError(unreadable(error)) from error
    finally:
        reading.tell_bad_lines()


_VERIFY_EPILOG = """\b
Examples:
  instruments log verify audit.jsonl
  instruments log verify audit.jsonl.20* audit.jsonl
  instruments log verify --key-file audit.key --head 5f3a... audit.jsonl

\b
What it does not prove:
  that no newest lines are missing, and that the very last one is unchanged,
    unless --head is given a head noted elsewhere;
  that nothing stood before the first line given;
  that not all of it was written anew by somebody who may write the file,
    unless the daemon has a key (audit-key-file) that this person has not;
  anything about what reached an instrument past the daemon.

\b
Exit codes: 0 sound, 1 not sound, 2 wrong usage or a file that cannot be read.
"""


@log.command(epilog=_VERIFY_EPILOG)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--key-file", type=click.Path(path_type=Path), metavar="FILE", help="The daemon's audit-key-file.")
@click.option(
    "--head", "heads", multiple=True, metavar="HASH", help="A head noted before: its line must be there; repeatable."
)
def verify(files: tuple[Path, ...], key_file: Path | None, heads: tuple[str, ...]) -> None:
    """Check that an audit log is as it was written.

    FILES are a log and what was rotated of it, oldest first; .gz files are unpacked. Finds lines that were changed,
    removed, moved or put in, a torn line, a chain that begins anew, and a wrong key. Status, and the records `anchor`
    in daemon.log, have heads.
    """
    for head in heads:
        if re.fullmatch(r"[0-9a-fA-F]{64}", head) is None:
            raise click.BadParameter(f"{head!r} is no head: it has 64 hexadecimal digits", param_hint="--head")
    try:
        key = b"" if key_file is None else _key_in(key_file)
        verification = _verified(files, Verification(key, [head.lower() for head in heads]))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)  # click's own is 1, which would say that it is not sound
    except OSError as error:
        raise click.UsageError(unreadable(error)) from error
    findings = verification.end()
    for finding in findings:
        click.echo(str(finding))
    if verification.more:
        click.echo(f"and so on: {verification.more} more")
    if findings:
        click.echo(f"NOT sound: {verification.lines} lines")
        sys.exit(1)
    numbers = f"number {verification.first} to {verification.seq}"
    click.echo(f"sound: {verification.lines} lines, {numbers}, head {verification.head}")
    if verification.first > 1:
        click.echo(f"lines 1 to {verification.first - 1} are not in what was given, and nothing is said about them")


def _key_in(file: Path) -> bytes:
    """The whole file, as the daemon takes it."""
    key = file.read_bytes()
    if len(key) < KEY_SIZE:
        raise click.BadParameter(f"{file} is no key: it has less than {KEY_SIZE} bytes", param_hint="--key-file")
    return key


def _verified(files: tuple[Path, ...], verification: Verification) -> Verification:
    """All lines of all files; with a display of how far it is, on a terminal and if there are many."""
    size = sum(file.stat().st_size for file in files if file.suffix != ".gz")
    is_shown = size >= _LONG and sys.stderr.isatty()
    with click.progressbar(length=size, label="verifying", file=sys.stderr, hidden=not is_shown) as progress:
        unseen = 0
        for file in files:
            for line in lines(file):
                verification.add(str(file), line.number, line.content, is_whole=line.is_whole)
                unseen += len(line.content) + 1
                if unseen >= _STEP:
                    progress.update(unseen if file.suffix != ".gz" else 0)
                    unseen = 0
    return verification
