"""`identity = "check"` in a real daemon: who answers after a reopen is who answered first, or nobody is served."""

import json
import os
import signal

import pytest
import pyvisa

from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

FIRST = "TEST,SCRIPTED INSTRUMENT,1,1.0"
OTHER = "TEST,ANOTHER INSTRUMENT,2,1.0"
CHECKED = "[limits]\nopen-time = 1.5\nlongest-offline = 0.1\n[[resource]]\nmatch = '*'\nidentity = 'check'\n"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(CHECKED)
    return str(file)


@pytest.fixture
def daemon(daemon_factory, config):
    return daemon_factory("--config", config, "--grace", "0.5")


def reopened(daemon, client, instrument):
    """The instrument ends the connection, which the next command finds out."""
    client.ask(".#.write_resource DROP")
    wait_until(
        lambda: "VI_ERROR_CONN_LOST" in client.ask(".#.query_resource ECHO? is it there"), what="a lost connection"
    )


def test_instrument_is_asked_before_anybody_is_served(daemon, instrument):
    """At the first open and at every one after it; `status` and the record say who it is."""
    with daemon.text() as client:
        assert client.ask(f".#.open_resource {instrument.resource}") == instrument.resource
        assert client.ask(".#.query_resource ECHO? one") == "one"
        assert instrument.history() == ["*IDN?", "*IDN?", "ECHO? one"]
        assert daemon.resource(instrument.resource)["identity"] == FIRST
        assert client.ask(f".!.restart {instrument.resource}") == "ok"
        assert "SESSION_RESET" in client.ask(".#.query_resource ECHO? two")
        assert client.ask(".#.query_resource ECHO? two") == "two"
    assert instrument.history() == ["*IDN?", "*IDN?", "ECHO? one", "*IDN?", "*IDN?", "ECHO? two"]


def test_another_instrument_is_refused_until_an_operator_accepts_it(daemon, instrument):
    """Nothing of a client's reaches it, whoever comes and however often; that is on record."""
    with daemon.text() as client, daemon.text() as other:
        client.ask(f".#.open_resource {instrument.resource}")
        instrument.ask(f"BE {OTHER};*OPC?")
        reopened(daemon, client, instrument)
        wait_until(
            lambda: "INSTRUMENT_CHANGED effect=none" in client.ask(".#.query_resource ECHO? lost"), what="a refusal"
        )
        before = instrument.history()
        said = other.ask(f".#.open_resource {instrument.resource}")
        assert said.startswith(".#.error INSTRUMENT_CHANGED effect=none ")
        assert FIRST in said
        assert OTHER in said
        assert daemon.resource(instrument.resource)["state"] == "changed"
        client.ask(".#.close_resource")
        assert "INSTRUMENT_CHANGED" in other.ask(f".#.open_resource {instrument.resource}")
        assert instrument.history() == before
        assert daemon.wait_for_audit(event="changed")["known"] == FIRST
        assert other.ask(f".#.reset {instrument.resource}") == "ok"
        assert other.ask(f".#.open_resource {instrument.resource}") == instrument.resource
        assert other.ask(".#.query_resource ECHO? now") == "now"
    assert daemon.resource(instrument.resource)["identity"] == OTHER
    assert "ECHO? lost" not in instrument.history()


def test_restart_looks_again_and_accepts_nobody(daemon, instrument):
    """The right one has been put back; whoever has it open is served again."""
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        instrument.ask(f"BE {OTHER};*OPC?")
        reopened(daemon, client, instrument)
        wait_until(lambda: "INSTRUMENT_CHANGED" in client.ask(".#.query_resource ECHO? lost"), what="a refusal")
        assert client.ask(f".!.restart {instrument.resource}") == "ok"
        wait_until(lambda: len(daemon.audit(event="changed")) == 2, what="a second look")
        wait_until(lambda: daemon.resource(instrument.resource)["state"] == "changed", what="changed again")
        instrument.ask(f"BE {FIRST};*OPC?")
        assert client.ask(f".!.restart {instrument.resource}") == "ok"
        wait_until(lambda: client.ask(".#.query_resource ECHO? back") == "back", what="an answer")


def test_restart_looks_again_where_nobody_has_it_open(daemon, instrument):
    """The next open is judged anew."""
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        instrument.ask(f"BE {OTHER};*OPC?")
        client.ask(f".!.restart {instrument.resource}")
        wait_until(lambda: daemon.resource(instrument.resource)["state"] == "changed", what="changed")
        client.ask(".#.close_resource")
        wait_until(lambda: not daemon.resource(instrument.resource), what="closed")
        instrument.ask(f"BE {FIRST};*OPC?")
        assert "INSTRUMENT_CHANGED" in client.ask(f".#.open_resource {instrument.resource}")
        assert client.ask(f".!.restart {instrument.resource}") == "ok"
        assert client.ask(f".#.open_resource {instrument.resource}") == instrument.resource
        assert "NO_RESOURCE" in client.ask(".!.restart GPIB0::1::INSTR")


def test_connection_that_is_made_anew_within_a_process_is_asked_too(daemon, instrument):
    """A socket is opened again after a timeout: who is there then is not served as who was there before."""
    with daemon.text() as client:
        client.ask(f".#.open_resource {instrument.resource}")
        client.ask(".#.timeout 100")
        instrument.ask(f"BE {OTHER};*OPC?")
        assert "VI_ERROR_TMO" in client.ask(".#.query_resource SLOW? 200,late")
        assert "VI_ERROR_CONN_LOST" in client.ask(".#.query_resource ECHO? lost")
        wait_until(lambda: "INSTRUMENT_CHANGED" in client.ask(".#.query_resource ECHO? lost"), what="a refusal")
    assert "ECHO? lost" not in instrument.history()


def test_instrument_that_does_not_say_who_it_is_is_not_served(daemon, instrument):
    """At the first open, and at a later one; it is tried again like what is switched off."""
    instrument.ask("BE;*OPC?")
    with daemon.text() as client:
        said = client.ask(f".#.open_resource {instrument.resource}")
        assert said.startswith(".#.error VI_ERROR_TMO effect=none ")
        assert "does not say who it is: *IDN? failed" in said
        instrument.ask(f"BE {FIRST};*OPC?")
        assert client.ask(f".#.open_resource {instrument.resource}") == instrument.resource


def test_instrument_that_is_exchanged_while_no_daemon_runs_is_noticed(daemon_factory, config, instrument, tmp_path):
    """Who was first seen is kept in the run folder, for its owner only."""
    first = Daemon(tmp_path / "lab", "--config", config)
    try:
        with first.text() as client:
            client.ask(f".#.open_resource {instrument.resource}")
        first.end()
    finally:
        first.kill()
    kept = tmp_path / "lab" / "identities.json"
    assert list(json.loads(kept.read_text()).values()) == [FIRST]
    assert kept.stat().st_mode & 0o777 == 0o600
    instrument.ask(f"BE {OTHER};*OPC?")
    second = Daemon(tmp_path / "lab", "--config", config)
    try:
        with second.text() as client:
            assert "INSTRUMENT_CHANGED" in client.ask(f".#.open_resource {instrument.resource}")
        second.end()
    finally:
        second.kill()


def test_program_sees_a_lost_connection(daemon, instrument):
    """Stock PyVISA: no other daemon or library is asked in its place."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    opened = manager.open_resource(instrument.resource, read_termination="\n", write_termination="\n")
    assert opened.query("ECHO? one") == "one"
    instrument.ask(f"BE {OTHER};*OPC?")
    os.kill(daemon.resource(instrument.resource)["pid"], signal.SIGKILL)
    wait_until(lambda: daemon.resource(instrument.resource)["state"] == "changed", what="changed")
    with pytest.raises(pyvisa.VisaIOError, match="VI_ERROR_CONN_LOST"):
        opened.query("ECHO? two")
    assert "ECHO? two" not in instrument.history()
    manager.close()


@pytest.mark.parametrize("kind", ["vxi11", "serial_line"])
def test_answer_that_was_left_unread_is_nobodys_name(daemon, kind, request):
    """A bus and a line are what they were when a new process opens them: what is left there is cleared away first."""
    instrument = request.getfixturevalue(kind)
    with daemon.text() as client:
        assert client.ask(f".#.open_resource {instrument.resource}") == instrument.resource
        assert client.ask(".#.write_resource ECHO? somebody else") == "20"
        os.kill(daemon.resource(instrument.resource)["pid"], signal.SIGKILL)
        wait_until(lambda: daemon.audit(event="restarted"), what="a new process")
        assert daemon.resource(instrument.resource)["identity"].startswith("TEST,")
        wait_until(lambda: client.ask(".#.query_resource ECHO? mine") == "mine", what="an answer of its own")


def test_answer_that_comes_late_is_nobodys_name(daemon, serial_line):
    """A line goes on with what it was asked before; nor is the name that comes behind it then anybody's answer."""
    port = serial_line.resource.removeprefix("ASRL").removesuffix("::INSTR")
    with open(port, "wb", 0) as line:
        line.write(b"SLOW? 400,late\n")
    with daemon.text() as client:
        wait_until(
            lambda: client.ask(f".#.open_resource {serial_line.resource}") == serial_line.resource, what="an open"
        )
        assert client.ask(".#.query_resource ECHO? one") == "one"
        assert daemon.resource(serial_line.resource)["identity"] == FIRST
    assert daemon.audit(event="changed") == []


def test_safe_state_goes_to_no_stranger(daemon_factory, instrument, tmp_path):
    """It stays due, and goes to whom an operator accepts; not if it was forgotten before."""
    file = tmp_path / "safe.toml"
    file.write_text(CHECKED + "safe-state = ['SET safe']\n")
    daemon = daemon_factory("--config", str(file), "--grace", "0.5")
    for again, then in enumerate(("forget", "accept")):
        with daemon.text() as client:
            client.ask(f".#.open_resource {instrument.resource}")
            assert client.ask(".#.lock") == "ok"
            instrument.ask(f"BE TEST,STRANGER,{again},1;*OPC?")
            os.kill(daemon.resource(instrument.resource)["pid"], signal.SIGKILL)
            wait_until(lambda: daemon.resource(instrument.resource)["state"] == "changed", what="changed")
        wait_until(lambda: daemon.resource(instrument.resource).get("safe"), what="a safe state that is due")
        with daemon.text() as operator:
            said = operator.ask(f".!.safe {instrument.resource}")
            assert said.startswith(".#.error INSTRUMENT_CHANGED effect=none ")
            if then == "forget":
                assert operator.ask(f".!.safe {instrument.resource} forget") == "ok"
                wait_until(lambda: not daemon.resource(instrument.resource), what="closed")
            assert instrument.ask("COUNT? SET") == "0"
            assert operator.ask(f".#.reset {instrument.resource}") == "ok"
            if then == "accept":
                wait_until(lambda: instrument.ask("COUNT? SET") == "1", what="a safe state")
