"""Guards: no child outlives its front, however it hangs, and no two processes have one instrument."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from instrument_proc import pipe
from instrument_proc.guard import ResourceBusyError, lock_resource
from instrument_proc.signs import Step
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until

BACKENDS = Path(__file__).parent / "backends"


@pytest.fixture
def hanging(child_factory, monkeypatch):
    """A child whose VISA library is `@hangs`."""
    monkeypatch.syspath_prepend(BACKENDS)  # a spawned child has its parent's path
    return child_factory("@hangs")


def test_child_that_holds_the_gil_for_ever_dies_with_its_front(hanging):
    """No thread of it runs, no handler of a signal: the kernel does it."""
    assert hanging.open("GPIB0::1::INSTR").status == 0
    hanging.wait_until(Step.STARTED, hanging.begin("read", 10))
    assert not hanging.has_said_something(0.2)
    hanging.hang_up()
    assert hanging.exit_code() == -signal.SIGKILL


def test_child_that_hangs_in_an_open_dies_with_its_front(hanging, tmp_path):
    """Opening is armed as well."""
    hanging.send(pipe.Open("GPIB0::2::INSTR", "@hangs", str(tmp_path / "resource.lock"), []))
    assert not hanging.has_said_something(0.3)
    hanging.hang_up()
    assert hanging.exit_code() == -signal.SIGKILL


def test_child_that_hangs_is_killed_by_its_death_pipe_alone(hanging):
    """Also when something keeps the other pipe open."""
    hanging.open("GPIB0::1::INSTR")
    hanging.wait_until(Step.STARTED, hanging.begin("read", 10))
    hanging.death.close()
    assert hanging.exit_code() == -signal.SIGKILL


def test_hung_child_gives_its_stacks_when_asked(hanging):
    """The log then says where it hangs, though the GIL is held."""
    hanging.open("GPIB0::1::INSTR")
    hanging.wait_until(Step.STARTED, hanging.begin("read", 10))
    hanging.wait_until_it_sleeps()
    os.kill(hanging.pid, signal.SIGUSR1)
    wait_until(lambda: "hang_in_c" in hanging.log_file.read_text(), what="the stacks")


def test_hung_child_ignores_no_kill(hanging):
    """What the front does to it."""
    hanging.open("GPIB0::1::INSTR")
    hanging.wait_until(Step.STARTED, hanging.begin("read", 10))
    os.killpg(hanging.pid, signal.SIGKILL)
    assert hanging.exit_code() == -signal.SIGKILL


def test_idle_child_closes_its_session_and_ends_when_the_front_is_gone(child_factory, simulation):
    """Orderly, with code 0."""
    child = child_factory(simulation)
    child.open("GPIB0::8::INSTR")
    child.wait_until_it_idles()
    child.hang_up()
    assert child.exit_code() == 0


def test_spare_ends_when_the_front_is_gone(child_factory, simulation):
    """It has nothing to close."""
    child = child_factory(simulation)
    child.wait_until_it_idles()
    child.hang_up()
    assert child.exit_code() == 0


def test_idle_child_is_not_killed_when_only_its_death_pipe_closes(child_factory, simulation):
    """Disarmed while idle; at the next order it notices."""
    child = child_factory(simulation)
    child.open("GPIB0::8::INSTR")
    child.wait_until_it_idles()
    child.death.close()
    assert not child.has_said_something(0.2)
    assert child.process.exitcode is None
    child.begin("query", data=b"*IDN?\n")
    assert child.exit_code() == -signal.SIGKILL


def test_orphan_whose_close_hangs_is_ended_by_the_kernel(hanging):
    """A clean close is tried, within bounds."""
    hanging.open("GPIB0::3::INSTR")
    hanging.wait_until_it_idles()
    hanging.hang_up()
    assert hanging.exit_code() == -signal.SIGALRM


def test_child_is_deaf_to_the_terminal_and_leads_a_group_of_its_own(child_factory, simulation):
    """Ctrl-C ends the front, and that ends the child in order."""
    child = child_factory(simulation)
    assert os.getpgid(child.pid) == child.pid
    os.kill(child.pid, signal.SIGINT)
    child.send(pipe.Name("GPIB0::8"))
    assert child.report().resource == "GPIB0::8::INSTR"


def test_child_ends_on_sigterm(child_factory, simulation):
    """The default action: it needs no thread of Python."""
    child = child_factory(simulation)
    os.kill(child.pid, signal.SIGTERM)
    assert child.exit_code() == -signal.SIGTERM


# The lock of a resource.


def test_lock_is_held_by_one_process_and_names_it(tmp_path):
    """Whoever comes second hears who has it."""
    file = str(tmp_path / "resource.lock")
    holder = lock_resource(file)
    with pytest.raises(ResourceBusyError, match=str(os.getpid())):
        lock_resource(file)
    os.close(holder)
    os.close(lock_resource(file))


def test_lock_of_a_process_that_died_is_free(tmp_path):
    """However it died; the number that is left in the file means nothing."""
    file = tmp_path / "resource.lock"
    code = """
        import sys, time
        from instrument_proc.guard import lock_resource
        fd = lock_resource(sys.argv[1])
        print("held", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert file.read_text() == f"{process.pid}\n"
        with pytest.raises(ResourceBusyError, match=str(process.pid)):
            lock_resource(str(file))
        process.kill()
        process.wait(DEADLINE)
    os.close(lock_resource(str(file)))
    assert file.read_text() == f"{os.getpid()}\n"


def test_lock_file_is_the_owner_s_only(tmp_path):
    """And never handed to what a driver may start."""
    file = tmp_path / "resource.lock"
    holder = lock_resource(str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(holder)
    os.close(holder)
