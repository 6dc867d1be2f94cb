"""What the daemon says of a failed command, `effect=none` above all, against what the instrument has executed."""

import os
import random
import signal
from collections import Counter
from dataclasses import replace

import pytest

from tests.support.waiting import wait_until

SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().getrandbits(32)

#: Queued commands wait so long at most; failures follow each other quickly and are never too many.
LIMITS = {"queue-time": 0.4, "failures": 100_000, "longest-backoff": 0.2}


@pytest.mark.fault(25)
def test_book_finds_what_the_daemon_would_have_wrong(bench):
    """So every other test here sees what it looks for: a false claim, and a message that was executed twice."""
    instrument = bench.tcp()
    client = bench.client(instrument.resource)
    assert client.query("ECHO? claimed") == "claimed"
    bench._balance()
    sent = bench.book[-1]
    sent.effect = "none"
    with pytest.raises(AssertionError, match="beyond what it may have"):
        bench._balance()
    sent.effect = None
    instrument.ask("ECHO? claimed")  # behind the daemon's back
    with pytest.raises(AssertionError, match="beyond what it may have"):
        bench._balance()
    bench.book.append(replace(sent))


class History:
    """What happens to two clients of one instrument, and what they were told."""

    def __init__(self, bench, instrument):
        self._bench = bench
        self._instrument = instrument
        self._messages = 0
        self.tokens = Counter()

    def run(self, move):
        """Both work; then comes `move`."""
        resource = self._instrument.resource
        clients = [self._bench.client(), self._bench.client()]
        for client in clients:
            wait_until(lambda client=client: client.ask(f".#.open_resource {resource}") == resource)
            client.open(resource, timeout_ms=300)
            wait_until(lambda client=client: not self.query(client).startswith(".#.error"))
        move(self, *clients)
        for client in clients:
            client.close()

    def message(self, header):
        """One that was never sent before."""
        self._messages += 1
        return f"{header}n{self._messages}"

    def begin(self, client, header="ECHO? "):
        message = self.message(header)
        client.begin("query", message)
        return message

    def outcome(self, client):
        reply = client.outcome()
        self.tokens[reply.split(" ")[1] if reply.startswith(".#.error") else "ok"] += 1
        return reply

    def query(self, client, header="ECHO? "):
        self.begin(client, header)
        return self.outcome(client)

    def occupy(self, client):
        """A command that takes 0.8 s, and has begun."""
        client.ask(".#.timeout 5000")
        message = self.begin(client, "SLOW? 800,")
        wait_until(lambda: self._instrument.count(message))

    def queue(self, client):
        self.begin(client)
        wait_until(lambda: self.row()["queued"])

    def row(self):
        return self._bench.daemon.resource(self._instrument.resource)

    def kill(self):
        """The process; returns when the front knows."""
        row = wait_until(lambda: self.row() if self.row()["pid"] else None)
        os.kill(row["pid"], signal.SIGKILL)
        wait_until(lambda: self.row()["pid"] != row["pid"])


def times_out(history, one, two):
    history.query(one, "SLOW? 400,")
    history.query(two)


def hangs(history, one, two):
    history.begin(one, "BABBLE? ")
    history.queue(two)
    history.outcome(one)
    history.outcome(two)


def dies_in_mid_query(history, one, two):
    history.occupy(one)
    history.queue(two)
    history.kill()
    history.outcome(one)
    history.outcome(two)


def dies_idle_again_and_again(history, one, two):
    for _ in range(3):
        history.kill()
        history.query(one)
        history.query(two)


def drops_the_connection(history, one, two):
    one.write(history.message("DROP "))
    history.query(one)
    history.query(two)


def waits_too_long(history, one, two):
    history.occupy(one)
    history.queue(two)
    history.outcome(two)
    history.outcome(one)


def leaves_in_mid_query(history, one, two):
    history.occupy(one)
    one.close()
    history.query(two)


def leaves_the_queue(history, one, two):
    history.occupy(one)
    history.queue(two)
    two.close()
    history.outcome(one)


def is_locked_out(history, one, two):
    one.ask(".#.lock")
    history.query(two)


MOVES = (
    times_out,
    hangs,
    dies_in_mid_query,
    dies_idle_again_and_again,
    drops_the_connection,
    waits_too_long,
    leaves_in_mid_query,
    leaves_the_queue,
    is_locked_out,
)

#: What must have been seen, whatever the order.
TOKENS = {
    "ok",
    "VI_ERROR_TMO",
    "INSTRUMENT_HUNG",
    "INSTRUMENT_CRASHED",
    "SESSION_RESET",
    "INSTRUMENT_BACKOFF",
    "VI_ERROR_CONN_LOST",
    "QUEUE_TIMEOUT",
    "VI_ERROR_RSRC_LOCKED",
}


@pytest.mark.fault(25)
@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
def test_history_of_all_kinds_of_failures_balances(make_bench, rounds):
    """In random order: nothing said to be without effect was executed, and nothing more often than it was sent."""
    print(f"SEED={SEED}")
    bench = make_bench(limits=LIMITS, settings={"grace": 1})
    instrument = bench.tcp()
    history, chance = History(bench, instrument), random.Random(SEED)
    for _ in range(rounds):
        for move in chance.sample(MOVES, k=len(MOVES)):
            history.run(move)
    assert set(history.tokens) >= TOKENS, history.tokens
    bench._balance()
    said = Counter(sent.effect for sent in bench.book)
    executed = [message for message in instrument.history() if message in {sent.message for sent in bench.book}]
    assert len(executed) <= len(bench.book) - said["none"]
    assert len(executed) >= said[None] + said["done"], "what was answered was executed"
    bench.figures.note("sent", len(bench.book))
    bench.figures.note("executed", len(executed))
    for effect in ("none", "maybe", "done"):
        assert said[effect], said
        bench.figures.note(f"said_{effect}", said[effect])


@pytest.mark.fault(26)
def test_nine_commands_queued_behind_one_that_hangs_are_not_executed(bench):
    """Each is told so once, within a moment of the first; each client's next command works."""
    clients = [bench.client(bench.stubborn(), timeout_ms=500) for _ in range(10)]
    for number, client in enumerate(clients):
        client.begin("query", f"ECHO? queued {number}" if number else "HANG")
        wait_until(lambda number=number: bench.daemon.resource(bench.stubborn())["queued"] == number)
    with bench.figures.timed("error"):
        assert clients[0].outcome().startswith(".#.error INSTRUMENT_HUNG effect=maybe ")
    with bench.figures.timed("queued_told"):
        told = [client.outcome() for client in clients[1:]]
    assert all(reply.startswith(".#.error SESSION_RESET effect=none ") for reply in told), told
    assert bench.executed(bench.stubborn()) == ["HANG"]
    for number, client in enumerate(clients):
        assert client.query(f"ECHO? after {number}") == f"after {number}"
    assert sorted(bench.executed(bench.stubborn())) == sorted(["HANG", *(f"ECHO? after {n}" for n in range(10))])
