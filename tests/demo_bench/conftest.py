"""The bench's own process, and PyVISA to drive what it plays."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import pyvisa
from pyvisa.resources import MessageBasedResource

from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE


class Bench:
    """`python -m demo_bench`, and `names`: what each instrument is -> its resource."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "demo_bench"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.names = {row["what"]: row["resource"] for row in json.loads(self.process.stdout.readline())}

    def end(self) -> int:
        """End its standard input; its exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.kill()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.end()


@pytest.fixture
def open_resource() -> Iterator[Callable[..., MessageBasedResource]]:
    """Opens resources with plain PyVISA, LF both ways unless told otherwise, and closes them."""
    managers = []

    def opened(library: str, name: str, **attributes: object) -> MessageBasedResource:
        manager = pyvisa.ResourceManager(library)
        managers.append(manager)
        attributes = {"read_termination": "\n", "write_termination": "\n", **attributes}
        resource = manager.open_resource(name, **attributes)
        assert isinstance(resource, MessageBasedResource)
        return resource

    yield opened
    for manager in managers:
        manager.close()
