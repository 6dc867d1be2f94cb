"""The rules of packaging/udev/: udev can read them, and they fit what they are meant for and nothing else."""

import re
import shutil
import subprocess
from fnmatch import fnmatchcase

import pytest

from tests.support.daemon import ROOT

RULES = ROOT / "packaging" / "udev" / "70-instruments.rules"
PAGE = (ROOT / "docs" / "how-to" / "systemd.md").read_text()
WORD = re.compile(r'([A-Z]+(?:\{\w+\})?)(==|=)"([^"]*)"')


def rules(text: str) -> list[list[tuple[str, str, str]]]:
    """Key, operator and value of each word of each rule."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = [[match.groups() for match in map(WORD.fullmatch, line.split(", ")) if match] for line in lines]
    assert [len(rule) for rule in found] == [line.count(", ") + 1 for line in lines], "not a rule"
    return found


def given(**device: str) -> dict[str, str]:
    """What the rules give a device of these properties; names as in the rules, with _ for the braces."""
    result = {}
    for rule in rules(RULES.read_text()):
        tests = [(re.sub(r"\{(\w+)\}", r"_\1", key), value) for key, operator, value in rule if operator == "=="]
        if all(any(fnmatchcase(device.get(key, ""), each) for each in value.split("|")) for key, value in tests):
            result.update({key: value for key, operator, value in rule if operator == "="})
    return result


USED_BY_DIALOUT = {"GROUP": "dialout", "MODE": "0660"}


@pytest.mark.parametrize(
    "device",
    [
        {"SUBSYSTEM": "usb", "ENV_DEVTYPE": "usb_device", "ENV_ID_USB_INTERFACES": ":fe0300:"},
        {"SUBSYSTEM": "usb", "ENV_DEVTYPE": "usb_device", "ENV_ID_USB_INTERFACES": ":080650:fe0301:"},
        {"SUBSYSTEM": "usbmisc", "KERNEL": "usbtmc0"},
        {"SUBSYSTEM": "gpib_common", "KERNEL": "gpib15"},
    ],
)
def test_instrument_belongs_to_the_group(device):
    """By its class as USB has it, in the kernel's driver, or as a board."""
    assert given(**device) == USED_BY_DIALOUT


@pytest.mark.parametrize("name", ["ttyUSB0", "ttyACM12"])
def test_serial_line_on_usb_is_no_modem(name):
    assert given(SUBSYSTEM="tty", KERNEL=name) == {**USED_BY_DIALOUT, "ENV{ID_MM_PORT_IGNORE}": "1"}


@pytest.mark.parametrize(
    "device",
    [
        {"SUBSYSTEM": "usb", "ENV_DEVTYPE": "usb_device", "ENV_ID_USB_INTERFACES": ":080650:"},
        {"SUBSYSTEM": "usb", "ENV_DEVTYPE": "usb_device", "ENV_ID_USB_INTERFACES": ":fe0101:030000:"},
        {"SUBSYSTEM": "usb", "ENV_DEVTYPE": "usb_interface", "ENV_ID_USB_INTERFACES": ":fe0301:"},
        {"SUBSYSTEM": "tty", "KERNEL": "ttyS0"},
        {"SUBSYSTEM": "block", "KERNEL": "sda"},
    ],
)
def test_other_device_is_left_alone(device):
    """A stick, firmware update, the console."""
    assert given(**device) == {}


def test_rule_in_a_comment_is_one_without_it():
    """It is there to be copied."""
    [shown] = [line[2:] for line in RULES.read_text().splitlines() if line.startswith("# SUBSYSTEM==")]
    [rule] = rules(shown)
    assert {key for key, _, _ in rule} >= {"ATTR{idVendor}", "ATTR{idProduct}", "GROUP", "MODE"}


def test_page_says_where_they_go():
    assert str(RULES.relative_to(ROOT)) in PAGE
    assert "/etc/udev/rules.d/" in PAGE


def can_verify() -> bool:
    """From systemd 254 on."""
    if shutil.which("udevadm") is None:
        return False
    return subprocess.run(["udevadm", "verify", "--help"], capture_output=True, timeout=60).returncode == 0


@pytest.mark.skipif(not can_verify(), reason="no udevadm that verifies rules is installed")
def test_udev_accepts_the_rules():
    done = subprocess.run(["udevadm", "verify", RULES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
