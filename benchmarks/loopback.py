"""The instrument of the benchmarks: a process that serves many of them on loopback ports, built from loopback.c.

Where there is no C compiler loopback_python.py stands in: the same answers, slower, and the report says so.
"""

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.pinning import pinned

HERE = Path(__file__).resolve().parent

#: What CURV? and TEXT? send repeats after so many bytes; see loopback.c for why it is a prime.
PERIOD = 65521


@cache
def _pattern() -> bytes:
    return bytes((i * 167 + (i >> 8) * 13) & 0xFF for i in range(PERIOD))


def curve(n: int) -> bytes:
    """The n bytes that `CURV? n` must contain, between `#9` with the length and the LF behind."""
    return (_pattern() * (n // PERIOD + 1))[:n]


_LETTERS = bytes(b"0123456789+-.,E,"[byte % 16] for byte in range(256))


def letters(n: int) -> bytes:
    """The n bytes that `TEXT? n` must contain; LF is behind them."""
    return curve(n).translate(_LETTERS)


def curve_answer(n: int) -> bytes:
    """All of the answer to `CURV? n`."""
    return b"#9%09d%b\n" % (n, curve(n))


@cache
def _built() -> "tempfile.TemporaryDirectory[str] | None":
    """The folder with the program in it, which lives as long as this process; None without a compiler."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    folder = tempfile.TemporaryDirectory(prefix="loopback-")
    command = [compiler, "-O2", "-o", f"{folder.name}/loopback", str(HERE / "loopback.c")]
    return folder if subprocess.run(command, capture_output=True, check=False).returncode == 0 else None


def is_built() -> bool:
    """Is it the program in C that answers, not its slower stand-in?"""
    return _built() is not None


class Loopback:
    """`count` instruments in one process, on `cpu` if that is given; a context manager.

    `ports`, `resources` and `identity(i)` are each one's TCP port, VISA name and answer to *IDN?; `pid` the process.
    """

    def __init__(self, count: int = 1, cpu: int | None = None, *, is_in_c: bool | None = None) -> None:
        folder = _built() if is_in_c is not False else None
        if folder is None and is_in_c:
            raise RuntimeError("there is no C compiler")
        program = [f"{folder.name}/loopback"] if folder else [sys.executable, "-m", "benchmarks.loopback_python"]
        with pinned(cpu):
            self.process = subprocess.Popen(
                [*program, str(count)], cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        assert self.process.stdout is not None
        self.ports = [int(word) for word in self.process.stdout.readline().split()]
        if len(self.ports) != count:
            self.close()
            raise RuntimeError(f"the instruments did not start: {len(self.ports)} of {count}")
        self.resources = [f"TCPIP0::127.0.0.1::{port}::SOCKET" for port in self.ports]
        self.pid = self.process.pid

    def identity(self, index: int = 0) -> str:
        """What instrument `index` answers to *IDN?, without LF."""
        return f"BENCH,LOOPBACK,{self.ports[index]},1.0"

    def close(self) -> None:
        """It ends when its input does."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
