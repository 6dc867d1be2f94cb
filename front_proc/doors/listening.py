"""The daemon's ports: what listens where, and what is said of that at the start.

Runs in the front, before there is an event loop.
"""

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from front_proc.configuration.settings import Settings
from front_proc.daemonize import StartError
from front_proc.doors.bind_policy import Door
from front_proc.doors.tls_identity import TlsIdentity

#: Connections that may wait to be accepted: with the default of 100, a thousand connects take seconds.
BACKLOG = 2048


def listen(host: str, port: int, option: str) -> socket.socket:
    """A listening socket; `option` is what takes another port. Raises StartError."""
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        hint = f"; is a daemon running already? {option} takes another" if port else ""
        raise StartError(f"cannot listen on {where}: {getattr(error, 'strerror', error)}{hint}") from error
    return listener


@dataclass(frozen=True)
class TlsPort:
    """The TLS port: where it listens, and what it shows."""

    listener: socket.socket
    identity: TlsIdentity

    def described(self) -> dict[str, str]:
        return {"address": address_of(self.listener), **self.identity.certificate.described()}

    def in_words(self) -> str:
        """For who starts the daemon, and hands out the certificate."""
        certificate = self.identity.certificate
        return f"TLS {address_of(self.listener)} certificate={certificate.file} sha256={certificate.sha256}\n"


def tls_port(settings: Settings) -> TlsPort | None:
    """The TLS port, if there is to be one. Raises StartError."""
    if settings.tls_port is None:
        return None
    host = settings.tls_host or settings.host
    identity = TlsIdentity(settings.given_certificate, settings.run_dir, host)
    return TlsPort(listen(host, settings.tls_port, "--tls-port"), identity)


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def doors_of(settings: Settings, listener: socket.socket, tls: TlsPort | None) -> list[Door]:
    """Where others come in."""

    def door(bound: socket.socket, certificate: Path | None = None) -> Door:
        host, port = bound.getsockname()[:2]
        return Door(host, port, settings, certificate)

    return [door(listener), *([door(tls.listener, tls.identity.certificate.file)] if tls is not None else [])]


def judge(doors: list[Door]) -> str:
    """What is to be said of who may come in, as soon as it serves. Raises StartError, TokenFileError."""
    for_others = [each for each in doors if each.is_for_others]
    first_token = (for_others or doors)[-1].make_first_token()  # in TLS if others may come so
    for each in doors:
        each.judge()
    sys.stdout.write(first_token)
    sys.stdout.flush()
    return "".join(dict.fromkeys(line for each in doors for line in each.remarks().splitlines(keepends=True)))
