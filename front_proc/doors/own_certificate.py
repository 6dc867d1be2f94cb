"""A certificate of the daemon's own making, for who has none: self-signed, for this machine's names and addresses.

Runs in the front, when TLS is on and no certificate was given. It is no CA: who has its key can play this daemon and
nobody else. Clients are given the certificate itself, so it is kept as long as it is good.
"""

import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from front_proc.daemonize import StartError

if TYPE_CHECKING:
    from cryptography import x509

#: Days that it is good for: more than that some systems accept of nobody.
VALID_DAYS = 825

#: Seconds for finding this machine's full name, which a name server may be asked for.
NAME_TIME = 2.0

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def own_names(host: str) -> list[str]:
    """What this machine is called and reached by, and `host`, where it listens; loopback last."""
    names = [host, socket.gethostname(), _full_name()]
    for addresses in psutil.net_if_addrs().values():
        names += [one.address.partition("%")[0] for one in addresses if one.family in (socket.AF_INET, socket.AF_INET6)]
    every = dict.fromkeys([*names, *LOOPBACK])
    return [name for name in every if name and name.isascii() and name not in ("0.0.0.0", "::")]


def _full_name() -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(socket.getfqdn()), name="own name", daemon=True)
    thread.start()
    thread.join(NAME_TIME)
    return found[0] if found else ""


def make_certificate(file: Path, key_file: Path, names: list[str], valid: timedelta | None = None) -> None:
    """A new key and a new certificate in place of whatever is there. Raises StartError."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError as error:
        raise StartError(
            "there is no TLS certificate, and to make one the package cryptography is missing: "
            "pip install cryptography, or give one with --tls-certificate and --tls-key"
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)  # clocks differ
    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
        False,
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (socket.gethostname() or "localhost")[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + (valid or timedelta(days=VALID_DAYS)))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, encipher_only=False, decipher_only=False, **usages), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    sealed = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write(key_file, sealed, 0o600)
    _write(file, certificate.public_bytes(pem), 0o644)


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all. Raises StartError."""
    fresh = file.with_suffix(".new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
        fresh.replace(file)
    except OSError as error:
        raise StartError(f"{file} cannot be written: {error.strerror}") from error
