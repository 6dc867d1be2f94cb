"""Who may use instruments gains nothing by opening as one what is none: the daemon's own port, or a file."""

from pathlib import Path

import pytest

from pyvisa_daemon import tokens
from tests.support.daemon import Daemon


@pytest.fixture
def daemon(tmp_path):
    """With pyvisa-py, which opens whatever socket one names."""
    daemon = Daemon(tmp_path / "run")
    yield daemon
    daemon.end()
    daemon.kill()


@pytest.fixture
def user(daemon):
    """Somebody whose token is good for the role use."""
    token = tokens.new_token()
    tokens.add_row(daemon.run_dir / "tokens.toml", tokens.row("bob", token, "use", {}))
    with daemon.text() as client:
        assert client.ask(f".#.auth {token}") == "ok bob use"
        yield client


def test_user_cannot_speak_to_the_daemon_as_a_process_of_its_machine(daemon, user):
    """Which is admin there."""
    for name in (f"TCPIP0::127.1::{daemon.port}::SOCKET", f"ASRLsocket://localhost:{daemon.port}::INSTR"):
        assert user.ask(f".#.open_resource {name}").startswith(".#.error FORBIDDEN effect=none ")
        assert daemon.audit(event="command", user="bob", command=f".#.open_resource {name}", outcome="FORBIDDEN")
    assert daemon.status()["state"] == "serving"


def test_user_cannot_write_a_file_of_the_daemon_s(tmp_path: Path, user):
    """As pyserial's spy:// does."""
    file = tmp_path / "precious"
    file.write_text("untouched")
    reply = user.ask(f".#.open_resource ASRLspy:///dev/ptmx?file={file}::INSTR")
    assert reply.startswith(".#.error VI_ERROR_INV_RSRC_NAME effect=none ")
    assert file.read_text() == "untouched"
