"""What a daemon says of itself on the local network, by multicast DNS (RFC 6762, 6763), and how that is read.

Pure. Runs in the front and in the user's process. Anybody there may listen, so nothing of it is secret; and anybody may
say anything, so whoever reads it believes nothing: it tells where to look, and to a daemon one connects as ever.
To add something: a field of Announcement, and its key in `properties` and `read`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

#: The service's type: `_visa-daemon` over TCP.
SERVICE = "_visa-daemon._tcp.local."

#: Characters of a version, and the greatest number, that are believed.
VERSION_LIMIT, NUMBER_LIMIT = 32, 1_000_000


@dataclass(frozen=True)
class Announcement:
    """`port` speaks plain text and wire, `tls_port` the same in TLS; None for one that other machines cannot reach.

    `resources` is how many the daemon knows of without looking; `needs_token`: is nobody served without one?
    """

    version: str
    port: int | None
    tls_port: int | None
    resources: int
    needs_token: bool

    @property
    def best_port(self) -> int:
        """The one to connect to. Raises ValueError if there is none."""
        port = self.port or self.tls_port
        if port is None:
            raise ValueError("no port")
        return port

    @property
    def is_tls(self) -> bool:
        """Does that speak TLS?"""
        return self.port is None

    def properties(self) -> dict[str, str]:
        """The TXT record (RFC 6763, 6); a key is at most nine characters long."""
        ports = {"port": self.port, "tlsport": self.tls_port}
        return {
            "txtvers": "1",
            "version": self.version,
            **{key: str(port) for key, port in ports.items() if port is not None},
            "resources": str(self.resources),
            "token": str(int(self.needs_token)),
        }


def read(properties: Mapping[bytes, bytes | None]) -> Announcement:
    """What a TXT record says. Raises ValueError for what no daemon says."""
    said = {key.decode("ascii").lower(): (value or b"").decode("utf-8") for key, value in properties.items()}
    version = said.get("version", "")
    if not version.isprintable() or len(version) > VERSION_LIMIT:
        raise ValueError("version")
    announcement = Announcement(
        version,
        _number(said["port"], 65535) if "port" in said else None,
        _number(said["tlsport"], 65535) if "tlsport" in said else None,
        _number(said.get("resources", "0"), NUMBER_LIMIT),
        said.get("token") != "0",
    )
    if not announcement.best_port:
        raise ValueError("port")
    return announcement


def _number(digits: str, most: int) -> int:
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(most)) or int(digits) > most:
        raise ValueError("number")
    return int(digits)
