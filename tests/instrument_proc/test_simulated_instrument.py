"""The status model: what a definition says, against what IEEE 488.2 makes of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyvisa_sim import parser

from instrument_proc.simulated_instrument import EAV, ESB, MAV, RQS, ClearedError, ServiceRequest, SimulatedInstrument

#: OWN: the bits of the instrument's own. BAD is what no instrument knows.
DEFINITION = r"""
spec: "1.1"
devices:
  instrument:
    eom:
      GPIB INSTR: {q: "\n", r: "\n"}
    error:
      status_register:
        - {q: "*ESR?", command_error: 32, operation_complete: 1}
      error_queue:
        - {q: "SYST:ERR?", default: "0", command_error: "-100"}
    dialogues:
      - {q: "*CLS"}
      - {q: "*OPC"}
      - {q: "VAL?", r: "42"}
    properties:
      ese: {default: 0, getter: {q: "*ESE?", r: "{:d}"}, setter: {q: "*ESE {}"}, specs: {type: int}}
      sre: {default: 0, getter: {q: "*SRE?", r: "{:d}"}, setter: {q: "*SRE {}"}, specs: {type: int}}
      stb: {default: 0, getter: {q: "*STB?", r: "{:d}"}, setter: {q: "OWN {}"}, specs: {type: int}}
resources:
  GPIB0::1::INSTR: {device: instrument}
"""


@pytest.fixture(scope="module")
def definition(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("status") / "instrument.yaml"
    file.write_text(DEFINITION)
    return file


class Simulation:
    """The instrument, freshly switched on."""

    def __init__(self, definition: Path) -> None:
        self.device = parser.get_devices(definition, False)["GPIB0::1::INSTR"]
        self.instrument = SimulatedInstrument(self.device)

    def write(self, message: str) -> int:
        """How often service was requested meanwhile."""
        self.device.write(message.encode() + b"\n")
        return self.instrument.take_requests()

    def read(self) -> str:
        self.instrument.begin_to_read()
        data, is_end = b"", False
        while not is_end:
            byte, is_end = self.device.read()
            assert byte, "nothing to read"
            data += byte
        return data.decode().rstrip()


@pytest.fixture
def simulation(definition) -> Simulation:
    return Simulation(definition)


class Model:
    """IEEE 488.2, section 11, once more and simply: RQS as the reasons that nobody was told of yet."""

    def __init__(self) -> None:
        self.own = self.esr = self.ese = self.sre = self.errors = 0
        self.output: list[str] = []
        self.before = 0
        self.untold: set[int] = set()
        self.requests = 0

    @property
    def summary(self) -> int:
        esb = ESB if self.esr & self.ese else 0
        return (self.own & ~RQS) | esb | (MAV if self.output else 0) | (EAV if self.errors else 0)

    @property
    def reasons(self) -> int:
        return self.summary & self.sre & ~RQS

    def step(self) -> None:
        risen = {bit for bit in range(8) if (self.reasons & ~self.before) >> bit & 1}
        self.requests += bool(risen and not self.untold)
        self.untold = self.untold | risen if self.reasons else set()
        self.before = self.reasons

    def write(self, message: str) -> None:
        match message.split():
            case ["*ESE", value]:
                self.ese = int(value)
            case ["*SRE", value]:
                self.sre = int(value)
            case ["OWN", value]:
                self.own = int(value)
            case ["*CLS"]:
                self.esr = self.errors = 0
            case ["*OPC"]:
                self.esr |= 1
            case ["BAD"]:
                self.esr |= 32
                self.errors += 1
            case ["*ESR?"]:
                self.output.append(str(self.esr))
                self.esr = 0
            case ["SYST:ERR?"]:
                self.output.append("-100" if self.errors else "0")
                self.errors = max(0, self.errors - 1)
            case ["*STB?"]:
                self.output.append(str(self.summary | (RQS if self.reasons else 0)))
            case ["VAL?"]:
                self.output.append("42")
        self.step()

    def serial_poll(self) -> int:
        byte = self.summary | (RQS if self.untold else 0)
        self.untold = set()
        return byte


bytes_ = st.one_of(st.sampled_from([0, EAV, MAV, ESB, RQS, 1, 33, 255]), st.integers(0, 255))
messages = st.one_of(
    st.sampled_from(["*CLS", "*OPC", "BAD", "*ESR?", "SYST:ERR?", "*STB?", "VAL?"]),
    st.builds("*ESE {}".format, bytes_),
    st.builds("*SRE {}".format, bytes_),
    st.builds("OWN {}".format, bytes_),
)
histories = st.lists(st.one_of(messages, st.sampled_from(["(read)", "(poll)", "(clear)"])), max_size=25)


@given(history=histories)
def test_status_byte_is_the_models_after_any_history(definition, history):
    """Answers, serial polls and the number of requests are what the model says, step by step."""
    simulation, model, requests = Simulation(definition), Model(), 0
    for step in history:
        if step == "(read)":
            if model.output:
                assert simulation.read() == model.output.pop(0)
                model.step()
        elif step == "(poll)":
            assert simulation.instrument.serial_poll() == model.serial_poll()
        elif step == "(clear)":
            simulation.instrument.clear()
            model.output.clear()
            model.step()
        else:
            requests += simulation.write(step)
            model.write(step)
            assert requests == model.requests
    assert simulation.instrument.requests_service() == bool(model.untold)


@given(st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=30))
def test_service_is_requested_once_for_each_time_that_rqs_rises(steps):
    """None polls. A request begins only where none is pending, and never without a reason."""
    request = ServiceRequest()
    for reasons in steps:
        was_pending = request.is_pending
        if reasons is None:
            assert request.poll() == was_pending
            assert not request.is_pending
        else:
            assert request.update(reasons) == (request.is_pending and not was_pending)
            assert not (request.is_pending and not reasons)


def test_poll_clears_rqs_once_and_leaves_mss(simulation):
    """The reason is still there: *STB? says so, the serial poll does not again."""
    simulation.write("*SRE 16")
    assert simulation.write("VAL?") == 1
    assert [simulation.instrument.serial_poll() for _ in range(2)] == [MAV | RQS, MAV]
    simulation.write("*STB?")
    assert [simulation.read() for _ in range(2)] == ["42", str(MAV | RQS)]


def test_service_is_requested_again_when_there_is_a_new_reason(simulation):
    """A second event of the same kind is new once the first is gone, whoever looked in between."""
    simulation.write("*SRE 16")
    for _ in range(3):
        assert simulation.write("VAL?") == 1
        simulation.read()


def test_service_is_requested_when_a_bit_is_enabled_that_is_set(simulation):
    """A change of *SRE is as good a reason as one of the status byte."""
    assert simulation.write("VAL?") == 0
    assert simulation.write("*SRE 16") == 1


def test_service_is_requested_when_the_reason_is_gone_before_the_message_ends(simulation):
    """BAD sets ESB, *ESR? in the same message clears it."""
    simulation.write("*ESE 32;*SRE 32")
    assert simulation.write("BAD;*ESR?") == 1
    assert not simulation.instrument.serial_poll() & RQS


def test_clear_leaves_a_request_that_is_not_for_the_output(simulation):
    """Device clear empties the output queue; status registers stay."""
    simulation.write("*ESE 1;*SRE 48;*OPC;VAL?")
    simulation.instrument.clear()
    assert simulation.instrument.serial_poll() == ESB | RQS


def test_clear_ends_a_request_that_was_for_the_output(simulation):
    """No reason, no request."""
    simulation.write("*SRE 16;VAL?")
    simulation.instrument.clear()
    assert simulation.instrument.serial_poll() == 0


def test_clear_forgets_a_message_that_has_begun(simulation):
    """What was sent of it is gone with the rest."""
    simulation.device.write(b"BA")
    simulation.instrument.clear()
    simulation.write("VAL?")
    assert simulation.read() == "42"


def test_clear_ends_the_read_that_it_comes_into_and_no_other(simulation):
    """Also where nothing is there to be read: who waits asks for a byte again and again."""
    simulation.write("VAL?")
    simulation.instrument.begin_to_read()
    assert simulation.device.read()[0] == b"4"
    simulation.instrument.clear()
    for _ in range(2):
        with pytest.raises(ClearedError):
            simulation.device.read()
    simulation.write("*STB?")
    assert simulation.read() == "0"


def test_message_that_is_not_text_is_a_command_error(simulation):
    """As any other that the definition does not know."""
    simulation.device.write(b"DATA #12\xff\xfe\n")
    simulation.write("*ESR?")
    assert simulation.read() == "32"


@pytest.mark.parametrize(
    ("answer", "own", "said"),
    [("0", 0, "16"), ("+4", 4, "20"), ("71", 7, "23"), ("STB 3", 0, "STB 3"), ("-1", 191, "-1"), ("", 0, "")],
)
def test_constant_status_byte_is_completed_when_it_is_a_number(tmp_path, answer, own, said):
    """Its bit 6 is not the definition's to say; what is no number stays as it is."""
    device = f"""{{eom: {{GPIB INSTR: {{q: "\\n", r: "\\n"}}}}, error: E,
                   dialogues: [{{q: "*STB?", r: "{answer}"}}, {{q: "VAL?", r: "42"}}]}}"""
    file = tmp_path / "constant.yaml"
    file.write_text(
        f'spec: "1.1"\ndevices:\n  instrument: {device}\nresources:\n  GPIB0::1::INSTR: {{device: instrument}}'
    )
    simulation = Simulation(file)
    assert simulation.instrument.serial_poll() == own
    simulation.write("VAL?")
    simulation.write("*STB?")
    simulation.read()
    assert simulation.read() == said


@pytest.mark.parametrize("message", ["*SRE 255", "*ESE 255", "*STB?", "*OPC", "*CLS", "*TRG"])
def test_instrument_knows_no_more_than_its_definition(tmp_path, message):
    """Without status reporting there is MAV and nothing else, and no request; what it does not define is an error."""
    file = tmp_path / "plain.yaml"
    file.write_text(
        'spec: "1.1"\ndevices:\n  instrument: {eom: {GPIB INSTR: {q: "\\n", r: "\\n"}}, error: E}\n'
        "resources:\n  GPIB0::1::INSTR: {device: instrument}"
    )
    simulation = Simulation(file)
    assert simulation.write(message) == 0
    assert simulation.read() == "E"
    simulation.write(message)
    assert simulation.instrument.serial_poll() == MAV


def test_command_that_is_not_defined_has_no_effect_but_its_error(tmp_path):
    """Without *CLS nothing is emptied, without *OPC nothing is completed."""
    file = tmp_path / "no_commands.yaml"
    file.write_text(DEFINITION.replace('- {q: "*CLS"}', "").replace('- {q: "*OPC"}', ""))
    simulation = Simulation(file)
    simulation.write("*OPC;*CLS;SYST:ERR?;SYST:ERR?;*ESR?")
    assert [simulation.read() for _ in range(3)] == ["-100", "-100", "32"]
