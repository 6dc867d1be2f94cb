"""The client's side of TLS: whom it believes, and the relay, which loses, keeps and leaves nothing.

The server is Python's own TLS, with a script in a thread.
"""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pyvisa_daemon import hosts, sockets, tls, wire
from tests.pyvisa_daemon.peer import Conversation, echo
from tests.pyvisa_daemon.threads import in_thread
from tests.support.certificates import DAY, Authority, Pair
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until

Script = Callable[[ssl.SSLSocket], None]


class Server:
    """Listens in TLS on a free port; `script` has each connection, in a thread of its own."""

    def __init__(self, pair: Pair, script: Script) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*pair)
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[ssl.SSLSocket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            connection.settimeout(DEADLINE)
            with self._context.wrap_socket(connection, server_side=True) as secured:
                self.connections.append(secured)
                self._script(secured)

    def cut(self) -> None:
        """As a server that dies: no word of TLS."""
        wait_until(lambda: self.connections)
        socket.socket.shutdown(self.connections[0], socket.SHUT_RDWR)

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def serve(authority: Authority) -> Iterator[Callable[..., Server]]:
    """Starts servers, with a certificate of the CA for this machine unless another is given."""
    servers: list[Server] = []

    def start(script: Script, pair: Pair | None = None) -> Server:
        server = Server(pair or authority.issue(), script)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.end()


def relays() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("TLS")]


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """No thread and no descriptor, whatever happened."""
    yield
    wait_until(lambda: not relays(), what="no thread left")
    assert not tls._relays


def dial(server: Server, ca_file: Path | None, host: str = "127.0.0.1") -> socket.socket:
    options = f"?ca_file={ca_file}" if ca_file else "?tls=1"
    return hosts.dial(hosts.parse(f"{host}:{server.port}{options}"), DEADLINE)


def echoes(connection: ssl.SSLSocket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def receive(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and sockets.is_ready(connection, False, DEADLINE):
        data += connection.recv(1 << 20)
    return bytes(data)


def test_tls_is_not_loaded_by_who_does_without() -> None:
    """It costs milliseconds."""
    program = "import sys; from pyvisa_daemon import WRAPPER_CLASS; print('ssl' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == "False\n"


# Whom it believes.


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_certificate_of_the_ca_is_believed(serve: Callable[..., Server], authority: Authority, host: str) -> None:
    with dial(serve(echoes), authority.file, host) as connection:
        connection.sendall(b"hello")
        assert receive(connection, 5) == b"hello"


def test_certificate_itself_is_believed_when_it_is_given(serve: Callable[..., Server], authority: Authority) -> None:
    """Without its CA's."""
    pair = authority.issue()
    dial(serve(echoes, pair), pair.file).close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda ca: ca.issue(names=("labpc",)), "for another"),
        (lambda ca: ca.issue(names=("10.0.0.1", "localhost")), "for another address"),
        (lambda ca: ca.issue(begins=-9 * DAY, ends=-DAY), "has expired"),
        (lambda ca: ca.issue(begins=DAY), "look at the clocks"),
        (lambda ca: Authority(ca.file.parent / "other").issue(), "not known here.*[?]ca_file="),
    ],
    ids=["other name", "other address", "expired", "not yet valid", "other CA"],
)
def test_certificate_is_refused_with_a_remedy(
    serve: Callable[..., Server], authority: Authority, make: Callable[[Authority], Pair], reason: str
) -> None:
    with pytest.raises(ConnectionError, match=f"no connection to 127.0.0.1:.*not accepted: it .*{reason}"):
        dial(serve(echoes, make(authority)), authority.file)


def test_certificate_is_refused_when_this_system_does_not_know_it(serve: Callable[..., Server]) -> None:
    with pytest.raises(ConnectionError, match="not known here"):
        dial(serve(echoes), None)


@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_ca_file_that_is_none_is_refused_by_name(
    serve: Callable[..., Server], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "given.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConnectionError, match=r"ca_file .*given.pem cannot be used: (\[Errno 2\]|no certificate)"):
        dial(serve(echoes), file)


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b".#.error BAD_PROTOCOL effect=none ...\n", "speaks no TLS there.*TLS port"),
        (b"HTTP/1.1 400 Bad Request\r\n", "speaks no TLS there"),
        (b"\x16", "hung up in the TLS handshake"),
        (b"", "hung up in the TLS handshake"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "no TLS connection can be agreed on"),
    ],
)
def test_connecting_says_why_when_no_tls_comes_back(authority: Authority, greeting: bytes, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(greeting)

        done = in_thread(answer)
        with pytest.raises(ConnectionError, match=reason):
            hosts.dial(hosts.parse(f"127.0.0.1:{listener.getsockname()[1]}?ca_file={authority.file}"), DEADLINE)
        done()


def test_connecting_says_why_when_nothing_comes_back(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = hosts.parse(f"127.0.0.1:{listener.getsockname()[1]}?ca_file={authority.file}")
        with pytest.raises(ConnectionError, match="stopped or stuck"):
            hosts.dial(address, 0.2)


# The relay.


def test_bytes_come_back_as_they_went(serve: Callable[..., Server], authority: Authority) -> None:
    """More than all buffers hold, both ways at once, and in order."""
    data = os.urandom(1 << 20) * 20
    with dial(serve(echoes), authority.file) as connection:
        connection.setblocking(True)
        sent = in_thread(lambda: connection.sendall(data))
        assert receive(connection, len(data)) == data
        sent()


def test_server_that_takes_nothing_holds_the_sender_back(serve: Callable[..., Server], authority: Authority) -> None:
    """Nothing is gathered here; and when it goes on, so does the sender."""
    may_read, size, got = threading.Event(), 1 << 26, [0]

    def reads_late(connection: ssl.SSLSocket) -> None:
        may_read.wait(DEADLINE)
        while data := connection.recv(1 << 16):
            got[0] += len(data)

    with dial(serve(reads_late), authority.file) as connection:
        sent = 0
        while sockets.is_ready(connection, True, 0.5):
            sent += connection.send(bytes(1 << 16))
            assert sent < size, "it was gathered"
        may_read.set()
        assert sockets.is_ready(connection, True, DEADLINE)
    wait_until(lambda: got[0] == sent)


def test_program_that_takes_nothing_holds_the_server_back(serve: Callable[..., Server], authority: Authority) -> None:
    sent, size = [0], 1 << 26

    def sends(connection: ssl.SSLSocket) -> None:
        while sent[0] < size:
            sent[0] += connection.send(bytes(1 << 16))

    with dial(serve(sends), authority.file) as connection:
        before = -1
        while sent[0] != before:
            before = sent[0]
            time.sleep(0.3)
        assert sent[0] < size, "it was gathered"
        assert len(receive(connection, size)) == size


def test_end_of_the_server_is_the_end_here_behind_all_it_sent(
    serve: Callable[..., Server], authority: Authority
) -> None:
    data = os.urandom(1 << 20)

    def says_all_and_leaves(connection: ssl.SSLSocket) -> None:
        connection.sendall(data)
        connection.unwrap()

    with dial(serve(says_all_and_leaves), authority.file) as connection:
        time.sleep(0.1)
        assert receive(connection, len(data)) == data
        assert sockets.is_ready(connection, False, DEADLINE)
        assert connection.recv(1) == b""


def test_server_that_dies_is_the_end_here(serve: Callable[..., Server], authority: Authority) -> None:
    server = serve(echoes)
    with dial(server, authority.file) as connection:
        server.cut()
        assert sockets.is_ready(connection, False, DEADLINE)
        assert connection.recv(1) == b""


def test_what_was_sent_before_the_close_arrives(serve: Callable[..., Server], authority: Authority) -> None:
    """Behind it the server reads an end that was said, not one that somebody made."""
    got: list[bytes] = []

    def reads_all(connection: ssl.SSLSocket) -> None:
        while data := connection.recv(1 << 16):
            got.append(data)
        got.append(b"END")

    connection = dial(serve(reads_all), authority.file)
    connection.sendall(b"OUTP OFF\n")
    connection.close()
    wait_until(lambda: b"".join(got) == b"OUTP OFF\nEND")


def test_descriptors_are_as_many_as_before_when_closed(serve: Callable[..., Server], authority: Authority) -> None:
    server = serve(echoes)

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    dial(server, authority.file).close()
    wait_until(lambda: not relays() and server.connections[-1].fileno() < 0)
    before = count()
    for connection in [dial(server, authority.file) for _ in range(20)]:
        connection.close()
    wait_until(lambda: count() <= before, what="no descriptor left")


def test_handshake_that_fails_leaves_nothing(serve: Callable[..., Server], authority: Authority) -> None:
    server = serve(echoes, authority.issue(ends=-timedelta(minutes=1), begins=-DAY))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(ConnectionError):
            dial(server, authority.file)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)


# Channels and programs.


def speaks_the_wire(connection: ssl.SSLSocket) -> None:
    echo(Conversation(_Whole(connection)))  # type: ignore[arg-type]


class _Whole:
    """A TLS socket that knows MSG_WAITALL."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = self._connection.recv(size)
        while flags and data and len(data) < size:
            data += self._connection.recv(size - len(data))
        return data

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


def test_channel_speaks_through_it(serve: Callable[..., Server], authority: Authority) -> None:
    """And notices its end."""
    server = serve(speaks_the_wire)
    entry = f"127.0.0.1:{server.port}?ca_file={authority.file}"
    with contextlib.closing(hosts.connect(hosts.parse(entry))) as channel:
        assert channel.address == f"127.0.0.1:{server.port}"
        assert channel.ask(DEADLINE, wire.Find, "GPIB0::9::INSTR").value == "listed"
        assert channel.is_alive
        server.cut()
        wait_until(lambda: not channel.is_alive)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where there is fork")
def test_forked_process_does_not_keep_the_connection_alive(serve: Callable[..., Server], authority: Authority) -> None:
    """It may outlive its parent, whose locks must be free by then."""
    is_over = threading.Event()

    def reads(connection: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError):
            while connection.recv(99):
                pass
        is_over.set()

    server = serve(reads)
    program = f"""
import os, time
from pyvisa_daemon import hosts
connection = hosts.dial(hosts.parse("127.0.0.1:{server.port}?ca_file={authority.file}"), 20)
if os.fork() == 0:
    connection.close()
    os.close(1)
    time.sleep(60)
    os._exit(0)
print("forked", flush=True)
os.kill(os.getpid(), 9)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.communicate(timeout=60)[0] == "forked\n"
        assert is_over.wait(DEADLINE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise KeyboardInterrupt"])
def test_what_a_program_said_last_arrives_though_it_ends(
    serve: Callable[..., Server], authority: Authority, end: str
) -> None:
    """As on a plain socket, which the kernel empties. And the program does end."""
    got: list[bytes] = []

    def reads(connection: ssl.SSLSocket) -> None:
        while data := connection.recv(1 << 16):
            got.append(data)

    server = serve(reads)
    program = f"""
import sys
from pyvisa_daemon import hosts
connection = hosts.dial(hosts.parse("127.0.0.1:{server.port}?ca_file={authority.file}"), 20)
connection.setblocking(True)
connection.sendall(b"x" * 100_000 + b"OUTP OFF")
{end}
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=60)
    wait_until(lambda: b"".join(got).endswith(b"OUTP OFF"))


@pytest.mark.full
def test_program_ends_though_the_server_takes_nothing(serve: Callable[..., Server], authority: Authority) -> None:
    may_end = threading.Event()
    server = serve(lambda connection: may_end.wait(3 * DEADLINE) and None)
    program = f"""
from pyvisa_daemon import hosts, sockets
connection = hosts.dial(hosts.parse("127.0.0.1:{server.port}?ca_file={authority.file}"), 20)
while sockets.is_ready(connection, True, 0.3):
    connection.send(bytes(1 << 16))
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)
    may_end.set()
