"""The way to each daemon, as it really ends."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from client.commands.checkup import visits
from client.commands.checkup.facts import Way
from pyvisa_daemon import tokens
from tests.support.daemon import Daemon


def test_visit_brings_status_and_instruments_when_the_daemon_is_there(daemon: Daemon) -> None:
    [visit] = visits.visit_all([daemon.address])
    assert (visit.entry, visit.way, visit.is_loopback) == (daemon.address, Way.THERE, True)
    assert visit.status["pid"] == daemon.pid
    assert visit.instruments is not None
    assert "GPIB0::22::INSTR" in visit.instruments


def test_visit_says_how_far_the_way_led_when_there_is_no_daemon() -> None:
    """An entry that is none, a name that nobody has, a port where nothing listens."""
    entries = ["a:b", "no-such-machine.invalid", "127.0.0.1:9", "x" * 300]
    assert [visit.way for visit in visits.visit_all(entries)] == [Way.ENTRY, Way.NAME, Way.REFUSED, Way.NAME]


def test_visit_is_of_no_daemon_when_something_else_listens() -> None:
    """It hangs up at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            for _ in range(2):
                listening.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        visit = visits.visit(f"127.0.0.1:{listening.getsockname()[1]}")
    assert visit.way is Way.DAEMON
    assert visit.text


def test_visit_is_of_tls_when_the_certificate_is_not_known(
    daemon_factory: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named, it is; and the plain port speaks no TLS."""
    monkeypatch.delenv("PYVISA_DAEMON_CA_FILE", raising=False)
    daemon = daemon_factory("--demo", "--tls-port", "0")
    assert daemon.tls is not None
    entry = f"localhost:{daemon.tls['port']}?tls=1"
    visit, plain = visits.visit_all([entry, f"localhost:{daemon.port}?tls=1"])
    assert (visit.way, "certificate is not accepted" in visit.text) == (Way.TLS, True)
    assert plain.way is Way.TLS
    assert visits.visit(f"{entry}&ca_file={daemon.tls['certificate']}").way is Way.THERE


def test_visit_ends_when_its_time_is_over() -> None:
    """Something that accepts and never speaks; nothing of the entry's options is repeated."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        entry = f"127.0.0.1:{listening.getsockname()[1]}"
        [visit] = visits.visit_all([f"{entry}?tls=1"], limit=0.2)
    assert (visit.entry, visit.way) == (entry, Way.SILENT)


def test_visit_asks_for_a_token_when_the_daemon_wants_one(
    daemon_factory: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is there, and does not let us in."""
    token = tokens.new_token()
    tokens.add_row(tmp_path / "tokens.toml", tokens.row("ann", token, "admin", {}))
    for name in ("PYVISA_DAEMON_TOKEN", "PYVISA_DAEMON_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    daemon = daemon_factory("--demo", "--loopback", "token", "--token-file", str(tmp_path / "tokens.toml"))
    daemon.token = token
    visit = visits.visit(daemon.address)
    assert (visit.way, "wants a token" in visit.text) == (Way.TOKEN, True)
    monkeypatch.setenv("PYVISA_DAEMON_TOKEN", token)
    assert visits.visit(daemon.address).way is Way.THERE


@pytest.mark.parametrize(
    ("error", "way"),
    [
        (socket.gaierror(-2, "x"), Way.NAME),
        (UnicodeError("x"), Way.NAME),
        (ConnectionRefusedError(111, "x"), Way.REFUSED),
        (OSError(113, "No route to host"), Way.UNREACHABLE),
        (OSError(101, "Network is unreachable"), Way.UNREACHABLE),
        (TimeoutError("timed out"), Way.SILENT),
    ],
)
def test_way_is_told_by_the_error_when_connecting_fails(error: Exception, way: Way) -> None:
    assert visits._way(error) is way
