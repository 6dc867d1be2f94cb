"""The scripted instrument with a switch: `python -m tests.faults.switchable HOST PORT`, which serves until killed.

Off, its process is gone and its port refuses; on, the port is the same one. `Attempts` counts who tries it meanwhile.
"""

import asyncio
import json
import socket
import struct
import subprocess
import sys
import threading
from typing import Self

from demo_bench.instrument import serve
from tests.support.daemon import ROOT
from tests.support.instrument import Scripted
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE

#: struct sockaddr_ll and <linux/if_ether.h>: what the kernel sends is seen a second time as it arrives.
_OUTGOING = 4
_ETHERTYPE_IP = 0x0800
_ETHERNET_HEADER = 14

_SYN, _ACK = 0x02, 0x10

#: SO_TIMESTAMPNS, which Python does not name: a struct timespec with each packet.
_TIMESTAMPS = 35


class Switchable:
    """Off to begin with. `prefix` starts it behind a link, at `host` there."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, prefix: tuple[str, ...] = ()) -> None:
        self._host = host
        self._prefix = prefix
        # It never listens; while it is bound the port is nobody else's.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("" if prefix else host, port))
        self.port: int = self._reserved.getsockname()[1]
        self.resource = f"TCPIP0::{host}::{self.port}::SOCKET"
        self._process: subprocess.Popen[bytes] | None = None
        self._past: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._kill()
        self._reserved.close()

    def on(self) -> None:
        """It listens."""
        command = [*self._prefix, sys.executable, "-m", "tests.faults.switchable", self._host, str(self.port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"on\n"

    def off(self) -> None:
        """Whoever is connected sees the end of it; whoever connects is refused."""
        self._past = self.history()
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def history(self) -> list[str]:
        """Every message that it executed since it was made."""
        if self._process is None:
            return self._past
        with TextClient(self._host, self.port) as client:
            since: list[str] = json.loads(client.ask("HISTORY?"))
            return self._past + since

    def count(self, beginning: str) -> int:
        """How many of them began like this."""
        return sum(message.startswith(beginning) for message in self.history())


class Attempts:
    """The attempts to connect to a port of loopback, as the network sees them: when each was. Linux, as root."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._moments: list[float] = []
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE_IP))
        self._packets.setsockopt(socket.SOL_SOCKET, _TIMESTAMPS, 1)
        self._packets.bind(("lo", 0))
        self._packets.settimeout(0.1)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._packets.close()

    def since(self, moment: float) -> list[float]:
        """When they were: seconds of the epoch, by the kernel's own word, for this process may be late."""
        return [attempt for attempt in self._moments if attempt > moment]

    def _watch(self) -> None:
        while not self._is_over.is_set():
            try:
                frame, ((_, _, stamp),), _, (_, _, kind, *_) = self._packets.recvmsg(2048, 128)
            except TimeoutError:
                continue
            if kind != _OUTGOING and self._begins_connection(frame[_ETHERNET_HEADER:]):
                seconds, nanoseconds = struct.unpack("ll", stamp)
                self._moments.append(seconds + nanoseconds / 1e9)

    def _begins_connection(self, packet: bytes) -> bool:
        segment = packet[4 * (packet[0] & 0x0F) :]
        is_tcp, port = packet[9] == socket.IPPROTO_TCP, int.from_bytes(segment[2:4])
        return is_tcp and port == self._port and segment[13] & (_SYN | _ACK) == _SYN


async def main() -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((sys.argv[1], int(sys.argv[2])))
    listener.listen()
    listener.setblocking(False)
    print("on", flush=True)
    await serve(Scripted(), listener)


if __name__ == "__main__":
    asyncio.run(main())
