"""`instruments abort`, `reset`, `restart` and `safe`: what is done, and what is said of it."""

import json
import time
from collections.abc import Callable

from click.testing import CliRunner

import client
from client.commands.main import main
from tests.client.commands.conftest import Lab
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until


def test_abort_ends_what_runs(lab: Lab) -> None:
    """Whoever's it is; its client is told."""
    with lab.daemon.text() as other:
        other.ask(".#.open_resource scripted")
        other.ask(".#.timeout 60000")
        other.send(b".#.query_resource SLOW? 60000,1\n")
        wait_until(lambda: lab.daemon.resource(lab.instrument.resource).get("state") == "busy", what="it runs")
        began = time.monotonic()
        result = lab.instruments("abort", "scripted")
        assert "COMMAND_ABORTED" in other.reply().decode()
    assert (result.exit_code, result.stdout) == (0, f"scripted at {lab.daemon.address} runs no command any more\n")
    assert time.monotonic() - began < 30


def test_restart_tells_when_the_instrument_is_back(lab: Lab) -> None:
    """It has another process then."""
    with lab.daemon.text() as other:
        name = other.ask(".#.open_resource multimeter")
        before = lab.daemon.resource(name)["pid"]
        result = lab.instruments("restart", "multimeter")
        assert (result.exit_code, result.stdout.split(" ", 3)[3]) == (0, "is started anew: now ready\n")
        assert lab.daemon.resource(name)["pid"] != before
        said = json.loads(lab.instruments("reset", "multimeter", "--json").stdout)
        assert (said["resource"], said["state"]) == ("multimeter", "ready")


def test_reset_ends_with_1_when_the_instrument_is_still_gone(lab: Lab) -> None:
    """And says what is the matter with it."""
    lab.switched.on()
    with lab.daemon.text() as other:
        other.ask(".#.open_resource switched")
        lab.switched.off()
        other.ask(".#.query_resource *IDN?")
        result = lab.instruments("reset", "switched")
        assert result.exit_code == 1
        assert "now offline, " in result.stdout
        lab.switched.on()
        result = lab.instruments("reset", "switched")
        assert (result.exit_code, result.stdout.rpartition(" ")[2]) == (0, "ready\n")


def test_safe_sends_the_safe_state(lab: Lab) -> None:
    """Where there is one."""
    result = lab.instruments("safe", "scripted")
    assert (result.exit_code, result.stdout) == (
        0,
        f"scripted at {lab.daemon.address} is safe: its safe state is sent\n",
    )
    assert "SET safe" in lab.instruments("query", "scripted", "HISTORY?").stdout
    nothing_due = lab.instruments("safe", "scripted", "--forget")
    assert (nothing_due.exit_code, nothing_due.stdout) == (1, "")
    assert "no safe-state" in lab.instruments("safe", "supply").stderr


def test_resource_that_nobody_has_open_is_refused_in_one_line(lab: Lab) -> None:
    """By the daemon that could have it."""
    result = lab.instruments("abort", "generator")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "NO_RESOURCE" in result.stderr


def test_word_goes_to_the_daemon_that_has_it_open(lab: Lab, daemon_factory: Callable[..., Daemon]) -> None:
    """Of two that know the name: the other one is not asked to do anything."""
    other = daemon_factory("--demo")
    client.tryIps = [other.address, lab.daemon.address]
    with lab.daemon.text() as text:
        text.ask(".#.open_resource multimeter")
        result = CliRunner().invoke(main, ["abort", "multimeter"])
    assert (result.exit_code, result.stdout.split()[2]) == (0, lab.daemon.address)
    assert other.status()["resources"] == []
