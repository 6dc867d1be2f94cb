"""The generator: an instrument like others, until it is told to hang whoever talks to it."""

import contextlib
import threading
from collections.abc import Callable

import pytest
from pyvisa.resources import MessageBasedResource

from demo_bench.generator import STALLING_BYTES
from tests.support.text_client import TextClient

#: pyvisa-py's patience between two bytes is half of it, and less after each that it had to wait for: on a busy machine
#: a short one would end a read that hangs.
VISA_TIMEOUT_MS = 1000
FAR_BEYOND_IT_S = 2.0


@pytest.fixture
def opened(bench, open_resource) -> Callable[[], MessageBasedResource]:
    return lambda: open_resource("@py", bench.names["waveform generator"], timeout=VISA_TIMEOUT_MS)


def hangs(call: Callable[[], object]) -> bool:
    """Does `call`, on a thread of its own, not come back long after the VISA timeout?"""

    def run() -> None:
        with contextlib.suppress(Exception):  # the connection is dropped under it at the test's end
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(FAR_BEYOND_IT_S)
    return thread.is_alive()


def test_waveform_is_kept_when_loaded_as_a_block(opened):
    """Every byte value may be in it, LF too."""
    generator = opened()
    generator.write_binary_values("DATA:VOL ", [value % 256 - 128 for value in range(1000)], datatype="b")
    assert generator.query("DATA:POIN?") == "1000"


def test_write_never_returns_when_stalled(bench, opened):
    """pyvisa-py's SOCKET write has no deadline: this is a real hang inside the VISA call."""
    generator = opened()
    assert generator.query("*OPC?") == "1"
    generator.write("SYST:STALL")
    assert hangs(lambda: generator.write("DATA " + "0" * STALLING_BYTES))
    bench.end()


def test_write_never_returns_when_stalled_after_long_use(bench):
    """By then the sender's kernel buffers more; the larger figure is enough all the same."""
    port = int(bench.names["waveform generator"].split("::")[2])
    with TextClient("127.0.0.1", port) as connection:
        for _ in range(2000):
            connection.ask("*OPC?")
        connection.send(b"SYST:STALL\n")
        connection.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.send(bytes(STALLING_BYTES))


def test_read_never_returns_when_babbling(bench, opened):
    """pyvisa-py's SOCKET read looks at its deadline only when no data came: the other real hang."""
    generator = opened()
    assert hangs(lambda: generator.query("SYST:BABBLE?"))
    bench.end()


def test_generator_works_again_when_the_connection_is_new(bench, opened):
    """That is what lets the daemon recover it by killing the child, and why its settings are as they were."""
    stalled, babbling = opened(), opened()
    stalled.write("FREQ 2000")
    stalled.write("SYST:STALL")
    babbling.write("SYST:BABBLE?")
    assert opened().query("FREQ?") == "2000"
