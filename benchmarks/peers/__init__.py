"""What is compared: the table of peers, how each one's server is started, and what its client looks like.

A peer is set up as its own documentation has it, with the socket options that its users get. Its server, if it has
one, is a process of its own on a free loopback port and serves all instruments that it is given; so is the daemon.

    direct   PyVISA with pyvisa-py in the program itself: what all others are compared with
    daemon   ours, three ways in
    remote   rpyc, Pyro5, pyvisa-proxy
    limits   what cannot be beaten: a bare socket, and two hops without any VISA in them

To add a peer: a `Peer` in one of these modules and its name in PEERS.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.bench import Bench

#: Subject -> the module that has it, which is imported only by those who need it.
PEERS = {
    "direct": "direct",
    "daemon @daemon": "daemon",
    "daemon client": "daemon",
    "daemon text": "daemon",
    "rpyc": "remote",
    "Pyro5": "remote",
    "pyvisa-proxy": "remote",
    "limit: bare socket": "limits",
    "limit: two hops": "limits",
}


@dataclass(frozen=True, slots=True)
class Client:
    """One session with one instrument. What `query` returns has no termination."""

    query: Callable[[str], str]
    write: Callable[[str], object]
    close: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Peer:
    """`serve(bench, resources, cpu)` is a context in which `connect(where, resource)` works, in any process; it gives
    `where`. `needs` names the module without which there is no such peer."""

    serve: "Callable[[Bench, Sequence[str], int | None], AbstractContextManager[str]]"
    connect: Callable[[str, str], Client]
    needs: str = "pyvisa"

    @property
    def is_there(self) -> bool:
        return find_spec(self.needs) is not None


def peer(subject: str) -> Peer:
    """The row of a subject of PEERS."""
    module = __import__(f"benchmarks.peers.{PEERS[subject]}", fromlist=["ROWS"])
    found: Peer = module.ROWS[subject]
    return found


def present(bench: "Bench", subjects: Sequence[str]) -> list[str]:
    """Those of `subjects` that are wanted and there; those that are not there are noted, for their cells stay empty."""
    wanted = [one for one in subjects if bench.peers is None or one in bench.peers or one == "direct"]
    rows = {subject: peer(subject) for subject in wanted}
    for subject, row in rows.items():
        if not row.is_there:
            bench.missing[subject] = f"{row.needs} is not installed"
    return [subject for subject, row in rows.items() if row.is_there]
