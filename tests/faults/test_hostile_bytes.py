"""Bytes from strangers, from broken programs and from browsers: an answer or an end, and never a fault of the daemon's.

What the parsers stand is found out with coverage as the guide, on a staged daemon; that the real one stands the same,
with bytes by number.
"""

import contextlib
import http.client
import socket
import ssl
import struct

import pytest

from front_proc.configuration.limits import DEFAULTS
from front_proc.languages.text_commands import parse, takes_block
from front_proc.languages.text_framing import RequestReader, unescape
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.framing import FrameError, FrameReader
from tests.faults.bench import SIM
from tests.faults.hostile import Stranger
from tests.faults.staged_daemon import StagedDaemon
from tests.front_proc.conftest import stage  # noqa: F401 - a fixture
from tests.front_proc.playbook import NAME
from tests.front_proc.test_front import make_front  # noqa: F401 - a fixture
from tests.support.coverage_fuzz import Fuzzer
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until

STRANGER = Stranger(NAME)
#: language -> what the fuzzer begins with, and what it puts in between; of the other one as well.
LANGUAGES = {
    "text": (STRANGER.text_seeds, STRANGER.text_words + STRANGER.wire_words[:4]),
    "wire": (STRANGER.wire_seeds, STRANGER.wire_words + STRANGER.text_words[-20:]),
}
LINE_LIMIT = DEFAULTS.line_length
WATCHED = [ROOT / "front_proc", ROOT / "pyvisa_daemon"]


def parsed(data: bytes) -> None:
    """By the pure parsers of both languages."""
    reader = RequestReader(takes_block, LINE_LIMIT)
    reader.feed(data)
    with contextlib.suppress(Failure):
        while (request := reader.next()) is not None:
            parsed_line(request.line)
    parsed_line(reader.rest())
    with contextlib.suppress(FrameError, wire.DecodeError):
        for message in FrameReader().feed(data.removeprefix(wire.MAGIC)):
            wire.decode_request(message)


def parsed_line(line: bytes) -> None:
    with contextlib.suppress(Failure):
        for word in parse(line)[2].words:
            unescape(word)


@pytest.mark.fault(43)
@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=[pytest.mark.full, pytest.mark.timeout(200)])])
@pytest.mark.parametrize("language", LANGUAGES)
def test_parsers_raise_nothing_but_what_they_say(language, seconds):
    """Whatever way through them the bytes take."""
    seeds, words = LANGUAGES[language]
    fuzzer = Fuzzer(parsed, seeds, words, WATCHED)
    fuzzer.go_on(seconds)
    assert len(fuzzer.corpus) > 5, "nothing guided it"


@pytest.mark.fault(43)
@pytest.mark.parametrize("seconds", [2, pytest.param(150, marks=[pytest.mark.full, pytest.mark.timeout(400)])])
@pytest.mark.parametrize("language", LANGUAGES)
def test_conversations_come_to_their_end_whatever_they_hear(stage, make_front, language, seconds):  # noqa: F811
    """With an instrument behind them, and in pieces of a length that is the input's first byte."""
    daemon = StagedDaemon(stage, lambda: make_front({"match": NAME, "name": "x", "safe-state": ["OUTP OFF"]}))
    seeds, words = LANGUAGES[language]
    fuzzer = Fuzzer(lambda data: daemon.hears(data[1:], piece=1 + 16 * sum(data[:1])), [], words, WATCHED)
    for data in seeds:
        fuzzer.run(b"\xff" + data)
    fuzzer.go_on(seconds)
    assert len(fuzzer.corpus) > 5, "nothing guided it"


def is_unharmed(bench):
    """It serves, and has nothing to complain of."""
    client = bench.client(bench.tcp().resource)
    assert client.query("ECHO? unharmed") == "unharmed"
    wait_until(lambda: bench.daemon.status()["clients"] <= 3, what="only GOOD, this client and the one that looks")
    log = bench.daemon.run_dir / "daemon.log"
    lines = log.read_text().splitlines() if log.exists() else []
    assert [line for line in lines if '"fault"' in line or "Traceback" in line] == []
    assert bench.daemon.audit(outcome="INTERNAL_ERROR") == []
    [remark] = bench.daemon.stderr.splitlines()
    assert "every process of this machine is admin" in remark


@pytest.mark.fault(43)
@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
def test_daemon_serves_on_after_random_bytes(bench, count):
    """Each on a connection of its own, of which some are closed, some reset, and some half-closed and read."""
    stranger = Stranger(SIM)
    for number in range(count):
        with socket.create_connection((bench.daemon.host, bench.daemon.port), DEADLINE) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(stranger.says(number))
                if number % 10 == 0:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(65536)
            if number % 3 == 0:
                resets(connection)
    for _ in range(count // 4):  # before they are accepted: then there is no peer that has an address
        with socket.create_connection((bench.daemon.host, bench.daemon.port), DEADLINE) as connection:
            resets(connection)
    is_unharmed(bench)
    bench.figures.note("strings", count)


def resets(connection):
    """When it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


#: What is sent behind `.#.help `, and how the reply begins; None where the connection is closed behind it.
LINES = {
    "a megabyte without an end": (b"x" * 1_000_000, b".#.error LINE_TOO_LONG effect=none ", None),
    "one byte over the limit": (b"x" * (LINE_LIMIT - 7) + b"\n", b".#.error LINE_TOO_LONG effect=none ", None),
    "at the limit": (b"x" * (LINE_LIMIT - 8) + b"\n", b".#.error UNKNOWN_COMMAND effect=none ", b"\n"),
    "at the limit, with CR": (b"x" * (LINE_LIMIT - 8) + b"\r\n", b".#.error UNKNOWN_COMMAND effect=none ", b"\r\n"),
    "one byte below": (b"x" * (LINE_LIMIT - 9) + b"\n", b".#.error UNKNOWN_COMMAND effect=none ", b"\n"),
    "NUL": (b"\0\n", b".#.error BAD_ARGUMENT effect=none ", b"\n"),
    "a CR on its own": (b"ping\rpong\n", b".#.error BAD_ARGUMENT effect=none 2 arguments", b"\n"),
    "invalid UTF-8": (b"\xc3\x28\n", b".#.error BAD_ARGUMENT effect=none ", b"\n"),
    "a lone surrogate": (b"\xed\xa0\x80\n", b".#.error BAD_ARGUMENT effect=none ", b"\n"),
}


@pytest.mark.fault(44)
def test_lines_that_are_none_get_an_error_each(bench):
    """The connection stays, unless nobody could tell where the next line begins."""
    for what, (rest, expected, terminator) in LINES.items():
        with bench.daemon.text() as client, bench.figures.timed("error"):
            with contextlib.suppress(ConnectionError):  # it need not have taken all of the megabyte
                client.send(b".#.help " + rest)
            if terminator is None:
                reply = client.everything()
                assert reply.count(b"\n") == 1, what
            else:
                reply = client.line() + b"\n"
                assert reply.endswith(terminator), what
                assert client.ask(".#.ping") == "pong", what
            assert reply.startswith(expected), (what, reply)
    is_no_beginning(bench)
    is_unharmed(bench)


def is_no_beginning(bench):
    """LF before anything else is no prefix; a CR on its own is part of its line."""
    for data, token in ((b"\n", b"BAD_PROTOCOL"), (b"\r", b"BAD_PROTOCOL"), (b"\0" * 100_000, b"BAD_PROTOCOL")):
        with bench.daemon.text() as client:
            with contextlib.suppress(ConnectionError):
                client.send(data)
            assert client.everything().startswith(b".#.error " + token + b" effect=none ")
    with bench.daemon.text() as client:
        client.send(b".#.ping\r")
        assert client.silence(0.2)
        client.send(b"\n")
        assert client.exactly(6) == b"pong\r\n"


# Other programs that speak TCP.


def posts(bench, body):
    """As a page in a browser can have it do; what it gets is no HTTP."""
    connection = http.client.HTTPConnection(bench.daemon.host, bench.daemon.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("POST", "/", body=body, headers={"Content-Type": "text/plain", "Origin": "http://evil"})
        with pytest.raises(http.client.BadStatusLine, match=r"\.#\.error BAD_PROTOCOL effect=none"):
            connection.getresponse()


def gets(bench, body):
    connection = http.client.HTTPConnection(bench.daemon.host, bench.daemon.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", "/" + body.decode().replace("\n", "%0A").replace(" ", "%20"))
        with pytest.raises(http.client.BadStatusLine, match=r"\.#\.error BAD_PROTOCOL effect=none"):
            connection.getresponse()


def says_hello_in_tls(bench, body):
    context = ssl.create_default_context()
    with socket.create_connection((bench.daemon.host, bench.daemon.port), DEADLINE) as connection:
        connection.settimeout(DEADLINE)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(connection, server_hostname="localhost")


def posts_body_alone(bench, body):
    """A header that comes in a packet of its own, and the lines in the next."""
    with bench.daemon.text() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n")
        assert client.line().startswith(b".#.error BAD_PROTOCOL effect=none ")
        with contextlib.suppress(ConnectionError):
            client.send(body)
        assert client.everything() == b""


def rejected(bench):
    return bench.daemon.audit(event="rejected", outcome="BAD_PROTOCOL")


@pytest.mark.fault(50)
def test_other_protocols_get_one_line_and_nothing_of_them_is_executed(bench):
    """Though there are whole commands in it; and it is on record who that was."""
    instrument = bench.tcp()
    with bench.client(instrument.resource) as client:
        assert client.query("ECHO? before") == "before"
    body = f"\n.#.open_resource {instrument.resource}\n.#.write_resource SET evil\n.!.end_daemon\n".encode()
    for count, speak in enumerate((posts, gets, says_hello_in_tls, posts_body_alone), 1):
        with bench.figures.timed("error"):
            speak(bench, body)
        records = wait_until(lambda count=count: rejected(bench)[count - 1 :])
        assert len(records) == 1, speak
        assert records[0]["client"].startswith("127.0.0.1:")
    is_unharmed(bench)
    assert instrument.history() == ["ECHO? before"]
    assert len(bench.daemon.audit(event="open", resource=instrument.resource)) == 1
