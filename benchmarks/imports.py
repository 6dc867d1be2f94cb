"""What a program pays to import the backend on top of PyVISA, and how long the front takes to READY.

Every number comes from an interpreter of its own, the kinds interleaved: a program pays once, with cold modules. What
stands behind `import pyvisa` is measured inside that interpreter, so that its start and PyVISA's share cancel out.
Bytecode is there already, as it is from a program's second run on; a folder of its own keeps it, whatever the
environment says about writing it.
To look for what costs: `python -X importtime -c "import pyvisa, pyvisa_daemon; pyvisa_daemon.WRAPPER_CLASS"`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.processes import writing_bytecode

TITLE = "Imports and the daemon's start"

#: Fresh interpreters of each kind, and daemons; quick runs have the second number.
INTERPRETERS = (15, 5)
STARTS = (5, 2)

#: subject -> what is imported first, what is measured, what is printed to show that it is there, and what that says.
KINDS = {
    "pyvisa": ("sys", "import pyvisa", "pyvisa.ResourceManager", "ResourceManager"),
    "daemon @daemon": ("pyvisa", "from pyvisa_daemon import WRAPPER_CLASS", "WRAPPER_CLASS", "DaemonVisaLibrary"),
    "direct": ("pyvisa", "from pyvisa_py import WRAPPER_CLASS", "WRAPPER_CLASS", "PyVisaLibrary"),
    "client": ("sys", "import client", "client.open_resource", "open_resource"),
}


def program(first: str, measured: str, proof: str) -> str:
    """The text of a program that prints seconds and the proof."""
    return (
        f"import time, {first}\nt = time.perf_counter()\n{measured}\nprint(time.perf_counter() - t, {proof}.__name__)"
    )


def with_bytecode(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """`environment`, so that Python writes bytecode, into `folder`."""
    return {**writing_bytecode(environment), "PYTHONPYCACHEPREFIX": str(folder)}


def run(bench: Bench) -> Iterator[Figure]:
    environment = with_bytecode(os.environ, bench.folder / "bytecode")
    found: dict[str, list[float]] = {subject: [] for subject in KINDS}
    for _ in range(1 + INTERPRETERS[bench.is_quick]):
        for subject, (first, measured, proof, expected) in KINDS.items():
            command = [sys.executable, "-c", program(first, measured, proof)]
            said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            seconds, name = said.split()
            bench.check(name == expected, f"{subject} imported {name}")
            found[subject].append(float(seconds))
    for subject, (_, *times) in found.items():  # the first wrote the bytecode
        name = "import" if subject in ("pyvisa", "client") else "import on top of pyvisa"
        yield Figure("imports", subject, name, median(times) * 1e3, "ms")
        yield Figure("imports", subject, f"{name}, best", min(times) * 1e3, "ms")
    starts = [_start(bench) for _ in range(STARTS[bench.is_quick])]
    yield Figure("imports", "daemon", "start to READY", median(starts) * 1e3, "ms")


def _start(bench: Bench) -> float:
    """Seconds from the daemon's command until it serves."""
    began = time.perf_counter()
    with bench.daemon():
        return time.perf_counter() - began
