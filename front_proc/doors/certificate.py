"""A certificate that the daemon shows: read, and tried before anybody relies on it.

Runs in the front. What is found wrong here ends the start: a daemon that was asked for TLS serves with it or not at
all. Whether a certificate and its key are of use is not guessed: two ends of a connection shake hands, in memory.
"""

import hashlib
import os
import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from front_proc.daemonize import StartError
from pyvisa_daemon.tls_stream import TlsStream

#: OpenSSL's X509_V_ERR_ numbers.
_NOT_YET_VALID = 9
_EXPIRED = 10


@dataclass(frozen=True)
class Certificate:
    """One that works. `names`: the host names and addresses that it is for; `expires`: seconds since 1970."""

    file: Path
    context: ssl.SSLContext
    sha256: str
    names: frozenset[str]
    expires: float

    def days_left(self, now: float) -> float:
        return (self.expires - now) / 86400

    def described(self) -> dict[str, str]:
        """For people to compare, and to keep an eye on."""
        return {"sha256": self.sha256, "expires": f"{datetime.fromtimestamp(self.expires, UTC):%Y-%m-%dT%H:%M:%SZ}"}


def read_certificate(file: Path, key: Path | None) -> Certificate:
    """The certificate in `file`, PEM, with those of CAs between behind it if there are any; its key there, or in `key`.

    Raises StartError, which says what is wrong.
    """
    _refuse_key_of_others(key or file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # nobody comes back so often that it would be worth it
    try:
        pem = file.read_text("ascii")
        context.load_cert_chain(file, key, password=lambda: _refuse_encrypted(key or file))
    except ssl.SSLError as error:
        _refuse(file, key, error)
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"the certificate {file} cannot be read: {getattr(error, 'strerror', error)}") from error
    return _tried(file, context, pem)


def _refuse_key_of_others(file: Path) -> None:
    """A key that others can read is no secret. A group may, if an administrator gave it to us that way."""
    try:
        with file.open("rb") as key:
            status = os.fstat(key.fileno())
    except OSError as error:
        raise StartError(f"the TLS key {file} cannot be read: {error.strerror}") from error
    forbidden = 0o077 if status.st_uid == os.getuid() else 0o007
    if status.st_mode & forbidden:
        raise StartError(f"the TLS key {file} can be read by others: chmod 600 {file}, and think of it as known")


def _refuse_encrypted(file: Path) -> NoReturn:
    # Else OpenSSL asks for the passphrase on the terminal, if there is one.
    raise StartError(f"the TLS key {file} is encrypted: a daemon starts without anybody to ask for a passphrase")


def _refuse(file: Path, key: Path | None, error: ssl.SSLError) -> NoReturn:
    match error.reason:
        case "KEY_VALUES_MISMATCH" | "KEY_TYPE_MISMATCH":
            reason = f"the certificate {file} and the TLS key {key or file} do not belong together"
        case "EE_KEY_TOO_SMALL" | "CA_MD_TOO_WEAK":
            reason = f"the certificate {file} is too weak ({error.reason}): have one made with a newer kind of key"
        case _:
            where = f"the certificate {file}" + (f" or the TLS key {key}" if key else " with its key behind it")
            reason = f"{where} is not in PEM form ({error.reason or error})"
    raise StartError(reason) from error


def _tried(file: Path, context: ssl.SSLContext, pem: str) -> Certificate:
    """What a client sees that trusts just this certificate."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False  # there is no name yet
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # The key may stand in the same file; it is none of a client's business.
    trusting.load_verify_locations(
        cadata="\n".join(re.findall(r"-----BEGIN CERT.+?-----END CERT[^-]*-----", pem, re.S))
    )
    client, server = TlsStream(trusting, "this daemon"), TlsStream(context)
    try:
        while not (client.shake_hands() and server.shake_hands()):
            server.receive(client.to_send())
            server.is_open or server.shake_hands()
            client.receive(server.to_send())
    except ssl.SSLCertVerificationError as error:
        reason = {_EXPIRED: "has expired", _NOT_YET_VALID: "is not valid yet"}.get(
            error.verify_code, f"would be accepted by nobody: {error.verify_message}"
        )
        raise StartError(f"the certificate {file} {reason}") from error
    except ssl.SSLError as error:
        raise StartError(f"the certificate {file} cannot be used: {error.reason or error}") from error
    digest = hashlib.sha256(client.certificate()).hexdigest().upper()
    words = client.certificate_in_words()
    alternatives = words.get("subjectAltName", ())
    return Certificate(
        file,
        context,
        ":".join(re.findall("..", digest)),
        frozenset(str(name) for _, name in alternatives) if isinstance(alternatives, tuple) else frozenset(),
        ssl.cert_time_to_seconds(str(words["notAfter"])),
    )
