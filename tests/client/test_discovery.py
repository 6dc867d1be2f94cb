"""Daemons on the network as they are announced. The network is real in tests/daemon/test_announced.py."""

import sys
import time
from ipaddress import ip_address
from types import SimpleNamespace

import ifaddr
import pytest
import zeroconf

import client
from client import discovery
from client.discovery import Announced
from pyvisa_daemon.announcement import SERVICE


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


def test_missing_zeroconf_is_told_with_what_to_install(monkeypatch):
    """By an error that who calls it can tell from others."""
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(ModuleNotFoundError, match="pip install zeroconf"):
        client.list_daemons(0.1)


class Network:
    """In the place of zeroconf's: some daemons are gone and still in somebody's memory, one is here."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_service_info(self, service, name, timeout):
        if name.startswith("gone"):
            time.sleep(timeout / 1000)
        if name.startswith("gone") or timeout < 100:  # an answer takes its time
            return None
        return SimpleNamespace(properties={b"port": b"1340"}, parsed_addresses=lambda: ["192.168.1.10"])


class Browser:
    def __init__(self, network, service, handlers):
        for name in ("gone 1", "gone 2", "gone 3", "left", "here"):
            handlers[0](name=f"{name}.{service}", state_change=zeroconf.ServiceStateChange.Added)
        handlers[0](name=f"left.{service}", state_change=zeroconf.ServiceStateChange.Removed)

    def cancel(self):
        pass


def test_one_that_says_no_more_keeps_no_other_waiting(monkeypatch):
    """The address of one may stay in a cache of the network's for an hour; and who said good-bye is not listed."""
    monkeypatch.setattr(zeroconf, "Zeroconf", Network)
    monkeypatch.setattr(zeroconf, "ServiceBrowser", Browser)
    assert [daemon.name for daemon in client.list_daemons(0.3)] == ["here"]
