"""The daemon is told of on the network: when, what, and by a process that ends with its stdin."""

import asyncio
import json
import subprocess
import sys

import pytest
import uvloop

from client.discovery import list_daemons
from front_proc.configuration.settings import read_settings
from front_proc.doors import announcer as announcer_module
from front_proc.doors import announcer_process
from front_proc.doors.announcer import Announcer, Wish, announcement_of
from front_proc.doors.announcer_process import addresses_of
from pyvisa_daemon.announcement import Announcement
from pyvisa_daemon.version import __version__
from tests.front_proc.test_front import FakeLog
from tests.support.daemon import ROOT
from tests.support.waiting import wait_until

HERE, ANYWHERE, LAN = ("127.0.0.1", 1340), ("0.0.0.0", 1340), ("192.168.1.10", 1341)


@pytest.mark.parametrize(
    ("plain", "tls", "told"),
    [
        (HERE, None, None),
        (("::1", 1340), ("127.0.0.1", 1341), None),
        (ANYWHERE, None, ("0.0.0.0", 1340, None)),
        (ANYWHERE, LAN, ("0.0.0.0", 1340, 1341)),
        (HERE, LAN, ("192.168.1.10", None, 1341)),
        (("::", 1340), None, ("::", 1340, None)),
        (ANYWHERE, HERE, ("0.0.0.0", 1340, None)),
    ],
)
def test_ports_that_others_reach_are_told_and_no_others(plain, tls, told):
    """And of the address that the first of them listens at."""
    found = announcement_of(read_settings([]), plain, tls)
    assert (found and (found[0], found[1].port, found[1].tls_port)) == told


@pytest.mark.parametrize(
    ("options", "needs_token"),
    [
        ([], True),
        (["--allow", "192.168.1.0/24"], False),
        (["--allow", "192.168.1.5,127.0.0.0/8"], True),
    ],
)
def test_token_is_needed_unless_a_network_needs_none(options, needs_token):
    """A single machine that needs none is no reason to tell all others so."""
    [_, announcement] = announcement_of(read_settings(options), ANYWHERE, None)
    assert announcement == Announcement(__version__, 1340, None, 0, needs_token)


def test_nothing_is_told_when_the_settings_say_so():
    """On the command line, where it is on by default."""
    assert announcement_of(read_settings(["--no-announce"]), ANYWHERE, None) is None


def test_addresses_are_those_by_which_others_come():
    """Of this machine's own none that is its own affair."""
    assert addresses_of("127.0.0.1") == ["127.0.0.1"]
    assert addresses_of("::ffff:127.0.0.1") == ["127.0.0.1"]
    assert addresses_of("192.0.2.77") == addresses_of("2001:db8::77") == []
    assert "127.0.0.1" not in addresses_of("0.0.0.0")
    assert not {"127.0.0.1", "::1"} & set(addresses_of("::"))


def test_missing_zeroconf_is_told_when_it_would_announce(monkeypatch):
    """In the log, with what to do; the daemon serves as ever."""
    monkeypatch.setattr(announcer_module.importlib.util, "find_spec", lambda name: None)
    log = FakeLog()
    announcer = Announcer("0.0.0.0", Announcement("1", 1340, None, 0, True), lambda: 0, log)
    asyncio.run(announcer.run())
    [(event, fields)] = log.lines
    assert event == "trouble"
    assert "pip install zeroconf" in fields["error"]
    assert not announcer.is_announced
    asyncio.run(announcer.end())


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_process_that_dies_before_it_was_told_anything_is_missed_in_the_log(loop_factory):
    """Its pipe is closed by then, which a loop may take ill."""

    class Doomed(Announcer):
        async def _start(self):
            await super()._start()
            self._process.kill()
            await self._process.wait()
            await wait_until_closed(self._process.stdin)

    async def wait_until_closed(stream):
        while not stream.is_closing():
            await asyncio.sleep(0.01)

    log = FakeLog()
    announcer = Doomed("127.0.0.1", Announcement("1", 1340, None, 0, True), lambda: 0, log)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.wait_for(announcer.run(), 30))
        runner.run(announcer.end())
    assert [fields["error"].rpartition(": ")[2] for _, fields in log.lines] == ["its announcer died"]


@pytest.fixture
def start():
    """Starts the process that announces, on loopback; each ends with its stdin, whatever signal it gets before."""
    processes = []

    def started():
        process = subprocess.Popen(
            [sys.executable, "-m", "front_proc.doors.announcer_process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.terminate()
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.close()


def wish(process, resources, host="127.0.0.1"):
    properties = Announcement("1.2", 43210, None, resources, True).properties()
    said = Wish(host, 43210, properties)
    process.stdin.write(json.dumps({name: getattr(said, name) for name in said.__struct_fields__}).encode() + b"\n")


def announced(process):
    """Its name, as soon as it has one."""
    assert json.loads(process.stdout.readline()) == {"name": "", "trouble": ""}
    return json.loads(process.stdout.readline())["name"]


def heard():
    return {daemon.name: daemon.resources for daemon in list_daemons(1.0) if daemon.address.endswith(":43210")}


@pytest.mark.parametrize("host", ["192.0.2.77", "2001:db8::77"])
def test_process_waits_for_the_network_when_the_address_is_gone(start, host):
    """An interface may be pulled out and come back: the process says what is in the way, and lives."""
    process = start()
    wish(process, 3, host)
    assert host in json.loads(process.stdout.readline())["trouble"]
    assert process.poll() is None


def test_address_that_goes_away_meanwhile_is_told(monkeypatch):
    """zeroconf looks for the interface of one of IPv6, and raises what is no OSError."""

    def network(interfaces):
        raise RuntimeError(f"No adapter found for IP address {interfaces[0]}")

    monkeypatch.setattr(announcer_process, "Zeroconf", network)
    said = Wish("127.0.0.1", 43210, Announcement("1.2", 43210, None, 3, True).properties())
    assert announcer_process._news(announcer_process.Announced(), said).trouble.endswith("127.0.0.1")


@pytest.mark.full
def test_process_announces_its_newest_wish_until_its_stdin_ends(start):
    """Two daemons of the same name do not take each other's; the number of resources is brought up to date."""
    first, second = start(), start()
    wish(first, 3)
    name = announced(first)
    wish(second, 4)
    other = announced(second)
    assert other == f"{name} (2)"
    wait_until(lambda: heard() == {name: 3, other: 4}, what="both are heard")
    wish(first, 5)
    second.stdin.close()
    assert second.wait(30) == 0
    wait_until(lambda: heard() == {name: 5}, what="one says good-bye, the other has changed")
