"""A link that can be cut: a network namespace behind a pair of virtual Ethernet ports. Linux, as root, with iproute2.

Cut, it is as a cable that was pulled: nobody is told anything, what is sent is lost.
"""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.support.waiting import wait_until

#: Each process that runs tests has 64 of its own: what has the same name as another's is not made.
_NUMBERS = itertools.count(64 * os.getpid())


class Link:
    """`prefix` starts a program at the other end; `here` and `there` are the addresses of its ends."""

    def __init__(self) -> None:
        if shutil.which("ip") is None or os.geteuid() != 0:
            pytest.skip("a link that can be cut takes root, and iproute2")
        number = next(_NUMBERS)
        self._space, self._port = f"far{number}", f"near{number}"
        # 198.18.0.0/15 is for tests of networks (RFC 2544); each link is a /30 of it.
        network = f"198.18.{number // 64 % 256}"
        self.here, self.there = f"{network}.{number % 64 * 4 + 1}", f"{network}.{number % 64 * 4 + 2}"
        #: Both of them, for a daemon that lets them in.
        self.network = [f"{network}.{number % 64 * 4}/30"]
        self.prefix = ("ip", "netns", "exec", self._space)
        self._far_port = f"port{number}"
        try:
            _ip("netns", "add", self._space)
            _ip("link", "add", self._port, "type", "veth", "peer", "name", self._far_port, "netns", self._space)
            _ip("address", "add", f"{self.here}/30", "dev", self._port)
            _ip("link", "set", self._port, "up")
            _ip("-netns", self._space, "address", "add", f"{self.there}/30", "dev", self._far_port)
            self.mend()
        except subprocess.CalledProcessError as error:
            self.remove()
            pytest.skip(f"no link that can be cut: {error.stderr}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.remove()

    def cut(self) -> None:
        """From now on nothing arrives, in either direction."""
        _ip("-netns", self._space, "link", "set", self._far_port, "down")

    def mend(self) -> None:
        """What was cut is whole again, once this end has noticed."""
        _ip("-netns", self._space, "link", "set", self._far_port, "up")
        wait_until(lambda: Path(f"/sys/class/net/{self._port}/operstate").read_text() == "up\n")

    def swallow(self) -> None:
        """From now on whatever is sent to the far end arrives and is thrown away there: not even an address is told."""
        (far,) = json.loads(_ip("-json", "-netns", self._space, "link", "show", self._far_port))
        _ip("neighbour", "replace", self.there, "lladdr", far["address"], "dev", self._port, "nud", "permanent")
        _ip("-netns", self._space, "address", "delete", f"{self.there}/30", "dev", self._far_port)

    def hasten(self) -> None:
        """That nobody is there is found out after 1.5 s, instead of the 3 s that are usual."""
        Path(f"/proc/sys/net/ipv4/neigh/{self._port}/retrans_time_ms").write_text("500")

    def remove(self) -> None:
        """The ports first: the kernel keeps a namespace for as long as some connection in it awaits its end."""
        for arguments in (("link", "delete", self._port), ("netns", "delete", self._space)):
            subprocess.run(["ip", *arguments], capture_output=True)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout
