"""How long it takes to open an instrument, to join one, to leave it, and to have it back after its process died.

Each time with a spare process warm, for different instruments, one after the other. Back again means: a client that
asks as fast as it is answered has a good answer. The clock starts when the old process is dead, which its pidfd tells
this program and the front at the same time; how long hanging takes before that is the deadline's affair, not speed's.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median

from benchmarks.bench import Bench, DaemonUnderTest
from benchmarks.figures import Figure
from benchmarks.loopback import Loopback
from benchmarks.processes import wait_until_quiet
from tests.support.text_client import TextClient

TITLE = "Opening, and opening again"

#: Instruments that are opened; and processes that are killed, and that hang, each another instrument's, for a second
#: failure of the same one waits. Quick runs have the second number.
OPENS = (24, 8)
DEATHS = (8, 3)

#: A process has so many seconds to begin with a command; then it is hung.
SETTINGS = "[limits]\nbegin-time = 0.2\n"

#: Seconds that a good answer may take to come back.
LIMIT = 10.0


def run(bench: Bench) -> Iterator[Figure]:
    opens, deaths = OPENS[bench.is_quick], DEATHS[bench.is_quick]
    config = bench.folder / "openings.toml"
    config.write_text(SETTINGS)
    with Loopback(opens) as loopback, bench.daemon("--config", str(config)) as daemon, ExitStack() as clients:
        measured = _Measured(bench, loopback, daemon, *(clients.enter_context(_client(daemon)) for _ in range(2)))
        for index in range(opens):
            measured.open(index)
        for kind, index in ((kind, index) for index in range(deaths) for kind in ("hung", "killed")):
            measured.die(kind, 2 * index + (kind == "killed"))
    for name, seconds in measured.took.items():
        yield Figure("openings", "daemon text", f"{name}, p50", median(seconds) * 1e3, "ms")
        yield Figure("openings", "daemon text", f"{name}, worst", max(seconds) * 1e3, "ms")


def _client(daemon: DaemonUnderTest) -> TextClient:
    return TextClient(daemon.host, daemon.port)


class _Measured:
    """Seconds, by name; and the two clients that measure them."""

    def __init__(
        self, bench: Bench, loopback: Loopback, daemon: DaemonUnderTest, client: TextClient, other: TextClient
    ) -> None:
        self.took: dict[str, list[float]] = {}
        self._bench = bench
        self._loopback = loopback
        self._daemon = daemon
        self._client = client
        self._other = other

    def open(self, index: int) -> None:
        """Open an instrument that nobody has opened, join it, and leave it again."""
        resource = self._loopback.resources[index]
        self._rest()
        self._ask("open, spare warm", self._client, f".#.open_resource {resource}", resource)
        self._ask("first query after it", self._client, ".#.query_resource *IDN?", self._identity(index))
        self._ask("open what is open", self._other, f".#.open_resource {resource}", resource)
        self._ask("close, others have it open", self._other, f".#.close_resource {resource}", "ok")

    def die(self, kind: str, index: int) -> None:
        """The instrument's process dies; the client that has asked asks on until there is a good answer."""
        resource, identity = self._loopback.resources[index], self._identity(index)
        self._bench.check(self._client.ask(f".#.use {resource}") == resource, f"{resource} is open")
        self._rest()
        row = next(row for row in self._client.ask_json(".#.status")["resources"] if row["resource"] == resource)
        pidfd = os.pidfd_open(row["pid"])
        try:
            HOW[kind](row["pid"], lambda: self._client.send(b".#.query_resource *IDN?\n"))
            select.select([pidfd], [], [], LIMIT)
            died = time.perf_counter()
        finally:
            os.close(pidfd)
        replies = [self._client.reply().decode()]
        while replies[-1] != identity and time.perf_counter() < died + LIMIT:
            replies.append(self._client.ask(".#.query_resource *IDN?"))
        self.took.setdefault(f"{kind}, death to good answer", []).append(time.perf_counter() - died)
        self._bench.check(replies[-1] == identity, f"{resource} is back: {replies}")
        self._bench.check(TOKENS[kind] in replies[0], f"what was under way is told that it was {kind}: {replies}")

    def _ask(self, name: str, client: TextClient, request: str, reply: str) -> None:
        began = time.perf_counter()
        said = client.ask(request)
        self.took.setdefault(name, []).append(time.perf_counter() - began)
        self._bench.check(said == reply, f"{request}: {said}")

    def _identity(self, index: int) -> str:
        return self._loopback.identity(index)

    def _rest(self) -> None:
        """Until there is a warm spare: nothing of the daemon does anything any more."""
        wait_until_quiet(self._daemon.pids)


def _hang(pid: int, ask: Callable[[], None]) -> None:
    os.kill(pid, signal.SIGSTOP)
    ask()


def _kill(pid: int, ask: Callable[[], None]) -> None:
    os.kill(pid, signal.SIGSTOP)
    ask()
    time.sleep(0.02)  # the front has given it the query
    os.kill(pid, signal.SIGKILL)


HOW = {"hung": _hang, "killed": _kill}
TOKENS = {"hung": "INSTRUMENT_HUNG", "killed": "INSTRUMENT_CRASHED"}
