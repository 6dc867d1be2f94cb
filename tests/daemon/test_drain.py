"""`.!.drain`: the daemon ends when the last session is closed, and nobody is cut off for it."""

import os
import signal

import pytest
import pyvisa

from tests.support.waiting import DEADLINE, wait_until

METER, SUPPLY = "GPIB0::22::INSTR", "USB0::0x0957::0x0407::PS000407::0::INSTR"


def open_session(client, name):
    assert client.ask(f".#.open_resource {name}") == name


def test_drain_waits_for_the_last_session_and_then_ends_the_daemon(daemon):
    """Whatever language opened it. What is open works on, what is not stays closed, and status says why."""
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    supply = manager.open_resource(SUPPLY, read_termination="\n")
    with daemon.text() as client, daemon.text() as operator:
        open_session(client, METER)
        assert daemon.status()["state"] == "serving"
        assert operator.ask(".!.drain") == "draining sessions=2"
        assert operator.ask(".!.drain") == "draining sessions=2"
        status = operator.ask_json(".!.status")
        assert list(status) == [
            *["version", "pid", "uptime_s", "clients", "resources", "state", "addresses", "announced"],
            *["memory_mb", "rate_per_s", "settings", "aliases", "audit", "connections"],
        ]
        assert status["state"] == "draining"
        operator.send(b"...status\n")
        assert operator.line().endswith(b" clients, draining")
    with daemon.text() as late:
        for name in (METER, SUPPLY, "ASRL1::INSTR"):
            assert late.ask(f".#.open_resource {name}").startswith(".#.error SHUTTING_DOWN effect=none ")
        with pytest.raises(pyvisa.VisaIOError) as refused:
            manager.open_resource(METER)
        assert refused.value.token == "SHUTTING_DOWN"
    assert "POWER SUPPLY" in supply.query("*IDN?")
    wait_until(lambda: not daemon.resource(METER), what="the meter's process to end with its last session")
    assert daemon.process.poll() is None
    supply.close()
    assert daemon.process.wait(DEADLINE) == 0
    manager.close()
    daemon.assert_nothing_left()
    [command] = daemon.audit(event="command", command=".!.drain", outcome="ok")[:1]
    assert command["effect"] == "none"
    assert daemon.audit()[-1]["event"] == "stop"


def test_drain_with_nothing_open_ends_the_daemon_though_clients_are_connected(daemon):
    """The reply comes first. An instrument that only lingers is not open."""
    with daemon.text() as client, daemon.text() as operator:
        open_session(client, METER)
        assert client.ask(".#.close_resource") == "ok"
        assert daemon.resource(METER)["sessions"] == 0
        assert operator.ask(".!.drain") == "draining sessions=0"
        assert daemon.process.wait(DEADLINE) == 0
    daemon.assert_nothing_left()


@pytest.mark.parametrize("how", [".!.end_daemon", signal.SIGTERM, signal.SIGINT])
def test_drain_is_cut_short_by_a_stop(daemon, how):
    """As any work is."""
    with daemon.text() as client, daemon.text() as operator:
        open_session(client, METER)
        operator.ask(".!.drain")
        if isinstance(how, signal.Signals):
            os.kill(daemon.pid, how)
        else:
            assert operator.ask(how) == "ended"
        assert daemon.process.wait(DEADLINE) == 0
    daemon.assert_nothing_left()


def test_drain_lets_an_instrument_that_hangs_be_restarted(daemon_factory, instrument):
    """Its sessions are kept, as ever."""
    daemon = daemon_factory("--grace", "0.2")
    with daemon.text() as client:
        open_session(client, instrument.resource)
        client.ask(".#.timeout 400")
        client.ask(".!.drain")
        assert "INSTRUMENT_HUNG" in client.ask(".#.query_resource BABBLE?")
        client.ask(".#.timeout 10000")
        assert "TEST" in client.ask(".#.query_resource *IDN?")
    assert daemon.process.wait(DEADLINE) == 0
    daemon.assert_nothing_left()
