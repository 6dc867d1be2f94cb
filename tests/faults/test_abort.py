"""An abort from another connection during a long sweep: it ends at once, whoever's it is and whoever has a lock.

Where the library can clear the device while it waits, the process stays, and everybody else goes on; elsewhere the
process ends, and another one opens the instrument again.
"""

import threading
import time

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from tests.faults.bench import SIM
from tests.faults.processes import is_gone, pid_of
from tests.faults.story import story
from tests.support.waiting import DEADLINE, wait_until

pytestmark = pytest.mark.fault(32)

CLEARING = "[[resource]]\nmatch = 'TCPIP0::*.clearing::*'\nlibrary = '@clearing'"


@pytest.fixture
def bench(make_bench):
    """A device clear has the time that it needs, on a busy machine too."""
    return make_bench(rows=CLEARING, limits={"abort-time": DEADLINE})


def clearing(name):
    return f"TCPIP0::{name}.clearing::inst0::INSTR"


def begin_sweep(bench, client, message="SWEEP?"):
    """A query that nobody ever answers; returns when it waits for that."""
    before = executed(bench, client.resource).count(message)
    client.begin("query", message)
    if client.resource == SIM:
        wait_until(lambda: bench.daemon.resource(SIM)["state"] == "busy")
        time.sleep(0.3)  # it is begun in the child too: an abort that overtakes it clears nothing
    else:
        wait_until(lambda: executed(bench, client.resource).count(message) > before)


def executed(bench, resource):
    return bench.executed(resource) if resource != SIM else []


def abort(bench, resource):
    """By an operator, on a connection that has nothing open."""
    with bench.daemon.text() as operator, bench.figures.timed("error"):
        assert operator.ask(f".#.abort {resource}") == "ok"


def is_aborted(client, effect):
    reply = client.outcome()
    assert reply.startswith(f".#.error COMMAND_ABORTED effect={effect} "), reply
    assert "aborted by 127.0.0.1:" in reply


SWEEPS = [(60_000, False), (60_000, True), ("inf", False), ("inf", True)]


@pytest.mark.parametrize(
    ("resource", "question", "answer"), [(SIM, "?IDN", "LSG"), (clearing("any"), "ECHO? on", "on")]
)
def test_abort_by_a_device_clear_leaves_everything_as_it_was(bench, resource, question, answer):
    """The same process, the same session, the same lock; what waits behind the sweep is served."""
    client, other = bench.client(resource), bench.client(resource)
    pid = pid_of(bench, resource)
    for timeout_ms, is_locked in SWEEPS:
        client.ask(f".#.timeout {timeout_ms}")
        assert not is_locked or client.ask(".#.lock") == "ok"
        begin_sweep(bench, client, "*RST")
        if not is_locked:
            other.begin("query", question)
        abort(bench, resource)
        is_aborted(client, "done")
        assert client.query(question).startswith(answer)
        if is_locked:
            assert other.query("ECHO? locked out").startswith(".#.error VI_ERROR_RSRC_LOCKED effect=none ")
            assert client.ask(".#.unlock") == "ok"
        else:
            assert other.outcome().startswith(answer)
    assert pid_of(bench, resource) == pid
    assert story(bench.daemon, resource) == ["opened"]


def test_abort_without_a_device_clear_ends_the_process(bench):
    """A raw socket: it is opened again, and the others are told that nothing of theirs was executed."""
    instrument = bench.tcp()
    client, other = bench.client(instrument.resource), bench.client(instrument.resource)
    for number, (timeout_ms, is_locked) in enumerate(SWEEPS):
        pid = pid_of(bench, client.resource)
        client.ask(f".#.timeout {timeout_ms}")
        assert not is_locked or client.ask(".#.lock") == "ok"
        begin_sweep(bench, client, f"SLOW? 60000,{number}")
        if not is_locked:
            other.begin("query", f"ECHO? queued {number}")
        abort(bench, client.resource)
        is_aborted(client, "maybe")
        assert is_gone(pid)
        assert client.query(f"ECHO? again {number}") == f"again {number}"
        if is_locked:
            assert client.ask(".#.unlock") == "ok"
            reply = other.query(f"ECHO? told {number}")
        else:
            reply = other.outcome()
        assert reply.startswith(".#.error SESSION_RESET effect=none "), reply
        assert "aborted by" in reply
        assert other.query(f"ECHO? other {number}") == f"other {number}"
    assert story(bench.daemon, client.resource) == ["opened", *["killed", "restarted"] * len(SWEEPS)]


@pytest.mark.parametrize("name", ["waits", "refuses"])
def test_abort_whose_device_clear_is_of_no_use_ends_the_process(make_bench, name):
    """After the time that it may take; that is no hang."""
    bench = make_bench(rows=CLEARING, limits={"abort-time": 0.5})
    client = bench.client(clearing(name), 3000)
    pid = pid_of(bench, client.resource)
    begin_sweep(bench, client)
    abort(bench, client.resource)
    is_aborted(client, "maybe")
    assert is_gone(pid)
    bench.recovers(client)
    assert story(bench.daemon, client.resource) == ["opened", "killed", "restarted"]


@pytest.mark.parametrize("kind", ["clearing", "socket"])
def test_stock_program_whose_sweep_is_aborted_is_told_so_and_works_on(bench, kind):
    """VI_ERROR_ABORT, as viTerminate has it; then it asks again."""
    instrument = bench.tcp()
    resource, sweep = (clearing("any"), "SWEEP?") if kind == "clearing" else (instrument.resource, "SLOW? 60000,never")
    errors = []
    manager = pyvisa.ResourceManager(f"{bench.daemon.address}@daemon")
    program = manager.open_resource(resource, read_termination="\n", write_termination="\n", timeout=None)
    bench.client(resource)  # whose book this instrument's is

    def ask():
        try:
            program.query(sweep)
        except pyvisa.VisaIOError as error:
            errors.append(error.error_code)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: bench.daemon.resource(resource)["state"] == "busy" and bench.executed(resource) == [sweep])
    wait_until(lambda: bench.daemon.audit(event="command", resource=resource, outcome="ok"), what="the write is done")
    abort(bench, resource)
    asking.join(DEADLINE)
    assert errors == [StatusCode.error_abort]
    assert program.query("ECHO? again") == "again"
    assert bench.executed(resource) == [sweep, "ECHO? again"]
    manager.close()


def test_abort_of_what_nobody_has_open_or_does_nothing_returns_at_once(bench):
    """The one is an error, the other is none."""
    client = bench.client(bench.stubborn())
    with bench.daemon.text() as operator:
        reply = operator.ask(".#.abort TCPIP0::192.0.2.1::INSTR")
        assert reply.startswith(".#.error NO_RESOURCE effect=none "), reply
        assert operator.ask(f".#.abort {client.resource}") == "ok"
    assert client.query("ECHO? unhurt") == "unhurt"
    assert story(bench.daemon, client.resource) == ["opened"]
