"""Where the daemon's command begins: on a system that it runs on, or with one sentence and exit code 2.

Runs in the front process, before anything else. Imports what every system has, and the rest only where it is there:
beyond Linux neither the standard library nor the package's dependencies have all that `command` needs.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the daemon. Does not return: exits with a code of `command`."""
    if not sys.platform.startswith("linux"):
        print(
            "instrument-daemon: the daemon runs on Linux only; programs on this machine can use one elsewhere, "
            "see `instruments --help`",
            file=sys.stderr,
        )
        sys.exit(2)
    from front_proc import command

    command.main(arguments)
