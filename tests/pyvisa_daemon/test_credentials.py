"""Credentials: where a token comes from, what is refused, and that it is shown to the daemon and to nobody else."""

import logging
import os
import traceback
from pathlib import Path

import pytest
import pyvisa

from pyvisa_daemon import credentials, hosts, wire
from pyvisa_daemon.credentials import CredentialError, credential_for
from pyvisa_daemon.hosts import Address, RefusedError
from tests.pyvisa_daemon.peer import Peer, echo

TOKEN = "pvd_" + "Ab1_-" * 8 + "xyz"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PYVISA_DAEMON_TOKEN_FILE", raising=False)
    monkeypatch.delenv("PYVISA_DAEMON_TOKEN", raising=False)


def written(file: Path, token: str, mode: int = 0o600) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(token)
    file.chmod(mode)
    return str(file)


def shown_by(options: dict[str, str]) -> str | None:
    credential = credential_for(options)
    assert credentials.is_there(options) == (credential is not None)
    return None if credential is None else credential.token


def test_token_comes_from_the_nearest_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The entry, the variable with a file, the one with a token, the default file, nowhere."""
    assert shown_by({}) is None
    assert credentials.default_file() == str(tmp_path / "config/pyvisa-daemon/token")
    written(tmp_path / "config/pyvisa-daemon/token", "default\n")
    assert shown_by({}) == "default"
    monkeypatch.setenv("PYVISA_DAEMON_TOKEN", "variable")
    assert shown_by({}) == "variable"
    monkeypatch.setenv("PYVISA_DAEMON_TOKEN_FILE", written(tmp_path / "b", " file \r\n"))
    assert shown_by({}) == "file"
    assert shown_by({"token_file": written(tmp_path / "a", "entry")}) == "entry"
    assert shown_by({"token_file": ""}) is None


@pytest.mark.skipif(os.name != "posix", reason="no such modes")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path / "token", TOKEN, mode)
    with pytest.raises(ConnectionError, match=f"chmod 600 {file}") as refused:
        credential_for({"token_file": file})
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\nb", "\u2603", "a\0b", "x" * 5000])
def test_file_that_holds_no_token_is_refused(tmp_path: Path, content: str) -> None:
    """Without what it holds."""
    with pytest.raises(CredentialError, match="holds no token") as refused:
        credential_for({"token_file": written(tmp_path / "token", content)})
    assert content.strip() == "" or content.strip() not in str(refused.value)


def test_file_that_was_named_and_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="missing cannot be read: No such file"):
        credential_for({"token_file": str(tmp_path / "missing")})


# What is shown to a daemon.


def test_daemon_is_shown_the_token_of_its_entry(tmp_path: Path) -> None:
    """In the hello; one that has none is shown nothing."""
    shown: list[dict[str, str]] = []
    with Peer(lambda peer: shown.append(peer.greet().credentials)) as peer:
        for options in ({"token_file": written(tmp_path / "token", TOKEN)}, {}):
            hosts.connect(Address("127.0.0.1", peer.port, options)).close()
    assert shown == [{"token": TOKEN}, {}]


def test_program_that_needs_a_token_is_told_where_to_put_one() -> None:
    refused = wire.Refused("FORBIDDEN", "this daemon needs a token")
    with Peer(lambda peer: peer.greet(refused) and None) as peer, pytest.raises(RefusedError) as wants:
        hosts.connect(hosts.parse(peer.address))
    assert f"127.0.0.1:{peer.port} wants a token" in str(wants.value)
    assert credentials.default_file() in str(wants.value)
    assert "PYVISA_DAEMON_TOKEN_FILE" in str(wants.value)


def test_program_whose_token_is_wrong_is_told_where_it_came_from(tmp_path: Path) -> None:
    """And nowhere is the token itself: not in the error, its causes or what PyVISA logs."""
    file = written(tmp_path / "token", TOKEN)
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    pyvisa.logger.addHandler(handler)
    level = pyvisa.logger.level
    pyvisa.logger.setLevel(logging.DEBUG)
    try:
        with Peer(lambda peer: peer.greet(wire.Refused("AUTH_FAILED", "no such token")) and None) as peer:
            spec = f"{peer.address}?token_file={file}@daemon"
            with pytest.raises(RefusedError, match=f"does not take the token of {file}") as wrong:
                pyvisa.ResourceManager(spec)
    finally:
        pyvisa.logger.removeHandler(handler)
        pyvisa.logger.setLevel(level)
    assert TOKEN not in "".join(traceback.format_exception(wrong.value))
    assert records
    assert TOKEN not in "".join(records)
    assert TOKEN not in repr(credential_for({"token_file": file}))


def test_pyvisa_program_has_the_token_file_in_its_specification(tmp_path: Path) -> None:
    """Its path may have an @ in it; resource manager and library say no more than that path."""
    file = written(tmp_path / "ann@lab", TOKEN)
    with Peer(echo) as peer:
        manager = pyvisa.ResourceManager(f"{peer.address}?token_file={file}@daemon")
        assert file in repr(manager)
        assert TOKEN not in f"{manager!r} {manager.visalib} {vars(manager.visalib)} {manager.visalib.get_debug_info()}"
        manager.close()


def test_debug_info_has_no_token_that_somebody_wrote_into_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyvisa_daemon.highlevel import DaemonVisaLibrary

    monkeypatch.setattr(hosts, "tryIps", ["labpc", f"other?token={TOKEN}"])
    assert TOKEN not in str(DaemonVisaLibrary.get_debug_info())


def test_host_that_does_not_let_us_in_is_found_as_refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there, and may have the resource: who opens there is told why that fails."""
    with Peer(lambda peer: peer.greet(wire.Refused("FORBIDDEN", "")) and None) as closed, Peer(echo) as open_:
        monkeypatch.setattr(hosts, "tryIps", [closed.address, open_.address])
        assert [finding.found for finding in hosts.find("X")] == [hosts.REFUSED, "listed"]


def test_verdict_on_a_token_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon refuses a wrong one late: later than a host may take that is asked among others."""

    def late(peer):
        peer.receive_magic()
        peer.receive()
        with peer.connection:
            import time

            time.sleep(hosts.KNOCK_LIMIT + 0.3)
            peer.send(wire.Refused("AUTH_FAILED", "no such token"))

    with Peer(late) as peer:
        file = written(tmp_path / "token", TOKEN)
        monkeypatch.setattr(hosts, "tryIps", [f"{peer.address}?token_file={file}"])
        with pytest.raises(ConnectionError, match="AUTH_FAILED"):
            hosts.first_live()
