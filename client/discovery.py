"""Daemons that announce themselves on the local network, by multicast DNS.

Runs in the user's process. Nothing is opened by what is heard: whoever is on the network can say anything, and a
program that connects to whatever is announced would show it its token. It is for people, who then say which one they
mean.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from time import monotonic, sleep
from typing import Any

from pyvisa_daemon.addresses import Address
from pyvisa_daemon.announcement import SERVICE, read

#: Seconds in which all daemons of a network have answered, as a rule.
TIMEOUT = 2.0

#: Seconds for what one of them has not said at once.
DETAILS_TIME = 1.0

#: How many are asked for that at a time: one that is gone, and still in somebody's memory, keeps no other waiting.
ASKERS = 8

#: Daemons that are listed at most: a network that announces more is a joke of somebody's.
MOST = 200


@dataclass(frozen=True)
class Announced:
    """One daemon as it is announced: `address` is `host:port`, to be used as it is; `tls`: that port speaks TLS.

    `resources` is how many instruments it knows of without looking. `needs_token`: nobody is served without one.
    """

    name: str
    address: str
    version: str
    resources: int
    needs_token: bool
    tls: bool


def list_daemons(timeout_s: float = TIMEOUT) -> list[Announced]:
    """The daemons that answer on the local network within `timeout_s`, by name; all of which is waited.

    Raises ModuleNotFoundError without zeroconf, OSError where there is no network at all.
    """
    try:
        import zeroconf  # noqa: F401 - whoever never calls this needs none
    except ModuleNotFoundError as error:
        text = "daemons on the network are found with zeroconf: pip install zeroconf"
        raise ModuleNotFoundError(text, name="zeroconf") from error
    with ThreadPoolExecutor(1) as thread:  # zeroconf waits for its event loop, which must not be the caller's
        return thread.submit(_listen, timeout_s).result()


def _listen(timeout_s: float) -> list[Announced]:
    from zeroconf import Error, ServiceBrowser, ServiceStateChange, Zeroconf

    deadline = monotonic() + timeout_s
    heard: set[str] = set()

    def ask(name: str) -> None:
        """Have it in the cache, where most of it is already: who is heard says all of it, as a rule."""
        wait_ms = max(1, int(1000 * min(deadline - monotonic(), DETAILS_TIME)))
        with suppress(Error):  # no name of a service
            network.get_service_info(SERVICE, name, timeout=wait_ms)

    def hear(*, name: str, state_change: ServiceStateChange, **_: Any) -> None:
        if state_change is ServiceStateChange.Removed:
            heard.discard(name)
        elif name not in heard and len(heard) < MOST:
            heard.add(name)
            askers.submit(ask, name)

    with Zeroconf() as network, ThreadPoolExecutor(ASKERS) as askers:
        browser = ServiceBrowser(network, SERVICE, handlers=[hear])
        sleep(timeout_s)
        browser.cancel()
        askers.shutdown(cancel_futures=True)
        found = [_known(network, name) for name in heard]
    return sorted(filter(None, found), key=lambda daemon: (daemon.name, daemon.address))


def _known(network: Any, name: str) -> Announced | None:
    """What is known of it by now, without another word: many that never answer keep nobody else from being listed."""
    from zeroconf import Error, ServiceInfo

    try:
        info = ServiceInfo(SERVICE, name)
    except Error:  # anybody can say anything
        return None
    return _daemon(name, info) if info.load_from_cache(network) else None


def _daemon(name: str, info: Any) -> Announced | None:
    """What it says, or None if that is no daemon's word."""
    instance = name.removesuffix(f".{SERVICE}")
    try:
        said = read(info.properties)
    except (ValueError, UnicodeError):
        return None
    addresses = [ip_address(address) for address in info.parsed_addresses()]
    hosts = [address for address in addresses if not (address.is_unspecified or address.is_multicast)]
    if not hosts or instance == name or not instance.isprintable():
        return None
    host = min(hosts, key=_distances())
    return Announced(
        instance,
        str(Address(str(host), said.best_port)),
        said.version,
        said.resources,
        said.needs_token,
        said.is_tls,
    )


def _distances() -> Callable[[IPv4Address | IPv6Address], tuple[int, int]]:
    """How far away an address is: first what is on one of our networks, then what is beyond, then what is our own, for
    many machines have the same address on some network of their own (a bridge for containers, say)."""
    import ifaddr  # zeroconf brings it

    own = [
        ip_interface(f"{ip.ip[0] if ip.is_IPv6 else ip.ip}/{ip.network_prefix}")
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]

    def distance(address: IPv4Address | IPv6Address) -> tuple[int, int]:
        if any(address == interface.ip for interface in own):
            rank = 2
        else:
            rank = 0 if any(address in interface.network for interface in own) else 1
        return rank, address.version

    return distance
