"""The facts of this machine, and of one that is made of files."""

import os
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from client.commands.checkup import here, local_search
from client.commands.checkup.facts import Kind
from pyvisa_daemon import addresses


def test_packages_and_libraries_are_those_that_are_installed() -> None:
    """PyVISA, and our own backend among its own."""
    assert "pyvisa" in here.packages()
    assert {"py", "daemon"} <= {library.backend for library in here.libraries()}
    assert here.has_libusb() in (True, False)


def test_user_is_named_and_in_groups_when_asked() -> None:
    assert here.user()
    assert here.groups()
    assert isinstance(here.future_groups(), frozenset)


def test_clock_is_read_when_asked() -> None:
    """Whoever keeps it."""
    assert here.now().utcoffset() is not None
    assert abs(here.now() - here.now()) < timedelta(minutes=1)
    assert here.is_clock_set() in (True, False, None)


@pytest.mark.skipif(sys.platform != "linux", reason="its devices are files on Linux only")
def test_nodes_are_found_when_there_are_serial_usb_and_gpib_devices(tmp_path: Path) -> None:
    """Not a port without hardware, a USB device of another class, or GPIB's second board of sixteen."""
    dev, sys_ = tmp_path / "dev", tmp_path / "sys"
    for name in ("ttyUSB0", "ttyS0", "ttyS1", "tty1", "gpib0", "gpib1", "gpibx", "bus/usb/001/004", "bus/usb/001/005"):
        (dev / name).parent.mkdir(parents=True, exist_ok=True)
        (dev / name).touch(0o640)
    texts = {"class/tty/ttyS0/type": "0", "class/tty/ttyS1/type": "4"}
    for device, number, kind in (("1-1", "4", "fe"), ("1-2", "5", "08")):
        texts |= {
            f"bus/usb/devices/{device}/busnum": "1",
            f"bus/usb/devices/{device}/devnum": number,
            f"bus/usb/devices/{device}/idVendor": "0957",
            f"bus/usb/devices/{device}/idProduct": "0407",
            f"bus/usb/devices/{device}:1.0/bInterfaceClass": kind,
            f"bus/usb/devices/{device}:1.0/bInterfaceSubClass": "03",
        }
    for name, text in texts.items():
        (sys_ / name).parent.mkdir(parents=True, exist_ok=True)
        (sys_ / name).write_text(f"{text}\n")
    found = here.nodes(dev, sys_)
    assert [(node.path.removeprefix(f"{dev}/"), node.kind) for node in found] == [
        ("ttyS1", Kind.SERIAL),
        ("ttyUSB0", Kind.SERIAL),
        ("bus/usb/001/004", Kind.USB),
        ("gpib0", Kind.GPIB),
    ]
    assert found[2].product == ("0957", "0407")
    assert {node.mode for node in found} == {0o640}
    assert all(node.can_use for node in found)


@pytest.mark.parametrize(
    ("content", "flaw"),
    [("pvd_x\n", ""), ("", "is empty"), ("a b", "holds more than a token: one word and nothing else")],
)
def test_token_file_is_looked_at_when_an_entry_names_it(content: str, flaw: str, tmp_path: Path) -> None:
    """Its mode, and whether it has one word; never which."""
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(0o604)
    [found] = here.token_files([addresses.parse(f"labpc?token_file={file}")])
    assert (found.path, found.is_there, found.can_read, found.flaw) == (str(file), True, True, flaw)
    assert found.mode == (0o604 if os.name == "posix" else None)
    assert "pvd_x" not in repr(found)


def test_file_is_not_there_when_it_is_named_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment this time; the default one is looked at only where nothing else is named."""
    monkeypatch.setenv("PYVISA_DAEMON_TOKEN_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("PYVISA_DAEMON_CA_FILE", str(tmp_path / "ca.pem"))
    assert [file.is_there for file in here.token_files([])] == [False]
    assert [file.is_there for file in here.ca_files([addresses.parse("labpc")])] == [False]
    (tmp_path / "ca.pem").write_text("no PEM")
    assert [file.flaw for file in here.ca_files([])] == ["holds no certificate in PEM form"]
    monkeypatch.delenv("PYVISA_DAEMON_TOKEN_FILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert here.token_files([]) == ()


def test_search_says_what_is_wrong_when_it_fails_or_hangs() -> None:
    """In a process of its own: a driver that crashes or hangs takes nobody with it."""
    assert local_search.search(["x"], program="print('[\"ASRL1::INSTR\"]')").found == ("ASRL1::INSTR",)
    assert local_search.search([], program="raise OSError('no driver')").fault == "OSError: no driver"
    assert local_search.search([], program="import os; os.kill(os.getpid(), 9)").fault == "it ended with -9"
    assert local_search.search([], 0.5, "import time; time.sleep(60)").fault.startswith("it did not end within")
