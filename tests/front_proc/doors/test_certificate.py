"""Certificates: what is refused at the start, with its reason; what is made here, kept, and made anew."""

import asyncio
import os
import ssl
import stat
import sys
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest

from front_proc.daemonize import StartError
from front_proc.doors import own_certificate, tls_identity
from front_proc.doors.certificate import read_certificate
from front_proc.doors.own_certificate import VALID_DAYS, make_certificate, own_names
from front_proc.doors.tls_identity import TlsIdentity
from pyvisa_daemon.tls_stream import TlsStream
from tests.support.certificates import DAY, Authority
from tests.support.waiting import DEADLINE


class Log(list):
    def put(self, event, fields):
        self.append((event, fields))

    @property
    def said(self):
        return " ".join(str(fields) for _, fields in self)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    return folder


# Given.


def test_certificate_of_a_ca_is_taken(authority):
    pair = authority.issue(names=("labpc", "10.0.0.7"))
    found = read_certificate(*pair)
    assert found.names == {"labpc", "10.0.0.7"}
    assert 364 < found.days_left(time.time()) <= 365
    assert len(found.sha256) == 32 * 3 - 1


def test_key_may_stand_in_the_certificates_file(authority):
    pair = authority.issue()
    pair.file.write_bytes(pair.file.read_bytes() + pair.key.read_bytes())
    with pytest.raises(StartError, match="can be read by others"):
        read_certificate(pair.file, None)
    pair.file.chmod(0o600)
    assert read_certificate(pair.file, None).names


def missing(authority):
    pair = authority.issue()
    pair.file.unlink()
    return pair


def missing_key(authority):
    pair = authority.issue()
    pair.key.unlink()
    return pair


def no_pem(authority):
    pair = authority.issue()
    pair.file.write_text("a certificate, in a manner of speaking\n")
    return pair


def no_text(authority):
    pair = authority.issue()
    pair.file.write_bytes(b"\x30\x82\xff")
    return pair


def key_of_another(authority):
    return authority.issue("one")._replace(key=authority.issue("other").key)


def key_for_all_to_read(authority):
    pair = authority.issue()
    pair.key.chmod(0o644)
    return pair


def key_for_the_group_to_read(authority):
    pair = authority.issue()
    pair.key.chmod(0o640)
    return pair


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "the certificate .*server.pem cannot be read: No such file"),
        (missing_key, "the TLS key .*server-key.pem cannot be read: No such file"),
        (no_pem, "server.pem .* not in PEM form"),
        (no_text, "server.pem .*cannot be read"),
        (key_of_another, "one.pem and the TLS key .*other-key.pem do not belong together"),
        (key_for_all_to_read, "chmod 600 .*server-key.pem"),
        (key_for_the_group_to_read, "chmod 600 .*server-key.pem"),
        (lambda ca: ca.issue(begins=-9 * DAY, ends=-DAY), "server.pem has expired"),
        (lambda ca: ca.issue(begins=DAY, ends=9 * DAY), "server.pem is not valid yet"),
        (lambda ca: ca.issue(passphrase=b"secret"), "server-key.pem is encrypted"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_certificate_that_is_of_no_use_is_refused_with_its_reason(authority, make, reason):
    """Nobody is asked for a passphrase either: there may be nobody."""
    pair = make(authority)
    with pytest.raises(StartError, match=reason):
        read_certificate(*pair)


# Made.


def talk(found, name):
    """The handshake of a client that trusts just this certificate. Raises ssl.SSLError."""
    context = ssl.create_default_context(cafile=found.file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 has it of itself
    client, server = TlsStream(context, name), TlsStream(found.context)
    for _ in range(3):
        client.is_open or client.shake_hands()
        server.receive(client.to_send())
        server.is_open or server.shake_hands()
        client.receive(server.to_send())
    return client.is_open and server.is_open


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "lab.example", "10.0.0.7"])
def test_made_certificate_is_accepted_for_each_of_its_names(folder, name):
    """By name and by address, by a client that looks closely."""
    files = folder / "certificate.pem", folder / "key.pem"
    make_certificate(*files, ["lab.example", "10.0.0.7", *own_certificate.LOOPBACK])
    assert talk(read_certificate(*files), name)


def test_made_certificate_is_refused_for_other_names(folder):
    files = folder / "certificate.pem", folder / "key.pem"
    make_certificate(*files, ["lab.example"])
    with pytest.raises(ssl.SSLCertVerificationError):
        talk(read_certificate(*files), "lab.example.org")


def test_own_names_are_what_this_machine_is_reached_by():
    """All that it has, without the interface behind a `%`; not the address that means all of them."""
    names = own_names("0.0.0.0")
    assert {"localhost", "127.0.0.1", "::1", os.uname().nodename} <= set(names)
    assert not {"0.0.0.0", ""} & set(names)
    assert not any("%" in name for name in names)
    assert own_names("lab.example")[0] == "lab.example"


def test_making_says_what_to_install_when_cryptography_is_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(StartError, match=r"pip install cryptography, or give one with --tls-certificate"):
        TlsIdentity(None, folder, "127.0.0.1")
    assert not list(folder.iterdir())


# In force.


def test_own_certificate_is_made_once_and_kept(folder, monkeypatch):
    """The key for its owner only. Keeping it needs no cryptography."""
    first = TlsIdentity(None, folder, "127.0.0.1").certificate
    assert VALID_DAYS - 1 < first.days_left(time.time()) <= VALID_DAYS
    assert stat.S_IMODE((folder / "tls-key.pem").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["tls-certificate.pem", "tls-key.pem"]
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert TlsIdentity(None, folder, "127.0.0.1").certificate.sha256 == first.sha256


@pytest.mark.parametrize("left", [timedelta(minutes=-30), timedelta(days=29)])
def test_own_certificate_is_made_anew_at_a_start_when_it_is_about_to_expire(folder, left):
    """And the log says so: clients are to be given the new one."""
    files = folder / "tls-certificate.pem", folder / "tls-key.pem"
    make_certificate(*files, ["localhost"], left + timedelta(hours=1))
    identity, log = TlsIdentity(None, folder, "127.0.0.1"), Log()
    identity.renew(log)
    assert identity.certificate.days_left(time.time()) > VALID_DAYS - 1
    assert "another is made, which clients are to be given" in log.said


def test_own_certificate_is_made_anew_when_its_key_is_gone(folder):
    first = TlsIdentity(None, folder, "127.0.0.1").certificate
    (folder / "tls-key.pem").unlink()
    assert TlsIdentity(None, folder, "127.0.0.1").certificate.sha256 != first.sha256


def test_log_says_which_names_the_own_certificate_lacks(folder, monkeypatch):
    """This machine got another address: the old certificate is kept, for clients have it."""
    log = Log()
    first = TlsIdentity(None, folder, "127.0.0.1")
    first.renew(log)
    assert log == []
    monkeypatch.setattr(tls_identity, "own_names", lambda host: ["localhost", "10.0.0.99"])
    second = TlsIdentity(None, folder, "127.0.0.1")
    assert second.certificate.sha256 == first.certificate.sha256
    second.renew(log)
    assert "not for 10.0.0.99" in log.said


def test_given_certificate_is_exchanged_on_a_word(authority, folder):
    """Who has renewed it says SIGHUP."""
    pair, log = authority.issue(), Log()
    identity = TlsIdentity(pair, folder, "127.0.0.1")
    before = identity.certificate
    identity.renew(log)
    assert (identity.certificate.sha256, log) == (before.sha256, [])
    authority.issue()
    identity.renew(log)
    assert identity.certificate.sha256 != before.sha256
    assert "in force from now on" in log.said


def test_given_certificate_stays_in_force_when_the_new_one_is_of_no_use(authority, folder):
    pair, log = authority.issue(), Log()
    identity = TlsIdentity(pair, folder, "127.0.0.1")
    before = identity.certificate
    authority.issue(ends=-timedelta(hours=1))
    identity.renew(log)
    assert identity.certificate is before
    assert "the certificate in force is kept" in log.said
    assert "has expired" in log.said


def test_log_warns_of_a_given_certificate_that_is_about_to_expire(authority, folder):
    identity, log = TlsIdentity(authority.issue(ends=9 * DAY), folder, "127.0.0.1"), Log()
    identity.renew(log)
    assert log[0][0] == "certificate"
    assert "about to expire" in log.said


def watched(identity, log, is_enough):
    """What it does by itself until `is_enough`."""

    async def serve():
        watching = asyncio.ensure_future(identity.watch(log))
        async with asyncio.timeout(DEADLINE):
            while not is_enough():
                await asyncio.sleep(0.001)
        watching.cancel()

    asyncio.run(serve())


@pytest.mark.parametrize("left", [0.5, 20.0])
def test_own_certificate_is_made_anew_on_its_last_day_though_nobody_asks(folder, monkeypatch, left):
    """Before that the log warns, and everybody goes on with the old one."""
    identity, log = TlsIdentity(None, folder, "127.0.0.1"), Log()
    before = identity.certificate
    late = before.expires - left * 86400
    monkeypatch.setattr(tls_identity, "LOOK_TIME", 0.01)
    monkeypatch.setattr(tls_identity, "time", SimpleNamespace(time=lambda: late))
    watched(identity, log, lambda: log)
    assert (identity.certificate.sha256 != before.sha256) == (left < 1)
    assert "about to expire" in log.said
