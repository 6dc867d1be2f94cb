"""A thousand clients: how fast they connect, and what each costs the front while it says nothing.

Memory is what the front alone has (USS), less what it had before, by the number of clients. Three kinds of a thousand
each, all connected at once in the end: text clients that have sent nothing, text clients after a command, and PyVISA's
kind after its hello. What the kernel holds for a socket is not in it. Each client is answered in the end.
"""

import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median

from benchmarks.bench import Bench, DaemonUnderTest
from benchmarks.figures import Figure
from benchmarks.processes import memory, private, wait_until_quiet
from pyvisa_daemon import wire
from pyvisa_daemon.framing import FrameReader
from tests.support.text_client import TextClient

TITLE = "A thousand clients"

CLIENTS = 1000

#: Times that so many connect; quick runs have the second number.
ROUNDS = (7, 3)

PING, PONG = b".#.ping\n", b"pong\n"

#: The daemon's settings: room for all kinds at once, and for those who look.
SETTINGS = f"[limits]\nclients = {3 * CLIENTS + 100}\n"


def run(bench: Bench) -> Iterator[Figure]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    config = bench.folder / "clients.toml"
    config.write_text(SETTINGS)
    connects, answers, kernel = [], [], []
    with bench.daemon("--config", str(config)) as daemon:
        for _ in range(ROUNDS[bench.is_quick]):
            kernel.append(_kernel_alone())
            connected, answered = _connect(bench, daemon)
            connects.append(connected)
            answers.append(answered)
            _wait_until_alone(bench, daemon)
    yield Figure("clients", "limit: a backlog, nobody accepts", "1000 connects", median(kernel), "s")
    yield Figure("clients", "daemon", "1000 connects", median(connects), "s")
    yield Figure("clients", "daemon", "1000 connects, all accepted, the last answered", median(answers), "s")
    with bench.daemon("--config", str(config)) as daemon:
        yield from _memory(bench, daemon)


def _connect(bench: Bench, daemon: DaemonUnderTest) -> tuple[float, float]:
    """Seconds for the connects alone, and until the last one has an answer, before which all were accepted."""
    with ExitStack() as stack:
        began = time.perf_counter()
        clients = [socket.create_connection((daemon.host, daemon.port)) for _ in range(CLIENTS)]
        connected = time.perf_counter() - began
        for client in clients:
            stack.enter_context(client)
        clients[-1].sendall(PING)
        answer = clients[-1].recv(64)
        answered = time.perf_counter() - began
        bench.check(answer == PONG, "the last of a thousand is answered")
        bench.check(_connected(daemon) >= CLIENTS, "a thousand are connected")
        _answers(bench, clients, PING, PONG)
    return connected, answered


def _kernel_alone() -> float:
    """Seconds for as many connects to a socket that nobody accepts from."""
    with socket.create_server(("127.0.0.1", 0), backlog=2 * CLIENTS) as listener, ExitStack() as stack:
        address = listener.getsockname()
        began = time.perf_counter()
        clients = [socket.create_connection(address) for _ in range(CLIENTS)]
        took = time.perf_counter() - began
        for client in clients:
            stack.enter_context(client)
    return took


def _memory(bench: Bench, daemon: DaemonUnderTest) -> Iterator[Figure]:
    kinds: dict[str, Callable[[Sequence[socket.socket]], None]] = {
        "text client, silent": lambda clients: None,
        "text client, after a ping": lambda clients: _answers(bench, clients, PING, PONG),
        "wire client, after its hello": lambda clients: _welcome(bench, clients),
    }
    with ExitStack() as stack:
        everybody: list[socket.socket] = []
        before = _settled(daemon)
        for name, speak in kinds.items():
            clients = [socket.create_connection((daemon.host, daemon.port)) for _ in range(CLIENTS)]
            for client in clients:
                stack.enter_context(client)
            everybody += clients
            speak(clients)
            bench.check(_connected(daemon) > len(everybody), "everybody is connected, and who asks for that")
            after = _settled(daemon)
            yield Figure("clients", "daemon", f"memory of a {name}", (after - before) / CLIENTS / 1e3, "kB")
            before = after
        _answers(bench, everybody[:CLIENTS], PING, PONG)


def _answers(bench: Bench, clients: Sequence[socket.socket], request: bytes, reply: bytes) -> None:
    """Each says `request` and gets `reply`."""
    for client in clients:
        client.sendall(request)
    bench.check(all(client.recv(64) == reply for client in clients), f"each of {len(clients)} is answered")


def _welcome(bench: Bench, clients: Sequence[socket.socket]) -> None:
    for client in clients:
        client.sendall(wire.MAGIC + wire.encode(wire.Hello(wire.VERSION, wire.FEATURES)))
    for client in clients:
        (message,) = FrameReader().feed(client.recv(4096))
        bench.check(isinstance(wire.decode_answer(message), wire.Welcome), "each wire client is welcome")


def _settled(daemon: DaemonUnderTest) -> int:
    """The front's own bytes, when it has nothing left to do."""
    wait_until_quiet(daemon.pids)
    return private(memory(daemon.pid))


def _connected(daemon: DaemonUnderTest) -> int:
    with TextClient(daemon.host, daemon.port) as client:
        return int(client.ask_json(".#.status")["clients"])


def _wait_until_alone(bench: Bench, daemon: DaemonUnderTest) -> None:
    deadline = time.monotonic() + 10.0
    while _connected(daemon) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    bench.check(_connected(daemon) == 1, "nobody is left connected")
