"""What a session leaves of an answer on a stream reaches nobody else, and costs those who leave nothing no wait.

A socket and a serial line with instruments that end their answers with LF, and one that ends them as a test says. Two
clients of the text protocol, and PyVISA where the way of reading is its own.
"""

import contextlib
import socketserver
import threading
import time

import pytest
import pyvisa

from instrument_proc.visa_session import QUIET_MS
from tests.support.daemon import Daemon
from tests.support.instrument_process import SerialInstrument
from tests.support.tcp_instrument import TcpInstrument

#: Handovers of which the time is taken.
TURNS = 40


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("daemon") / "run", "--visa-library", "@py")
    yield daemon
    try:
        daemon.end()
    finally:
        daemon.kill()


@pytest.fixture(scope="module", params=[TcpInstrument, SerialInstrument])
def instrument(request):
    """One on a socket, one on a serial line: `ECHO? TEXT`, which LF ends."""
    instrument = request.param()
    yield instrument.resource
    instrument.switch_off()


class Handler(socketserver.StreamRequestHandler):
    """Gives each message back, from its first space on: CR, LF and pauses as they are written, and no end."""

    disable_nagle_algorithm = True

    def handle(self):
        self.server.connections += 1
        with contextlib.suppress(OSError):
            for line in self.rfile:
                answer = line.rstrip(b"\n").partition(b" ")[2].replace(rb"\r", b"\r").replace(rb"\n", b"\n")
                for index, part in enumerate(answer.split(rb"\p")):
                    if index:
                        time.sleep(0.02)
                    self.wfile.write(part)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    connections = 0

    @property
    def resource(self):
        return f"TCPIP0::127.0.0.1::{self.server_address[1]}::SOCKET"


@pytest.fixture
def parrot():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def opened(daemon, resource, termination=r"\n"):
    """A client that has opened it, and reads up to this."""
    with daemon.text() as client:
        assert client.ask(f".#.open_resource {resource}") == resource
        client.ask(rf".#.termination {termination} \n")
        client.ask(".#.timeout 5000")
        yield client


def query(client, message):
    return client.ask(f".#.query_resource {message}")


def test_rest_of_an_answer_does_not_reach_the_next_client_when_its_reader_closes(daemon, instrument):
    """Who read up to a comma is gone; the next question has its own answer, and so has each one behind it."""
    with opened(daemon, instrument) as other:
        with opened(daemon, instrument, ",") as reader:
            assert query(reader, "ECHO? a,b") == "a"
            assert reader.ask(".#.close_resource") == "ok"
        assert [query(other, f"ECHO? {nonce}") for nonce in "123"] == ["1", "2", "3"]


def test_rest_of_an_answer_does_not_reach_the_next_client_while_its_reader_is_there(daemon, instrument):
    """It is its reader's, and is kept for it, whoever comes between."""
    with opened(daemon, instrument) as other, opened(daemon, instrument, ",") as reader:
        assert query(reader, "ECHO? a,b") == "a"
        assert [query(other, f"ECHO? {nonce}") for nonce in "123"] == ["1", "2", "3"]
        reader.ask(r".#.termination \n \n")
        assert reader.ask(".#.read_resource") == "b"
        assert query(reader, "ECHO? c") == "c"
        assert query(other, "ECHO? 4") == "4"


def test_rest_of_an_answer_does_not_reach_who_only_reads(daemon, instrument):
    """It has asked for nothing, and gets nothing."""
    with opened(daemon, instrument) as other, opened(daemon, instrument, ",") as reader:
        assert query(reader, "ECHO? a,b") == "a"
        other.ask(".#.timeout 100")
        assert other.ask(".#.read_resource").startswith(".#.error VI_ERROR_TMO ")


def test_rest_of_an_answer_is_read_on_by_its_own_session(daemon, instrument):
    """Part by part, and up to the end, as where there is no daemon."""
    with opened(daemon, instrument) as other, opened(daemon, instrument, ",") as reader:
        assert query(reader, "ECHO? a,b,c") == "a"
        assert reader.ask(".#.read_resource") == "b"
        reader.ask(r".#.termination \n \n")
        assert reader.ask(".#.read_resource") == "c"
        assert query(other, "ECHO? 1") == "1"


def test_answers_that_come_one_too_late_for_their_own_session_reach_nobody_else(daemon, instrument):
    """It asked anew behind a rest, and was given that; the answer to its second question is still to come."""
    with opened(daemon, instrument) as other:
        with opened(daemon, instrument, ",") as reader:
            assert query(reader, "ECHO? a,b") == "a"
            reader.ask(r".#.termination \n \n")
            assert query(reader, "SLOW? 400,late") == "b"
        assert [query(other, f"ECHO? {nonce}") for nonce in "123"] == ["1", "2", "3"]


def test_rest_that_pyvisa_leaves_does_not_reach_another_program(daemon, instrument):
    """As by `read_termination`, set for one session or for one read."""
    mine, its = (pyvisa.ResourceManager(f"{host}:{daemon.port}@daemon") for host in ("localhost", "127.0.0.1"))
    try:
        reader = mine.open_resource(instrument, read_termination=",", write_termination="\n", timeout=5000)
        other = its.open_resource(instrument, read_termination="\n", write_termination="\n", timeout=5000)
        assert reader.query("ECHO? a,b") == "a"
        assert [other.query(f"ECHO? {nonce}") for nonce in "123"] == ["1", "2", "3"]
        assert reader.read(termination="\n") == "b"
        reader.write("ECHO? c,d")
        assert reader.read() == "c"
        assert reader.read_bytes(1) == b"d"
        assert [other.query(f"ECHO? {nonce}") for nonce in "123"] == ["1", "2", "3"]
    finally:
        mine.close()
        its.close()


def test_rest_that_comes_a_moment_later_does_not_reach_the_next_client(daemon, parrot):
    """Where nothing is known yet of what ends the instrument's answers, and where it is."""
    with opened(daemon, parrot.resource) as other, opened(daemon, parrot.resource, ",") as reader:
        for nonce in "1234":
            assert query(reader, r"ECHO? a,\pb\n") == "a"
            assert query(other, rf"ECHO? {nonce}\n") == nonce


@pytest.mark.parametrize("end", [r"\r", r"\r\n", r"\r\p\n"])
def test_clients_that_read_up_to_cr_share_an_instrument_without_a_wait(daemon, parrot, end):
    """Nobody has set a termination: CR may end its answers, or LF behind it. No handover costs a connection, and only
    the first may wait for what does not come."""
    with opened(daemon, parrot.resource, r"\r") as one, opened(daemon, parrot.resource, r"\r") as other:
        took = []
        for turn in range(TURNS):
            for client in (one, other):
                began = time.monotonic()
                assert query(client, rf"ECHO? {turn}{end}").strip() == str(turn)
                took.append(time.monotonic() - began)
    quick = sorted(took)[len(took) // 4]
    print(f"a quarter took {quick * 1000:.2f} ms at most, {parrot.connections} connections")
    assert quick < QUIET_MS / 1000, "less than an instrument has to be silent to be quiet"
    assert parrot.connections == 1
