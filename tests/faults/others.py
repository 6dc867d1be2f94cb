"""The other clients of an instrument that is hurt: each is told once, and nothing of theirs is executed."""

from tests.faults.bench import Bench, FaultClient


class Others:
    """Two sessions of their own on `resource`, opened before the fault; `queue` has one of them wait in the queue."""

    def __init__(self, bench: Bench, resource: str) -> None:
        self._idle = [bench.client(resource), bench.client(resource)]
        self._waiting: list[FaultClient] = []

    def queue(self) -> None:
        """One more command behind the one that runs: it must not be executed any more."""
        self._waiting.append(self._idle.pop())
        self._waiting[-1].begin("query", "ECHO? queued")

    def are_told(self) -> None:
        """What waited has failed; who was idle fails once now. The next command of each works."""
        for client in self._waiting:
            _is_reset(client.outcome())
        for client in self._idle:
            _is_reset(client.query("ECHO? idle"))
        for client in (*self._waiting, *self._idle):
            text = f"told-{id(client)}"
            reply = client.query(f"ECHO? {text}")
            assert reply == text, reply


def _is_reset(reply: str) -> None:
    assert reply.startswith(".#.error SESSION_RESET effect=none "), reply
