"""Fixtures for every test: real daemons and instruments, and the rule that nothing is left behind.

Files run beside each other, in two processes that report to a third all the time. So a test has ports, folders and
processes of its own; and what it replaces in a module is that module's name, never what all the process uses:
`setattr(sockets, "struct", ...)`, not `setattr(struct, "pack", ...)`, with which its own report would be packed.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.progress import Progress
from tests.support.daemon import Daemon
from tests.support.instrument_process import SerialInstrument, Vxi11Instrument
from tests.support.tcp_instrument import TcpInstrument


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the long proofs (marked `full`)")
    parser.addoption("--figures", metavar="FILE", help="write what the fault suite measured to this file")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """What is measured is measured with nothing beside it, and gathered in one process."""
    if config.getoption("--figures"):
        config.option.numprocesses, config.option.dist = 0, "no"


def pytest_configure(config: pytest.Config) -> None:
    """Tests press Ctrl-C, and so may whatever they start: a shell's background job ignores it, and hands that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("dist") != "no" and not hasattr(config, "workerinput") and config.get_verbosity() == 0:
        config.pluginmanager.register(Progress(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


@pytest.fixture
def daemon_factory(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons: `daemon_factory("--demo", "--grace", "1")`. Ends each, and fails if one leaves anything."""
    daemons: list[Daemon] = []

    def start(*options: str, environment: dict[str, str] | None = None) -> Daemon:
        daemon = Daemon(tmp_path / f"run{len(daemons)}", *options, environment=environment)
        daemons.append(daemon)
        return daemon

    yield start
    failures = []
    for daemon in daemons:
        try:
            daemon.end()
        except (AssertionError, OSError) as failure:
            failures.append(f"{failure}\n{daemon.stderr}")
        finally:
            daemon.kill()
    assert not failures, "\n".join(failures)


@pytest.fixture
def daemon(daemon_factory: Callable[..., Daemon]) -> Daemon:
    """A daemon that serves the demo bench."""
    return daemon_factory("--demo")


@pytest.fixture
def instrument_factory() -> Iterator[Callable[[], TcpInstrument]]:
    """Starts scripted loopback instruments (see tests/support/instrument.py)."""
    instruments: list[TcpInstrument] = []

    def start() -> TcpInstrument:
        instrument = TcpInstrument()
        instruments.append(instrument)
        return instrument

    yield start
    for instrument in instruments:
        instrument.switch_off()


@pytest.fixture
def vxi11() -> Iterator[Vxi11Instrument]:
    """A scripted instrument that speaks VXI-11."""
    instrument = Vxi11Instrument()
    yield instrument
    instrument.switch_off()


@pytest.fixture
def serial_line() -> Iterator[SerialInstrument]:
    """A scripted instrument on a serial line."""
    instrument = SerialInstrument()
    yield instrument
    instrument.switch_off()


@pytest.fixture
def instrument(instrument_factory: Callable[[], TcpInstrument]) -> TcpInstrument:
    """One scripted loopback instrument."""
    return instrument_factory()
