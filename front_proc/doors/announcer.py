"""Tells the local network that there is a daemon, if others may reach it: the front's side.

Runs in the front. What comes by multicast is anybody's, and zeroconf has it all read: it does so in a process of its
own, `announcer_process`, so that no flood and no fault there keeps an instrument waiting. That process ends, and says
good-bye, when its stdin does: at the daemon's end, orderly or not.

Nothing waits for it: the daemon serves before it is announced, and also if it never is.
"""

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import front_proc
from front_proc.access.rights import numeric
from pyvisa_daemon.announcement import Announcement
from pyvisa_daemon.version import __version__

if TYPE_CHECKING:  # its process has no need of them
    from front_proc.configuration.settings import Settings
    from front_proc.record.log_writer import LogWriter

#: Seconds between looks whether there is something else to be said: it is heard by every machine.
LOOK_TIME = 30.0

#: Seconds for good-bye: what has been begun to say is said to its end first.
END_TIME = 3.0


class Wish(msgspec.Struct, frozen=True):
    """What is to be announced: one line of JSON to the process, which takes its newest."""

    host: str
    port: int
    properties: dict[str, str]


class News(msgspec.Struct, frozen=True):
    """What the process says, a line of JSON each: it is announced under this name; or what is in the way; or, with
    neither, that it begins to speak, and will have to say good-bye."""

    name: str = ""
    trouble: str = ""


def announcement_of(
    settings: "Settings", plain: tuple[str, int], tls: tuple[str, int] | None
) -> tuple[str, Announcement] | None:
    """What is to be told of a daemon that listens there, and the address that it is told of; None for nothing."""
    ports = [door[1] if door is not None and not numeric(door[0]).is_loopback else None for door in (plain, tls)]
    if not settings.announce or not any(ports):
        return None
    host = plain[0] if ports[0] or tls is None else tls[0]
    needs_token = not any(net.num_addresses > 1 and not net.is_loopback for net in settings.allow)
    return host, Announcement(__version__, ports[0], ports[1], 0, needs_token)


class Announcer:
    """Announces `announcement`, with as many resources as there are, for the address `host`."""

    def __init__(self, host: str, announcement: Announcement, resources: Callable[[], int], log: "LogWriter") -> None:
        self._host = host
        self._announcement = announcement
        self._resources = resources
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._is_withdrawn = False
        #: May anybody have heard of the daemon?
        self._has_spoken = False
        #: Do others hear of the daemon?
        self.is_announced = False

    async def run(self) -> None:
        """Announce it until it is withdrawn, or its process ends."""
        if importlib.util.find_spec("zeroconf") is None:
            text = "zeroconf is not installed: `pip install zeroconf`, or announce = false"
            self._log.put("trouble", {"error": f"other machines are not told of this daemon: {text}"})
            return
        try:
            await self._start()
        except OSError as error:
            self._log.put("trouble", {"error": f"other machines are not told of this daemon: {error}"})
            return
        listening = asyncio.ensure_future(self._listen())
        said = None
        while not listening.done():
            wish = self._wish()
            if wish != said and not self._is_withdrawn:
                self._say(wish)
                said = wish
            await asyncio.wait([listening], timeout=LOOK_TIME)
        self.is_announced = False
        if not self._is_withdrawn:
            self._log.put("trouble", {"error": "other machines are no longer told of this daemon: its announcer died"})

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "front_proc.doors.announcer_process"),
            cwd=Path(front_proc.__file__).parents[1],  # where it is found, wherever the daemon runs
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        if self._is_withdrawn:
            self.withdraw()

    def _wish(self) -> Wish:
        announcement = replace(self._announcement, resources=self._resources())
        return Wish(self._host, announcement.best_port, announcement.properties())

    def _say(self, wish: Wish) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():  # it has died, as will be seen; uvloop raises then
            self._process.stdin.write(msgspec.json.encode(wish) + b"\n")

    async def _listen(self) -> None:
        """Until its process ends."""
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            news = msgspec.json.decode(line, type=News)
            self.is_announced, self._has_spoken = bool(news.name), True
            if news.name:
                self._log.put("announced", {"name": news.name})
            elif news.trouble:
                self._log.put("trouble", {"error": f"other machines are not told of this daemon: {news.trouble}"})
        await self._process.wait()

    def withdraw(self) -> None:
        """The daemon ends: begin to say so."""
        self._is_withdrawn = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def end(self) -> None:
        """Return when its process is gone."""
        self.withdraw()
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), END_TIME if self._has_spoken else 0)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
