"""A user's program: a process that asks instruments through peers, one after the other, and tells how long it took.

Many of them measure together what many clients get. Each answer is compared with what it must be in the process that
asked, and what was not is told with the times.
"""

import multiprocessing
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Self

from benchmarks.bench import Bench
from benchmarks.peers import Client, peer
from benchmarks.pinning import pinned

#: Seconds that an asker may take for anything beyond what it was told to.
PATIENCE = 60.0


@dataclass(slots=True)
class Told:
    """Seconds each query took, or how many there were; and answers that were wrong."""

    took: list[float] = field(default_factory=list)
    count: int = 0
    wrong: list[str] = field(default_factory=list)


class Asker:
    """A process with a client for each peer that it was connected to; it is on `cpu` if that is given.

    `tell` and `heard` are the two halves of a call, so that many can be told before any is heard.
    """

    def __init__(self, cpu: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        with pinned(cpu):
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
        theirs.close()

    def tell(self, verb: str, *arguments: Any) -> None:
        self._pipe.send((verb, arguments))

    def heard(self, bench: Bench) -> Told:
        """What came of what it was told. Raises RuntimeError with the asker's own error if it failed."""
        if not self._pipe.poll(PATIENCE):
            raise RuntimeError("a client does not come back")
        told = self._pipe.recv()
        if isinstance(told, str):
            raise RuntimeError(told)
        assert isinstance(told, Told)
        bench.checked += told.count
        for what in told.wrong:
            bench.check(False, what)
        return told

    def call(self, bench: Bench, verb: str, *arguments: Any) -> Told:
        self.tell(verb, *arguments)
        return self.heard(bench)

    def close(self) -> None:
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Asking:
    """In the asker's process: subject -> client, and what each verb does."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    def connect(self, subject: str, where: str, resource: str) -> Told:
        self._clients[subject] = peer(subject).connect(where, resource)
        return Told()

    def time_queries(self, subject: str, message: str, answer: str, count: int) -> Told:
        """`count` queries, each timed."""
        query, clock, told = self._clients[subject].query, time.perf_counter, Told(count=count)
        for _ in range(count):
            began = clock()
            said = query(message)
            told.took.append(clock() - began)
            if said != answer:
                told.wrong.append(f"{subject} answers {said!r} for {answer!r}")
        return told

    def time_pairs(self, subject: str, command: str, message: str, answer: str, count: int) -> Told:
        """`count` times a write and a query behind it, each pair timed."""
        client, clock, told = self._clients[subject], time.perf_counter, Told(count=count)
        for _ in range(count):
            began = clock()
            client.write(command)
            said = client.query(message)
            told.took.append(clock() - began)
            if said != answer:
                told.wrong.append(f"{subject} answers {said!r} for {answer!r}")
        return told

    def count_queries(self, subject: str, message: str, answer: str, start: float, end: float) -> Told:
        """As many queries as there is time for between two points of the monotonic clock, which is everybody's."""
        query, clock, told, count = self._clients[subject].query, time.monotonic, Told(), 0
        time.sleep(max(0.0, start - clock()))
        while clock() < end:
            said = query(message)
            count += 1
            if said != answer:
                told.wrong.append(f"{subject} answers {said!r} for {answer!r}")
        told.count = count
        return told

    def close(self) -> None:
        for client in self._clients.values():
            with suppress(Exception):
                client.close()


def _serve(pipe: Connection) -> None:
    asking = _Asking()
    while True:
        try:
            verb, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            break
        try:
            told: Told | str = getattr(asking, verb)(*arguments)
        except Exception as error:
            told = f"{verb}{arguments}: {type(error).__name__}: {error}"
        pipe.send(told)
    asking.close()
