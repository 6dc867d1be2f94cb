"""Names that lead back to the daemon: found however they are spelled, and nothing else."""

import asyncio
import socket

import pytest

from front_proc.access.own_doors import leads_back

ADDRESSES = ["127.0.0.1:1340", "[::]:1341"]


def leads(resource):
    return asyncio.run(leads_back(resource, ADDRESSES))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0.0.0.0", "0", "localhost", "127.9.9.9", socket.gethostname()]
)
@pytest.mark.parametrize("port", ["1340", "1341", str(1340 + 65536)])
def test_own_port_is_found_by_whatever_name(host, port):
    assert leads(f"TCPIP0::{host}::{port}::SOCKET")


@pytest.mark.parametrize(
    "resource",
    [
        "PRLGX-TCPIP0::127.0.0.1::1340::INTFC",
        "ASRLsocket://127.0.0.1:1340::INSTR",
        "ASRLsocket://localhost:1340/?logging=debug::INSTR",
        "ASRLrfc2217://a@127.0.0.1:1341::INSTR",
        "ASRLsocket://127.0.0.1:1340#there:5025::INSTR",
        "ASRLsocket://127.0.0.1:1340/there:5025::INSTR",
        "ASRLsocket://127.0.0.1:13\n40::INSTR",
        "ASRLSOCKET://[::1]:1340::INSTR",
        "PRLGX-ASRL0::socket://127.0.0.1:1340::INTFC",
        "tcpip0::127.0.0.1::1340::socket",
    ],
)
def test_own_port_is_found_behind_every_interface_that_reaches_it(resource):
    assert leads(resource)


@pytest.mark.parametrize(
    "resource",
    [
        "TCPIP0::127.0.0.1::5025::SOCKET",
        "TCPIP0::192.0.2.77::1340::SOCKET",
        "TCPIP0::no-such-host.invalid::1340::SOCKET",
        "TCPIP0::127.0.0.1::inst0::INSTR",
        "GPIB0::22::INSTR",
        "ASRL/dev/ttyS0::INSTR",
        "ASRLsocket://127.0.0.1:5025::INSTR",
        "ASRLsocket://127.0.0.1:5025#there:1340::INSTR",
        "ASRLsocket://127.0.0.1:x::INSTR",
        "ASRLhwgrep://0403:6001::INSTR",
    ],
)
def test_other_resources_are_left_alone(resource):
    assert not leads(resource)
