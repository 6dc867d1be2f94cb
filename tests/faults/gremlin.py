"""The gremlin of the soak: hurts one instrument, by what it says to it, by signals and by operators' words."""

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.faults.soak import TIMEOUT_MS, Worker, World


class Gremlin(Worker):
    """Hurts one instrument, every `pause` seconds or so; each thing that it does is in the account of that."""

    def __init__(self, world: World, resource: str, seed: int, pause: float) -> None:
        super().__init__(world, f"gremlin of {resource}", seed)
        self._resource = resource
        self._account = world.accounts[resource]
        self._pause = pause
        self.did: Counter[str] = Counter()
        self._acts: list[Callable[[], None]] = [self._kill, self._stop, self._restart, self._abort, self._abort]
        if "stubborn" in resource:
            self._acts += [self._crash, self._crash, self._hang]
        elif "SOCKET" in resource:
            self._acts += [self._drop, self._drop]

    def step(self) -> None:
        act = self.random.choice(self._acts)
        self.did[act.__name__.strip("_")] += 1
        act()
        if self._described().get("state") == "broken":
            self.did["reset"] += 1
            self._operator(".#.reset", "reset")
        self.world.is_over.wait(self.random.uniform(0, 2 * self._pause))

    def _described(self) -> dict[str, Any]:
        return self.world.bench.daemon.resource(self._resource)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL, "crash")

    def _stop(self) -> None:
        self._signal(signal.SIGSTOP, "hang")

    def _signal(self, number: signal.Signals, kind: str) -> None:
        pid = self._described().get("pid")
        if pid is not None:
            fault = self._account.begins(kind)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            self._account.over(fault)

    def _restart(self) -> None:
        self._operator(".!.restart", "restart")

    def _abort(self) -> None:
        self._operator(".#.abort", "abort")

    def _operator(self, verb: str, kind: str) -> None:
        fault = self._account.begins(kind)
        with self.world.bench.daemon.text() as operator:
            reply = operator.ask(f"{verb} {self._resource}")
        assert reply == "ok" or reply.startswith(".#.error NO_RESOURCE "), reply
        self._account.over(fault)

    def _crash(self) -> None:
        self._say(self.random.choice(["SEGV", "ABORT", "EXIT 3", "EXIT 0"]), "crash")

    def _hang(self) -> None:
        self._say(self.random.choice(["HANG", "HANG-FREE", "SPIN", "STOP"]), "hang")

    def _drop(self) -> None:
        self._say("DROP", "drop")

    def _say(self, message: str, kind: str) -> None:
        """Through the daemon, as a client of its own; whatever is the answer."""
        fault = self._account.begins(kind)
        client = self.world.bench.client()
        if client.ask(f".#.open_resource {self._resource}") == self._resource:
            client.resource = self._resource
            client.ask(f".#.timeout {TIMEOUT_MS}")
            client.query(message)
        client.close()
        self._account.over(fault)
