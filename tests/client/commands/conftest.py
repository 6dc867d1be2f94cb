"""What the subcommands for the bench are tried on: one daemon with the demo bench and a scripted instrument."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result

from client.commands.main import main
from tests.faults.switchable import Switchable
from tests.support.daemon import Daemon
from tests.support.tcp_instrument import TcpInstrument


class Lab(NamedTuple):
    """The scripted instrument is `scripted` there, and has a safe state; another, `switched`, can be switched off;
    `instruments` is the command, asking it."""

    daemon: Daemon
    instrument: TcpInstrument
    switched: Switchable

    def instruments(self, *arguments: str, said: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, ["--host", self.daemon.address, *arguments], input=said)


@pytest.fixture(scope="package")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    instrument = TcpInstrument()
    switched = Switchable()
    settings = folder / "lab.toml"
    settings.write_text(
        f'[[resource]]\nmatch = "{instrument.resource}"\nname = "scripted"\nlibrary = "@py"\n'
        'safe-state = ["SET safe"]\n'
        f'[[resource]]\nmatch = "{switched.resource}"\nname = "switched"\nlibrary = "@py"\n'
        '[[resource]]\nmatch = "USB0::*"\nconfirm = ["OUTPut[:STATe] 1"]\n'
    )
    with ExitStack() as afterwards:
        afterwards.callback(instrument.switch_off)
        afterwards.enter_context(switched)
        daemon = Daemon(folder / "run", "--demo", "--config", str(settings))
        afterwards.callback(daemon.kill)
        yield Lab(daemon, instrument, switched)
        daemon.end()


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


@pytest.fixture
def instruments(shared_lab: Lab) -> Callable[..., Result]:
    return shared_lab.instruments
