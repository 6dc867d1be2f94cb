"""`import client as visa`: PyVISA's names, the list of hosts, and what importing costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pyvisa

import client
from benchmarks.imports import with_bytecode
from pyvisa_daemon import hosts


def test_module_has_pyvisas_names_when_used_in_its_place() -> None:
    """Whatever a program takes from pyvisa is there; what is not there either is an AttributeError."""
    assert client.VisaIOError is pyvisa.VisaIOError
    assert client.constants is pyvisa.constants
    assert client.__all__
    with pytest.raises(AttributeError):
        client.no_such_name  # noqa: B018


def test_hosts_are_one_list_when_changed_from_either_side() -> None:
    """Changed in place, assigned, or imported by name: everybody sees the same."""
    from client import tryIps

    known = hosts.tryIps
    client.tryIps = ["labpc", "10.0.0.7:1341"]
    assert known is hosts.tryIps is client.tryIps is tryIps
    assert known == ["labpc", "10.0.0.7:1341"]
    client.tryIps.append("third")
    assert hosts.tryIps[-1] == "third"


def test_hosts_refuse_a_string_when_assigned() -> None:
    """A single host in quotes would become a list of letters."""
    with pytest.raises(TypeError, match="is a list of hosts"):
        client.tryIps = "labpc"


def test_import_loads_nothing_of_the_server_when_done() -> None:
    """Neither its rooms nor its libraries: the client runs where they are not installed."""
    others = ("front_proc", "instrument_proc", "structlog", "psutil", "uvloop", "pyvisa_py", "pyvisa_sim")
    program = f"import sys, client; print([name for name in sys.modules if name.partition('.')[0] in {others!r}])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[]"


def test_import_costs_little_more_than_pyvisas(tmp_path: Path) -> None:
    """Processor time of new interpreters in turn, with bytecode: the best of each, in as many rounds as that takes."""
    environment = with_bytecode(os.environ, tmp_path)

    def cost(imported: str) -> float:
        program = f"import time\nbegan = time.process_time()\nimport {imported}\nprint(time.process_time() - began)"
        command = [sys.executable, "-c", program]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
        return float(said.stdout)

    cost("client")  # writes the bytecode
    ours, pyvisas = [], []
    for rounds in range(1, 26):
        ours.append(cost("client"))
        pyvisas.append(cost("pyvisa"))
        if rounds >= 5 and min(ours) < 1.3 * min(pyvisas):
            break
    assert min(ours) < 1.3 * min(pyvisas)
