"""A laboratory's worth of instruments, open at once on whatever machine this is."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.faults.good import Good
from tests.support.daemon import ROOT

#: Connections that open instruments at the same time.
OPENERS = 16


@pytest.fixture
def rack():
    """Starts a rack; returns the VISA names of its instruments."""
    processes = []

    def start(count):
        command = [sys.executable, "-m", "tests.support.rack", str(count)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        return [f"TCPIP0::127.0.0.1::{int(port)}::SOCKET" for port in process.stdout.readline().split()]

    yield start
    for process in processes:
        process.communicate()


def opened(daemon, resource):
    client = daemon.text()
    client.socket.settimeout(120)
    assert client.ask(f".#.open_resource {resource}") == resource
    return client


def memory(processes):
    """MB of a process: what is its own, and its share of what it shares (PSS); and what is resident."""
    infos = [process.memory_full_info() for process in processes]
    return tuple(round(sum(sizes) / len(sizes) / 1e6, 1) for sizes in ([i.pss for i in infos], [i.rss for i in infos]))


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
def test_many_instruments_are_open_at_once(daemon_factory, rack, record_property, count):
    """Opened in parallel, they all answer; one that was open before is answered all the while, and so is status."""
    daemon = daemon_factory()
    first, *others = rack(count)
    quiet = Good(daemon, first)
    time.sleep(3)  # how GOOD is served while nothing else happens
    before = quiet.ends()
    good = Good(daemon, first)
    began = time.monotonic()
    with ThreadPoolExecutor(OPENERS) as openers:
        clients = list(openers.map(lambda resource: opened(daemon, resource), others))
    opening_s = time.monotonic() - began
    during = good.ends()
    try:
        began = time.monotonic()
        status = daemon.status()
        status_s = time.monotonic() - began
        assert [resource["state"] for resource in status["resources"]] == ["ready"] * count
        for number, client in enumerate(clients):
            client.send(f".#.query_resource ECHO? {number}\n".encode())
        assert [client.line().decode() for client in clients] == [str(number) for number in range(len(clients))]
        children = [psutil.Process(resource["pid"]) for resource in status["resources"]]
        pss, rss = memory(children)
    finally:
        for client in clients:
            client.close()
    assert before["failures"] == during["failures"] == []
    figures = {
        "instruments": count,
        "opening_s": round(opening_s, 2),
        "open_each_ms": round(1000 * opening_s / len(others), 1),
        "status_ms": round(1000 * status_s, 1),
        "good_before": before,
        "good_during": during,
        "pss_mb": pss,
        "rss_mb": rss,
        "front_rss_mb": round(psutil.Process(daemon.pid).memory_info().rss / 1e6, 1),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(figures)
