"""Many clients on one instrument, one of them greedy: each has its share."""

import contextlib
import selectors
import socket
import statistics
import threading

import pytest

from pyvisa_daemon import wire
from tests.support.wire_client import WireClient

CLIENTS = 64

#: What the greedy one keeps under way on the wire: as much as the daemon lets a client have queued, and a little less.
PIPELINED = 60


class Greedy:
    """Asks without waiting for answers. Works in threads, until `stop`."""

    def __init__(self, client, *work):
        self.client = client
        self._threads = [threading.Thread(target=self._until_cut, args=(part,)) for part in work]
        for thread in self._threads:
            thread.start()

    def _until_cut(self, part):
        with contextlib.suppress(OSError, AssertionError):  # its connection is closed
            while True:
                part(self)

    def stop(self):
        self.client.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.client.close()


def on_text(bench, resource):
    """A thousand lines at a time, as fast as the daemon takes them."""
    questions = b"".join(b".#.query_resource ECHO? greedy-%d\n" % number for number in range(1000))

    def read(greedy):
        assert greedy.client.line().startswith(b"greedy-")

    return Greedy(bench.client(resource, timeout_ms=60_000), lambda greedy: greedy.client.send(questions), read)


def on_the_wire(bench, resource):
    """There the daemon itself queues what a client asks for."""
    client = WireClient(bench.daemon.host, bench.daemon.port)
    session = client.open(resource)

    def write(count):
        client.send(*(wire.Write(client.number(), session, b"SET greedy\n") for _ in range(count)))

    def go_on(greedy):
        assert client.answer().status == 0
        write(1)

    write(PIPELINED)
    return Greedy(client, go_on)


class Modest:
    """Clients that ask again as soon as they have their answer."""

    def __init__(self, clients):
        self._clients = clients
        self.answers = dict.fromkeys(clients, 0)
        self._ready = selectors.DefaultSelector()
        for client in clients:
            self._ready.register(client.socket, selectors.EVENT_READ, client)
            self._ask(client)

    def _ask(self, client):
        client.begin("query", f"ECHO? {id(client)}-{self.answers[client]}")

    def go_on(self, until):
        """Take answers until `until()`."""
        while not until():
            for key, _ in self._ready.select():
                client = key.data
                assert client.outcome() == f"{id(client)}-{self.answers[client]}"
                self.answers[client] += 1
                self._ask(client)

    def stop(self):
        for client in self._clients:
            client.outcome()
        self._ready.close()


def turns_between(history, beginning):
    """How many of the greedy one's messages the instrument had between any two that begin like this."""
    turns = [0]
    for message in history:
        if message.startswith(beginning):
            turns.append(0)
        elif "greedy" in message:
            turns[-1] += 1
    return turns[1:-1]


@pytest.mark.fault(34)
@pytest.mark.parametrize("how", [on_text, on_the_wire])
@pytest.mark.parametrize("count", [30, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_each_of_64_clients_has_its_share_though_one_is_greedy(bench, how, count):
    """Turns go round by client: who asks for many things at once has one turn in each round, as everybody has."""
    instrument = bench.tcp()
    resource = instrument.resource
    clients = [bench.client(resource, timeout_ms=60_000) for _ in range(CLIENTS - 1)]
    greedy = how(bench, resource)
    modest = Modest(clients)
    modest.go_on(until=lambda: all(modest.answers.values()))  # only now all of them compete
    before = dict(modest.answers)
    goal = sum(before.values()) + count * len(clients)
    modest.go_on(until=lambda: sum(modest.answers.values()) >= goal)
    shares = [modest.answers[client] - before[client] for client in clients]
    modest.stop()
    greedy.stop()
    turns = turns_between(instrument.history(), f"ECHO? {id(clients[0])}-")
    bench.figures.note("share_below", 1 - min(shares) / count)
    bench.figures.note("share_above", max(shares) / count - 1)
    bench.figures.note("turns_of_greedy", max(turns))
    assert min(shares) >= 0.8 * count
    assert max(shares) <= 1.2 * count
    # Now and then the others are late, and it has more; served in the order of arrival it would have sixty.
    assert statistics.median(turns) == 1
