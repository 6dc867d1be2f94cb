"""The bench as `--demo` serves it: every instrument answers, and the stubborn one hangs a child for real."""

import pytest

from demo_bench.generator import STALLING_BYTES
from demo_bench.scpi import block
from tests.support.waiting import wait_until


@pytest.fixture
def client(daemon_factory):
    """A connection to a demo daemon with little patience."""
    daemon = daemon_factory("--demo", "--grace", "0.5")
    with daemon.text() as client:
        yield client


def opened(client, what):
    """The name of the instrument whose *IDN? holds `what`, open and current."""
    for name in client.ask_json(".#.list_resources"):
        assert client.ask(f".#.open_resource {name}") == name
        if what in client.ask(".#.query_resource *IDN?"):
            return name
    raise AssertionError(f"no {what} on the bench")


def state_of(client, name):
    return next(row for row in client.ask_json(".#.status")["resources"] if row["resource"] == name)


def test_bench_has_five_instruments(client):
    """And each says who it is."""
    said = []
    for name in client.ask_json(".#.list_resources"):
        client.ask(f".#.open_resource {name}")
        said.append(client.ask(".#.query_resource *IDN?").split(",")[1])
    kinds = {"MULTIMETER", "POWER SUPPLY 30V 3A", "TEMPERATURE CONTROLLER", "OSCILLOSCOPE", "WAVEFORM GENERATOR"}
    assert set(said) == kinds
    assert len(said) == len(kinds)


def test_record_comes_whole_as_a_block(client):
    """All 256 byte values, through child, front and text protocol."""
    opened(client, "OSCILLOSCOPE")
    client.send(b".#.query_binary CURV?\n")
    record = client.reply()
    assert len(record) == 1000
    assert set(record) == set(range(256))


@pytest.mark.parametrize(
    "hang",
    [
        b".#.query_resource SYST:BABBLE?\n",
        b".#.write_resource SYST:STALL\n.#.write_binary DATA:VOL " + block(b"\n" * STALLING_BYTES) + b"\n",
    ],
    ids=["read", "write"],
)
def test_generator_comes_back_when_it_hung_a_child(client, hang):
    """Stuck inside the VISA call: the child is killed, the command fails, a new child finds the instrument well."""
    name = opened(client, "GENERATOR")
    client.ask(".#.timeout 1000")
    first = state_of(client, name)
    client.send(hang)
    replies = [client.line() for _ in range(hang.count(b"\n.#.") + 1)]
    assert replies[-1].startswith(b".#.error INSTRUMENT_HUNG effect=maybe "), replies
    wait_until(lambda: state_of(client, name)["state"] == "ready", what="the generator is ready again")
    assert "GENERATOR" in client.ask(".#.query_resource *IDN?")
    again = state_of(client, name)
    assert (again["generation"], again["restarts"]) == (first["generation"] + 1, 1)
    assert again["pid"] != first["pid"]
