"""What is built holds what it should, and works where nothing else of the project is."""

import subprocess
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from pyvisa_daemon.version import __version__
from tests.packaging.conftest import build, metadata
from tests.support.daemon import READY, ROOT
from tests.support.text_client import TextClient
from tests.test_card import files

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def tracked() -> set[str]:
    """The files that are under version control, or will be."""
    return {str(path.relative_to(ROOT)) for path in files()}


# What they hold.


def test_wheel_holds_its_packages_and_nothing_else(built):
    """Every file of them, the mark of typed ones in each, and the licence."""
    with ZipFile(built.wheel) as archive:
        names = set(archive.namelist())
    about = f"pyvisa_daemon-{__version__}.dist-info"
    described = {f"{about}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")}
    assert names == described | {name for name in tracked() if name.split("/")[0] in PACKAGES}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_wheel_is_for_every_system(built):
    """The daemon's part of it is of use on Linux only; the backend and the client on all."""
    assert built.wheel.name == f"pyvisa_daemon-{__version__}-py3-none-any.whl"


def test_source_distribution_holds_the_project(built):
    """So that who has it can run the tests; the continuous integration's entry stays where that is."""
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - {"PKG-INFO"} == {name for name in tracked() if not name.startswith(".ci/")}


def test_wheel_is_the_same_when_built_from_the_checkout(built, tmp_path):
    """Byte for byte: nothing of it depends on where or when it was built."""
    build("wheel", ROOT, tmp_path)
    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_wheel_says_what_it_is(built):
    """Name, licence, text, and the versions of Python that the tests run on."""
    said = metadata(built.wheel).metadata
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("pyvisa-daemon", __version__, "MIT")
    assert said["Description-Content-Type"] == "text/markdown"
    assert said["Requires-Python"] == ">=3.11"
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} <= set(said.get_all("Classifier"))
    assert "Typing :: Typed" in said.get_all("Classifier")


def test_classifiers_are_known_ones():
    """A package index refuses others."""
    known = pytest.importorskip("trove_classifiers").classifiers
    assert set(PYPROJECT["project"]["classifiers"]) <= known


# Installed.


def test_installed_package_is_found_where_it_is_installed(installed):
    """Every package of it, and PyVISA; and nothing of the checkout can be imported."""
    program = f"import sys, {', '.join(PACKAGES)}; print(*sys.path, *(m.__file__ for m in ({', '.join(PACKAGES)})))"
    places = [Path(place) for place in installed.run("python", "-c", program).split()]
    assert [place for place in places if place.is_relative_to(ROOT)] == []
    assert len([place for place in places if place.name == "__init__.py"]) == len(PACKAGES)
    assert all(place.is_relative_to(installed.environment) for place in places if place.name == "__init__.py")


def test_pyvisa_lists_the_backend_when_installed(installed):
    """`pyvisa-info` has it among the backends, with its version."""
    said = installed.run("python", "-c", "from pyvisa.cmd_line_tools import visa_info; visa_info()")
    assert f"   daemon:\n      Version: {__version__}\n" in said


def test_daemon_and_client_work_when_installed(installed):
    """A newcomer's first minute: the demo bench, the list, a query; by a program of PyVISA's too; and the end."""
    run_dir = installed.folder / "run"
    command = [installed.command("instrument-daemon"), "--demo", "--port", "0", "--run-dir", str(run_dir)]
    with subprocess.Popen(command, cwd=installed.folder, env=installed.variables(), stdout=subprocess.PIPE) as daemon:
        try:
            assert daemon.stdout is not None
            ready = READY.fullmatch(daemon.stdout.readline().decode().strip())
            assert ready is not None
            address = f"127.0.0.1:{ready['port']}"
            assert "GPIB0::22::INSTR" in installed.run("instruments", "--host", address, "list")
            said = installed.run("instruments", "--host", address, "query", "GPIB0::22::INSTR", "*IDN?")
            manager = f"__import__('pyvisa').ResourceManager('{address}@daemon')"
            answer = installed.run("python", "-c", f"print({manager}.open_resource('GPIB0::22::INSTR').query('*IDN?'))")
            assert said.strip() == answer.strip() == "DEMO BENCH,MULTIMETER,DM000022,1.0"
            with TextClient("127.0.0.1", int(ready["port"])) as client:
                assert client.ask(".!.end_daemon") == "ended"
            assert daemon.wait(60) == 0
        finally:
            daemon.kill()
    assert sorted(path.name for path in installed.folder.iterdir()) == ["run"]


def test_commands_say_how_they_are_used_when_installed(installed):
    """Both, with the version of the client."""
    assert "--daemonize" in installed.run("instrument-daemon", "--help")
    assert "query" in installed.run("instruments", "--help")
    assert __version__ in installed.run("instruments", "--version")
