"""The safe state as in a laboratory: real programs that are lost, and an instrument that counts what it executed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import pyvisa

from tests.faults.leaver import LANGUAGES, Leaver
from tests.faults.link import Link
from tests.faults.test_locks_of_the_lost import shorten
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until

SAFE = ["SET OUTP OFF", "SET VOLT 0"]
#: Bytes that end a story on the instrument: what was to be sent before is sent by then.
END = "SET the end"


@pytest.fixture
def start(daemon_factory, tmp_path):
    """A daemon in which every instrument has a safe state, but for serial ones."""

    def start(*more, at_stop=False, options="", limits=""):
        config = tmp_path / "safe.toml"
        messages, stop = json.dumps(SAFE), json.dumps(at_stop)
        row = f"[[resource]]\nmatch = 'TCPIP*'\nsafe-state = {messages}\nsafe-at-stop = {stop}\n"
        config.write_text(f"{options}\n[limits]\n{limits}\n{row}")
        return daemon_factory("--config", str(config), "--grace", "0.5", *more)

    return start


def opened(daemon, resource):
    client = daemon.text()
    assert client.ask(f".#.open_resource {resource}") == resource
    return client


def outcomes(daemon, resource):
    """What the audit says of the safe state's messages."""
    return [
        (each["command"], each["outcome"], each["effect"]) for each in daemon.audit(event="safe", resource=resource)
    ]


def is_safe(daemon, resource, state="sent"):
    """Wait for the end of the safe state, as `status` has it."""
    wait_until(lambda: (daemon.resource(resource).get("safe") or {}).get("state") == state, what="a safe state")


def history_at_the_end(client, instrument):
    """Everything that was executed, when nothing more is to come."""
    assert client.ask(f".#.write_resource {END}") == str(len(END) + 1)
    wait_until(lambda: END in instrument.history())
    return instrument.history()[: instrument.history().index(END)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_program_that_is_killed_while_it_has_the_lock_leaves_a_safe_instrument(language, start, instrument):
    """Whoever waits for the lock finds it so."""
    daemon = start()
    with opened(daemon, instrument.resource) as client:
        with Leaver(language, daemon.host, daemon.port, instrument.resource, "lock") as holder:
            holder.hears("begins")
            holder.hears("done")
            client.send(b".#.lock 60000\n")
            wait_until(lambda: daemon.resource(instrument.resource)["lock"]["waiting"] == 1)
            holder.kill()
        assert client.line() == b"ok"
        assert history_at_the_end(client, instrument) == SAFE
        unlocks(client)  # or it would be lost with it
    assert outcomes(daemon, instrument.resource) == [(message, "ok", "done") for message in SAFE]


def test_instrument_on_a_bus_is_cleared_of_what_the_lost_program_has_not_read(start, vxi11):
    """Its answer must reach nobody, and must not be in the way of the messages."""
    daemon = start()
    with Leaver("text", daemon.host, daemon.port, vxi11.resource, "lock") as holder:
        holder.hears("begins")
        holder.hears("done")
        holder.kill()
    is_safe(daemon, vxi11.resource)
    lost = opened(daemon, vxi11.resource)
    assert lost.ask(".#.lock") == "ok"
    assert lost.ask(".#.write_resource ECHO? unread") == "13"
    lost.close()
    wait_until(lambda: len(outcomes(daemon, vxi11.resource)) == 4)
    with opened(daemon, vxi11.resource) as client:
        assert client.ask(".#.query_resource ECHO? mine") == "mine"
        assert history_at_the_end(client, vxi11) == [*SAFE, "ECHO? unread", *SAFE, "ECHO? mine"]


def test_program_whose_machine_is_gone_leaves_a_safe_instrument(start, instrument):
    """Nobody tells the daemon; its kernel finds out."""
    with Link() as link:
        daemon = start(options=f'host = "0.0.0.0"\nallow = {json.dumps(link.network)}')
        with Leaver("text", link.here, daemon.port, instrument.resource, "lock", prefix=link.prefix) as holder:
            holder.hears("begins")
            holder.hears("done")
            shorten(daemon.pid, link.there)
            link.cut()
            is_safe(daemon, instrument.resource)
            with opened(daemon, instrument.resource) as client:
                assert history_at_the_end(client, instrument) == SAFE


def test_program_that_is_killed_in_its_own_long_command_leaves_a_safe_instrument(start, instrument):
    """Nobody waits for the end of that; the socket has no device clear, so it costs the process."""
    daemon = start()
    holder = opened(daemon, instrument.resource)
    assert holder.ask(".#.lock") == "ok"
    holder.ask(".#.timeout inf")
    holder.send(b".#.query_resource SLOW? 3600000,x\n")
    wait_until(lambda: instrument.count("SLOW?") == 1)
    began = time.monotonic()
    holder.close()
    is_safe(daemon, instrument.resource)
    assert time.monotonic() - began < 60, "it does not wait for the hour to pass"
    with opened(daemon, instrument.resource) as client:
        assert history_at_the_end(client, instrument)[-2:] == SAFE
    assert instrument.count("SET OUTP") == instrument.count("SET VOLT") == 1


def test_instrument_that_hangs_at_that_moment_is_made_safe_by_the_next_process(start, instrument):
    daemon = start()
    holder = opened(daemon, instrument.resource)
    assert holder.ask(".#.lock") == "ok"
    holder.ask(".#.timeout inf")
    holder.send(b".#.query_resource BABBLE?\n")
    wait_until(lambda: instrument.count("BABBLE?") == 1)
    os.kill(daemon.resource(instrument.resource)["pid"], signal.SIGSTOP)
    holder.close()
    is_safe(daemon, instrument.resource)
    with opened(daemon, instrument.resource) as client:
        assert history_at_the_end(client, instrument) == ["BABBLE?", *SAFE]


def test_instrument_that_is_gone_at_that_moment_is_made_safe_when_it_is_back(start, instrument_factory, tmp_path):
    """Nobody has it open meanwhile, and nobody asks. It is another instrument of the same name, which has forgotten."""
    daemon = start()
    instrument = instrument_factory()
    port = instrument.port
    holder = opened(daemon, instrument.resource)
    assert holder.ask(".#.lock") == "ok"
    instrument.switch_off()
    assert "VI_ERROR_CONN_LOST" in holder.ask(".#.query_resource *IDN?")
    wait_until(lambda: daemon.resource(instrument.resource)["state"] == "offline")
    holder.close()
    is_safe(daemon, instrument.resource, "due")
    with daemon.text() as operator:
        operator.send(b"...status\n")
        shown = operator.line() + operator.line()
        assert b"safe state due (" in shown
    code = (
        "import asyncio, sys\n"
        "from demo_bench.instrument import listen, serve\n"
        "from tests.support.instrument import Scripted\n"
        "print('ready', flush=True)\n"
        "asyncio.run(serve(Scripted(), listen(int(sys.argv[1]))))\n"
    )
    again = subprocess.Popen([sys.executable, "-c", code, str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert again.stdout.readline() == "ready\n"
        is_safe(daemon, instrument.resource)
        wait_until(lambda: instrument.history() == SAFE)
    finally:
        again.kill()
        again.wait(DEADLINE)
        again.stdout.close()
    assert outcomes(daemon, instrument.resource) == [(message, "ok", "done") for message in SAFE]


def closes(client):
    assert client.ask(".#.close_resource") == "ok"


def unlocks(client):
    assert client.ask(".#.unlock") == "ok"


@pytest.mark.parametrize("goes", [closes, unlocks])
def test_orderly_end_sends_nothing(goes, start, instrument):
    daemon = start()
    with opened(daemon, instrument.resource) as holder:
        assert holder.ask(".#.lock") == "ok"
        goes(holder)
    with opened(daemon, instrument.resource) as client:
        assert history_at_the_end(client, instrument) == []


def test_python_program_that_ends_by_an_exception_has_closed_in_an_orderly_way(start, instrument):
    """PyVISA closes what is open when the interpreter ends, so this is no loss, and the page says so."""
    daemon = start()
    code = (
        "import pyvisa, sys\n"
        "session = pyvisa.ResourceManager(sys.argv[1] + '@daemon').open_resource(sys.argv[2])\n"
        "session.lock_excl()\n"
        "raise RuntimeError('a bug')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, daemon.address, instrument.resource], cwd=ROOT, capture_output=True, text=True
    )
    assert "a bug" in done.stderr
    with opened(daemon, instrument.resource) as client:
        assert history_at_the_end(client, instrument) == []


def test_operator_makes_an_open_and_a_closed_resource_safe(start, instrument_factory):
    daemon = start()
    ours, closed = instrument_factory(), instrument_factory()
    with opened(daemon, ours.resource) as client, daemon.text() as operator:
        assert client.ask(".#.lock") == "ok"
        for instrument in (ours, closed):
            assert operator.ask(f".!.safe {instrument.resource}") == "safe"
            wait_until(lambda instrument=instrument: instrument.history() == SAFE)
        assert history_at_the_end(client, ours) == SAFE
        unlocks(client)
        assert "BAD_ARGUMENT effect=none no message" in operator.ask(f".!.safe {ours.resource} forget")
        assert "BAD_ARGUMENT effect=none" in operator.ask(".!.safe ASRL77::INSTR")
        gone = "TCPIP0::127.0.0.1::1::SOCKET"
        assert operator.ask(f".!.safe {gone}").startswith(".#.error VI_ERROR_RSRC_NFOUND effect=none ")
        wait_until(lambda: daemon.resource(gone) == {}, what="nothing stays due where nothing was open")
    records = daemon.audit(event="safe", resource=closed.resource)
    assert [record["command"] for record in records] == SAFE
    assert records[0]["reason"].endswith(" said so")


@pytest.mark.parametrize("end", ["end_daemon", "drain", "SIGTERM"])
def test_orderly_stop_makes_every_open_resource_safe_once(end, start, instrument_factory):
    """One has a session, one only lingers; at once, and before their processes close."""
    daemon = start("--linger", "60", at_stop=True)
    ours, lingering = instrument_factory(), instrument_factory()
    client, operator = opened(daemon, ours.resource), daemon.text()
    with opened(daemon, lingering.resource) as other:
        assert other.ask(".#.write_resource SET VOLT 5") == "11"
        closes(other)
    assert client.ask(".#.lock") == "ok"
    assert client.ask(".#.write_resource SET VOLT 5") == "11"
    if end == "SIGTERM":
        daemon.process.send_signal(signal.SIGTERM)
    else:
        assert operator.ask(f".!.{end}") == ("ended" if end == "end_daemon" else "draining sessions=1")
    if end == "drain":
        closes(client)
    assert daemon.process.wait(DEADLINE) == 0
    client.close()
    operator.close()
    for instrument in (ours, lingering):
        assert instrument.history() == ["SET VOLT 5", *SAFE]
        assert outcomes(daemon, instrument.resource) == [(message, "ok", "done") for message in SAFE]
        events = [each["event"] for each in daemon.audit(resource=instrument.resource)]
        assert events.index("safe") < events.index("closed")
    daemon.assert_nothing_left()


def test_stop_is_in_time_though_one_instrument_is_stuck(start, instrument_factory):
    """The other one is safe all the same; what was not sent is on record."""
    daemon = start(at_stop=True)
    ours, stuck = instrument_factory(), instrument_factory()
    with opened(daemon, ours.resource), opened(daemon, stuck.resource) as client:
        client.ask(".#.timeout inf")
        os.kill(daemon.resource(stuck.resource)["pid"], signal.SIGSTOP)
        client.send(b".#.query_resource ECHO? x\n")
        with daemon.text() as operator:
            assert operator.ask(".!.end_daemon") == "ended"
    assert daemon.process.wait(DEADLINE) == 0
    assert ours.history() == SAFE
    assert {effect for *_, effect in outcomes(daemon, stuck.resource)} <= {"done", "none", "maybe"}
    assert len(outcomes(daemon, stuck.resource)) == 2
    daemon.assert_nothing_left()


def test_lock_of_the_backend_that_is_given_back_sends_nothing(start, instrument):
    daemon = start()
    manager = pyvisa.ResourceManager(f"{daemon.address}@daemon")
    session = manager.open_resource(instrument.resource, read_termination="\n", write_termination="\n")
    with session.lock_context():
        assert session.query("ECHO? mine") == "mine"
    session.lock_excl()
    manager.close()
    with opened(daemon, instrument.resource) as client:
        assert history_at_the_end(client, instrument) == ["ECHO? mine"]
