"""What PyVISA finds on this machine without a daemon.

Runs in the user's process, and searches in another: a VISA driver may hang, and would take this one with it. Where a
daemon serves this machine the search is left to it, for a second one would disturb its GPIB bus.
"""

import json
import subprocess
import sys

from client.commands.checkup.facts import Search

#: Seconds that it may take: it asks networks by broadcast, too.
LIMIT = 20.0

_PROGRAM = """
import json, sys
import pyvisa
names = []
for backend in sys.argv[1:]:
    names += pyvisa.ResourceManager("@" + backend).list_resources("?*")
print(json.dumps(sorted(set(names))))
"""


def search(backends: list[str], limit: float = LIMIT, program: str = _PROGRAM) -> Search:
    """With these backends of PyVISA, one after the other."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", program, *backends]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return Search(fault=f"it did not end within {limit:.0f} s")
    except OSError as error:
        return Search(fault=str(error))
    try:
        return Search(tuple(map(str, json.loads(done.stdout))))
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        return Search(fault=last)
