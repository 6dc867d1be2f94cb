"""A daemon that other machines may reach is heard of on the network, over real multicast."""

import subprocess
import sys

import psutil
import pytest

import client
from front_proc.doors.announcer_process import addresses_of
from tests.docs.pages import SHARE_ON_THE_LAN, examples
from tests.support.daemon import ROOT
from tests.support.waiting import wait_until

has_network = pytest.mark.skipif(not addresses_of("0.0.0.0"), reason="this machine has no network but loopback")


def announcers(daemon):
    return [child for child in daemon.children() if "front_proc.doors.announcer_process" in child.cmdline()]


def heard(daemon, seconds=1.0):
    return [said for said in client.list_daemons(seconds) if said.address.endswith(f":{daemon.port}")]


def run_the_page():
    """What the page's program prints: it is for a network, so it runs here."""
    [example] = examples("python", SHARE_ON_THE_LAN)
    return subprocess.run([sys.executable, "-c", example.text], capture_output=True, text=True, check=True).stdout


@has_network
def test_daemon_is_found_on_the_network_until_it_is_killed(daemon_factory):
    """With what a newcomer wants to know; and good-bye is said also for a front that cannot."""
    daemon = daemon_factory("--demo", "--host", "0.0.0.0", "--allow", "192.168.77.0/24")
    wait_until(lambda: daemon.status()["announced"], what="it is announced")
    [said] = wait_until(lambda: heard(daemon), what="it is heard of")
    assert (said.version, said.resources) == (daemon.status()["version"], 5)
    assert (said.needs_token, said.tls) == (False, False)
    assert said.address.rpartition(":")[0] in addresses_of("0.0.0.0")
    assert str(daemon.port) in said.name
    assert said.address in run_the_page()
    [announcer] = announcers(daemon)
    assert announcer.cwd() == str(ROOT)  # where the daemon's code is, if it is installed nowhere
    daemon.process.kill()
    psutil.wait_procs([announcer], timeout=30)
    assert heard(daemon) == []
    daemon.process.wait(30)


@has_network
def test_announcer_that_dies_is_missed_by_nobody(daemon_factory):
    """The log and the status say so; the daemon serves, and ends as ever."""
    daemon = daemon_factory("--host", "0.0.0.0", "--allow", "192.168.77.0/24")
    [announcer] = wait_until(lambda: announcers(daemon), what="it is to be announced")
    announcer.kill()
    wait_until(lambda: "announcer died" in (daemon.run_dir / "daemon.log").read_text(), what="the log says so")
    assert daemon.status()["announced"] is False


def test_daemon_keeps_itself_to_itself_when_only_this_machine_reaches_it(daemon):
    """There is nobody to tell."""
    assert daemon.status()["announced"] is False
    assert announcers(daemon) == []
