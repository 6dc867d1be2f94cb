"""What is installed, and which VISA libraries there are."""

import pytest

from client.commands.checkup import software
from client.commands.checkup.facts import Kind, Library, Node, Visit
from tests.client.commands.checkup.judged import told

EVERYTHING = dict.fromkeys(("pyserial", "pyusb", "zeroconf", "gpib-ctypes"), "1")
OURS = Library("daemon", "0.1.0")


def without(*names: str) -> dict[str, str]:
    return {name: version for name, version in EVERYTHING.items() if name not in names}


def test_versions_are_told_when_all_is_well() -> None:
    """Those of what matters; and elsewhere than on Linux what cannot be done there."""
    [row] = told(software.versions, packages={"pyvisa": "1.16", "zeroconf": "0.9"})
    assert row == ("ok", "pyvisa-daemon 0.1.0, Python 3.11.0 on linux; pyvisa 1.16; zeroconf 0.9", "")
    assert told(software.versions, platform="darwin")[1][1].endswith("to run one takes Linux")


@pytest.mark.parametrize(
    ("missing", "kind", "text", "remedy"),
    [
        ("pyserial", Kind.SERIAL, "pyserial is not installed: serial lines; this machine has some",
         "pip install pyserial"),
        ("pyusb", Kind.USB, "pyusb is not installed: USB instruments; this machine has some", "pip install pyusb"),
        ("gpib-ctypes", Kind.GPIB, "there is a GPIB board, and no package that pyvisa-py reaches it with",
         "pip install gpib-ctypes (or the `gpib` module that comes with linux-gpib)"),
    ],
)  # fmt: skip
def test_missing_package_is_told_when_a_device_needs_it(missing: str, kind: Kind, text: str, remedy: str) -> None:
    """Without such a device nobody misses it."""
    node = Node("/dev/x", kind)
    assert told(software.extras, packages=without(missing), nodes=(node,)) == [("warning", text, remedy)]
    assert told(software.extras, packages=without(missing)) == []
    assert told(software.extras, packages=EVERYTHING, nodes=(node,)) == []


def test_zeroconf_is_missed_when_it_is_not_there() -> None:
    """By everybody: it finds daemons too."""
    [(level, text, remedy)] = told(software.extras, packages=without("zeroconf"))
    assert (level, remedy) == ("warning", "pip install zeroconf")
    assert "finding daemons and instruments" in text


def test_libusb_is_missed_when_pyusb_finds_none() -> None:
    """pyusb alone reaches nothing."""
    usb = (Node("/dev/bus/usb/001/002", Kind.USB),)
    [(level, _, remedy)] = told(software.extras, packages=EVERYTHING, nodes=usb, has_libusb=False)
    assert level == "warning"
    assert "apt install libusb-1.0-0" in remedy


def test_visa_libraries_are_told_with_their_files_when_there() -> None:
    """PyVISA's own backend counts only with a library."""
    files = Library("ivi", "", ("/usr/lib/libvisa.so",))
    rows = told(software.visa_libraries, libraries=(files, Library("py", "0.8"), OURS))
    assert [text for _, text, _ in rows] == ["@ivi (/usr/lib/libvisa.so)", "@py 0.8"]


@pytest.mark.parametrize(("visits", "level"), [((), "warning"), ((Visit("labpc:1340"),), "ok")])
def test_no_visa_library_matters_when_there_is_no_daemon(visits: tuple[Visit, ...], level: str) -> None:
    """A machine that uses a daemon's instruments only needs none."""
    [row] = told(software.visa_libraries, libraries=(Library("ivi"), OURS), visits=visits)
    assert (row[0], row[2].startswith("pip install pyvisa-py")) == (level, True)


def test_backend_of_ours_is_a_problem_when_pyvisa_does_not_see_it() -> None:
    rows = told(software.visa_libraries, libraries=(Library("py", "0.8"),))
    assert ("problem", "PyVISA does not see @daemon") in [row[:2] for row in rows]


@pytest.mark.parametrize(
    ("chosen", "level", "remedy"),
    [
        ("labpc:1340@daemon", "ok", ""),
        ("/usr/lib/libvisa.so", "ok", ""),
        ("@deamon", "problem", "write @daemon"),
        ("@zz", "problem", "pip install pyvisa-zz, or name one of those that are there"),
    ],
)
def test_chosen_library_is_judged_when_the_environment_names_one(chosen: str, level: str, remedy: str) -> None:
    """As PyVISA takes it."""
    rows = told(software.chosen_library, libraries=(Library("py"), OURS), environment={"PYVISA_LIBRARY": chosen})
    assert [(row[0], row[2]) for row in rows] == [(level, remedy)]
    assert told(software.chosen_library) == []
