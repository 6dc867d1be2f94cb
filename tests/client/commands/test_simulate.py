"""`instruments simulate` as a process, as a person starts it, and what stock PyVISA makes of each fault."""

import contextlib
import errno
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pyvisa
from click.testing import CliRunner
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource

from client.commands.main import main
from demo_bench.faults import KINDS
from tests.support.daemon import Daemon
from tests.support.waiting import DEADLINE, wait_until

COMMAND = [str(Path(sys.executable).with_name("instruments")), "simulate"]

#: More than a program waits, far less than a test may take.
TIMEOUT_MS = 500
FAR_BEYOND_IT_S = 1.5

SCHEDULE = """
[answers]
"MEAS:VOLT?" = "+1.2345E+00"
"MEAS:CURR?" = "+6.7000E-03"
"""


class Simulation:
    """The command with the schedule above and these arguments; `resource` is what its first line names."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        (folder / "faults.toml").write_text(SCHEDULE)
        command = [*COMMAND, "faults.toml", "--record", "record.jsonl", *arguments]
        self.process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.ready = self._line()
        self.resource = self.ready.split()[1]

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def record(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._folder / "record.jsonl").read_text().splitlines()]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, list[str], str]:
        """Its exit code, the lines behind the first, and what it said on stderr."""
        self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, stdout.splitlines(), stderr


@pytest.fixture
def simulate(tmp_path: Path) -> Iterator[Callable[..., Simulation]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> Simulation:
            simulation = Simulation(tmp_path, *arguments)
            stack.enter_context(simulation.process)
            stack.callback(simulation.process.kill)
            return simulation

        yield start


@pytest.fixture
def open_resource() -> Iterator[Callable[..., MessageBasedResource]]:
    """Opens with PyVISA, LF both ways, as most scripts do, and closes in the end."""
    with contextlib.ExitStack() as managers:

        def opened(name: str, library: str = "@py") -> MessageBasedResource:
            manager = managers.enter_context(contextlib.closing(pyvisa.ResourceManager(library)))
            resource = manager.open_resource(name, read_termination="\n", write_termination="\n", timeout=TIMEOUT_MS)
            assert isinstance(resource, MessageBasedResource)
            return resource

        yield opened


def assert_times_out(call: Callable[[], object]) -> None:
    with pytest.raises(pyvisa.VisaIOError) as failure:
        call()
    assert failure.value.error_code == StatusCode.error_timeout


def hangs(call: Callable[[], object]) -> bool:
    """Does `call`, on a thread of its own, not come back long after the VISA timeout?"""

    def run() -> None:
        with contextlib.suppress(Exception):  # the connection is gone at the test's end
            call()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(FAR_BEYOND_IT_S)
    return thread.is_alive()


# The command.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_tells_every_message_when_it_comes(simulate, open_resource, number):
    """READY and a resource; time, connection, message and what was done; the sum when interrupted, and code 0."""
    simulation = simulate("--fault", "late on=MEAS* every=2 seconds=0.01")
    assert re.fullmatch(r"READY TCPIP0::127\.0\.0\.1::\d+::SOCKET", simulation.ready)
    meter = open_resource(simulation.resource)
    assert meter.query("*IDN?") == "SIMULATED,INSTRUMENT,0,1.0"
    assert meter.query("MEAS:VOLT?") == "+1.2345E+00"
    assert meter.query("MEAS:CURR?") == "+6.7000E-03"
    meter.write("DISP 'a\tb'")
    assert meter.query("SYST:ERR?;NONSENSE?") == '+0,"No error"'
    code, lines, stderr = simulation.end(number)
    assert (code, stderr) == (0, "")
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{3}    1  ", line) for line in lines[:-1])
    assert [re.split("  +", line, maxsplit=2)[2] for line in lines[:-1]] == [
        "*IDN?                     ok",
        "MEAS:VOLT?                ok",
        "MEAS:CURR?                late 0.01 s",
        "DISP 'a\\tb'               ok",
        'SYST:ERR?;NONSENSE?       -113,"Undefined header"',
    ]
    assert lines[-1] == "messages executed: 5; faults: late 1"


def test_simulate_says_no_more_than_it_must_when_quiet(simulate, open_resource):
    """READY, and in the end the sum. The record has everything, as soon as it is executed."""
    simulation = simulate("--quiet", "--fault", "crash on=*RST seconds=0.1")
    meter = open_resource(simulation.resource)
    assert meter.query("MEAS:VOLT?") == "+1.2345E+00"
    [row] = simulation.record()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row.pop("time"))
    assert row == {"connection": 1, "message": "MEAS:VOLT?", "answer": "+1.2345E+00", "error": None, "fault": None}
    meter.write("*RST")
    wait_until(lambda: len(simulation.record()) == 2)
    assert simulation.end() == (0, ["messages executed: 2; faults: crash 1"], "")


def test_simulate_serves_on_when_nobody_reads_its_lines(simulate, open_resource):
    """As behind `| head -1`: the pipe is closed, the instrument is there, and it ends as well as ever."""
    simulation = simulate()
    simulation.process.stdout.close()
    simulation.process.stdout = None
    meter = open_resource(simulation.resource)
    assert [meter.query("*OPC?") for _ in range(3)] == ["1"] * 3
    assert len(simulation.record()) == 3
    simulation.process.send_signal(signal.SIGTERM)
    _, stderr = simulation.process.communicate(timeout=DEADLINE)
    assert (simulation.process.returncode, stderr) == (0, "")


def test_simulate_prefers_the_faults_of_the_command_line(simulate, open_resource, tmp_path):
    """To those of the file; and what the one row leaves to it, the other has."""
    (tmp_path / "more.toml").write_text("[[fault]]\nkind = 'partial'\non = '*OPC?'\nbytes = 1")
    done = subprocess.Popen(
        [*COMMAND, str(tmp_path / "more.toml"), "--fault", "late on=*OPC? seconds=0.01 times=1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with done:
        assert done.stdout is not None
        meter = open_resource(done.stdout.readline().split()[1])
        assert meter.query("*OPC?") == "1"
        assert_times_out(lambda: meter.query("*OPC?"))
        done.terminate()
        assert done.stdout.read().endswith("messages executed: 2; faults: late 1, partial 1\n")


def without_process(*arguments: str) -> tuple[int, str, str]:
    """Its exit code, stdout and stderr; for what ends before it serves."""
    result = CliRunner().invoke(main, ["simulate", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_simulate_ends_in_one_line_when_the_port_is_taken(simulate):
    """Exit code 1: it never takes another one than it was told."""
    port = simulate().resource.split("::")[2]
    done = subprocess.run([*COMMAND, "--port", port], capture_output=True, text=True, timeout=DEADLINE)
    said = f"instruments: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


def test_simulate_ends_in_one_line_when_its_record_cannot_be_written():
    """Exit code 1, at the start."""
    said = "instruments: no/where cannot be written: No such file or directory\n"
    assert without_process("--record", "no/where") == (1, "", said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_simulate_ends_in_one_line_when_the_disk_is_full(open_resource):
    """Rather than with a record that lacks something."""
    process = subprocess.Popen(
        [*COMMAND, "--quiet", "--record", "/dev/full"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        meter = open_resource(process.stdout.readline().split()[1])
        with contextlib.suppress(pyvisa.VisaIOError, OSError):
            meter.query("*IDN?")
        stdout, stderr = process.communicate(timeout=DEADLINE)
    assert (process.returncode, stdout) == (1, "")
    assert stderr == "instruments: /dev/full cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (None, "No such file or directory"),
        (b"\xff", "not a TOML file: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[[fault]]\nkind = 'drop'\nbytes = 3\n", "a drop fault has no 'bytes'; it has kind, on, after, every, times"),
        (
            b"\xef\xbb\xbf[[fault]]\nkind = 'drop'\nafter = 'x'\n",
            "after = 'x' is not a whole number from 0 to 1000000000",
        ),
    ],
    ids=["missing", "no text", "wrong key", "wrong value, behind a byte order mark"],
)
def test_simulate_refuses_a_file_in_one_sentence(tmp_path, file, said):
    """Exit code 2; it names the file and the row, and no record was begun."""
    name, record = tmp_path / "faults.toml", tmp_path / "record.jsonl"
    if file is not None:
        name.write_bytes(file)
    row = ", [[fault]] 1" if b"fault" in (file or b"") else ""
    assert without_process(str(name), "--record", str(record)) == (2, "", f"instruments: {name}{row}: {said}\n")
    assert not record.exists()


def test_simulate_refuses_an_option_in_one_sentence():
    """Which one is said by its number."""
    said = "instruments: --fault 2: seconds = 'long' is not seconds, more than 0 and at most 86400\n"
    assert without_process("--fault", "late", "--fault", "late seconds=long") == (2, "", said)


def test_help_of_simulate_names_every_kind():
    """With the defaults of what it can be told."""
    code, stdout, _ = without_process("--help")
    assert code == 0
    for name, kind in KINDS.items():
        beginning = " +".join([name, *(f"{key}={value:g}" for key, value in kind.parameters.items()), kind.help[:12]])
        assert re.search(rf"^  {re.escape(beginning).replace(re.escape(' +'), ' +')}", stdout, re.MULTILINE), name


def test_the_other_commands_do_without_the_simulator():
    """Importing the client stays light."""
    program = "import sys, client.commands.main; sys.exit(any(name.startswith('demo_bench') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], timeout=DEADLINE).returncode == 0


# What a program sees: stock PyVISA with pyvisa-py.


def test_late_answer_is_read_as_the_next_one_when_nobody_clears(simulate, open_resource):
    """The trap: after one timeout every answer is that of the question before, and nothing says so."""
    simulation = simulate("--fault", "late on=MEAS:VOLT? times=1 seconds=1")
    meter = open_resource(simulation.resource)
    assert_times_out(lambda: meter.query("MEAS:VOLT?"))
    meter.timeout = DEADLINE * 1000
    assert meter.query("MEAS:CURR?") == "+1.2345E+00"
    assert meter.query("*OPC?") == "+6.7000E-03"
    assert meter.query("*OPC?") == "1"


def test_late_answer_reaches_nobody_when_the_daemon_is_between(
    simulate: Callable[..., Simulation],
    open_resource: Callable[..., MessageBasedResource],
    daemon_factory: Callable[..., Daemon],
) -> None:
    """The same program gets an error for the late one, and for each later question its own answer."""
    simulation = simulate("--fault", "late on=MEAS:VOLT? times=1 seconds=1")
    meter = open_resource(simulation.resource, f"{daemon_factory().address}@daemon")
    assert_times_out(lambda: meter.query("MEAS:VOLT?"))
    meter.timeout = DEADLINE * 1000
    assert meter.query("MEAS:CURR?") == "+6.7000E-03"
    assert meter.query("*OPC?") == "1"
    assert meter.query("MEAS:VOLT?") == "+1.2345E+00"
    record = simulation.record()
    assert [row["message"] for row in record] == ["MEAS:VOLT?", "MEAS:CURR?", "*OPC?", "MEAS:VOLT?"]
    assert record[0]["connection"] < record[1]["connection"]


@pytest.mark.parametrize("fault", ["silent", "partial bytes=3"])
def test_next_answer_is_right_when_one_never_ended(simulate, open_resource, fault):
    """A timeout; pyvisa-py throws away with it what had come."""
    meter = open_resource(simulate("--fault", f"{fault} on=MEAS:VOLT?").resource)
    assert_times_out(lambda: meter.query("MEAS:VOLT?"))
    assert meter.query("MEAS:CURR?") == "+6.7000E-03"


def test_slow_answer_is_right_though_it_takes_longer_than_the_timeout(simulate, open_resource):
    """pyvisa-py looks at its deadline only in a silence."""
    meter = open_resource(simulate("--fault", "slow seconds=1").resource)
    assert meter.query("MEAS:VOLT?") == "+1.2345E+00"


def test_garbage_is_no_text(simulate, open_resource):
    """As PyVISA decodes answers; the next one is right."""
    meter = open_resource(simulate("--fault", "garbage times=1").resource)
    with pytest.raises(UnicodeDecodeError):
        meter.query("MEAS:VOLT?")
    assert meter.query("MEAS:VOLT?") == "+1.2345E+00"


def test_dropped_connection_times_out_and_is_of_no_more_use(simulate, open_resource):
    """pyvisa-py does not tell the end of the connection from silence. Opened anew the instrument is well."""
    simulation = simulate("--fault", "drop on=MEAS* times=1")
    meter = open_resource(simulation.resource)
    assert_times_out(lambda: meter.query("MEAS:VOLT?"))
    with pytest.raises((OSError, pyvisa.VisaIOError)):
        meter.query("MEAS:VOLT?")
    assert open_resource(simulation.resource).query("MEAS:VOLT?") == "+1.2345E+00"


def test_read_never_returns_when_the_instrument_hangs(simulate, open_resource):
    """No timeout ends it."""
    simulation = simulate("--fault", "hang on=MEAS*")
    meter = open_resource(simulation.resource)
    assert hangs(lambda: meter.query("MEAS:VOLT?"))
    simulation.end()


def test_long_write_never_returns_when_the_instrument_is_deaf(simulate, open_resource):
    """Nor does a timeout end this."""
    simulation = simulate("--fault", "deaf on=*TRG")
    meter = open_resource(simulation.resource)
    meter.write("*TRG")
    assert hangs(lambda: meter.write("DATA " + "0" * 1_000_000))
    simulation.end()


def test_crash_resets_the_connection_and_the_settings(simulate, open_resource):
    """An OSError that is no VisaIOError; for a while it cannot be opened; then it is as if just switched on."""
    simulation = simulate("--fault", "crash on=MEAS* times=1 seconds=1")
    meter = open_resource(simulation.resource)
    meter.write("VOLT 3")
    with pytest.raises(ConnectionResetError):
        meter.query("MEAS:VOLT?")
    with pytest.raises(OSError, match="refused") as failure:
        open_resource(simulation.resource).query("*IDN?")
    assert failure.value.errno == errno.ECONNREFUSED

    def is_back() -> bool:
        with contextlib.suppress(OSError):
            return open_resource(simulation.resource).query("*OPC?") == "1"
        return False

    wait_until(is_back)
    assert_times_out(lambda: open_resource(simulation.resource).query("VOLT?"))
    assert any(line.endswith("  -  it can be reached again") for line in simulation.end()[1])
