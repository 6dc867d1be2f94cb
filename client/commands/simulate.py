"""`instruments simulate`: an instrument that fails by schedule.

Runs in the user's process; needs no daemon.
"""

from pathlib import Path

import click

from client.commands.terminal import REFUSED, WRONG_USAGE, end


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


@click.command(cls=_Simulate, epilog=_SIMULATE_EPILOG)
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
        end(WRONG_USAGE, str(error))
    except (SimulationError, JournalError) as error:
        end(REFUSED, str(error))
