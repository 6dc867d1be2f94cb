"""`instruments doctor`: is everything as it should be, and if not, what to do.

Runs in the user's process; needs no daemon. The work is in `client.commands.checkup`; here its findings are shown.
"""

import contextlib
import os
import platform
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import click

from client.commands.checkup import here, visits
from client.commands.checkup.checks import examine
from client.commands.checkup.facts import System, Way
from client.commands.checkup.findings import Finding, Level
from client.commands.checkup.local_search import search
from client.commands.terminal import REFUSED, console, is_rich, plain, print_json, styled
from pyvisa_daemon import hosts
from pyvisa_daemon.version import __version__

#: A mark and a style for eyes; in a pipe the level itself.
_MARKS = {Level.OK: ("ok", "green"), Level.WARNING: ("warning", "yellow"), Level.PROBLEM: ("problem", "bold red")}

_EPILOG = """\b
Exit codes: 0 no problem (there may be warnings), 1 a problem, 2 wrong usage.
"""


@click.command(epilog=_EPILOG)
@click.option("--json", "as_json", is_flag=True, help="A JSON list: level, subject, text and remedy of each finding.")
def doctor(as_json: bool) -> None:
    """Find out what is wrong, and what to do.

    Looks at what is installed, the VISA libraries, the environment, tokens and certificates, the rights to serial
    lines, USB instruments and GPIB boards, the way to each known daemon, what that says of itself and its instruments,
    and the clock. Opens no instrument and changes nothing. Where no daemon runs on this machine PyVISA is let search
    for instruments itself.
    """
    with _patience(is_shown=is_rich() and not as_json):
        findings = examine(this_system())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    elif is_rich():
        _show(findings)
    else:
        _print(findings)
    if any(finding.level is Level.PROBLEM for finding in findings):
        sys.exit(REFUSED)


def this_system() -> System:
    """All facts; takes as long as the slowest daemon, or the search for instruments where there is none."""
    entries = list(hosts.tryIps)
    addresses = []
    for entry in entries:
        with contextlib.suppress(ValueError):  # the visit tells
            addresses.append(hosts.parse(entry))
    visited = visits.visit_all(entries)
    libraries = here.libraries()
    backends = [row.backend for row in libraries if row.backend == "py" or (row.backend == "ivi" and row.paths)]
    is_served = any(visit.is_loopback and visit.way is Way.THERE for visit in visited)
    return System(
        version=__version__,
        platform=sys.platform,
        python=platform.python_version(),
        packages=here.packages(),
        libraries=libraries,
        has_libusb=here.has_libusb(),
        environment=dict(os.environ),
        token_files=here.token_files(addresses),
        ca_files=here.ca_files(addresses),
        nodes=here.nodes(),
        user=here.user(),
        groups=here.groups(),
        future_groups=here.future_groups(),
        visits=visited,
        announced=visits.announced(),
        search=None if is_served or not backends else search(backends),
        now=here.now(),
        is_clock_set=here.is_clock_set(),
    )


@contextlib.contextmanager
def _patience(*, is_shown: bool) -> Iterator[None]:
    """It takes some seconds."""
    if not is_shown:
        yield
        return
    with console().status("looking at this machine and the daemons ...", spinner="line"):
        yield


def _show(findings: list[Finding]) -> None:
    """On a terminal: a mark, the subject, what is so, and below it what to do."""
    from rich.table import Table

    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    before = ""
    for finding in findings:
        mark, style = _MARKS[finding.level]
        subject = "" if finding.subject == before else finding.subject
        before = finding.subject
        shown.add_row(styled(mark, style), styled(subject, "bold"), styled(finding.text))
        if finding.remedy:
            is_needed = finding.level is not Level.OK
            remedy = styled("what to do: " if is_needed else "", "green").append_text(styled(finding.remedy))
            shown.add_row("", "", remedy if is_needed else styled(finding.remedy, "dim"))
    out = console()
    out.print(shown)
    out.print(styled(_sum(findings), _MARKS[_worst(findings)][1]))


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        remedy = f"; {_remedy(finding)}" if finding.remedy else ""
        click.echo(f"{finding.level:<8} {plain(finding.subject)}: {plain(finding.text)}{plain(remedy)}")
    click.echo(_sum(findings))


def _remedy(finding: Finding) -> str:
    return finding.remedy if finding.level is Level.OK else f"what to do: {finding.remedy}"


def _worst(findings: list[Finding]) -> Level:
    return max((finding.level for finding in findings), key=list(Level).index, default=Level.OK)


def _sum(findings: list[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    problems, warnings = counts[Level.PROBLEM], counts[Level.WARNING]
    if not problems and not warnings:
        return "nothing is wrong that can be seen from here"
    return f"{_counted(problems, 'problem')}, {_counted(warnings, 'warning')}"


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
