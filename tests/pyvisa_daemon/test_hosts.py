"""Known hosts: what an entry may be, and how all of them are asked at once."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pyvisa_daemon import hosts, wire
from pyvisa_daemon.hosts import Address
from tests.pyvisa_daemon.peer import Conversation, Peer, echo


@pytest.fixture(autouse=True)
def known_hosts() -> Iterator[list[str]]:
    """The list of hosts, put back afterwards."""
    before = list(hosts.tryIps)
    yield hosts.tryIps
    hosts.tryIps[:] = before


@pytest.fixture
def silent() -> Iterator[str]:
    """A host whose port takes connections and says nothing, as a stopped daemon's does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    """A host where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("labpc", Address("labpc", 1340)),
        (" labpc:1341 ", Address("labpc", 1341)),
        ("10.0.0.7:80", Address("10.0.0.7", 80)),
        ("[::1]", Address("::1", 1340)),
        ("[fe80::1]:99", Address("fe80::1", 99)),
        ("::1", Address("::1", 1340)),
    ],
)
def test_entry_is_understood_when_it_names_a_host(entry: str, address: Address) -> None:
    """Host, port and IPv6 in each accepted form; an address as text is an entry again."""
    assert hosts.parse(entry) == address
    assert hosts.parse(str(address)) == address


@pytest.mark.parametrize("entry", ["", ":1340", "labpc:", "labpc:x", "labpc:0", "labpc:65536", "[::1", "[::1]x", "a b"])
def test_entry_is_refused_by_name_when_it_cannot_be(entry: str) -> None:
    """The error repeats what stands in the list and what was expected."""
    with pytest.raises(ValueError, match="expected host or host:port") as refused:
        hosts.parse(entry)
    assert repr(entry) in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "expected"), [(None, "['127.0.0.1']"), ("", "['127.0.0.1']"), (" a, b:2 ,", "['a', 'b:2']")]
)
def test_list_comes_from_the_environment_when_set(variable: str | None, expected: str) -> None:
    """PYVISA_DAEMON_HOSTS, else this machine."""
    environment = {name: value for name, value in os.environ.items() if name != "PYVISA_DAEMON_HOSTS"}
    if variable is not None:
        environment["PYVISA_DAEMON_HOSTS"] = variable
    program = "from pyvisa_daemon import hosts; print(hosts.tryIps)"
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == expected


def test_first_live_host_is_taken_when_others_are_dead(known_hosts: list[str], closed: str, silent: str) -> None:
    """Refused and silent hosts are passed over, in the order of the list."""
    with Peer(echo) as first, Peer(echo) as second:
        known_hosts[:] = [closed, silent, first.address, second.address]
        with contextlib.closing(hosts.first_live()) as channel:
            assert channel.address == first.address


def test_dead_hosts_cost_one_timeout_in_all_when_asked(known_hosts: list[str], silent: str) -> None:
    """Twenty silent hosts are as quick as one."""
    with Peer(echo) as peer:
        known_hosts[:] = [silent] * 20 + [peer.address]
        start = time.monotonic()
        assert hosts.find("GPIB0::9::INSTR") == [hosts.Finding(hosts.parse(peer.address), "listed")]
        assert time.monotonic() - start < 5


def test_every_reason_is_told_when_no_host_is_alive(known_hosts: list[str], closed: str, silent: str) -> None:
    """Who starts no daemon finds out why none was found."""
    known_hosts[:] = [closed, silent]
    with pytest.raises(ConnectionError) as none:
        hosts.first_live()
    assert closed in str(none.value)
    assert silent in str(none.value)
    known_hosts[:] = []
    with pytest.raises(ConnectionError, match="tryIps is empty"):
        hosts.first_live()


def test_host_counts_as_unknown_when_its_find_fails(known_hosts: list[str]) -> None:
    """The daemon is there: opening will show what it thinks."""

    def script(peer: Conversation) -> None:
        peer.greet()
        find = peer.expect(wire.Find)
        peer.send(wire.Reply(find.id, -1073807194, token="SHUTTING_DOWN"))

    with Peer(script) as peer:
        known_hosts[:] = [peer.address]
        assert [finding.found for finding in hosts.find("X")] == ["unknown"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (wire.Welcome(wire.VERSION + 1, (), "9", 1), "upgrade the older"),
        (wire.Refused("TOO_MANY_CLIENTS", "come back later"), "TOO_MANY_CLIENTS: come back later"),
        (wire.Reply(1, 0), "without a hello"),
    ],
)
def test_connecting_says_why_when_the_daemon_refuses(answer: wire.Answer, reason: str) -> None:
    """Another version, a daemon that is full, one that talks out of turn."""
    with Peer(lambda peer: peer.greet(answer) and None) as peer, pytest.raises(ConnectionError, match=reason):
        hosts.connect(hosts.parse(peer.address))


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\1\xc1"])
def test_connecting_says_why_when_something_else_listens(greeting: bytes) -> None:
    """A web server, or anything with another language."""

    def script(peer: Conversation) -> None:
        peer.receive_magic()
        peer.connection.sendall(greeting)

    with Peer(script) as peer, pytest.raises(ConnectionError, match="no instrument daemon"):
        hosts.connect(hosts.parse(peer.address))


def test_connecting_says_why_when_nobody_listens(closed: str, silent: str) -> None:
    """A closed port, a stopped daemon, a name that does not exist."""
    with pytest.raises(ConnectionError, match="start one there"):
        hosts.connect(hosts.parse(closed))
    with pytest.raises(ConnectionError, match="stopped or stuck"):
        hosts.connect(hosts.parse(silent), 0.1)
    with pytest.raises(ConnectionError, match="correct the address"):
        hosts.connect(Address("no..such", 1340))
