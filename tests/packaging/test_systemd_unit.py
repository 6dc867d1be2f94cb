"""The unit file of packaging/systemd/: systemd accepts it, and it says of the daemon what is so."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from front_proc import front, service_manager
from front_proc.command import main
from front_proc.settings import read_settings
from tests.support.daemon import ROOT

UNIT = ROOT / "packaging" / "systemd" / "instrument-daemon.service"
PAGE = (ROOT / "docs" / "how-to" / "systemd.md").read_text()


@pytest.fixture
def service():
    unit = configparser.RawConfigParser()
    unit.optionxform = str
    unit.read(UNIT)
    return unit["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path):
    """Without a warning, once the command is where it says."""
    command = tmp_path / "instrument-daemon"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/instrument-daemon", str(command)))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    said = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert (done.returncode, said) == (0, [])
    copy.write_text(copy.read_text().replace("KillMode=mixed", "KillMode=shaken"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    assert "shaken" in done.stderr, "it does look"


def test_command_of_the_unit_is_accepted(service):
    """By the daemon's own parser; it stays in the foreground, with the folder that systemd makes for it."""
    command, *options = service["ExecStart"].split()
    assert Path(command).name == "instrument-daemon"
    settings = read_settings([option.replace("%S", "/var/lib") for option in options])
    assert not settings.daemonize
    assert settings.run_dir == Path("/var/lib") / service["StateDirectory"]


def test_command_of_the_unit_is_one_of_the_package():
    """A script of that name is installed."""
    assert f'instrument-daemon = "{main.__module__}:{main.__name__}"' in (ROOT / "pyproject.toml").read_text()


def test_daemon_ticks_at_least_twice_while_the_watchdog_waits(service):
    """And can end in the time that it has, before anybody is killed."""
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) >= 2 * service_manager.STATUS_TIME
    assert int(service["TimeoutStopSec"]) > 10 > front.FINISH_TIME + front.CLOSE_TIME + front.KILL_TIME
    assert service["KillMode"] == "mixed"


def test_unit_leaves_devices_alone(service):
    """Instruments are devices; and what is left off is said to be."""
    for option in ("PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "PrivateNetwork"):
        assert option not in service
    for option in re.findall(r"^# (\w+)=  ", UNIT.read_text(), re.MULTILINE):
        assert option not in service


def test_reload_of_the_unit_is_the_signal_that_reopens_logs(service):
    """A word of it that is no signal of the daemon's would end it."""
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_page_names_what_there_is(service):
    """The unit, its folder, its logs; and rotates by renaming only."""
    folder = f"/var/lib/{service['StateDirectory']}"
    settings = read_settings(["--run-dir", folder])
    [rotation] = re.findall(r"^```text\n(/[^{]*\{.*?\n\})\n```$", PAGE, re.MULTILINE | re.DOTALL)
    assert rotation.split("{")[0].split() == [str(settings.log_file)]
    directives = {line.strip() for line in rotation.splitlines()}
    assert {"delaycompress", "nocreate"} <= directives
    assert not directives & {"copytruncate", "create"}
    assert str(UNIT.relative_to(ROOT)) in PAGE
    for setting in ("WatchdogSec", "TimeoutStopSec"):
        assert f"{service[setting]} s" in PAGE


@pytest.mark.parametrize("script", re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_shell_of_the_page_parses(script):
    """As far as that can be said without an init system of its own."""
    done = subprocess.run(["bash", "-n", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_command_ends_where_the_unit_is_not_to_start_it_again(service, tmp_path):
    """A wrong setting does not mend itself."""
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    command = [sys.executable, "supervisor.py", "--port", "-1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=60)
    assert str(done.returncode) == service["RestartPreventExitStatus"]
