"""bench.yaml, driven with plain PyVISA over pyvisa-sim: no daemon anywhere."""

import pytest
import pyvisa

from demo_bench import BENCH_FILE

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
    [(MULTIMETER, 'FUNC "SMELL"'), (SUPPLY, "VOLT 31"), (SUPPLY, "VOLT high"), (CONTROLLER, "TEMP:SPO 200")],
)
def test_error_queue_holds_an_error_when_a_value_is_refused(open_resource, name, command):
    """A value out of range leaves one error in the queue and its bit in the event status register."""
    instrument = open_resource(LIBRARY, name)
    instrument.query("*ESR?")
    instrument.write(command)
    assert instrument.query("SYST:ERR?") == '-100,"Command error"'
    assert instrument.query("SYST:ERR?") == '+0,"No error"'
    assert instrument.query("*ESR?") == "32"
