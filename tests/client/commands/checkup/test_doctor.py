"""`instruments doctor`, as a person calls it."""

import json

import pytest

import client
from client.commands import doctor
from client.commands.checkup.facts import System, Visit, Way
from client.commands.checkup.findings import Level, ok, problem, warning
from tests.client.commands.test_commands import instruments
from tests.client.commands.test_status import on_terminal
from tests.support.daemon import Daemon


def test_doctor_finds_no_problem_when_the_daemon_is_there(daemon: Daemon) -> None:
    """A line for each finding, the daemon and its instruments among them, and their sum."""
    result = instruments("--host", daemon.address, "doctor")
    *lines, last = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"ok       {daemon.address}: version " in result.stdout
    assert "5 instruments: " in result.stdout
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}
    assert last.startswith(("nothing is wrong", "no problems"))


def test_doctor_ends_with_code_1_when_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --json a list, of which each finding that is not ok has its remedy. A wrong entry is a finding, too."""
    monkeypatch.setattr(doctor, "search", lambda backends: None)
    client.tryIps = ["127.0.0.1:9", "a:b"]
    result = instruments("doctor", "--json")
    findings = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [row["subject"] for row in findings if row["level"] == "problem"] == ["127.0.0.1:9", "a:b"]
    assert all(set(row) == {"level", "subject", "text", "remedy"} for row in findings)
    assert all(row["remedy"] for row in findings if row["level"] != "ok")


def test_doctor_obeys_nothing_when_a_daemon_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What daemons say is shown, and not obeyed by the terminal."""
    visit = Visit("labpc:1340", Way.DAEMON, "\x1b]0;title\x07")
    monkeypatch.setattr(doctor, "this_system", lambda: System(visits=(visit,)))
    result = instruments("doctor")
    assert "\\x1b]0;title" in result.stdout
    assert "\x1b" not in result.stdout


def test_doctor_is_coloured_when_on_a_terminal(daemon: Daemon) -> None:
    """And says that it is at work."""
    shown, code = on_terminal("doctor", hosts=daemon.address)
    assert code == 0
    assert "looking at this machine" in shown
    assert "\x1b[32mok" in shown


def test_finding_has_a_remedy_when_it_is_not_ok() -> None:
    """Or there is no such finding."""
    with pytest.raises(AssertionError, match="what is to be done"):
        problem("a", "b", "")
    assert ok("a", "b").level is Level.OK


def test_sum_counts_what_is_wrong_when_told() -> None:
    assert doctor._sum([ok("a", "b")]) == "nothing is wrong that can be seen from here"
    assert doctor._sum([warning("a", "b", "c")] * 2 + [problem("a", "b", "c")]) == "1 problem, 2 warnings"
