"""Daemons on the network as they are announced. The network is real in tests/daemon/test_announced.py."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from itertools import count
from types import SimpleNamespace

import ifaddr
import pytest
import zeroconf

import client
from client import discovery
from client.discovery import Announced
from pyvisa_daemon.announcement import SERVICE, Announcement

#: Of DNS: an authoritative answer; the class, and types of records.
ANSWER, IN = 0x8400, 1
A, PTR, TXT, SRV = 1, 12, 16, 33


@pytest.fixture
def networks(monkeypatch):
    """This machine has one address on a network, and the one that containers have everywhere."""
    ips = [
        SimpleNamespace(ip="192.168.1.5", network_prefix=24, is_IPv6=False),
        SimpleNamespace(ip="172.17.0.1", network_prefix=16, is_IPv6=False),
        SimpleNamespace(ip=("fd00::5", 0, 0), network_prefix=64, is_IPv6=True),
    ]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [SimpleNamespace(ips=ips)])


def daemon(*addresses, **properties):
    said = {b"port": b"1340", b"version": b"1.2", b"resources": b"3", b"token": b"0"}
    said |= {key.encode(): value for key, value in properties.items()}
    info = SimpleNamespace(properties=said, parsed_addresses=lambda: list(addresses))
    return discovery._daemon(f"labpc.{SERVICE}", info)


@pytest.mark.usefixtures("networks")
def test_daemon_is_what_it_says():
    """With an address that PYVISA_DAEMON_HOSTS takes as it is."""
    assert daemon("192.168.1.10") == Announced("labpc", "192.168.1.10:1340", "1.2", 3, needs_token=False, tls=False)


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize(
    ("addresses", "nearest"),
    [
        (["172.17.0.1", "10.9.9.9", "192.168.1.10"], "192.168.1.10"),
        (["172.17.0.1", "10.9.9.9"], "10.9.9.9"),
        (["172.17.0.1"], "172.17.0.1"),
        (["fd00::7", "192.168.1.10"], "192.168.1.10"),
        (["10.9.9.9", "fd00::7"], "[fd00::7]"),
    ],
)
def test_address_is_the_nearest_when_there_are_several(addresses, nearest):
    """One on a network of ours; and one that is our own only if there is no other."""
    assert daemon(*addresses).address == f"{nearest}:1340"
    assert ip_address(nearest.strip("[]"))


def test_what_is_no_daemons_word_is_left_out():
    """And one without an address."""
    assert daemon("192.168.1.10", port=b"no") is None
    assert daemon("192.168.1.10", version=b"\xff") is None
    assert daemon() is None
    assert daemon("0.0.0.0") is None
    assert daemon("224.0.0.251") is None


def test_missing_zeroconf_is_told_with_what_to_install(monkeypatch):
    """By an error that who calls it can tell from others."""
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(ModuleNotFoundError, match="pip install zeroconf"):
        client.list_daemons(0.1)


DAEMON = Announcement("1.2", 1340, None, 3, needs_token=True)


class Speaker:
    """Says anything, on loopback, with nothing that keeps it to the rules."""

    def __init__(self):
        self._network = zeroconf.Zeroconf(interfaces=["127.0.0.1"])

    def pointer(self, name, seconds=60):
        """There is a daemon of that name; with 0 seconds it is gone."""
        self._say(zeroconf.DNSPointer(SERVICE, PTR, IN, seconds, name))

    def daemon(self, name, announcement=DAEMON):
        """All about it, as an honest one says it."""
        text = b"".join(bytes([len(said)]) + said for said in map(str.encode, map("=".join, pairs(announcement))))
        self._say(
            zeroconf.DNSPointer(SERVICE, PTR, IN, 60, name),
            zeroconf.DNSService(name, SRV, IN, 60, 0, 0, announcement.best_port, "bench.local."),
            zeroconf.DNSText(name, TXT, IN, 60, text),
            zeroconf.DNSAddress("bench.local.", A, IN, 60, ip_address("10.9.9.9").packed),
        )

    def _say(self, *records):
        packet = zeroconf.DNSOutgoing(ANSWER)
        for record in records:
            packet.add_answer_at_time(record, 0)
        self._network.send(packet)

    def close(self):
        self._network.close()


def pairs(announcement):
    return announcement.properties().items()


@pytest.fixture
def speaker():
    speaker = Speaker()
    yield speaker
    speaker.close()


def heard(say, seconds=1.0):
    """Who of those at 10.9.9.9 is listed, if this is said meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        listing = thread.submit(client.list_daemons, seconds)
        while not listing.done():
            say()
            time.sleep(0.05)
        return [daemon.name for daemon in listing.result() if daemon.address.startswith("10.9.9.9:")]


def test_those_that_say_no_more_keep_no_other_waiting(speaker):
    """A name may stay in somebody's memory for an hour, and anybody can make many up; who left is not listed."""
    rounds = count()

    def say():
        for number in range(4 * discovery.ASKERS):
            speaker.pointer(f"gone {number}.{SERVICE}")
        speaker.daemon(f"here.{SERVICE}")
        if next(rounds) < 8:
            speaker.daemon(f"left.{SERVICE}")
        else:
            speaker.pointer(f"left.{SERVICE}", 0)

    assert heard(say) == ["here"]


def test_names_of_no_daemon_are_left_out_when_others_are_listed(speaker):
    """What a terminal would obey, and what is no service of ours or of anybody's."""

    def say():
        for name in ("\x1b[31m." + SERVICE, "\u202e\x9b31m." + SERVICE, SERVICE, "x._http._tcp.local.", "local."):
            speaker.daemon(name)
        speaker.daemon(f"here.{SERVICE}")

    assert heard(say) == ["here"]
