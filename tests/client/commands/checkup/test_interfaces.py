"""The rights to serial lines, USB instruments and GPIB boards."""

import re
import shutil
import subprocess

import pytest

from client.commands.checkup import interfaces
from client.commands.checkup.facts import Kind, Node, Search, Visit
from tests.client.commands.checkup.judged import told
from tests.support.daemon import ROOT

SERIAL = Node("/dev/ttyUSB0", Kind.SERIAL, can_use=False, group="dialout")
USB = Node("/dev/bus/usb/001/004", Kind.USB, can_use=False, mode=0o664, product=("0957", "0407"))


def test_usable_devices_are_told_in_one_line_when_there_are_several() -> None:
    nodes = (Node("/dev/ttyUSB0", Kind.SERIAL), Node("/dev/ttyUSB1", Kind.SERIAL))
    assert told(interfaces.rights, nodes=nodes) == [("ok", "ann may use /dev/ttyUSB0, /dev/ttyUSB1", "")]
    assert told(interfaces.rights) == []


def test_group_is_the_remedy_when_the_device_has_one() -> None:
    """Who is in it already, by the system's files, needs only to log in again."""
    [(level, text, remedy)] = told(interfaces.rights, nodes=(SERIAL,))
    assert (level, text) == ("problem", "ann may not use /dev/ttyUSB0 (group dialout, mode 660)")
    assert remedy == "sudo usermod -aG dialout ann, then log out and in again"
    [(_, _, remedy)] = told(interfaces.rights, nodes=(SERIAL,), future_groups=frozenset({"dialout"}))
    assert remedy == "you are in the group dialout from your next login on: log out and in again"


def test_rule_is_the_remedy_when_the_device_is_for_root_only() -> None:
    """With the very device's numbers; who is in the group needs no other login."""
    [(level, text, remedy)] = told(interfaces.rights, nodes=(USB,))
    assert (level, "(0957:0407)" in text) == ("problem", True)
    assert 'ATTR{idVendor}=="0957", ATTR{idProduct}=="0407", MODE="0660", GROUP="dialout"' in remedy
    assert "sudo usermod -aG dialout ann" in remedy
    assert remedy.endswith("then log out and in again")
    [(_, _, remedy)] = told(interfaces.rights, nodes=(USB,), groups=frozenset({"dialout"}))
    assert "usermod" not in remedy
    assert remedy.endswith("sudo udevadm trigger")


@pytest.mark.parametrize("kind", list(Kind))
def test_rule_is_sound_when_made(kind: Kind, tmp_path) -> None:
    """As udev reads it, where there is a udev that can say so; and the shell takes the commands."""
    node = Node("/dev/thing0", kind, can_use=False, product=("0957", "0407"))
    [(_, _, remedy)] = told(interfaces.rights, nodes=(node,), groups=frozenset({"dialout"}))
    assert subprocess.run(["bash", "-n", "-c", remedy], check=False).returncode == 0
    rule = tmp_path / "70-instruments.rules"
    rule.write_text(remedy.split("'")[1] + "\n")
    if shutil.which("udevadm") is not None:
        done = subprocess.run(["udevadm", "verify", "--resolve-names=never", str(rule)], capture_output=True, text=True)
        assert done.returncode == 0 or "Unknown command" in done.stderr, done.stderr


def test_missing_right_is_only_a_warning_when_a_daemon_serves_this_machine() -> None:
    """Then its user is the one who must have it."""
    rows = told(interfaces.rights, nodes=(SERIAL,), visits=(Visit("127.0.0.1:1340", is_loopback=True),))
    assert [row[0] for row in rows] == ["warning"]


def test_search_without_a_daemon_is_told_when_it_was_made() -> None:
    """What was found, nothing, or why that is not known."""
    assert told(interfaces.local_instruments) == []
    assert "finds ASRL1::INSTR" in told(interfaces.local_instruments, search=Search(("ASRL1::INSTR",)))[0][1]
    assert "no instrument" in told(interfaces.local_instruments, search=Search())[0][1]
    [(level, text, remedy)] = told(interfaces.local_instruments, search=Search(fault="it did not end within 20 s"))
    assert (level, "did not end" in text, "pyvisa-info" in remedy) == ("warning", True, True)


def test_rule_has_the_group_and_file_of_the_packaged_ones_when_made() -> None:
    """Two rules with two groups would take the device from whoever has the other, the daemon under systemd say."""
    packaged = (ROOT / "packaging" / "udev" / "70-instruments.rules").read_text()
    [(_, _, remedy)] = told(interfaces.rights, nodes=(USB,), groups=frozenset())
    [group] = set(re.findall(r'GROUP="(\w+)"', packaged))
    assert f'GROUP="{group}"' in remedy
    assert "/etc/udev/rules.d/70-instruments.rules" in remedy
    assert "/etc/udev/rules.d/70-instruments.rules" in packaged
