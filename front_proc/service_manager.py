"""The service manager that started the daemon, where there is one: systemd, by its notification protocol.

Runs in the front. sd_notify(3) is a datagram of VARIABLE=value lines to the socket that $NOTIFY_SOCKET names, and no
more; the packages that offer it are unmaintained or need libsystemd's headers, so it is written out here. Nothing here
waits or raises: a manager that is gone, or does not read, is not told.

The watchdog ticks from the event loop: a daemon that serves nobody any more is one whose ticks stop.

To tell the manager something else: a method of ServiceManager, and where `command` calls it.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping
from typing import Self

#: Seconds between looks at what `systemctl status` shows, unless the watchdog wants to hear more often.
STATUS_TIME = 5.0


class ServiceManager:
    """Whom to tell how the daemon is; nobody, where `address` is empty."""

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)
        #: Seconds without a tick after which the manager takes the daemon for stuck; None if it does not watch.
        self.watchdog_s = watchdog_s
        #: The last that it was told; empty before it was told that the daemon serves.
        self._status = ""

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Self:
        """What systemd says there, for this process alone: it is taken out, so that no child inherits it."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        watched_pid = environment.pop("WATCHDOG_PID", str(os.getpid()))
        is_watched = microseconds.isdecimal() and int(microseconds) > 0 and watched_pid == str(os.getpid())
        if not address.startswith(("/", "@")):  # vsock and the like: a manager outside this machine
            return cls()
        return cls(address, int(microseconds) / 1e6 if is_watched else None)

    @property
    def is_there(self) -> bool:
        return self._socket is not None

    def close(self) -> None:
        """Tell it nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        """The daemon serves."""
        self._status = status
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """It does what SIGHUP asks for. Before it is ready that is part of its start, and nobody's business."""
        # The time is how systemd tells this reload from an earlier one: see Type=notify-reload.
        if self._status:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        """That is done."""
        if self._status:
            self._tell("READY=1")

    def stopping(self) -> None:
        """It ends, orderly."""
        self._tell("STOPPING=1")

    async def keep_informed(self, status: Callable[[], str]) -> None:
        """Tick the watchdog, and pass on what `status` says when that has changed; until cancelled."""
        period = STATUS_TIME if self.watchdog_s is None else min(STATUS_TIME, self.watchdog_s / 2)
        while self.is_there:
            said, self._status = self._status, status()
            news = [] if self._status == said else [f"STATUS={self._status}"]
            self._tell(*([] if self.watchdog_s is None else ["WATCHDOG=1"]), *news)
            await asyncio.sleep(period)

    def _tell(self, *lines: str) -> None:
        if self._socket is None or not lines:
            return
        with contextlib.suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), self._address)
