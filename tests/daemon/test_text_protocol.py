"""The text protocol's contract, byte by byte, from a plain socket."""

import json
import time

import pytest

from tests.support.daemon import Daemon
from tests.support.instrument import ramp

MULTIMETER = "GPIB0::22::INSTR"
IDENTITY = "DEMO BENCH,MULTIMETER,DM000022,1.0"


@pytest.fixture
def client(daemon):
    with daemon.text() as client:
        yield client


@pytest.fixture(scope="module")
def idle(tmp_path_factory):
    """A daemon with the demo bench, in which nobody opens anything: one for all who ask only how lines are taken."""
    daemon = Daemon(tmp_path_factory.mktemp("idle") / "run", "--demo")
    yield daemon
    try:
        assert daemon.status()["resources"] == []
        daemon.end()
    finally:
        daemon.kill()


@pytest.fixture
def caller(idle):
    with idle.text() as client:
        yield client


def error(reply):
    """TOKEN and effect of an error reply."""
    words = reply.split(" ")
    assert words[0] == ".#.error", reply
    return words[1], words[2]


def test_original_seven_commands_work_as_they_always_did(client):
    """ping, list, open, query, write, read: the owner's programs run on."""
    assert client.ask(".#.ping") == "pong"
    assert MULTIMETER in client.ask_json(".#.list_resources")
    assert client.ask_json(".#.list_open_resources") == []
    assert client.ask(".#.open_resource GPIB::22") == MULTIMETER
    assert client.ask_json(".#.list_open_resources") == [MULTIMETER]
    assert client.ask(".#.query_resource *IDN?") == IDENTITY
    assert client.ask(".#.write_resource *IDN?") == "6"
    assert client.ask(f".#.read_resource {MULTIMETER}") == IDENTITY
    assert client.ask(".#.write_resource *IDN?") == "6"
    assert client.ask(".#.read_resource") == IDENTITY


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n", b""])
def test_reply_ends_as_its_request_ended(caller, terminator):
    """LF, CR LF, or nothing."""
    caller.send(b".#.ping" + terminator)
    assert caller.exactly(4 + len(terminator)) == b"pong" + terminator


def test_unterminated_request_is_answered_when_the_client_ends_its_sending_side(caller):
    """As `printf .#.ping | nc -N` does it; then the connection is closed."""
    caller.send(b".#.ping")
    caller.end_sending()
    assert caller.everything() == b"pong"


def test_terminated_requests_are_all_answered_after_a_half_close(client):
    """A whole script sent by netcat gets all of its replies."""
    client.send(f".#.open_resource {MULTIMETER}\n.#.query_resource *IDN?\n.#.ping".encode())
    client.end_sending()
    assert client.everything() == f"{MULTIMETER}\n{IDENTITY}\n".encode()


def test_unterminated_half_of_a_command_waits_for_its_rest(caller):
    """`.#.pin` is no command; what follows completes it."""
    caller.send(b".#.pin")
    assert caller.silence(0.3)
    caller.send(b"g\n")
    assert caller.line() == b"pong"


def test_unterminated_command_is_not_guessed_once_a_terminator_was_seen(caller):
    """A connection that used terminators is line-mode for good."""
    assert caller.ask(".#.ping") == "pong"
    caller.send(b".#.ping")
    assert caller.silence(0.3)
    caller.send(b"\n")
    assert caller.line() == b"pong"


def test_requests_sent_ahead_are_answered_in_order(client):
    """Each with one reply."""
    client.send(f".#.ping\n.#.open_resource {MULTIMETER}\n.#.query_resource *IDN?\n.#.nonsense\n.#.ping\n".encode())
    replies = [client.line().decode() for _ in range(5)]
    assert replies[:3] == ["pong", MULTIMETER, IDENTITY]
    assert error(replies[3]) == ("UNKNOWN_COMMAND", "effect=none")
    assert replies[4] == "pong"


def test_one_byte_at_a_time_is_the_same_request(caller):
    """Framing does not depend on packets."""
    for byte in b".#.ping\r\n":
        caller.send(bytes([byte]))
    assert caller.exactly(6) == b"pong\r\n"


@pytest.mark.parametrize(
    ("request_line", "token"),
    [
        (".#.nonsense", "UNKNOWN_COMMAND"),
        (".#.", "UNKNOWN_COMMAND"),
        (".!.nonsense", "UNKNOWN_COMMAND"),
        ("...s", "UNKNOWN_COMMAND"),
        (".#.open_resource", "BAD_ARGUMENT"),
        (".#.open_resource A B", "BAD_ARGUMENT"),
        (".#.ping twice", "BAD_ARGUMENT"),
        (".#.query_resource", "BAD_ARGUMENT"),
        (".#.query_resource *IDN?", "NO_RESOURCE"),
        (".#.read_resource", "NO_RESOURCE"),
        (".#.timeout", "NO_RESOURCE"),
        (".#.close_resource", "NO_RESOURCE"),
        (f".#.use {MULTIMETER}", "NO_RESOURCE"),
        (f".#.query_resource @{MULTIMETER} *IDN?", "NO_RESOURCE"),
        (".#.reset GPIB0::22::INSTR", "NO_RESOURCE"),
        (".#.mode loud", "BAD_ARGUMENT"),
        (".#.open_resource GPIB0::3::INSTR", "VI_ERROR_RSRC_NFOUND"),
        (".#.open_resource nonsense", "VI_ERROR_INV_RSRC_NAME"),
        (".#.write_binary CURV", "BAD_ARGUMENT"),
    ],
)
def test_bad_request_gets_an_error_and_the_connection_stays(caller, request_line, token):
    """With its token, and proof that no instrument acted."""
    assert error(caller.ask(request_line)) == (token, "effect=none")
    assert caller.ask(".#.ping") == "pong"


@pytest.mark.parametrize("line", [b".#.query_resource \xff\xfe", b".#.query_resource *ID\0N?", b".#.\xc3\x28"])
def test_bytes_that_are_no_text_get_an_error_and_the_connection_stays(caller, line):
    """Invalid UTF-8 and NUL have no place in a line."""
    caller.send(line + b"\n")
    assert error(caller.line().decode())[0] == "BAD_ARGUMENT"
    assert caller.ask(".#.ping") == "pong"


def test_line_of_64_kib_is_accepted(caller):
    """The limit itself is inside."""
    line = b".#.help ".ljust(65536, b"x")
    caller.send(line + b"\n")
    assert error(caller.line().decode())[0] == "UNKNOWN_COMMAND"


@pytest.mark.parametrize("end", [b"\n", b""])
def test_line_of_more_than_64_kib_is_refused_and_the_connection_closed(caller, end):
    """One error line, then the end; the daemon lives on."""
    caller.send(b".#.help ".ljust(65537, b"x") + b"x" * (end == b"") + end)
    assert caller.everything().startswith(b".#.error LINE_TOO_LONG effect=none ")


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET / HTTP/1.1\r\nHost: localhost:1340\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 22\r\n\r\n.#.open_resource GPIB0\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\0\0\0\0",
        b"*IDN?\n",
        b"\n",
    ],
)
def test_foreign_language_gets_one_error_line_and_is_closed(idle, caller, beginning):
    """And it is on record; nothing of it is executed."""
    host, port = caller.socket.getsockname()
    caller.send(beginning)
    reply = caller.everything()
    assert reply.startswith(b".#.error BAD_PROTOCOL effect=none ")
    assert reply.count(b"\n") == 1
    idle.wait_for_audit(event="rejected", outcome="BAD_PROTOCOL", client=f"{host}:{port}")
    assert not idle.audit(event="open")


def test_answer_with_a_line_feed_travels_as_a_block(daemon_factory, instrument):
    """A block's content goes through query_binary and query_resource whole, LF included."""
    daemon = daemon_factory()
    expected = ramp(300)
    with daemon.text() as client:
        assert client.ask(f".#.open_resource {instrument.resource}") == instrument.resource
        client.send(b".#.query_binary BLOCK? 300\n")
        assert client.reply() == expected
        client.send(b".#.query_binary BLOCK? 1000000\n")
        assert client.reply() == ramp(1_000_000)
        client.send(b".#.query_binary ECHO? no block\n")
        assert client.reply() == b"no block\n"
        assert client.ask(".#.query_resource ECHO? #1 is no block") == "#1 is no block"
        assert client.ask(".#.query_resource *IDN?") == "TEST,SCRIPTED INSTRUMENT,1,1.0"


def test_binary_block_is_written_as_it_stands(daemon_factory, instrument):
    """LF and NUL inside; the number of bytes written counts the termination."""
    daemon = daemon_factory()
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        block = b"#15\n\0\xff\r\n"
        client.send(b".#.write_binary LOAD " + block + b"\r\n")
        assert client.exactly(4) == b"14\r\n"
        assert client.ask(".#.query_resource LOAD?") == "5"
        long = bytes(200_000)
        client.send(b".#.write_binary LOAD #6200000" + long + b"\n.#.query_resource LOAD?\n")
        assert client.line() == str(len(b"LOAD #6200000\n") + len(long)).encode()
        assert client.line() == b"200000"


def test_resource_is_named_for_one_command(client):
    """The current one stays the current one."""
    supply = next(name for name in client.ask_json(".#.list_resources") if name.startswith("USB"))
    client.ask(f".#.open_resource {supply}")
    client.ask(f".#.open_resource {MULTIMETER}")
    assert "SUPPLY" in client.ask(f".#.query_resource @{supply} *IDN?")
    assert client.ask(".#.query_resource *IDN?") == IDENTITY
    assert client.ask(f".#.use {supply}") == supply
    assert "SUPPLY" in client.ask(".#.query_resource *IDN?")
    assert client.ask(".#.close_resource") == "ok"
    assert error(client.ask(".#.query_resource *IDN?"))[0] == "NO_RESOURCE"


def test_timeout_and_termination_belong_to_one_connection(daemon, client):
    """Another client of the same instrument has its own."""
    client.ask(f".#.open_resource {MULTIMETER}")
    assert client.ask(".#.timeout") == "2000"
    assert client.ask(".#.timeout 750") == "750"
    assert client.ask(".#.timeout inf") == "inf"
    assert client.ask(".#.termination") == r"\n \n"
    assert client.ask(r".#.termination \r\n none") == r"\r\n none"
    with daemon.text() as other:
        other.ask(f".#.open_resource {MULTIMETER}")
        assert other.ask(".#.timeout") == "2000"
        assert other.ask(".#.termination") == r"\n \n"
        assert other.ask(".#.query_resource *IDN?") == IDENTITY


@pytest.mark.parametrize("argument", ["-1", "1.5", "soon", "4294967295"])
def test_timeout_that_is_none_is_refused(client, argument):
    """And the one in force stays."""
    client.ask(f".#.open_resource {MULTIMETER}")
    assert error(client.ask(f".#.timeout {argument}")) == ("BAD_ARGUMENT", "effect=none")
    assert client.ask(".#.timeout") == "2000"


def test_tagged_mode_marks_every_reply(caller):
    """For clients that look at the first bytes only."""
    assert caller.ask(".#.mode") == "plain"
    assert caller.ask(".#.mode tagged") == "ok tagged"
    assert caller.ask(".#.ping") == "ok pong"
    assert caller.ask(".#.nonsense").startswith("err .#.error UNKNOWN_COMMAND effect=none")
    assert caller.ask(".#.mode plain") == "plain"


def test_hello_names_the_client_for_the_audit(daemon, client):
    """And tells version and features."""
    welcome = client.ask_json(".#.hello sweep-script")
    assert welcome["version"]
    assert isinstance(welcome["features"], list)
    client.ask(f".#.open_resource {MULTIMETER}")
    client.ask(".#.query_resource *IDN?")
    record = daemon.wait_for_audit(event="command", name="sweep-script")
    assert record["command"] == "query *IDN?"
    assert record["outcome"] == "ok"


def test_status_tells_what_has_a_process(daemon, client):
    """One JSON object on one line, with the fields that the contract names."""
    assert client.ask_json(".#.status")["resources"] == []
    client.ask(f".#.open_resource {MULTIMETER}")
    report = client.ask_json(".#.status")
    assert {"version", "pid", "uptime_s", "clients", "resources"} <= set(report)
    assert report["pid"] == daemon.pid
    (row,) = report["resources"]
    assert row["resource"] == MULTIMETER
    assert (row["state"], row["generation"], row["restarts"], row["queued"], row["sessions"]) == ("ready", 1, 0, 0, 1)
    assert row["pid"] in [child.pid for child in daemon.children()]
    assert row["memory_mb"] > 1
    assert row["last_error"] is None
    assert json.loads(client.ask(".!.status"))["pid"] == daemon.pid


def test_people_get_readable_answers_and_may_abbreviate(client):
    """Several lines where that helps, short names, and bare lines once they have begun."""
    client.send(b"...list\n")
    assert client.line().decode() == MULTIMETER
    client.send(b"...open GPIB0::22::INSTR\n")
    while client.line().decode() != MULTIMETER:
        pass
    client.send(b"*IDN?\nCONF:VOLT:DC\n...sta\n")
    assert client.line().decode() == IDENTITY
    assert client.line().decode().isdigit()
    assert client.line().decode().startswith("version ")


def test_bare_line_is_refused_from_programs(client):
    """Only who spoke as a person may leave the prefix out."""
    client.ask(f".#.open_resource {MULTIMETER}")
    assert error(client.ask("*IDN?"))[0] == "UNKNOWN_COMMAND"


def test_empty_lines_are_no_requests(caller):
    """They have no reply, and do no harm."""
    caller.send(b".#.ping\n\n\r\n.#.ping\n")
    assert [caller.line(), caller.line()] == [b"pong", b"pong"]


def test_finished_command_is_in_the_audit_file_within_a_second(daemon, client):
    """With who, what, which, outcome, effect, and how long."""
    client.ask(f".#.open_resource {MULTIMETER}")
    asked = time.monotonic()
    client.ask(".#.query_resource *IDN?")
    record = daemon.wait_for_audit(event="command")
    assert time.monotonic() - asked < 10  # generous: the promise is 1 s
    fields = {
        "time",
        "client",
        "name",
        "user",
        "resource",
        "command",
        "outcome",
        "effect",
        "waited_ms",
        "ran_ms",
        "bytes",
    }
    assert fields <= set(record)
    assert (record["resource"], record["outcome"], record["effect"]) == (MULTIMETER, "ok", "done")
    assert record["bytes"] == len(IDENTITY) + 1
