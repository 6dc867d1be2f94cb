"""Who the daemon is to those who connect in TLS: the certificate in force, and when it is exchanged for another.

Runs in the front. A given certificate is read again at SIGHUP. One of our own making is made anew when it is about to
expire, but not while everybody is at work: at a start or SIGHUP in its last month, and in between only on its last day.
Who is connected stays so; who connects next is shown the new one.
"""

import asyncio
import time
from pathlib import Path
from typing import Protocol

from front_proc.daemonize import StartError
from front_proc.doors.certificate import Certificate, read_certificate
from front_proc.doors.own_certificate import make_certificate, own_names

#: Days before its end in which a certificate is worth a word in the log, and ours is made anew at a start.
LAST_DAYS = 30.0

#: Days before its end in which ours is made anew whatever goes on.
LAST_DAY = 1.0

#: Seconds between looks.
LOOK_TIME = 86400.0 / 2


class Log(Protocol):
    """The daemon's own."""

    def put(self, event: str, fields: dict[str, object]) -> None: ...


class TlsIdentity:
    """`given`: certificate and key, the key None if it stands in the same file; None: made, and kept in `folder`.

    The constructor raises StartError.
    """

    def __init__(self, given: tuple[Path, Path | None] | None, folder: Path, host: str) -> None:
        self._given = given
        self._own = folder / "tls-certificate.pem", folder / "tls-key.pem"
        self._host = host
        #: To be told to the log, as soon as there is one.
        self._news: list[tuple[str, dict[str, object]]] = []
        self.certificate: Certificate = self._found(LAST_DAYS)

    def take(self, given: tuple[Path, Path | None] | None) -> None:
        """Another one is to be shown; `renew` is to follow."""
        self._given = given

    def renew(self, log: Log) -> None:
        """SIGHUP: whatever certificate there is now. One that is of no use leaves the old one in force."""
        self._look(log, LAST_DAYS)

    async def watch(self, log: Log) -> None:
        """For as long as the daemon serves."""
        self._tell(log)
        while True:
            await asyncio.sleep(LOOK_TIME)
            days_left = self.certificate.days_left(time.time())
            if days_left < LAST_DAY and not self._given:
                self._look(log, LAST_DAY)
            elif days_left < LAST_DAYS:
                self._warn()
            self._tell(log)

    def _look(self, log: Log, days: float) -> None:
        before = self.certificate.sha256
        try:
            self.certificate = self._found(days)
        except StartError as error:
            self._news.append(("trouble", {"error": f"the certificate in force is kept: {error}"}))
        else:
            if self.certificate.sha256 != before:
                self._say("in force from now on, for who connects")
        self._tell(log)

    def _found(self, days: float) -> Certificate:
        """The given one, or our own, made anew if it has fewer days to go. Raises StartError."""
        found = read_certificate(*self._given) if self._given else self._own_good_for(days) or self._made()
        if found.days_left(time.time()) < LAST_DAYS:
            self._warn(found)
        return found

    def _own_good_for(self, days: float) -> Certificate | None:
        if not any(file.exists() for file in self._own):
            return None
        try:
            found = read_certificate(*self._own)
        except StartError as error:
            self._news.append(("trouble", {"error": f"{error}; another is made, which clients are to be given"}))
            return None
        if found.days_left(time.time()) < days:
            self._say("about to expire: another is made, which clients are to be given", found)
            return None
        missing = sorted(set(map(_as_certified, own_names(self._host))) - set(map(_as_certified, found.names)))
        if missing:
            text = f"not for {', '.join(missing)}, which this machine is too; to have one made that is, remove it"
            self._say(text, found)
        return found

    def _made(self) -> Certificate:
        make_certificate(*self._own, own_names(self._host))
        return read_certificate(*self._own)

    def _warn(self, certificate: Certificate | None = None) -> None:
        self._say("about to expire", certificate)

    def _say(self, what: str, certificate: Certificate | None = None) -> None:
        about = certificate or self.certificate
        self._news.append(("certificate", {"file": str(about.file), **about.described(), "note": what}))

    def _tell(self, log: Log) -> None:
        news, self._news = self._news, []
        for event, fields in news:
            log.put(event, fields)


def _as_certified(name: str) -> str:
    """A certificate's words for an address are OpenSSL's own."""
    from ipaddress import ip_address

    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower()
