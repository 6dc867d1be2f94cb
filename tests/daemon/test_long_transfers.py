"""Messages of any size, correct to the byte, streamed through front and child in bounded memory.

The programs are stock PyVISA. Memory is a process's peak of resident pages (VmHWM), reset before each transfer.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.daemon.programs.bulk_instrument import digest
from tests.daemon.programs.program import Program
from tests.support.daemon import ROOT
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until

MB = 1 << 20

#: Bytes by which a process may grow, whatever the size of a message.
BOUND = 24 * MB

#: For stopping programs in the middle: more than all the sockets on the way take in.
HUGE = 128 * MB

SIZES = [16 * MB + 5, pytest.param(64 * MB + 5, marks=pytest.mark.full)]


class BulkInstrument:
    """A process that plays `tests.daemon.programs.bulk_instrument`."""

    def __init__(self):
        command = [sys.executable, "-m", "tests.daemon.programs.bulk_instrument"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._port = int(self._process.stdout.readline())
        self.resource = f"TCPIP0::127.0.0.1::{self._port}::SOCKET"

    def ask(self, message):
        """Behind the daemon's back."""
        with TextClient("127.0.0.1", self._port) as client:
            return client.ask(message)

    def switch_off(self):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(DEADLINE)


@pytest.fixture
def bulk():
    instrument = BulkInstrument()
    yield instrument
    instrument.switch_off()


@pytest.fixture
def daemon(daemon_factory):
    return daemon_factory("--grace", "1")


class Memory:
    """The peak of a process from now on, over what it has now."""

    def __init__(self, pid):
        self._status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._base = self._read("VmRSS")

    @property
    def growth(self):
        return self._read("VmHWM") - self._base

    def _read(self, field):
        return int(re.search(rf"{field}:\s+(\d+) kB", self._status.read_text())[1]) * 1024


def open_program(daemon, bulk, how, size):
    program = Program("bulk", daemon.address, bulk.resource, how, size)
    assert program.hears() == "ready"
    return program


def transfer(daemon, bulk, how, size):
    """The length and the hash of what the program read or wrote; front and child grow within bounds."""
    with open_program(daemon, bulk, how, size) as program:
        memories = {"front": Memory(daemon.pid), "child": Memory(daemon.resource(bulk.resource)["pid"])}
        program.says("go")
        result = program.hears(100)
        growths = {name: memory.growth for name, memory in memories.items()}
        assert program.ends() == 0
    print(f"{how} of {size} bytes: front +{growths['front'] / MB:.1f} MB, child +{growths['child'] / MB:.1f} MB")
    assert growths["front"] < BOUND
    assert growths["child"] < BOUND
    return result


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["read_raw", "query_binary_values", "read_bytes"])
def test_long_answer_comes_whole_through_bounded_memory(daemon, bulk, how, size):
    """By a termination character in chunks of a megabyte, and by one count."""
    assert transfer(daemon, bulk, how, size) == [size, digest(size, has_lf=how == "read_bytes")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["write_raw", "write_binary_values"])
def test_long_message_arrives_whole_through_bounded_memory(daemon, bulk, how, size):
    """The daemon keeps it on disk until all of it is there; the instrument gets it piece by piece."""
    expected = digest(size, has_lf=True)
    assert transfer(daemon, bulk, how, size) == [size, expected]
    assert bulk.ask("LOADED?") == f"{size} {expected}"


def stop_in_the_middle(bulk, program):
    """SIGSTOP, once the instrument is under way; returns when nothing moves any more."""
    program.says("go")
    wait_until(lambda: int(bulk.ask("SENT?")) > 2 * MB)
    os.kill(program.process.pid, signal.SIGSTOP)

    def stands_still():
        before = bulk.ask("SENT?")
        time.sleep(0.3)
        return bulk.ask("SENT?") == before

    wait_until(stands_still)
    assert int(bulk.ask("SENT?")) < HUGE


def test_program_that_stops_reading_for_a_while_gets_the_rest_and_kills_nobody(daemon, bulk, instrument):
    """Ctrl-Z in the middle of a long answer: the healthy process waits with it, other instruments do not."""
    with daemon.text() as client, open_program(daemon, bulk, "read_slowly", HUGE) as program:
        client.ask(f".#.open_resource {instrument.resource}")
        pid, memory = daemon.resource(bulk.resource)["pid"], Memory(daemon.pid)
        stop_in_the_middle(bulk, program)
        ends = time.monotonic() + 3  # longer than the grace
        while time.monotonic() < ends:
            assert client.ask(".#.query_resource ECHO? meanwhile") == "meanwhile"
        os.kill(program.process.pid, signal.SIGCONT)
        assert program.hears() == [HUGE, digest(HUGE)]
        assert program.ends() == 0
        assert daemon.resource(bulk.resource)["pid"] == pid
    print(f"the front grew by {memory.growth / MB:.1f} MB")
    assert memory.growth < BOUND
    assert not daemon.audit(event="hung")


@pytest.mark.full
def test_program_that_never_reads_again_is_cut_and_its_instrument_serves_others(daemon, bulk):
    """It learns so when it comes back."""
    with open_program(daemon, bulk, "read_slowly", HUGE) as program, daemon.text() as other:
        other.ask(f".#.open_resource {bulk.resource}")
        pid = daemon.resource(bulk.resource)["pid"]
        stop_in_the_middle(bulk, program)
        daemon.wait_for_audit(event="rejected", error="does not read its answers")
        assert other.ask(".#.query_resource ECHO? for others") == "for others"
        assert daemon.resource(bulk.resource)["pid"] == pid
        os.kill(program.process.pid, signal.SIGCONT)
        assert program.ends() == 1
        assert b"VI_ERROR_CONN_LOST" in program.process.stderr.read()
    assert not daemon.audit(event="hung")


def test_program_killed_in_the_middle_of_a_long_answer_leaves_a_clean_instrument(daemon, bulk):
    """The next program gets its own answer and none of the rest."""
    with open_program(daemon, bulk, "read_slowly", HUGE) as program, daemon.text() as other:
        other.ask(f".#.open_resource {bulk.resource}")
        stop_in_the_middle(bulk, program)
        program.kill()
        for number in range(3):
            assert other.ask(f".#.query_resource ECHO? mine {number}") == f"mine {number}"
    assert not daemon.audit(event="hung")


def test_program_killed_while_it_sends_a_long_message_has_sent_the_instrument_nothing(daemon, bulk):
    """Half a message must not be begun: the daemon, which is asleep meanwhile, finds half of it and nobody there."""
    with open_program(daemon, bulk, "write_raw", HUGE) as program, daemon.text() as other:
        other.ask(f".#.open_resource {bulk.resource}")
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            program.says("go")
            wait_until(lambda: sends_in_vain(program.process.pid))
            program.kill()
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        wait_until(lambda: len(daemon.audit(event="disconnect", name="bulk.py")) == 1)
        assert other.ask(".#.query_resource ECHO? still here") == "still here"
        assert bulk.ask("RECEIVED?") == "0"
        assert [record["command"] for record in daemon.audit(event="command") if "LOAD" in record["command"]] == []


def sends_in_vain(pid):
    """Does the program wait for room to send, all that there was being full?"""
    unsent = subprocess.run(["ss", "-tnpH"], capture_output=True, text=True, check=True).stdout
    return any(f"pid={pid}," in line and int(line.split()[2]) > MB for line in unsent.splitlines())
