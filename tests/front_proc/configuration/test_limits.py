"""Limits: the table, what the file may say of them, and the defaults that the design promises."""

from dataclasses import replace

import pytest

from front_proc.configuration.limits import DEFAULTS, ROWS, Limits, read_limits
from front_proc.configuration.setting_values import SettingsError
from front_proc.doors.connection import Connection
from tests.front_proc.doors.test_connection import FakeFront, FakeTransport

#: The manners towards clients on the network, each from a server that is trusted.
MANNERS = {
    "clients": 1000,
    "reserved-clients": 4,
    "line-time": 10.0,
    "line-length": 64 * 1024,
    "output-pause": 2 * 1024 * 1024,
    "output-length": 32 * 1024 * 1024,
    "slow-reader-time": 10.0,
    "silent-peer-time": 30.0,
    "queue-length": 64,
    "queue-time": 120.0,
}


def test_every_row_has_its_field():
    assert [row.field for row in ROWS] == list(Limits.__dataclass_fields__)


@pytest.mark.parametrize(("name", "default"), MANNERS.items())
def test_default_towards_clients_is_the_promised_one(name, default):
    assert {row.name: row.default for row in ROWS}[name] == default


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_limit_can_be_set_to_its_default_and_not_to_nonsense(row):
    assert read_limits({row.name: row.default}, "lab.toml") == DEFAULTS
    for wrong in (0, -1, "10", True, float("inf"), float("nan"), [1], 1 << 60 if "bytes" in row.accepted else None):
        with pytest.raises(SettingsError, match=rf"lab\.toml, \[limits\]: {row.name} = "):
            read_limits({row.name: wrong}, "lab.toml")


@pytest.mark.parametrize("length", [1023, (1 << 24) + 1])
def test_line_that_no_command_fits_into_or_that_would_hold_up_everybody_is_refused(length):
    with pytest.raises(SettingsError, match="line-length"):
        read_limits({"line-length": length}, "lab.toml")


def test_client_is_made_to_wait_before_it_is_cut():
    """The other way round nobody would ever wait."""
    with pytest.raises(SettingsError, match="output-pause = 2000 is more than output-length = 1000"):
        read_limits({"output-pause": 2000, "output-length": 1000}, "lab.toml")
    assert read_limits({"output-pause": 1000, "output-length": 1000}, "lab.toml").output_pause == 1000


@pytest.fixture
def connected(stage):
    """A connection under limits of the test's own, and the transport below it."""

    def connect(**limits):
        front, transport = FakeFront(), FakeTransport()
        front.limits = replace(DEFAULTS, **limits)

        async def made():
            connection = Connection(front)
            connection.connection_made(transport)
            return connection

        return stage.result(made()), transport

    return connect


def test_output_has_the_limits_that_are_set(stage, connected):
    connection, transport = connected(output_pause=1000, output_length=3000)
    assert transport.high == 1000
    connection.send(bytes(3001))
    assert not transport.is_aborted
    connection.send(b"x")
    assert transport.is_aborted


def test_slow_reader_has_the_time_that_is_set(stage, connected):
    connection, transport = connected(slow_reader_time=2.0)
    connection.send(bytes(transport.high + 1))
    connection.pause_writing()
    stage.pass_time(1.9)
    assert not transport.is_aborted
    stage.pass_time(0.3)
    assert transport.is_aborted
