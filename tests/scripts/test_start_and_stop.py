"""start.sh and stop.sh, for real."""

import socket
import threading
from collections.abc import Iterator

import psutil
import pytest

from tests.support.text_client import TextClient
from tests.support.waiting import wait_until


def is_gone(process: psutil.Process) -> bool:
    """Gone, or a zombie that its parent has yet to reap."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_start_returns_when_the_daemon_serves(started):
    """READY is true: the very next connection is answered, by the pid it named."""
    with TextClient("127.0.0.1", int(started.port)) as client:
        assert client.ask(".#.ping") == "pong"
        assert client.ask_json(".#.status")["pid"] == started.pid


def test_stop_returns_when_the_daemon_and_its_children_are_gone(script, started):
    """Synchronous: what runs after stop.sh finds nothing of it, not even a child with an instrument open."""
    with TextClient("127.0.0.1", int(started.port)) as client:
        client.ask(".#.open_resource GPIB0::22::INSTR")
        family = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
        done = script("stop.sh", "--port", started.port)
    assert done.returncode == 0, done
    assert f"pid {started.pid}" in done.stdout
    assert len(family) > 1
    assert all(map(is_gone, family)), family


def test_stop_returns_when_an_instrument_hangs(script, started):
    """A child that is stuck inside a VISA call does not keep the daemon."""
    with TextClient("127.0.0.1", int(started.port)) as client:
        names = client.ask_json(".#.list_resources")
        generator = next(name for name in names if name.endswith("::SOCKET") and is_generator(name))
        client.ask(f".#.open_resource {generator}")
        client.ask(".#.timeout inf")
        client.send(b".#.query_resource SYST:BABBLE?\n")
        with TextClient("127.0.0.1", int(started.port)) as other:
            wait_until(lambda: other.ask_json(".#.status")["resources"][0]["state"] == "busy", what="the hang")
        family = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
        done = script("stop.sh", "--port", started.port)
    assert done.returncode == 0, done
    assert all(map(is_gone, family)), family


def is_generator(name: str) -> bool:
    with TextClient("127.0.0.1", int(name.split("::")[2])) as instrument:
        return "GENERATOR" in instrument.ask("*IDN?")


def test_stop_says_so_when_none_is_running(script, started):
    """Stopped twice is stopped: exit code 0, with a word."""
    assert script("stop.sh", "--port", started.port).returncode == 0
    again = script("stop.sh", "--port", started.port)
    assert again.returncode == 0
    assert "no daemon is running" in again.stdout


def test_start_fails_with_the_reason_when_the_run_folder_is_taken(script, started, tmp_path):
    """The first daemon serves on."""
    second = script("start.sh", "--demo", "--port", "0", "--run-dir", str(tmp_path / "run"))
    assert second.returncode != 0
    assert second.stderr.strip()
    assert "READY" not in second.stdout
    with TextClient("127.0.0.1", int(started.port)) as client:
        assert client.ask(".#.ping") == "pong"


def test_start_fails_with_the_reason_when_the_port_is_taken(script, started, tmp_path):
    """It returns at once, it does not wait for the other to end."""
    second = script("start.sh", "--demo", "--port", started.port, "--run-dir", str(tmp_path / "other"))
    assert second.returncode != 0
    assert started.port in second.stderr


@pytest.fixture(params=[b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"[1, 2]\n"], ids=["closes", "http", "json"])
def something_else(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that is no daemon: it reads a line, says something else, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(request.param)

    thread = threading.Thread(target=serve)
    thread.start()
    yield str(listener.getsockname()[1])
    thread.join()
    listener.close()


def test_stop_fails_when_something_else_listens(script, something_else):
    """It is not told to end, and nothing is taken for stopped."""
    done = script("stop.sh", "--port", something_else)
    assert done.returncode == 1
    assert "no instrument daemon" in done.stderr


@pytest.mark.parametrize("name", ["start.sh", "stop.sh", "test.sh", "demo.sh", "docs.sh", "set_up.sh", "lock.sh"])
def test_script_explains_itself_when_asked(script, name):
    """--help, and nothing else happens."""
    done = script(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage:")
    assert not done.stderr
