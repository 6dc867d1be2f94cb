"""The known daemons, the way there, and the clock."""

from datetime import datetime

import pytest

from client.commands.checkup import daemons
from client.commands.checkup.facts import Visit, Way
from tests.client.commands.checkup.judged import told

STATUS = {"version": "0.1.0", "pid": 7, "uptime_s": 60, "clients": 1, "state": "serving", "resources": []}
THERE = Visit("labpc:1340", status=STATUS, instruments=("GPIB0::22::INSTR",))


@pytest.mark.parametrize(
    ("visit", "text", "remedy"),
    [
        (Visit("lbpc:1340", Way.NAME, "not known"), "nobody here knows a machine of that name (not known)",
         "correct it in PYVISA_DAEMON_HOSTS"),
        (Visit("labpc:1340", Way.REFUSED), "the machine is there, and nothing listens",
         "on labpc start the daemon so that it listens for others: instrument-daemon --lan"),
        (Visit("127.0.0.1:1340", Way.REFUSED, is_loopback=True), "no daemon runs there",
         "start one here (instrument-daemon"),
        (Visit("labpc:1340", Way.SILENT), "it does not answer", "see whether it is switched on"),
        (Visit("labpc:1340", Way.UNREACHABLE), "it cannot be reached", "look at this machine's network"),
        (Visit("a:b", Way.ENTRY, "'a:b' names no daemon"), "'a:b' names no daemon", "write host or host:port"),
        (Visit("labpc:1340", Way.TOKEN, "it wants a token: put one there"), "it wants a token", "put one there"),
        (Visit("labpc:1340", Way.TOKEN, "no"), "no", "`instruments token NAME`"),
        (Visit("labpc:1341", Way.TLS, "its certificate is not accepted"), "its certificate", "copy the daemon's cert"),
        (Visit("labpc:22", Way.DAEMON, "it hung up"), "it hung up", "see what listens there"),
    ],
)  # fmt: skip
def test_daemon_is_a_problem_when_it_cannot_be_reached(visit: Visit, text: str, remedy: str) -> None:
    """How far the way leads says what to do. With another daemon at hand it is a warning."""
    [row] = told(daemons.reachable, visits=(visit,))
    assert row[0] == "problem"
    assert row[1].startswith(text)
    assert row[2].startswith(remedy)
    assert [row[0] for row in told(daemons.reachable, visits=(visit, THERE))] == ["warning", "ok"]


def test_every_way_has_its_words() -> None:
    """None would end in a KeyError."""
    assert {*daemons._WAYS, *daemons._COMMON, Way.THERE} == set(Way)


def test_version_is_a_warning_when_it_is_another() -> None:
    """It says which of the two to upgrade."""
    assert told(daemons.versions, visits=(THERE,)) == []
    for theirs, older in (("0.0.9", "the daemon at labpc:1340"), ("0.2.0", "this machine"), ("", "the daemon")):
        [(level, _, remedy)] = told(daemons.versions, visits=(Visit("labpc:1340", status={"version": theirs}),))
        assert level == "warning"
        assert f"upgrade pyvisa-daemon of {older}" in remedy


@pytest.mark.parametrize(
    ("visit", "level", "text"),
    [
        (THERE, "ok", "1 instrument: GPIB0::22::INSTR"),
        (Visit("labpc:1340"), "warning", "the daemon finds no instrument"),
        (Visit("labpc:1340", instruments=None, text="too slow"), "warning", "could not list its instruments: too slow"),
    ],
)
def test_instruments_are_told_when_the_daemon_is_there(visit: Visit, level: str, text: str) -> None:
    [row] = told(daemons.instruments, visits=(visit,))
    assert row[0] == level
    assert text in row[1]


def test_health_is_what_status_shows_in_red() -> None:
    """A daemon's own trouble is a problem, an instrument's a warning; what is over is none."""
    rows = [
        {"resource": "A", "state": "broken", "last_error": "no board", "remedy": "plug it in"},
        {"resource": "B", "state": "offline", "last_error": "gone"},
        {"resource": "C", "state": "ready", "last_error": "it hung"},
    ]
    status = {**STATUS, "resources": rows, "audit": {"failing": True, "file": "/a"}}
    assert told(daemons.health, visits=(Visit("labpc:1340", status=status),)) == [
        ("problem", "its audit log cannot be written: /a", "make room there, or mend its folder's rights"),
        ("warning", "A: no board", "plug it in"),
        ("warning", "B: gone", "mend it, then: instruments reset B"),
    ]
    assert told(daemons.health, visits=(THERE,)) == []


def test_doors_are_told_when_the_daemon_is_here() -> None:
    """Whether others may come in."""

    def said(plain: str, is_loopback: bool = True) -> list[str]:
        status = {**STATUS, "addresses": {"plain": plain, "tls": None}}
        return [row[1] for row in told(daemons.doors, visits=(Visit("x", is_loopback=is_loopback, status=status),))]

    assert said("127.0.0.1:1340") == ["it listens for this machine only: 127.0.0.1:1340 (plain)"]
    assert said("0.0.0.0:1340") == ["it listens on 0.0.0.0:1340 (plain)"]
    assert said("0.0.0.0:1340", is_loopback=False) == []


def test_announced_daemons_are_told_when_nobody_here_asks_them() -> None:
    """With the line that has them asked."""
    assert told(daemons.announced) == []
    assert told(daemons.announced, announced=("labpc:1340",), visits=(THERE,))[0][2] == ""
    [(_, text, remedy)] = told(daemons.announced, announced=("b:1340",), visits=(THERE,))
    assert text.endswith("b:1340")
    assert remedy.endswith("export PYVISA_DAEMON_HOSTS=labpc:1340,b:1340")


@pytest.mark.parametrize(
    ("year", "is_set", "level", "remedy"),
    [
        (1970, None, "problem", "set it: sudo timedatectl set-ntp true"),
        (2026, False, "warning", "sudo timedatectl set-ntp true"),
        (2026, None, "ok", ""),
        (2026, True, "ok", ""),
    ],
)
def test_clock_is_judged_by_its_year_and_who_keeps_it(year: int, is_set: bool | None, level: str, remedy: str) -> None:
    [row] = told(daemons.clock, now=datetime(year, 12, 1), is_clock_set=is_set)
    assert row[0] == level
    assert row[2].startswith(remedy)
