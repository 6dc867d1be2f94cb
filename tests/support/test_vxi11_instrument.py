"""The scripted instruments with a VISA name of their own do what the tests that use them believe, seen through VISA."""

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from tests.support.instrument_process import SerialInstrument, Vxi11Instrument


@pytest.fixture(params=[Vxi11Instrument, SerialInstrument])
def instrument(request):
    instrument = request.param()
    yield instrument
    instrument.switch_off()


@pytest.fixture
def open_resource():
    """Opens a resource with pyvisa-py, as a program without a daemon would."""
    manager = pyvisa.ResourceManager("@py")

    def open_resource(instrument, timeout_ms=5000):
        resource = manager.open_resource(instrument.resource, read_termination="\n", write_termination="\n")
        resource.timeout = timeout_ms
        return resource

    yield open_resource
    manager.close()


def test_instrument_has_a_name_that_visa_leaves_as_it_is(instrument):
    """The daemon and its clients call it the same."""
    assert str(pyvisa.rname.ResourceName.from_string(instrument.resource)) == instrument.resource


def test_instrument_answers_and_counts(instrument, open_resource):
    """A test asks behind the back of whoever has it open."""
    resource = open_resource(instrument)
    assert resource.query("ECHO? one;ECHO? two") == "one;two"
    assert instrument.history() == ["ECHO? one;ECHO? two"]
    assert instrument.count("ECHO?") == 1


def test_instrument_sends_and_takes_blocks_of_any_bytes(instrument, open_resource):
    """Larger than any buffer on the way, line feeds among them."""
    resource = open_resource(instrument)
    block = [index % 256 for index in range(40_000)]
    assert resource.query_binary_values("BLOCK? 40000", "B") == block
    if isinstance(instrument, Vxi11Instrument):
        resource.write_binary_values("LOAD ", block, "B")
        assert resource.query("LOAD?") == "40000"


def test_late_answer_is_the_next_ones(instrument, open_resource):
    """Which is what a daemon must prevent."""
    resource = open_resource(instrument, timeout_ms=50)
    with pytest.raises(pyvisa.VisaIOError) as timed_out:
        resource.query("SLOW? 300,late")
    assert timed_out.value.error_code == StatusCode.error_timeout
    resource.timeout = 5000
    assert resource.query("ECHO? prompt") == "late"
    assert resource.read() == "prompt"


def test_instrument_is_opened_again(instrument, open_resource):
    """It is still the same."""
    open_resource(instrument).close()
    assert open_resource(instrument).query("ECHO? again") == "again"


def test_instrument_is_gone_when_told_to_drop(instrument, open_resource):
    """The connection is closed, the cable is pulled."""
    resource = open_resource(instrument, timeout_ms=100)
    resource.write("DROP")
    with pytest.raises((pyvisa.VisaIOError, OSError)):
        resource.query("ECHO? nobody")
    assert instrument.count("ECHO?") == 0


def test_vxi11_instrument_requests_service_and_is_triggered(vxi11, open_resource):
    """Without an answer, or with one."""
    resource = open_resource(vxi11)
    resource.assert_trigger()
    assert resource.query("TRIGGERS?") == "1"
    assert resource.query("SRQ? 10,ready") == "ready"
    assert (resource.read_stb(), resource.read_stb()) == (64, 0)
    resource.write("SRQ 0")
    assert resource.query("SLOW? 50,meanwhile") == "meanwhile"
    assert (resource.read_stb(), resource.read_stb()) == (64, 0)
