"""A run in which every event of the audit log happens, in a daemon as it is but for two: see `hopeless`."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from front_proc.process.lifecycle import State
from front_proc.record.log_writer import GATHER_TIME
from pyvisa_daemon import tokens
from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient
from tests.support.waiting import wait_until

Record = dict[str, Any]


def records_of_every_event(daemon_factory, instrument_factory, folder: Path) -> list[Record]:
    """All records that these stories leave."""
    config = folder / "story.toml"
    config.write_text(
        "[limits]\nfailures = 2\nlongest-backoff = 0.1\nslow-reader-time = 2\n"
        "[[resource]]\nmatch = '*'\nsafe-state = ['SET VOLT 0']\n"
        "identity = 'check'\n"
        "[[resource]]\nmatch = 'TCPIP*'\nconfirm = ['SET ON']\n"
    )
    daemon = daemon_factory("--grace", "0.2", "--linger", "0", "--config", str(config))
    with deaf_client(daemon):
        hang_crash_and_back_off(daemon, instrument_factory())
        power_cut(daemon, instrument_factory())
        noise(daemon)
        stranger(daemon, instrument_factory())
        other_settings(daemon, config)
        role_too_low(daemon)
        locks_that_end(daemon, instrument_factory())
        disk_full(daemon)
    daemon.end()
    return [*daemon.audit(), *hopeless(folder / "hopeless.jsonl")]


def hang_crash_and_back_off(daemon: Daemon, instrument) -> None:
    with daemon.text() as client:
        client.ask(".#.hello alice")
        client.ask(".#.volts")
        client.ask(f".#.open_resource {instrument.resource}")
        client.ask(".#.timeout 400")
        assert "INSTRUMENT_HUNG" in client.ask(".#.query_resource BABBLE?")
        assert "TEST" in client.ask(".#.query_resource *IDN?")
        assert client.ask(f".!.safe {instrument.resource}") == "safe"
        os.kill(daemon.resource(instrument.resource)["pid"], signal.SIGKILL)
        daemon.wait_for_audit(event="backoff")
        client.ask(f".#.reset {instrument.resource}")
        assert "SESSION_RESET" in client.ask(".#.query_resource *IDN?")
        assert "TEST" in client.ask(".#.query_resource *IDN?")
        broken(daemon, instrument.resource)
        client.ask(f".#.reset {instrument.resource}")
        wait_until(lambda: daemon.resource(instrument.resource)["state"] == State.READY)
        confirmed(client)
        client.ask(".#.close_resource")
    daemon.wait_for_audit(event="closed")
    daemon.wait_for_audit(event="disconnect")


def confirmed(client: TextClient) -> None:
    """A message that needs a reason; the first is told of the new process."""
    client.ask(".#.query_resource *IDN?")
    assert client.ask(".#.confirm the sample is out") == "ok"
    assert client.ask(".#.write_resource SET ON") == "7"


def broken(daemon: Daemon, resource: str) -> None:
    """Killed whenever it is there, until the daemon leaves it alone."""
    while (now := daemon.resource(resource))["state"] != State.BROKEN:
        if now["state"] == State.READY:
            with contextlib.suppress(ProcessLookupError):
                os.kill(now["pid"], signal.SIGKILL)


def power_cut(daemon: Daemon, instrument) -> None:
    """The connection is lost in a command, and then the instrument cannot be opened."""
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        client.ask(".#.timeout 100")
        instrument.switch_off()
        assert "VI_ERROR_CONN_LOST" in client.ask(".#.query_resource *IDN?")
        wait_until(lambda: daemon.resource(instrument.resource)["state"] == State.OFFLINE)
        client.ask(f".#.open_resource {instrument.resource}")
    with daemon.text() as client:
        assert "VI_ERROR_RSRC_NFOUND" in client.ask(f".#.open_resource {instrument.resource}")


def stranger(daemon: Daemon, instrument) -> None:
    """It is another one after a restart."""
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        instrument.ask("BE TEST,ANOTHER INSTRUMENT,2,1.0;*OPC?")
        client.ask(f".!.restart {instrument.resource}")
        daemon.wait_for_audit(event="changed")


def other_settings(daemon: Daemon, config: Path) -> None:
    """They are read anew, and then are none."""
    for number, text in enumerate(("[limits]\nfailures = 3\n", "linger = -1\n"), 1):
        config.write_text(text)
        os.kill(daemon.pid, signal.SIGHUP)
        wait_until(lambda number=number: len(daemon.audit(event="settings")) == number, what="settings on record")


def locks_that_end(daemon: Daemon, instrument) -> None:
    """One that is not used, one that is forced open, and a client that is sent away."""
    with daemon.text() as client, daemon.text() as admin:
        client.ask(".#.hello alice")
        client.ask(f".#.open_resource {instrument.resource}")
        client.ask(".#.lock ttl 0.1 reason calibration")
        daemon.wait_for_audit(event="lease_over")
        assert "LOCK_LOST" in client.ask(".#.lock")
        client.ask(".#.lock")
        admin.ask(f".!.unlock {instrument.resource}")
        admin.ask(".!.kick alice")
        client.everything()
    daemon.wait_for_audit(event="kicked")


def noise(daemon: Daemon) -> None:
    """A connection that means nothing."""
    with daemon.text() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        client.everything()
    daemon.wait_for_audit(event="rejected", outcome="BAD_PROTOCOL")


def role_too_low(daemon: Daemon) -> None:
    """A token that is new to the daemon, and shown; then a token file that cannot be used."""
    file, token = daemon.run_dir / tokens.FILE_NAME, tokens.new_token()
    tokens.add_row(file, tokens.row("alice", token, "use", {}))
    with daemon.text() as client:
        assert client.ask(f".#.auth {token}") == "ok alice use"
        assert "FORBIDDEN" in client.ask(".!.end_daemon")
    file.write_text("[[token]")
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_for_audit(event="tokens", count=1)
    wait_until(lambda: len(daemon.audit(event="tokens")) == 2)


@contextlib.contextmanager
def deaf_client(daemon: Daemon) -> Iterator[None]:
    """One that asks for 20 MB and reads nothing of it: it is cut, after a while in which the story goes on."""
    with daemon.text() as client:
        client.send(b".#.help\n" * 20_000)
        yield
        daemon.wait_for_audit(event="rejected", error="does not read its answers")


def disk_full(daemon: Daemon) -> None:
    """The audit file cannot grow for a moment: for as long as the writer needs to meet that."""
    process = psutil.Process(daemon.pid)
    before = process.rlimit(resource.RLIMIT_FSIZE)

    def lost_something() -> bool:
        size = (daemon.run_dir / "audit.jsonl").stat().st_size
        process.rlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        client.ask(".#.volts")
        client.ask(".#.volts")
        time.sleep(5 * GATHER_TIME)
        process.rlimit(resource.RLIMIT_FSIZE, before)
        client.ask(".#.volts")
        return bool(daemon.audit(event="gap"))

    with daemon.text() as client:
        wait_until(lost_something, what="a record that was lost")


def hopeless(file: Path) -> list[Record]:
    """What `tests.docs.hopeless` writes."""
    subprocess.run([sys.executable, "-m", "tests.docs.hopeless", str(file)], cwd=ROOT, check=True, timeout=60)
    return [json.loads(line) for line in file.read_text().splitlines()]
