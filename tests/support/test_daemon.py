"""The daemon fixture sees what it must: all processes, and those that are left."""

import os
import signal

import pytest

from tests.support.waiting import wait_until


def test_family_holds_the_daemon_and_all_it_started(daemon):
    """Children with an instrument and the bench's own process; they are found by a mark, not by descent."""
    with daemon.text() as client:
        client.ask(".#.open_resource GPIB0::22::INSTR")
        pids = {process.pid for process in daemon.family()}
        assert {daemon.pid, daemon.resource("GPIB0::22::INSTR")["pid"]} < pids
        assert any("demo_bench" in process.cmdline() for process in daemon.children())


def test_nothing_is_left_when_the_front_is_killed(daemon):
    """Children and bench notice by themselves and end."""
    with daemon.text() as client:
        client.ask(".#.open_resource GPIB0::22::INSTR")
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.process.wait(20)
    daemon.assert_nothing_left()


def test_daemon_that_does_not_start_is_reported_with_its_reason(daemon_factory):
    """So that a failing test says why."""
    with pytest.raises(AssertionError, match="grace"):
        daemon_factory("--grace", "soon")


def test_audit_is_read_while_it_is_written(daemon):
    """Records are found by their fields."""
    with daemon.text() as client:
        client.ask(".#.hello Ann")
        client.ask(".#.open_resource GPIB0::22::INSTR")
        assert daemon.wait_for_audit(event="open", name="Ann")["resource"] == "GPIB0::22::INSTR"
    wait_until(lambda: daemon.audit(event="disconnect", name="Ann"))
