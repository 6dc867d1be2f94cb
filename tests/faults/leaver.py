"""A client that is about to leave: `python -m tests.faults.leaver LANGUAGE HOST PORT RESOURCE DEED MESSAGE`.

A process of its own, so that it can be killed and can live behind another link. LANGUAGE is `text` or `pyvisa`; DEED is
`query` or `write` (of MESSAGE) or `lock`. Says "begins", does it, says "done", and stays until its standard input ends.
"""

import subprocess
import sys
from collections.abc import Callable
from typing import Self

import pyvisa

from tests.support.daemon import ROOT
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE

Deeds = dict[str, Callable[[str], object]]


class Leaver:
    """The process, as a test has it; `prefix` is what starts it elsewhere (`ip netns exec NAME`)."""

    def __init__(self, *arguments: object, prefix: tuple[str, ...] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "tests.faults.leaver", *map(str, arguments)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.kill()

    def hears(self, word: str) -> None:
        """Wait until it says `word`."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said == word + "\n", said

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self._process.kill()
        self._process.wait(DEADLINE)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def _text(host: str, port: str, resource: str) -> Deeds:
    client = TextClient(host, int(port))
    client.ask(f".#.open_resource {resource}")
    client.ask(".#.timeout 20000")
    return {
        "query": lambda message: client.ask(f".#.query_resource {message}"),
        "write": lambda message: client.ask(f".#.write_resource {message}"),
        "lock": lambda _: client.ask(".#.lock"),
    }


def _pyvisa(host: str, port: str, resource: str) -> Deeds:
    manager = pyvisa.ResourceManager(f"{host}:{port}@daemon")
    instrument = manager.open_resource(resource, read_termination="\n", write_termination="\n", timeout=20_000)
    assert isinstance(instrument, pyvisa.resources.MessageBasedResource)
    return {"query": instrument.query, "write": instrument.write, "lock": lambda _: instrument.lock_excl()}


LANGUAGES = {"text": _text, "pyvisa": _pyvisa}


def main() -> None:
    language, host, port, resource, deed, *message = sys.argv[1:]
    deeds = LANGUAGES[language](host, port, resource)
    print("begins", flush=True)
    deeds[deed](*message or [""])
    print("done", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
