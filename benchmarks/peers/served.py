"""A peer's server as a process: it prints where it is in one line, and ends when its input does."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.pinning import pinned

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serving(module: str, arguments: Sequence[str], cpu: int | None) -> Iterator[str]:
    """`python -m module arguments...` on `cpu`, for as long as the context; gives the line that it printed."""
    with pinned(cpu):
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        where = process.stdout.readline().strip()
        if not where:
            raise RuntimeError(f"{module} did not start")
        yield where
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve_until_input_ends(where: str, serve: Callable[[], object]) -> None:
    """For the server: say where it is, serve, and exit as soon as standard input has ended."""
    threading.Thread(target=_exit_with_input, daemon=True).start()
    print(where, flush=True)
    serve()


def _exit_with_input() -> None:
    sys.stdin.read()
    os._exit(0)
