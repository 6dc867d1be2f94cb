"""TLS as its users have it: a daemon, its certificate, programs and people on the other machines."""

import contextlib
import gc
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pyvisa
from pyvisa.constants import EventMechanism, EventType
from pyvisa.resources import MessageBasedResource

import client
from pyvisa_daemon import hosts
from tests.daemon.started import start
from tests.pyvisa_daemon.threads import ctrl_c, in_thread
from tests.support.certificates import DAY, Authority, Pair
from tests.support.daemon import Daemon
from tests.support.tcp_instrument import TcpInstrument
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until

Start = Callable[..., Daemon]

METER = "GPIB0::22::INSTR"
MB = 1 << 20


class TlsTextClient(TextClient):
    """Python's own TLS around it; believes `ca_file`."""

    def __init__(self, daemon: Daemon, ca_file: Path | None = None) -> None:
        assert daemon.tls is not None
        super().__init__("127.0.0.1", int(daemon.tls["port"]))
        context = ssl.create_default_context(cafile=ca_file or daemon.tls["certificate"])
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")


def entry(daemon: Daemon, ca_file: Path | None = None, host: str = "127.0.0.1") -> str:
    """As in PYVISA_DAEMON_HOSTS."""
    assert daemon.tls is not None
    return f"{host}:{daemon.tls['port']}?ca_file={ca_file or daemon.tls['certificate']}"


def port(daemon: Daemon) -> int:
    assert daemon.tls is not None
    return int(daemon.tls["port"])


def resource(manager: pyvisa.ResourceManager, name: str) -> MessageBasedResource:
    opened = manager.open_resource(name, read_termination="\n", write_termination="\n")
    assert isinstance(opened, MessageBasedResource)
    opened.timeout = 20_000
    return opened


@pytest.fixture
def tls_daemon(daemon_factory: Start) -> Daemon:
    """Serves the demo bench, with a certificate of its own making."""
    return daemon_factory("--demo", "--tls-port", "0")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    yield
    gc.collect()
    wait_until(
        lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("TLS")],
        what="no thread left",
    )


# Programs.


def test_pyvisa_program_works_as_on_the_plain_port(tls_daemon: Daemon) -> None:
    """Lists, queries, locks, waits for service requests; and its sessions close with it."""
    manager = pyvisa.ResourceManager(f"{entry(tls_daemon)}@daemon")
    assert METER in manager.list_resources()
    meter = resource(manager, METER)
    assert "MULTIMETER" in meter.query("*IDN?")
    with meter.lock_context(timeout=5000):
        meter.enable_event(EventType.service_request, EventMechanism.queue)
        for command in ("*CLS", "*ESE 1", "*SRE 32", "INIT", "*OPC"):
            meter.write(command)
        meter.wait_on_event(EventType.service_request, 20_000)
        assert float(meter.query("FETC?"))
    manager.close()
    wait_until(lambda: tls_daemon.resource(METER)["sessions"] == 0)


def test_client_and_its_command_work_as_on_the_plain_port(tls_daemon: Daemon) -> None:
    """The environment says where, and whom to believe; a host that speaks plain stands beside it."""
    with client.SocketManager().open_socket(entry(tls_daemon, host="localhost")) as sock:
        assert sock.ping() == "pong"
        meter = sock.open_resource(METER)
        assert isinstance(meter, MessageBasedResource)
        assert "MULTIMETER" in meter.query("*IDN?")
        assert "MULTIMETER" in sock.query("*IDN?")
        pyvisa.ResourceManager(f"{sock.address.entry}@daemon").close()
    assert tls_daemon.tls is not None
    environment = {
        "PYVISA_DAEMON_HOSTS": f"localhost:{port(tls_daemon)},{tls_daemon.address}?tls=0",
        "PYVISA_DAEMON_CA_FILE": tls_daemon.tls["certificate"],
    }
    command = [str(Path(sys.executable).with_name("instruments"))]
    said = subprocess.run(
        [*command, "list"], env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert f"localhost:{port(tls_daemon)}" in said
    assert tls_daemon.address in said
    asked = subprocess.run(
        [*command, "query", METER, "*IDN?"], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert "MULTIMETER" in asked.stdout
    wait_until(lambda: tls_daemon.status()["clients"] == 1)


@pytest.mark.full
def test_long_blocks_are_correct_to_the_byte(daemon_factory: Start, instrument: TcpInstrument) -> None:
    """16 MB there and 64 MB back."""
    manager = pyvisa.ResourceManager(f"{entry(daemon_factory('--tls-port', '0'))}@daemon")
    scripted = resource(manager, instrument.resource)
    data = os.urandom(16 * MB)
    scripted.write_binary_values("LOAD ", data, datatype="B")
    assert int(scripted.query("LOAD?")) == len(data)
    size = 64 * MB
    block = scripted.query_binary_values(f"BLOCK? {size}", datatype="s", container=bytes, chunk_size=MB)
    assert block == bytes(range(256)) * (size // 256)
    scripted.close()
    manager.close()


@pytest.mark.full
def test_ctrl_c_in_a_read_loses_nothing(daemon_factory: Start, instrument: TcpInstrument) -> None:
    """The next query has its own answer."""
    manager = pyvisa.ResourceManager(f"{entry(daemon_factory('--tls-port', '0'))}@daemon")
    scripted = resource(manager, instrument.resource)
    assert scripted.query("ECHO? 1") == "1"
    with ctrl_c(lambda: instrument.count("SLOW?")):
        scripted.query("SLOW? 3000,late")
    assert scripted.query("ECHO? 2") == "2"
    manager.close()


def test_collector_may_close_resources_in_the_thread_of_the_relay(tls_daemon: Daemon) -> None:
    """Their answers would come through that very thread: it does not wait for them."""
    manager = pyvisa.ResourceManager(f"{entry(tls_daemon)}@daemon")
    kept = resource(manager, METER)
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20, 2, 2)
    try:
        for _ in range(100):
            lost = manager.open_resource(METER)
            lost.__dict__["cycle"] = lost
            del lost
            assert "MULTIMETER" in kept.query("*IDN?")
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
    gc.collect()
    manager.close()
    wait_until(lambda: tls_daemon.resource(METER)["sessions"] == 0)


def test_fifty_programs_connect_at_once(tls_daemon: Daemon) -> None:
    """And are gone at once."""

    def work() -> str:
        with contextlib.closing(hosts.connect(hosts.parse(entry(tls_daemon)), DEADLINE)) as channel:
            return channel.address

    started = [in_thread(work) for _ in range(50)]
    assert len([each() for each in started]) == 50
    wait_until(lambda: tls_daemon.status()["clients"] == 1)
    assert not tls_daemon.audit(event="rejected")


# Text.


def test_text_is_spoken_in_tls(tls_daemon: Daemon) -> None:
    """TLS 1.2 at least; a reply ends as its request does; a block comes whole."""
    with TlsTextClient(tls_daemon) as text:
        assert isinstance(text.socket, ssl.SSLSocket)
        assert text.socket.version() in ("TLSv1.2", "TLSv1.3")
        assert text.ask(".#.ping") == "pong"
        assert text.ask(f".#.open_resource {METER}") == METER
        assert "MULTIMETER" in text.ask(".#.query_resource *IDN?")


def test_who_will_send_no_more_is_answered(tls_daemon: Daemon) -> None:
    """`printf .#.ping | socat - OPENSSL:...`: no terminator, and an end that is said in TLS only."""
    context = ssl.create_default_context(cafile=tls_daemon.tls and tls_daemon.tls["certificate"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port(tls_daemon)), DEADLINE) as connection:

        def until(step: Callable[[], object]) -> object:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    data = connection.recv(1 << 16)
                    incoming.write(data) if data else incoming.write_eof()

        until(secured.do_handshake)
        secured.write(b".#.ping")
        with contextlib.suppress(ssl.SSLWantReadError):
            secured.unwrap()
        connection.sendall(outgoing.read())
        connection.shutdown(socket.SHUT_WR)
        sealed = b""
        while data := connection.recv(1 << 16):
            sealed += data
    assert len(sealed) > len(b"pong"), "it was answered before it was closed"


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_tls_is_refused(tls_daemon: Daemon, version: str) -> None:
    done = subprocess.run(
        ["openssl", "s_client", f"-{version}", "-connect", f"127.0.0.1:{port(tls_daemon)}"],
        input=b"",
        capture_output=True,
        timeout=60,
    )
    assert b"alert protocol version" in done.stderr or b"no protocols available" in done.stderr


@pytest.mark.full
def test_client_that_reads_nothing_is_cut(daemon_factory: Start, instrument: TcpInstrument) -> None:
    """As on the plain port."""
    daemon = daemon_factory("--tls-port", "0")
    with TlsTextClient(daemon) as greedy, contextlib.suppress(OSError):
        greedy.ask(f".#.open_resource {instrument.resource}")
        greedy.send(b".#.query_binary BLOCK? 1000000\n" * 200)
        daemon.wait_for_audit(event="rejected", error="does not read its answers")
    wait_until(lambda: daemon.status()["clients"] == 1, 2 * DEADLINE)


# Those who speak otherwise: nothing is executed.


def test_plain_text_on_the_tls_port_is_told_so_and_closed(tls_daemon: Daemon) -> None:
    """Not even `end_daemon` from loopback counts there."""
    with TextClient("127.0.0.1", port(tls_daemon)) as plain:
        plain.send(b".!.end_daemon\n")
        answer = plain.everything()
    assert answer.startswith(b".#.error BAD_PROTOCOL effect=none this port speaks TLS only")
    assert tls_daemon.wait_for_audit(event="rejected")["outcome"] == "BAD_PROTOCOL"
    assert tls_daemon.status()["state"] == "serving"
    with pytest.raises(ConnectionError, match=r"this port speaks TLS only.*tls=1"):
        hosts.connect(hosts.parse(f"127.0.0.1:{port(tls_daemon)}"))


def test_tls_on_the_plain_port_is_refused_and_closed(tls_daemon: Daemon) -> None:
    with pytest.raises(ConnectionError, match="it speaks no TLS there; give the daemon's TLS port"):
        hosts.connect(hosts.parse(f"{tls_daemon.address}?tls=1"))
    assert tls_daemon.wait_for_audit(event="rejected")["outcome"] == "BAD_PROTOCOL"
    assert tls_daemon.status()["state"] == "serving"


def test_handshake_that_never_ends_is_ended(daemon_factory: Start, tmp_path: Path) -> None:
    """Silent ones and slow ones, each of whom counts as a client until then."""
    (tmp_path / "limits.toml").write_text("[limits]\nline-time = 1.5\n")
    daemon = daemon_factory("--tls-port", "0", "--config", str(tmp_path / "limits.toml"))
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(("127.0.0.1", port(daemon)))) for _ in range(20)]
        for caller in callers[::2]:
            caller.sendall(b"\x16\x03\x01")
        wait_until(lambda: daemon.status()["clients"] == 21)
        for caller in callers:
            caller.settimeout(DEADLINE)
            assert caller.recv(99) == b""
    wait_until(lambda: daemon.status()["clients"] == 1)
    assert len(daemon.audit(event="rejected", outcome="LINE_TIMEOUT")) == 20


# Whom to believe.


@pytest.mark.parametrize(
    ("names", "reason"), [(("labpc",), "for another address"), (("127.0.0.1",), None)], ids=["labpc", "127.0.0.1"]
)
def test_name_is_checked(daemon_factory: Start, authority: Authority, names: tuple[str, ...], reason: str) -> None:
    """With a certificate of the laboratory's CA."""
    daemon = daemon_factory("--tls-port", "0", *authority.issue(names=names).options)
    address = hosts.parse(entry(daemon, authority.file))
    if reason is None:
        hosts.connect(address).close()
    else:
        with pytest.raises(ConnectionError, match=reason):
            hosts.connect(address)
        assert "TLS: " in daemon.wait_for_audit(event="rejected")["error"]


def test_certificate_of_another_is_refused(tls_daemon: Daemon, authority: Authority) -> None:
    """By PyVISA programs and by text; the daemon's record says so."""
    with pytest.raises(ConnectionError, match="not known here"):
        hosts.connect(hosts.parse(entry(tls_daemon, authority.file)))
    with pytest.raises(ConnectionError, match="not known here"):
        client.SocketManager().open_socket(entry(tls_daemon, authority.file))
    assert "UNKNOWN_CA" in tls_daemon.wait_for_audit(event="rejected")["error"]


# Starting.


def nothing_listens_of(folder: Path) -> bool:
    return not (folder / "daemon.pid").exists() or not (folder / "daemon.pid").read_text()


def missing(authority: Authority) -> Pair:
    return Pair(authority.file.with_name("missing.pem"), authority.issue().key)


def of_another(authority: Authority) -> Pair:
    return authority.issue("one")._replace(key=authority.issue("other").key)


def readable(authority: Authority) -> Pair:
    pair = authority.issue()
    pair.key.chmod(0o644)
    return pair


@pytest.mark.parametrize("mode", [(), ("--daemonize",)], ids=["foreground", "background"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "missing.pem cannot be read: No such file"),
        (of_another, "do not belong together"),
        (readable, "chmod 600"),
        (lambda authority: authority.issue(begins=-9 * DAY, ends=-DAY), "has expired"),
    ],
    ids=["missing", "of another", "readable", "expired"],
)
def test_start_fails_when_there_can_be_no_tls(
    tmp_path: Path, authority: Authority, make: Callable[[Authority], Pair], reason: str, mode: tuple[str, ...]
) -> None:
    """Exit code 1 and one line that says why. Never a daemon without TLS for one who asked for it."""
    run_dir = tmp_path / "run"
    failed = start("--port", 0, "--tls-port", 0, "--run-dir", run_dir, *make(authority).options, *mode)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.count("\n") == 1
    assert failed.stderr.startswith("instrument-daemon: ")
    assert reason in failed.stderr
    assert nothing_listens_of(run_dir)


def test_start_fails_when_the_tls_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        failed = start("--port", 0, "--tls-port", number, "--run-dir", tmp_path / "run")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"cannot listen on 127.0.0.1:{number}" in failed.stderr
    assert "--tls-port takes another" in failed.stderr


def test_start_says_where_tls_is_and_whom_to_believe(tmp_path: Path) -> None:
    """On a line of its own before READY, in the background too; status says it again, the pid file does not."""
    options = ["--daemonize", "--port", 0, "--tls-port", 0, "--run-dir", tmp_path / "run"]
    started = start(*options)
    in_tls, ready = started.stdout.splitlines()
    try:
        certificate = tmp_path / "run" / "tls-certificate.pem"
        sha256 = subprocess.run(
            ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert ready.startswith("READY 127.0.0.1:")
        assert in_tls.startswith("TLS 127.0.0.1:")
        assert in_tls.endswith(f" certificate={certificate} sha256={sha256.partition('=')[2]}")
        address = ready.split()[1]
        with TextClient("127.0.0.1", int(address.rpartition(":")[2])) as text:
            addresses = text.ask_json(".#.status")["addresses"]
            assert addresses["plain"] == address
            assert addresses["tls"]["address"] == in_tls.split()[1]
            assert addresses["tls"]["sha256"] == sha256.partition("=")[2]
            text.send(b".!.end_daemon\n")
            assert text.everything() == b"ended\n"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(ready.rpartition("=")[2]), signal.SIGKILL)


def test_certificate_is_the_same_at_the_next_start(tmp_path: Path) -> None:
    """Clients have been given it."""
    fingerprints = []
    for _ in range(2):
        daemon = Daemon(tmp_path / "run", "--tls-port", "0")
        try:
            assert daemon.tls is not None
            fingerprints.append(daemon.tls["sha256"])
            daemon.end()
        finally:
            daemon.kill()
    assert len(set(fingerprints)) == 1


def test_plain_port_stays_on_loopback_when_tls_goes_beyond_it(daemon_factory: Start) -> None:
    """What a laboratory wants: `--tls-host 0.0.0.0`."""
    daemon = daemon_factory("--allow", "10.0.0.0/8", "--tls-host", "0.0.0.0", "--tls-port", "0")
    addresses = daemon.status()["addresses"]
    assert addresses["plain"].startswith("127.0.0.1:")
    assert addresses["tls"]["address"].startswith("0.0.0.0:")
    hosts.connect(hosts.parse(entry(daemon))).close()


def test_daemon_without_tls_says_so(daemon: Daemon) -> None:
    assert daemon.tls is None
    assert daemon.status()["addresses"] == {"plain": daemon.address, "tls": None}
    assert not (daemon.run_dir / "tls-key.pem").exists()


def test_new_certificate_is_shown_after_hangup(daemon_factory: Start, authority: Authority) -> None:
    """To who connects from then on; who was connected goes on. One that is of no use changes nothing."""
    pair = authority.issue()
    daemon = daemon_factory("--tls-port", "0", *pair.options)

    def hang_up() -> None:
        os.kill(daemon.pid, signal.SIGHUP)

    with TlsTextClient(daemon, authority.file) as old:
        assert old.ask(".#.ping") == "pong"
        before = daemon.status()["addresses"]["tls"]["sha256"]
        authority.issue()
        hang_up()
        wait_until(lambda: daemon.status()["addresses"]["tls"]["sha256"] != before)
        after = daemon.status()["addresses"]["tls"]["sha256"]
        assert old.ask(".#.ping") == "pong"
        with TlsTextClient(daemon, authority.file) as new:
            assert new.ask(".#.ping") == "pong"
        pair.file.write_text("gone\n")
        hang_up()
        log = daemon.run_dir / "daemon.log"
        wait_until(lambda: "the certificate in force is kept" in log.read_text())
        assert daemon.status()["addresses"]["tls"]["sha256"] == after
    events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
    assert "certificate" in events
