"""GOOD: a client of a sibling instrument, which must notice no fault: `python -m tests.faults.good HOST PORT NAME`.

A process of its own, so that what the tests do costs it nothing. It asks every 20 ms until its standard input ends,
checks every answer, and prints one line of JSON: how many it asked, what failed, and latencies in milliseconds.
"""

import json
import math
import subprocess
import sys
import threading
import time
from typing import Any

from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE

#: Seconds between two questions, and for an answer: longer than any test has the front stopped.
INTERVAL, PATIENCE = 0.02, 60.0


class Good:
    """The process, as a test has it."""

    def __init__(self, daemon: Daemon, resource: str) -> None:
        command = [sys.executable, "-m", "tests.faults.good", daemon.host, str(daemon.port), resource]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if said != "asking\n":
            _, complaint = self._process.communicate(timeout=DEADLINE)
            raise AssertionError(f"GOOD could not begin: {said}{complaint}")

    def ends(self) -> dict[str, Any]:
        """Let it stop asking; what it has seen."""
        try:
            report, complaint = self._process.communicate(timeout=60)
        finally:
            self._process.kill()
        assert self._process.returncode == 0, complaint
        seen: dict[str, Any] = json.loads(report)
        return seen


def main() -> None:
    host, port, resource = sys.argv[1:]
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    latencies: list[float] = []
    failures: list[str] = []
    with TextClient(host, int(port), PATIENCE) as client:
        opened = client.ask(f".#.open_resource {resource}")
        client.ask(".#.timeout 10000")
        print("asking" if opened == resource else opened, flush=True)
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            began = time.monotonic()
            question = f"good-{len(latencies)}"
            try:
                answer = client.ask(f".#.query_resource ECHO? {question}")
            except (OSError, AssertionError) as error:  # a TextClient asserts that nobody hangs up
                failures.append(f"{question}: {error!r}")
                break
            latencies.append(time.monotonic() - began)
            if answer != question:
                failures.append(f"{question}: {answer}")
            due = max(due + INTERVAL, time.monotonic())
    print(json.dumps({"asked": len(latencies), "failures": failures, **_figures(latencies)}))


def _figures(latencies: list[float]) -> dict[str, float | None]:
    if not latencies:
        return {"p50_ms": None, "p99_ms": None, "worst_ms": None}
    ranked = sorted(latencies)
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "worst_ms": 1.0}
    return {name: round(1000 * ranked[math.ceil(part * len(ranked)) - 1], 2) for name, part in at.items()}


if __name__ == "__main__":
    main()
