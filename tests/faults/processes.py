"""What a test sees of a child's process, and does to it."""

import os
import signal

import psutil

from tests.faults.bench import Bench
from tests.support.waiting import wait_until


def pid_of(bench: Bench, resource: str) -> int:
    """The process that has the resource now."""
    pid: int = bench.daemon.resource(resource)["pid"]
    return pid


def is_gone(pid: int) -> bool:
    """Dead, and reaped."""
    return not psutil.pid_exists(pid)


def stop(pid: int) -> None:
    """SIGSTOP; returns when it is stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def stacks(bench: Bench) -> str:
    """All that faulthandler has written into the daemon's log; "" if it never did."""
    log = (bench.daemon.run_dir / "daemon.log").read_text()
    _, _, dumped = log.partition("(most recent call first):")
    return dumped


def memory(pid: int) -> int:
    """Bytes of resident memory."""
    resident: int = psutil.Process(pid).memory_info().rss
    return resident
