"""The process that announces the daemon by multicast DNS: `python -m front_proc.doors.announcer_process`.

Started by `announcer`, in the front. Takes wishes from stdin, the newest counts; tells on stdout what came of them.
When stdin ends it says good-bye to the network and ends. It also looks, now and then, which addresses the machine has:
a laptop moves, and a daemon that starts with the machine may be there before the network is.
"""

import contextlib
import logging
import os
import secrets
import select
import signal
import socket
from ipaddress import ip_address

import msgspec
import psutil
from zeroconf import Error, ServiceInfo, Zeroconf

from front_proc.access.rights import numeric
from front_proc.doors.announcer import News, Wish
from pyvisa_daemon.addresses import DEFAULT_PORT
from pyvisa_daemon.announcement import SERVICE

#: Seconds between looks at the machine's addresses.
LOOK_TIME = 30.0

#: Milliseconds in which another daemon of the same name has answered: what one has said within the last second, it says
#: again no sooner than a second later, and half a second is for several answers to go together (RFC 6762, 6).
ASKING_MS = 2000

#: Names that are tried: whoever has more of them means no good.
MOST_NAMES = 20

#: Bytes of a label in DNS, which the service's name is one of (RFC 6763, 4.1.1).
LABEL_LIMIT = 63

_STDIN, _STDOUT, _CHUNK = 0, 1, 1 << 16


class Announced:
    """What the network is told, which is nothing at first."""

    def __init__(self) -> None:
        self._zeroconf: Zeroconf | None = None
        self._info: ServiceInfo | None = None
        self._addresses: list[str] = []
        #: Of the address records. It is not the machine's own name, which may be announced by others, and twice.
        self._server = f"visa-daemon-{secrets.token_hex(4)}.local."

    def become(self, wish: Wish) -> str:
        """Tell `wish`, on the networks that there are now: the name under which. Raises OSError, zeroconf's Error."""
        addresses = addresses_of(wish.host)
        if not addresses:
            self.end()
            raise OSError(f"this machine has no network at present that {wish.host} is on")
        if self._zeroconf is None or self._info is None or addresses != self._addresses:
            self.end()
            self._zeroconf = Zeroconf(interfaces=addresses)
            name = _free_name(self._zeroconf, wish.port)
            self._info, self._addresses = self._described(wish, addresses, name), addresses
            _tell(News())
            self._zeroconf.register_service(self._info, allow_name_change=True)
        else:
            info = self._described(wish, addresses, self._info.name)
            if info.text != self._info.text:
                self._zeroconf.update_service(info)
            self._info = info
        return self._info.name

    def _described(self, wish: Wish, addresses: list[str], name: str) -> ServiceInfo:
        return ServiceInfo(
            SERVICE, name, wish.port, properties=wish.properties, server=self._server, parsed_addresses=addresses
        )

    def end(self) -> None:
        """Say good-bye."""
        zeroconf, self._zeroconf, self._info = self._zeroconf, None, None
        if zeroconf is not None:
            with contextlib.suppress(OSError, Error):
                zeroconf.close()


def addresses_of(host: str) -> list[str]:
    """The addresses by which others reach who listens at `host`: that one, or for all of them the machine's own; none
    that the machine does not have at present."""
    wanted = numeric(host)
    is_up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    families = (socket.AF_INET,) if wanted.version == 4 else (socket.AF_INET, socket.AF_INET6)
    own = [
        ip_address(address.address.partition("%")[0])
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if name in is_up and address.family in families
    ]
    if not wanted.is_unspecified:
        return [str(wanted)] if wanted in own else []
    return [str(each) for each in own if not (each.is_loopback or (each.version == 6 and each.is_link_local))]


def _free_name(zeroconf: Zeroconf, port: int) -> str:
    """The machine's name, and a number if another daemon has that: many a machine is called `raspberrypi`.

    zeroconf looks too, but its question wants the answer sent to port 5353 of this machine, where any other program
    that speaks multicast DNS may get it instead. Ours is repeated, and then for all to hear."""
    for number in range(1, MOST_NAMES + 1):
        name = _name(port, number)
        if zeroconf.get_service_info(SERVICE, name, timeout=ASKING_MS) is None:
            break
    return name


def _name(port: int, number: int) -> str:
    host = socket.gethostname().partition(".")[0] or "instruments"
    behind = (f" {port}" if port != DEFAULT_PORT else "") + (f" ({number})" if number > 1 else "")
    room = LABEL_LIMIT - len(behind)
    return f"{host.encode()[:room].decode(errors='ignore')}{behind}.{SERVICE}"


def main() -> None:
    """Until stdin ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the daemon, which ends this process in its own time
    logging.getLogger("zeroconf").addHandler(logging.NullHandler())
    announced, wish, told = Announced(), None, None
    while True:
        if select.select([_STDIN], [], [], LOOK_TIME)[0]:
            lines = os.read(_STDIN, _CHUNK).splitlines()  # a line is far shorter than what a pipe takes at once
            if not lines:
                break
            wish = msgspec.json.decode(lines[-1], type=Wish)
        if wish is not None:
            news = _news(announced, wish)
            if news != told:
                _tell(news)
                told = news
    announced.end()


def _tell(news: News) -> None:
    with contextlib.suppress(BrokenPipeError):  # the front was killed: good-bye is said all the same
        os.write(_STDOUT, msgspec.json.encode(news) + b"\n")


def _news(announced: Announced, wish: Wish) -> News:
    try:
        return News(name=announced.become(wish).removesuffix(f".{SERVICE}"))
    except (OSError, RuntimeError, Error) as error:  # RuntimeError: an address of IPv6 that went away meanwhile
        announced.end()
        return News(trouble=str(error) or type(error).__name__)


if __name__ == "__main__":
    main()
