"""The files of packaging/systemd/: systemd accepts them, and they say of the daemon what is so."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from front_proc import front, service_manager
from front_proc.configuration.settings import read_settings
from front_proc.entry import main
from tests.support.daemon import ROOT

FOLDER = ROOT / "packaging" / "systemd"
UNIT = FOLDER / "instrument-daemon.service"
DROP_IN = FOLDER / "instrument-daemon.service.d" / "fixed-user.conf"
USER_UNIT = FOLDER / "user" / UNIT.name
SYSTEM_USERS = FOLDER / "sysusers.d" / "instrument-daemon.conf"
PAGE = (ROOT / "docs" / "how-to" / "systemd.md").read_text()


def read(file: Path) -> configparser.SectionProxy:
    unit = configparser.RawConfigParser()
    unit.optionxform = str
    unit.read(file)
    return unit["Service"]


@pytest.fixture
def service():
    return read(UNIT)


def complaints(folder: Path, *options: str) -> list[str]:
    """What systemd says of the unit in `folder`."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    command = ["systemd-analyze", *options, "verify", str(folder / UNIT.name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    return [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize(
    ("unit", "command", "options"),
    [
        (UNIT, "/usr/local/bin/instrument-daemon", ()),
        (USER_UNIT, "%h/.local/bin/instrument-daemon", ("--user",)),
    ],
    ids=["system", "user"],
)
def test_systemd_accepts_the_unit(unit, command, options, tmp_path):
    """Without a warning, once the command is where it says; for the system with a fixed user too."""
    there = tmp_path / "instrument-daemon"
    there.write_text("#!/bin/sh\n")
    there.chmod(0o755)
    copy = tmp_path / UNIT.name
    text = unit.read_text()
    assert command in text
    copy.write_text(text.replace(command, str(there)))
    assert complaints(tmp_path, *options) == []
    if unit == UNIT:
        shutil.copytree(DROP_IN.parent, tmp_path / DROP_IN.parent.name)
        assert complaints(tmp_path) == []
    copy.write_text(copy.read_text().replace("KillMode=mixed", "KillMode=shaken"))
    assert any("shaken" in line for line in complaints(tmp_path, *options)), "it does look"


def test_user_of_the_drop_in_is_the_one_that_is_made(service):
    """Whom systemd would otherwise make at each start; with its home in the daemon's folder."""
    [line] = [line for line in SYSTEM_USERS.read_text().splitlines() if not line.startswith("#")]
    kind, name, _, _, home = shlex.split(line)
    assert (kind, name, home) == ("u", service["User"], f"/var/lib/{service['StateDirectory']}")
    assert read(DROP_IN)["DynamicUser"] == "no"


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed")
def test_systemd_makes_the_user(tmp_path):
    """In a system of its own, where there is nobody."""
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", SYSTEM_USERS], check=True, timeout=60)
    assert (tmp_path / "etc" / "passwd").read_text().startswith("instrument-daemon:")


def test_unit_has_by_itself_what_a_fixed_user_would_lack(service):
    """What DynamicUser= brings with it, as systemd.exec(5) lists it."""
    both = {**service, **read(DROP_IN)}
    assert {both[name] for name in ("NoNewPrivileges", "PrivateTmp", "RemoveIPC", "RestrictSUIDSGID")} == {"yes"}
    assert (both["ProtectSystem"], both["ProtectHome"]) == ("strict", "yes")


def test_unit_of_a_user_is_watched_like_the_systems(service):
    """The same daemon: it ticks, ends and is reloaded in the same way; its command takes the folder that is its own."""
    own = read(USER_UNIT)
    for name in (
        "Type",
        "WatchdogSec",
        "KillMode",
        "TimeoutStopSec",
        "Restart",
        "RestartPreventExitStatus",
        "ExecReload",
    ):
        assert own[name] == service[name], name
    command, *options = own["ExecStart"].split()
    assert Path(command).name == Path(service["ExecStart"].split()[0]).name
    assert not read_settings(options).daemonize
    assert set(own) <= set(service)


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
    for file in (UNIT, DROP_IN, USER_UNIT, SYSTEM_USERS):
        assert str(file.relative_to(ROOT)) in PAGE
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
