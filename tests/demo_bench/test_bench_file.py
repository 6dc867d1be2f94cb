"""bench.yaml, driven with plain PyVISA over pyvisa-sim, and over what a child completes it with: no daemon anywhere."""

import pytest
import pyvisa

from demo_bench import BENCH_FILE
from instrument_proc.simulated import SimulatedLibrary

LIBRARY = f"{BENCH_FILE}@sim"
MULTIMETER, SUPPLY, CONTROLLER = "GPIB0::22::INSTR", "USB0::0x0957::0x0407::PS000407::0::INSTR", "ASRL1::INSTR"


def test_bench_lists_its_three_instruments():
    """What the file describes is what PyVISA finds."""
    assert set(pyvisa.ResourceManager(LIBRARY).list_resources("?*")) == {MULTIMETER, SUPPLY, CONTROLLER}


@pytest.mark.parametrize("name", [MULTIMETER, SUPPLY, CONTROLLER])
@pytest.mark.parametrize("write_termination", ["\n", "\r\n"])
def test_instrument_answers_with_lf_when_the_command_ended_in(open_resource, name, write_termination):
    """LF is the daemon's default, CR LF is PyVISA's: both programs must be understood."""
    instrument = open_resource(LIBRARY, name, write_termination=write_termination)
    assert instrument.query("*IDN?").startswith("DEMO BENCH,")
    assert instrument.query("SYST:ERR?") == '+0,"No error"'


@pytest.mark.parametrize(
    ("name", "query", "low", "high"),
    [
        (MULTIMETER, "MEAS:VOLT:DC?", 4.9, 5.1),
        (MULTIMETER, "READ?", 4.9, 5.1),
        (MULTIMETER, "FETC?", 4.9, 5.1),
        (MULTIMETER, "MEAS:VOLT:AC?", 0, 0.001),
        (MULTIMETER, "MEAS:CURR:DC?", 0.2, 0.3),
        (MULTIMETER, "MEAS:RES?", 999, 1001),
        (SUPPLY, "MEAS:CURR?", 0.2, 0.3),
        (CONTROLLER, "TEMP?", 22.8, 23.2),
    ],
)
def test_measurement_lies_in_its_range(open_resource, name, query, low, high):
    """Measurements are random numbers, in the unit and the size one expects of the instrument."""
    assert low < float(open_resource(LIBRARY, name).query(query)) < high


@pytest.mark.parametrize(
    ("name", "command", "query", "answer"),
    [
        (MULTIMETER, 'FUNC "RES"', "FUNC?", '"RES"'),
        (MULTIMETER, "VOLT:DC:NPLC 10", "VOLT:DC:NPLC?", "+1.00000000E+01"),
        (MULTIMETER, "VOLT:DC:RANG 100", "VOLT:DC:RANG?", "+1.00000000E+02"),
        (MULTIMETER, "*ESE 32", "*ESE?", "32"),
        (MULTIMETER, "*SRE 255", "*SRE?", "255"),
        (SUPPLY, "VOLT 5", "VOLT?", "5.0000"),
        (SUPPLY, "CURR 1.5", "CURR?", "1.5000"),
        (SUPPLY, "OUTP 1", "OUTP?", "1"),
        (CONTROLLER, "TEMP:SPO -5.5", "TEMP:SPO?", "-5.500"),
        (CONTROLLER, "OUTP 1", "OUTP?", "1"),
    ],
)
def test_setting_is_kept_when_set(open_resource, name, command, query, answer):
    """A setting reads back as what was set, and setting it is no error."""
    instrument = open_resource(LIBRARY, name)
    instrument.write(command)
    assert instrument.query(query) == answer
    assert instrument.query("SYST:ERR?") == '+0,"No error"'


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (MULTIMETER, 'FUNC "SMELL"'),
        (MULTIMETER, "*SRE 256"),
        (SUPPLY, "VOLT 31"),
        (SUPPLY, "VOLT high"),
        (CONTROLLER, "TEMP:SPO 200"),
    ],
)
def test_error_queue_holds_an_error_when_a_value_is_refused(open_resource, name, command):
    """A value out of range leaves one error in the queue and its bit in the event status register."""
    instrument = open_resource(LIBRARY, name)
    instrument.query("*ESR?")
    instrument.write(command)
    assert instrument.query("SYST:ERR?") == '-100,"Command error"'
    assert instrument.query("SYST:ERR?") == '+0,"No error"'
    assert instrument.query("*ESR?") == "32"


@pytest.fixture
def multimeter(open_resource):
    """With a status byte, and as it is when it was just switched on."""
    library = SimulatedLibrary(str(BENCH_FILE))
    library._init()
    return open_resource(library, MULTIMETER)


def test_multimeter_requests_service_when_a_reading_is_there(multimeter):
    """MAV is enabled; *STB? says the same as the serial poll, but for RQS, which that has taken."""
    multimeter.write("*SRE 16")
    multimeter.write("READ?")
    multimeter.wait_for_srq(1000)
    assert multimeter.stb == 16
    assert 4.9 < float(multimeter.read()) < 5.1
    assert multimeter.stb == 0
    assert multimeter.query("*STB?") == "0"


def test_multimeter_requests_service_when_a_measurement_is_done(multimeter):
    """*OPC behind INIT, and what it sets is enabled; the reading is fetched afterwards."""
    for command in ("*CLS", "*ESE 1", "*SRE 32", "INIT"):
        multimeter.write(command)
        assert multimeter.stb == 0
    multimeter.write("*OPC")
    multimeter.wait_for_srq(1000)
    assert multimeter.query("*STB?") == "96"
    assert multimeter.query("*ESR?") == "1"
    assert multimeter.stb == 0
    assert 4.9 < float(multimeter.query("FETC?")) < 5.1


def test_multimeter_clears_its_status_when_told_to(multimeter):
    """*CLS: the error queue and *ESR?, and with them the status byte."""
    for command in ("*ESE 32", "nonsense"):
        multimeter.write(command)
    assert multimeter.stb == 36
    multimeter.write("*CLS")
    assert multimeter.stb == 0
    assert multimeter.query("SYST:ERR?") == '+0,"No error"'
