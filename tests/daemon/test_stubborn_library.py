"""A VISA library that hangs or dies in C, with the interpreter's lock held: the process ends, nobody else notices."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.waiting import DEADLINE, wait_until

BACKENDS = Path(__file__).with_name("backends")
GOOD = "TCPIP0::good::inst0::INSTR"
BAD = "TCPIP0::bad::inst0::INSTR"


@pytest.fixture
def start(daemon_factory):
    """Starts a daemon with the stubborn library."""

    def start(library="@stubborn", *options):
        environment = {"PYTHONPATH": str(BACKENDS)}
        return daemon_factory("--visa-library", library, "--grace", "0.3", *options, environment=environment)

    return start


def opened(daemon, resource, timeout_ms=200):
    client = daemon.text()
    assert client.ask(f".#.open_resource {resource}") == resource
    client.ask(f".#.timeout {timeout_ms}")
    return client


@pytest.mark.parametrize(
    ("message", "token", "words"),
    [
        ("HANG", "INSTRUMENT_HUNG", "no answer by its deadline"),
        ("SEGV", "INSTRUMENT_CRASHED", "SIGSEGV"),
        ("EXIT", "INSTRUMENT_CRASHED", "exited with code 0"),
    ],
)
def test_library_that_misbehaves_in_a_call_costs_one_command(start, message, token, words):
    """The failure is named, the instrument is opened anew, the sibling answers all the while."""
    daemon = start()
    with opened(daemon, GOOD) as good, opened(daemon, BAD) as bad:
        bad.send(f".#.query_resource {message}\n".encode())
        while daemon.resource(BAD)["generation"] == 1:
            assert good.ask(".#.query_resource fine") == "fine"
        reply = bad.line().decode()
        assert reply.startswith(f".#.error {token} effect=maybe "), reply
        assert words in reply
        assert bad.ask(".#.query_resource again") == "again"


@pytest.mark.parametrize("doing", ["idle", "hung"])
def test_child_that_holds_the_interpreters_lock_dies_with_the_front(start, doing):
    """SIGKILL to the front: the kernel ends the child, whatever it is stuck in."""
    daemon = start()
    with opened(daemon, BAD, timeout_ms=60_000) as client:
        if doing == "hung":
            client.send(b".#.query_resource HANG\n")
            wait_until(lambda: daemon.resource(BAD)["state"] == "busy")
        os.kill(daemon.pid, signal.SIGKILL)
        daemon.process.wait(DEADLINE)
        daemon.assert_nothing_left()


def test_open_that_never_returns_is_a_bounded_error(start):
    """With effect=none; the resource is closed again, its process gone."""
    daemon = start()
    with daemon.text() as client, opened(daemon, GOOD) as good:
        client.socket.settimeout(60)
        client.send(b".#.open_resource TCPIP0::hangs-in-open::inst0::INSTR\n")
        assert good.ask(".#.query_resource fine") == "fine"
        assert client.line().startswith(b".#.error INSTRUMENT_HUNG effect=none ")
        wait_until(lambda: daemon.resource("TCPIP0::hangs-in-open::inst0::INSTR") == {})


def test_open_that_kills_its_process_is_an_error_and_not_tried_again(start):
    """Those who asked for it are told once."""
    daemon = start()
    with daemon.text() as client:
        reply = client.ask(".#.open_resource TCPIP0::dies-in-open::inst0::INSTR")
        assert reply.startswith(".#.error INSTRUMENT_CRASHED effect=none "), reply
        assert "exited with code 3" in reply
    assert len(daemon.audit(event="crashed")) <= 1


def test_search_that_hangs_has_a_deadline_and_holds_nobody_up(start):
    """list_resources runs in a process of its own, which is killed."""
    daemon = start("hangs-in-list@stubborn")
    with daemon.text() as client, opened(daemon, GOOD) as good:
        client.socket.settimeout(60)
        began = time.monotonic()
        client.send(b".#.list_resources\n")
        assert good.ask(".#.query_resource fine") == "fine"
        assert client.line().startswith(b".#.error VI_ERROR_TMO effect=none ")
        assert time.monotonic() - began < 50  # generous
        assert good.ask(".#.query_resource still fine") == "still fine"


def test_end_is_clean_while_a_child_holds_the_interpreters_lock(start):
    """`.!.end_daemon` leaves nothing."""
    daemon = start()
    with opened(daemon, BAD, timeout_ms=60_000) as client:
        client.send(b".#.query_resource HANG\n")
        wait_until(lambda: daemon.resource(BAD)["state"] == "busy")
        daemon.end()
