"""A late reply never answers a later question: random interleavings on every kind of interface.

A failure names its seed; `SEED` sets it. What makes each kind of interface clean again differs, and so do the tests:
a raw socket is opened anew, VXI-11 has device clear, a serial line can only be waited for, pyvisa-sim is in the child.
"""

import itertools
import os
import random
import signal
import threading
import time
from collections import Counter

import pytest

from tests.daemon.clients import PyvisaClient, TextProtocolClient
from tests.daemon.interleavings import Ledger, Player, interleave
from tests.support.instrument_process import SerialInstrument, Vxi11Instrument
from tests.support.tcp_instrument import TcpInstrument
from tests.support.waiting import wait_until

SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().getrandbits(32)

INTERLEAVINGS = [20, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]

SIMULATION = """
spec: "1.0"
devices:
  counter:
    delimiter: ";"
    eom:
      GPIB INSTR: {q: "\\n", r: "\\n"}
      ASRL INSTR: {q: "\\n", r: "\\n"}
      TCPIP SOCKET: {q: "\\n", r: "\\n"}
      USB INSTR: {q: "\\n", r: "\\n"}
    error: ERROR
    properties:
      number:
        default: 0
        getter: {q: "NUMBER?", r: "{:d}"}
        setter: {q: "NUMBER {}"}
        specs: {type: int}
resources:
  GPIB0::5::INSTR: {device: counter}
  ASRL5::INSTR: {device: counter}
  TCPIP0::localhost::5555::SOCKET: {device: counter}
  USB0::0x1111::0x2222::0x3333::0::INSTR: {device: counter}
"""
SIMULATED = [line.strip().partition(": {")[0] for line in SIMULATION.splitlines() if "device: counter" in line]


def scripted(nonce, delay):
    """The question to a scripted instrument whose answer is `nonce`."""
    return f"SLOW? {delay},{nonce}" if delay else f"ECHO? {nonce}"


def simulated(nonce, delay):
    """The same for the simulated instrument, which has no delays."""
    return f"NUMBER {nonce};NUMBER?"


#: Each lane is an instrument of its own with programs of its own: two with PyVISA, whose connections are told apart by
#: how the same host is spelt, and one of the text protocol.
LANES = (("localhost", "127.0.0.1"), ("127.1", "127.0.1"), ("0x7f.1", "0177.1"), ("2130706433", "0x7f000001"))


class Proof:
    """Random interleavings on several instruments at once, and what was seen of them."""

    def __init__(self, daemon, resources, question):
        self._daemon = daemon
        self._resources = resources
        self._question = question
        self._nonces = itertools.count(100_000)  # all of one length, so that a part of one is none
        self.figures: Counter[str] = Counter()
        self.wrong = []

    def run(self, count):
        print(f"SEED={SEED}")
        lanes = [
            threading.Thread(target=self._run_lane, args=(lane, count // len(LANES))) for lane in range(len(LANES))
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        print(dict(self.figures))
        assert not self.wrong, f"SEED={SEED} {self.wrong[0]}"
        assert self.figures["answers"]
        for fault in ("hung", "crashed", "killed", "unreachable"):
            assert not self._daemon.audit(event=fault)
        return self.figures

    def _run_lane(self, lane, count):
        chance = random.Random(f"{SEED} {lane}")
        programs = [*(PyvisaClient(self._daemon, host) for host in LANES[lane]), TextProtocolClient(self._daemon)]
        for number in range(count):
            players = [self._player(program, lane, chance.random()) for program in chance.sample(programs, k=3)]
            players = players[: chance.choice([2, 3, 3])]
            interleave(players)
            if any(player.ledger.wrong for player in players):
                stories = "\n".join(f"{player.ledger.story} WRONG {player.ledger.wrong}" for player in players)
                self.wrong.append(f"lane {lane}, interleaving {number}:\n{stories}")
            if self.wrong:
                return

    def _player(self, program, lane, seed):
        ledger = Ledger(self.figures)
        return Player(program, self._resources[lane], ledger, random.Random(seed), self._question, self._nonces)


@pytest.fixture
def switched_on():
    """Instruments of a kind, one for each lane: `switched_on(SerialInstrument)`; their names."""
    instruments = []

    def start(kind):
        instruments.extend(kind() for _ in LANES)
        return [instrument.resource for instrument in instruments]

    yield start
    for instrument in instruments:
        instrument.switch_off()


@pytest.mark.parametrize("count", INTERLEAVINGS)
@pytest.mark.parametrize("kind", [TcpInstrument, Vxi11Instrument, SerialInstrument])
def test_late_reply_answers_no_later_question(switched_on, daemon_factory, kind, count):
    """On a raw socket, on VXI-11, on a serial line."""
    figures = Proof(daemon_factory(), switched_on(kind), scripted).run(count)
    assert figures["timeouts"]
    assert figures["late answers"] or count < 100, "a few interleavings on a busy machine may bring none"


@pytest.mark.parametrize("count", INTERLEAVINGS)
def test_unread_answer_answers_no_later_question_of_a_simulated_instrument(daemon_factory, tmp_path, count):
    """Its answers are there at once, on an interface of each kind; what is not read is in the way."""
    file = tmp_path / "counter.yaml"
    file.write_text(SIMULATION)
    figures = Proof(daemon_factory("--visa-library", f"{file}@sim"), SIMULATED, simulated).run(count)
    assert figures["unread"]


@pytest.mark.parametrize("kind", [TcpInstrument, Vxi11Instrument, SerialInstrument])
def test_answer_to_a_process_that_died_answers_no_question_of_the_next(switched_on, daemon_factory, kind):
    """The instrument knows nothing of processes: what the first had asked for comes to the second."""
    daemon, resource = daemon_factory(), switched_on(kind)[0]
    with daemon.text() as ann, daemon.text() as bob:
        for client in (ann, bob):
            client.ask(f".#.open_resource {resource}")
            client.ask(".#.timeout 5000")
        ann.send(b".#.query_resource SLOW? 700,late\n")
        wait_until(lambda: daemon.resource(resource)["state"] == "busy")
        time.sleep(0.1)  # let it reach the instrument
        os.kill(daemon.resource(resource)["pid"], signal.SIGKILL)
        assert ann.line().startswith(b".#.error INSTRUMENT_CRASHED effect=maybe ")
        wait_until(lambda: daemon.resource(resource).get("generation") == 2)
        assert bob.ask(".#.query_resource ECHO? x").startswith(".#.error SESSION_RESET effect=none ")
        for number in range(3):
            assert bob.ask(f".#.query_resource ECHO? mine {number}") == f"mine {number}"
        for number in range(3):
            assert ann.ask(f".#.query_resource ECHO? mine too {number}") == f"mine too {number}"
