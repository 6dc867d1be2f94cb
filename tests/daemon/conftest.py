"""A daemon with the recording library, one for a module's tests, and PyVISA's resources on it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pyvisa
from pyvisa.resources import PXIInstrument, Resource

from tests.daemon.recorded import PXI, Record
from tests.support.daemon import Daemon

BACKENDS = Path(__file__).with_name("backends")


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """What the library of `recording_daemon` was called with."""
    return Record(tmp_path_factory.mktemp("record") / "calls.jsonl")


@pytest.fixture(scope="module")
def recording_daemon(recorder: Record, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """It closes an instrument with its last session."""
    environment = {"PYTHONPATH": str(BACKENDS), "VISA_RECORD": str(recorder.path)}
    folder = tmp_path_factory.mktemp("recording") / "run"
    daemon = Daemon(folder, "--visa-library", "@recorder", "--linger", "0", environment=environment)
    yield daemon
    try:
        daemon.end()
    finally:
        daemon.kill()


@pytest.fixture(scope="module")
def manager(recording_daemon: Daemon) -> Iterator[pyvisa.ResourceManager]:
    """Stock PyVISA's."""
    manager = pyvisa.ResourceManager(f"{recording_daemon.address}@daemon")
    yield manager
    manager.close()


@pytest.fixture(scope="module")
def opened(manager: pyvisa.ResourceManager) -> Callable[[str], Resource]:
    """Opens a resource by its name, once for the module."""
    resources: dict[str, Resource] = {}

    def open_once(name: str) -> Resource:
        if name not in resources:
            # PyVISA's own parser knows no PXI INSTR.
            resource_class = PXIInstrument if name == PXI else None
            resources[name] = manager.open_resource(name, resource_pyclass=resource_class)
        return resources[name]

    return open_once
