"""A child is without what its instrument does not need, whatever is installed, and with all that it needs."""

import importlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from instrument_proc import pipe
from instrument_proc.lean_imports import LAZY, lean

BACKENDS = Path(__file__).parent / "backends"

#: What no child has; what a child has for some resources only.
NEVER = frozenset({"asyncio", "click", "email", "importlib.metadata", "ssl", "structlog", "uvloop"})
SOME = frozenset({"ctypes", "pyvisa_py.gpib", "pyvisa_py.prologix", "pyvisa_py.serial", "pyvisa_py.usb", "serial"})


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """Packages of these names are installed, in the place of those that are. Each imports a module `inside` of it."""

    def install(*names):
        for name in names:
            package = tmp_path / "installed" / name
            package.mkdir(parents=True)
            (package / "__init__.py").write_text("from . import inside\n")
            (package / "inside.py").write_text("depth = 1\n")
            for module in [module for module in sys.modules if module.partition(".")[0] == name]:
                monkeypatch.delitem(sys.modules, module)
        monkeypatch.syspath_prepend(tmp_path / "installed")

    yield install
    for name in [name for name in sys.modules if name.partition(".")[2] == "inside"]:
        del sys.modules[name], sys.modules[name.partition(".")[0]]


@pytest.fixture
def warm(child_factory, installed, monkeypatch):
    """A warm child whose instrument tells what the child has imported, where everything is installed."""
    installed("usb", *LAZY)
    monkeypatch.syspath_prepend(BACKENDS)
    return child_factory("@tells")


@pytest.fixture
def serial_line():
    """The name of a line that has nothing at its other end."""
    ours, theirs = os.openpty()
    yield f"ASRL{os.ttyname(theirs)}::INSTR"
    os.close(ours)
    os.close(theirs)


def modules(child):
    """What a child has imported that has an instrument open."""
    return set(child.run("read", 1 << 16).data.decode().split("\n"))


# Within `lean`.


def test_lazy_package_is_imported_when_something_of_it_is_used(installed):
    installed("numpy")
    with lean():
        numpy = importlib.import_module("numpy")
    assert "numpy.inside" not in sys.modules
    assert numpy.inside.depth == 1
    assert "numpy.inside" in sys.modules


def test_lazy_package_that_is_not_installed_is_not_found(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "zeroconf", raising=False)
    with lean(), pytest.raises(ModuleNotFoundError):
        importlib.import_module("zeroconf")


def test_absent_module_is_found_again_afterwards(installed):
    installed("first", "second")
    first = importlib.import_module("first")
    with lean(absent=("first", "second")):
        assert importlib.import_module("first") is first
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("second")
    assert importlib.import_module("second").inside


def test_nothing_is_left_over_when_an_import_fails(monkeypatch):
    monkeypatch.delitem(sys.modules, "importlib.metadata", raising=False)
    before = list(sys.meta_path)
    with pytest.raises(ZeroDivisionError), lean(absent=("nowhere",)):
        raise ZeroDivisionError
    assert "nowhere" not in sys.modules
    assert "importlib.metadata" not in sys.modules
    assert sys.meta_path == before


def test_library_learns_no_version_of_itself_and_all_others(monkeypatch):
    """The real one answers, as soon as it is asked for more."""
    monkeypatch.delitem(sys.modules, "importlib.metadata", raising=False)
    with lean():
        from importlib.metadata import PackageNotFoundError, version

        with pytest.raises(PackageNotFoundError):
            version("pyvisa")
        assert "email" not in vars(sys.modules["importlib.metadata"])
        assert version("pytest") == pytest.__version__
        from importlib.metadata import entry_points

        assert callable(entry_points)
    from importlib.metadata import version

    assert version("pyvisa")


@pytest.mark.parametrize("way", ["import importlib.metadata", "import importlib.metadata as _, importlib"])
def test_stand_in_is_found_by_its_whole_name(monkeypatch, way):
    """As an attribute of its package; also by what was imported so and is called later."""
    monkeypatch.delitem(sys.modules, "importlib.metadata", raising=False)
    monkeypatch.delattr(importlib, "metadata", raising=False)
    library: dict[str, Any] = {}
    code = "def version(package): return importlib.metadata.version(package)"
    with lean():
        exec(f"{way}\n{code}", library)
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            library["version"]("pyvisa")
        assert "email" not in vars(sys.modules["importlib.metadata"])
    assert library["version"]("pyvisa") == version("pyvisa")
    with lean():
        assert library["version"]("pytest") == pytest.__version__


def test_package_has_the_attribute_afterwards_that_it_had(monkeypatch):
    """Though the module itself was forgotten."""
    before = ModuleType("importlib.metadata")
    monkeypatch.delitem(sys.modules, "importlib.metadata", raising=False)
    monkeypatch.setattr(importlib, "metadata", before, raising=False)
    with lean():
        assert importlib.metadata is not before
    assert importlib.metadata is before


def test_real_module_stays_once_it_was_needed(monkeypatch):
    """It is imported once, and is what its package has."""
    monkeypatch.delitem(sys.modules, "importlib.metadata", raising=False)
    monkeypatch.delattr(importlib, "metadata", raising=False)
    with lean():
        stand_in = sys.modules["importlib.metadata"]
        stand_in.version("pytest")
        real = sys.modules["importlib.metadata"]
        stand_in.version("pytest")
    assert sys.modules["importlib.metadata"] is importlib.metadata is real is not stand_in


# In a child.


def test_child_on_a_socket_has_nothing_of_what_it_does_not_need(warm, instrument):
    """Though all of it is installed."""
    assert warm.open(instrument.resource).status == 0
    has = modules(warm)
    assert {"instrument_proc.child", "pyvisa_py.tcpip"} <= has
    assert not has & (NEVER | SOME | {f"{name}.inside" for name in ("usb", *LAZY)})


def test_child_on_a_serial_line_has_what_that_needs(warm, serial_line):
    assert warm.open(serial_line).status == 0
    has = modules(warm)
    assert {"pyvisa_py.serial", "serial"} <= has
    assert not has & (NEVER | {"usb.inside", "pyvisa_py.gpib"})


def test_child_that_was_asked_for_all_resources_has_all_that_finds_them(warm, instrument):
    warm.send(pipe.List("@tells"))
    assert isinstance(warm.report(), pipe.Listed)
    assert warm.open(instrument.resource).status == 0
    assert {"usb.inside", "psutil.inside", "pyvisa_py.serial"} <= modules(warm)


def test_usb_is_looked_for_when_a_usb_resource_is_opened(warm, instrument, tmp_path):
    """And not before; what then fails is told as ever."""
    failed = warm.open("USB0::1::2::3::INSTR", lock_file=str(tmp_path / "usb.lock"))
    assert failed.token == "VI_ERROR_RSRC_NFOUND"
    assert "PyUSB" in failed.text
    assert warm.open(instrument.resource).status == 0
    assert "usb.inside" in modules(warm)


@pytest.mark.parametrize("library", ["@insists", "@rebels", "@versioned"])
def test_library_that_cannot_do_without_gets_all(child_factory, monkeypatch, library):
    """Whatever it says to what it does not find."""
    monkeypatch.syspath_prepend(BACKENDS)
    assert child_factory(library).warm.trouble == ""
