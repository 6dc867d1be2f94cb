"""The soak: clients that ask without end, one thread each.

    World        what all of them share: the bench, an account for each instrument, what went wrong
    TextWorker   the text protocol: asks, opens and closes, locks, leaves in mid-command
    StockWorker  a stock PyVISA program: asks, closes and opens

Whatever a worker is told must be right (each question has an answer of its own) or explained (see `explained`).
"""

import contextlib
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable

import pyvisa
from pyvisa.constants import StatusCode

from tests.faults.bench import SIM, Bench, FaultClient, Sent
from tests.faults.explained import Account

TIMEOUT_MS = 1500

LOCKED = ".#.error VI_ERROR_RSRC_LOCKED "

#: What pyvisa-sim's own bench answers.
SIM_QUESTION, SIM_ANSWER = "?IDN", "LSG Serial #1234"


class World:
    """`spared` are instruments to which nothing is done: none of their commands may fail."""

    def __init__(self, bench: Bench, hurt: list[str], spared: list[str]) -> None:
        self.bench = bench
        self.hurt = hurt
        self.resources = hurt + spared
        self.accounts = {resource: Account() for resource in self.resources}
        self.is_over = threading.Event()
        self.problems: list[str] = []
        self.told: Counter[str] = Counter()

    def live(self, everybody: "list[Worker]", seconds: float) -> None:
        """Let them all do what they do for so long."""
        for worker in everybody:
            worker.thread.start()
        self.is_over.wait(seconds)
        self.is_over.set()
        for worker in everybody:
            worker.thread.join(60)
            if worker.thread.is_alive():
                self.problems.append(f"{worker.name} waits for ever")

    def judge(self, resource: str, reply: str, token: str, began: float, last_began: float) -> None:
        """An error: was it to be expected?"""
        self.told[token] += 1
        if not self.accounts[resource].explains(token, began, last_began):
            faults = self.accounts[resource].faults[-5:]
            self.problems.append(f"{began:.2f} to {time.monotonic():.2f}: {reply} after {faults}")

    def right(self, resource: str, answer: str, expected: str, began: float) -> None:
        """An answer."""
        self.told["ok"] += 1
        if answer == expected:
            self.accounts[resource].succeeded(began)
        else:
            self.problems.append(f"{resource}: {answer!r} instead of {expected!r}")


class Worker:
    """Does something at random, on a thread of its own, until the world is over."""

    def __init__(self, world: World, name: str, seed: int) -> None:
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.name = name
        self.world = world
        self.random = random.Random(seed)
        self.count = 0

    def _run(self) -> None:
        try:
            with contextlib.closing(self):
                while not self.world.is_over.is_set():
                    self.step()
        except Exception:
            self.world.problems.append(f"{self.name}: {traceback.format_exc()}")

    def step(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """It is over."""

    def question(self, resource: str) -> tuple[str, str]:
        """A new one, and its answer."""
        self.count += 1
        text = f"{self.name}-{self.count}"
        return (SIM_QUESTION, SIM_ANSWER) if resource == SIM else (f"ECHO? {text}", text)


class TextWorker(Worker):
    """One connection at a time, with one resource open."""

    _client: FaultClient | None = None

    def step(self) -> None:
        if self._client is None:
            self._open()
            return
        act: Callable[[FaultClient], None] = self.random.choices(
            [self._ask, self._tell, self._time_out, self._lock, self._close, self._leave], [60, 10, 2, 4, 3, 3]
        )[0]
        act(self._client)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _open(self) -> None:
        resource = self.random.choice(self.world.resources)
        client = self.world.bench.client()
        began = self._last_began = time.monotonic()
        reply = client.ask(f".#.open_resource {resource}")
        if reply == resource:
            client.resource = resource
            client.ask(f".#.timeout {TIMEOUT_MS}")
            self._client = client
            return
        self._judge(resource, reply, began)
        client.close()
        time.sleep(0.1)  # as a program would that tries again

    def _judge(self, resource: str, reply: str, began: float) -> None:
        assert reply.startswith(".#.error "), f"{resource}: {reply!r} is no answer to anything"
        self.world.judge(resource, reply, reply.split()[1], began, self._last_began)

    def _do(self, client: FaultClient, verb: str, message: str, expected: str) -> None:
        began = time.monotonic()
        reply = client.query(message) if verb == "query" else client.write(message)
        if reply.startswith(".#.error "):
            self._judge(client.resource, reply, began)
            time.sleep(0.02)
        else:
            self.world.right(client.resource, reply, expected, began)
        if not reply.startswith(LOCKED):  # then it was told nothing of what happened meanwhile
            self._last_began = began

    def _ask(self, client: FaultClient) -> None:
        message, answer = self.question(client.resource)
        self._do(client, "query", message, answer)

    def _tell(self, client: FaultClient) -> None:
        self.count += 1
        message = "*RST" if client.resource == SIM else f"SET {self.name}-{self.count}"
        self._do(client, "write", message, str(len(message) + 1))

    def _time_out(self, client: FaultClient) -> None:
        """A timeout of its own, and nobody else's. A late answer comes soon after; on a busy machine just in time."""
        if client.resource not in self.world.hurt or "stubborn" in client.resource:
            return
        account = self.world.accounts[client.resource]
        fault = account.begins("silence")
        self.count += 1
        late = f"{self.name}-{self.count}"
        message = "*RST" if client.resource == SIM else f"SLOW? {TIMEOUT_MS + 200},{late}"
        self._do(client, "query", message, late)
        account.over(fault)

    def _lock(self, client: FaultClient) -> None:
        if client.resource not in self.world.hurt:
            return
        account = self.world.accounts[client.resource]
        fault = account.begins("lock")
        began = time.monotonic()
        reply = client.ask(".#.lock 0")
        if reply == "ok":
            for _ in range(3):
                self._ask(client)
            assert client.ask(".#.unlock") == "ok"
        else:
            self._judge(client.resource, reply, began)
        account.over(fault)

    def _close(self, client: FaultClient) -> None:
        assert client.ask(".#.close_resource") == "ok"
        client.close()
        self._client = None

    def _leave(self, client: FaultClient) -> None:
        """In mid-command; what it asked may be executed once or never."""
        message, _ = self.question(client.resource)
        client.begin("query", message)
        client.close()
        self._client = None


class StockWorker(Worker):
    """Its manager is its own: each has its own spelling of the host."""

    def __init__(self, world: World, name: str, seed: int, host: str) -> None:
        super().__init__(world, name, seed)
        self._manager = pyvisa.ResourceManager(f"{host}:{world.bench.daemon.port}@daemon")
        self._instrument: pyvisa.resources.MessageBasedResource | None = None
        self._resource = ""
        self._last_began = 0.0
        self._is_locked_out = False

    def step(self) -> None:
        began = time.monotonic()
        try:
            self._act()
        except pyvisa.VisaIOError as error:
            token = getattr(error, "token", error.abbreviation)
            self.world.judge(self._resource, f"{self.name}: {error!r}", token, began, self._last_began)
            # Between a write and its read somebody else may lock: the answer that was asked for is still its own.
            self._is_locked_out = error.error_code == StatusCode.error_resource_locked
            time.sleep(0.05)
        if not self._is_locked_out:  # then it was told nothing of what happened meanwhile
            self._last_began = began

    def _act(self) -> None:
        if self._instrument is None:
            self._open()
        elif self._is_locked_out:
            self._instrument.clear()
            self._is_locked_out = False
        elif self.random.random() < 0.03:
            self._instrument.close()
            self._instrument = None
        else:
            self._ask(self._instrument)

    def close(self) -> None:
        self._manager.close()

    def _open(self) -> None:
        self._resource = self.random.choice(self.world.resources)
        self._last_began = time.monotonic()
        instrument = self._manager.open_resource(self._resource, timeout=TIMEOUT_MS)
        assert isinstance(instrument, pyvisa.resources.MessageBasedResource)
        instrument.read_termination = instrument.write_termination = "\n"
        self._instrument = instrument

    def _ask(self, instrument: pyvisa.resources.MessageBasedResource) -> None:
        began = time.monotonic()
        message, expected = self.question(self._resource)
        self.world.bench.book.append(Sent(self._resource, message, None))
        self.world.right(self._resource, instrument.query(message), expected, began)
