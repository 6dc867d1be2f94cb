"""`python -m demo_bench` as a process: what it says, and when it ends."""

import re
import signal

from tests.demo_bench.conftest import Bench


def test_bench_announces_what_listens(bench, open_resource):
    """Its one line names resources that PyVISA can open at once."""
    assert set(bench.names) == {"oscilloscope", "waveform generator"}
    for name in bench.names.values():
        assert re.fullmatch(r"TCPIP0::127\.0\.0\.1::\d+::SOCKET", name)
        assert open_resource("@py", name).query("*IDN?").startswith("DEMO BENCH,")


def test_bench_takes_free_ports_when_its_own_are_taken(bench):
    """Two benches on one machine, as two demo daemons have them."""
    second = Bench()
    try:
        assert not set(bench.names.values()) & set(second.names.values())
    finally:
        second.end()


def test_bench_ends_when_its_standard_input_ends(bench):
    """So it never outlives the daemon, however that died."""
    assert bench.end() == 0


def test_bench_lives_on_when_interrupted(bench, open_resource):
    """Ctrl-C in a terminal reaches the whole process group; it is the daemon's to act on."""
    bench.process.send_signal(signal.SIGINT)
    assert open_resource("@py", bench.names["oscilloscope"]).query("*OPC?") == "1"
