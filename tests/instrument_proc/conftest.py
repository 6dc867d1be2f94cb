"""Fixtures of these tests: a simulated instrument, and children that are ended whatever happens."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.instrument_proc.spawned import SpawnedChild
from tests.support.tcp_instrument import TcpInstrument

#: One instrument for pyvisa-sim, on an interface that marks END and on a serial line; every answer ends with LF.
BENCH = r"""
spec: "1.1"
devices:
  device:
    eom:
      GPIB INSTR: {q: "\n", r: "\n"}
      ASRL INSTR: {q: "\n", r: "\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "TEST,SIMULATED,1,1.0"}
      - {q: "BLOCK?", r: "#212ab\ncd\n#15\n\n\n"}
      - {q: "INDEFINITE?", r: "#0ab\ncd"}
      - {q: "SHORT?", r: "#19abc"}
      - {q: "BAD?", r: "#3abc"}
      - {q: "HASH?", r: "#"}
      - {q: "HEX?", r: "#H20"}
      - {q: "RAW?", r: "1,2"}
      - {q: "LONG?", r: "LONG"}
      - {q: "LONGBLOCK?", r: "#6200000LONG"}
      - {q: "SET"}
      - {q: "*TRG", r: "TRIGGERED"}
    properties:
      sre: {default: 0, getter: {q: "*SRE?", r: "{:d}"}, setter: {q: "*SRE {}"}, specs: {type: int}}
resources:
  GPIB0::8::INSTR: {device: device}
  ASRL1::INSTR: {device: device}
"""

IDN = b"TEST,SIMULATED,1,1.0\n"
LONG = "0123456789" * 20_000

TERMCHAR, TERMCHAR_EN, TIMEOUT_VALUE = 0x3FFF0018, 0x3FFF0038, 0x3FFF001A
SUPPRESS_END_EN = 0x3FFF0036

#: Message available, a bit of the status byte.
MAV = 0x10


@pytest.fixture(scope="session")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The VISA library of the simulated instrument."""
    file = tmp_path_factory.mktemp("simulation") / "bench.yaml"
    file.write_text(BENCH.replace('LONG"}', f'{LONG}"}}'))
    return f"{file}@sim"


@pytest.fixture
def child_factory(tmp_path: Path) -> Iterator[Callable[[str], SpawnedChild]]:
    """Starts children: `child_factory("@py")`."""
    children: list[SpawnedChild] = []

    def start(library: str) -> SpawnedChild:
        child = SpawnedChild(library, tmp_path)
        children.append(child)
        return child

    yield start
    for child in children:
        child.end()


@pytest.fixture(scope="module")
def gpib(simulation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpawnedChild]:
    """A child that has a simulated instrument open, on an interface that marks END. One for a module's tests."""
    with SpawnedChild(simulation, tmp_path_factory.mktemp("gpib")) as child:
        assert child.open("GPIB0::8::INSTR").status == 0
        yield child


@pytest.fixture
def socket(child_factory: Callable[[str], SpawnedChild], instrument: TcpInstrument) -> SpawnedChild:
    """A child that has the scripted loopback instrument open; LF ends its answers."""
    child = child_factory("@py")
    opened = child.open(instrument.resource, [(TERMCHAR, 10), (TERMCHAR_EN, True)])
    assert opened.status == 0, opened
    return child
