"""`--demo`: the bundled bench instead of real instruments.

Runs in the front. Most of the bench is a file for pyvisa-sim; the instruments that pyvisa-sim cannot be (a binary
block, an instrument that hangs) are real TCP servers in a process of their own, which ends when its stdin does.
"""

import json
import select
import subprocess
import sys
from pathlib import Path

import demo_bench
from front_proc.configuration.resource_settings import ResourceSettings
from front_proc.daemonize import StartError

#: Seconds that the bench may take to listen.
START_TIME = 20.0

#: The aliases of what the bench's file plays, and of what its process does, by what that calls it.
PLAYED = {
    "GPIB0::22::INSTR": "multimeter",
    "USB0::0x0957::0x0407::PS000407::0::INSTR": "supply",
    "ASRL1::INSTR": "temperature",
}
SERVED = {"oscilloscope": "oscilloscope", "waveform generator": "generator"}
BENCH_ALIASES = frozenset({*PLAYED.values(), *SERVED.values()})


def played() -> list[ResourceSettings]:
    """The rows of what is there without a process of the bench's."""
    return [ResourceSettings(resource, alias, where="--demo") for resource, alias in PLAYED.items()]


class Bench:
    """The bench's process, and what the daemon serves of it."""

    library = f"{demo_bench.BENCH_FILE}@sim"

    def __init__(self) -> None:
        """Raises StartError."""
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            [sys.executable, "-m", demo_bench.__name__],
            cwd=Path(demo_bench.__file__).parents[1],  # where it is found, wherever the daemon runs
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_TIME)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            self._process.kill()
            raise StartError("the simulated bench did not start")
        #: What there is, and how it is called.
        self.rows = played()
        for row in json.loads(line):
            self.rows.append(ResourceSettings(row["resource"], SERVED.get(row["what"]), {"library": "@py"}, "--demo"))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
