"""Stock PyVISA programs on one instrument that does not mark the end of its answers: to each its own, and its turn.

A test is several programs: `localhost` and `127.0.0.1` are two PyVISA libraries in one process, each with a
connection of its own.
"""

import contextlib
import os
import signal
import threading
import time

import pytest
import pyvisa
from pyvisa.constants import StatusCode

from tests.support.waiting import DEADLINE, wait_until

ROUNDS = 50


@pytest.fixture
def daemon(daemon_factory):
    return daemon_factory("--grace", "1")


@pytest.fixture
def program(daemon, instrument):
    """Opens the instrument as a program of its own: `program("localhost", timeout=300)`."""
    with contextlib.ExitStack() as managers:

        def start(host, **attributes):
            manager = pyvisa.ResourceManager(f"{host}:{daemon.port}@daemon")
            managers.callback(manager.close)
            return manager.open_resource(instrument.resource, write_termination="\n", **attributes)

        yield start


@pytest.fixture
def ann(program):
    return program("localhost", read_termination="\n", timeout=10_000)


@pytest.fixture
def bob(program):
    return program("127.0.0.1", read_termination="\n", timeout=10_000)


@contextlib.contextmanager
def meanwhile(work):
    """Run `work` in a thread; what it raised is raised here."""
    raised = []

    def run():
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(60)
    assert not thread.is_alive(), "it never ends"
    if raised:
        raise raised[0]


def nonces_come_home(resource, count):
    for number in range(count):
        assert resource.query(f"ECHO? nonce {number}") == f"nonce {number}"


def test_blocks_that_contain_the_termination_character_come_to_their_program_alone(ann, bob):
    """`query_binary_values` reads up to each LF in the data; nobody else comes between, or gets the rest."""
    sizes = (11, 10, 256, 300, 5000)  # 11: LF is the last byte of the data

    def read_blocks():
        for number in range(ROUNDS):
            size = sizes[number % len(sizes)]
            values = ann.query_binary_values(f"BLOCK? {size}", datatype="B")
            assert values == [index % 256 for index in range(size)]

    with meanwhile(read_blocks):
        nonces_come_home(bob, ROUNDS)


def test_programs_that_write_and_read_in_two_calls_get_their_own_answers(ann, bob):
    """Two of them, and one asks for two answers at a time."""

    def write_twice():
        for number in range(ROUNDS):
            ann.write(f"ECHO? a{number}")
            ann.write(f"ECHO? b{number}")
            assert [ann.read(), ann.read()] == [f"a{number}", f"b{number}"]

    with meanwhile(write_twice):
        nonces_come_home(bob, ROUNDS)


def test_late_answers_are_read_by_whoever_asked_and_never_by_others(program, bob):
    """write, write, a read that times out, a read of the late answer; the second answer is still in the way."""
    ann = program("localhost", read_termination="\n", timeout=400)
    for number in range(3):
        ann.write(f"SLOW? 600,late {number}")
        ann.write(f"SLOW? 100,later {number}")
        with pytest.raises(pyvisa.VisaIOError) as caught:
            ann.read()
        assert caught.value.error_code == StatusCode.error_timeout
        assert ann.read() == f"late {number}"
        nonces_come_home(bob, 2)
        nonces_come_home(ann, 2)


def test_answer_that_is_left_of_two_waits_for_its_own_program_while_others_are_served(ann, bob):
    """One read of two: the other is read ahead when somebody waits, and is ann's as it would be locally."""
    ann.timeout = 1000
    ann.write("ECHO? first\nECHO? second")
    assert ann.read() == "first"
    nonces_come_home(bob, 2)
    assert ann.read() == "second"
    nonces_come_home(ann, 2)


def test_both_answers_that_one_write_asked_for_may_be_read(ann, bob):
    """Somebody who waits gets neither of them."""
    for number in range(10):
        ann.write(f"ECHO? first {number}\nECHO? second {number}")
        with meanwhile(lambda: nonces_come_home(bob, 1)):
            assert [ann.read(), ann.read()] == [f"first {number}", f"second {number}"]


def test_program_that_reads_exactly_what_is_there_keeps_nobody_waiting(program, bob):
    """Each of its reads ends at its count: nobody is told that this was the end."""
    ann = program("localhost", timeout=10_000)
    is_over = threading.Event()
    rounds = []

    def read_exactly():
        ends = time.monotonic() + DEADLINE
        while not is_over.is_set() and time.monotonic() < ends:
            ann.write(f"ECHO? {len(rounds):08}")
            assert ann.read_bytes(9) == b"%08d\n" % len(rounds)
            rounds.append(None)

    with meanwhile(read_exactly) as busy:
        wait_until(lambda: len(rounds) > 10)
        nonces_come_home(bob, 20)
        assert busy.is_alive(), "it was served only when the other had ended"
        before = len(rounds)
        wait_until(lambda: len(rounds) > before + 10, what="the other to go on")
        is_over.set()


def test_write_is_carried_out_though_its_program_closes_at_once(ann, bob, instrument):
    """PyVISA's `write` of a query returns before it is carried out; nobody will read the answer."""
    ann.write("ECHO? for nobody")
    ann.close()
    assert instrument.count("ECHO? for nobody") == 1
    nonces_come_home(bob, 3)


def test_write_that_waits_for_its_turn_is_carried_out_though_its_program_closes(ann, bob, instrument):
    """The turn of others comes first, and closing waits for it."""

    def ask_slowly():
        assert bob.query("SLOW? 500,for bob") == "for bob"

    with meanwhile(ask_slowly):
        wait_until(lambda: instrument.count("SLOW?") == 1)
        ann.write("ECHO? for nobody")
        ann.close()
        assert instrument.count("ECHO? for nobody") == 1
    nonces_come_home(bob, 3)


def test_daemon_that_was_stopped_for_a_while_kills_nobody(daemon, instrument, program):
    """Ctrl-Z, a suspended machine: deadlines that passed in its sleep say nothing of the instrument."""
    ann = program("localhost", read_termination="\n", timeout=500)
    pid = daemon.resource(instrument.resource)["pid"]
    answers = []
    with meanwhile(lambda: answers.append(ann.query("SLOW? 300,in time"))):
        wait_until(lambda: instrument.count("SLOW?") == 1)
        os.kill(daemon.pid, signal.SIGSTOP)
        time.sleep(4)  # longer than timeout and grace
        os.kill(daemon.pid, signal.SIGCONT)
    assert answers == ["in time"]
    assert daemon.resource(instrument.resource)["pid"] == pid
    assert not daemon.audit(event="hung")
    assert not daemon.audit(event="killed")
