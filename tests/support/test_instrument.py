"""The scripted instrument does what the tests that use it believe."""

import pytest

from tests.support.text_client import TextClient


@pytest.fixture
def connection(instrument):
    with TextClient("127.0.0.1", instrument.port) as connection:
        yield connection


def test_instrument_counts_what_it_executed_over_all_connections(instrument, connection):
    """A test asks on a connection of its own, and its asking is not counted."""
    connection.send(b"SET 1\nSET 2\n")
    assert connection.ask("ECHO? nonce 1") == "nonce 1"
    assert instrument.history() == ["SET 1", "SET 2", "ECHO? nonce 1"]
    assert instrument.count("SET") == 2


def test_instrument_answers_late_when_asked_to(connection):
    """The answer carries the text it was asked for, so that a late answer is known by its text."""
    assert connection.ask("SLOW? 50,late") == "late"


def test_instrument_sends_blocks_of_any_bytes(connection):
    """And takes them."""
    connection.send(b"BLOCK? 300\n")
    assert connection.reply() == bytes(index % 256 for index in range(300))
    connection.send(b"LOAD #13\n\n\n\nLOAD?\n")
    assert connection.line() == b"3"


def test_instrument_drops_the_connection_when_told_to(instrument, connection):
    """The next connection finds it as ever."""
    connection.send(b"DROP\n")
    assert connection.everything() == b""
    assert instrument.count("DROP") == 1


@pytest.mark.parametrize(("command", "said"), [(b"HALF? part\n", b"part"), (b"STALL\n*IDN?\n", b"")])
def test_instrument_leaves_an_answer_unfinished_when_told_to(connection, command, said):
    """Half a line, or nothing any more."""
    connection.send(command)
    assert connection.exactly(len(said)) == said
    assert connection.silence(0.2)


def test_port_refuses_when_the_instrument_is_switched_off(instrument_factory):
    """As an instrument that is off for the night."""
    instrument = instrument_factory()
    instrument.switch_off()
    with pytest.raises(ConnectionRefusedError):
        TextClient("127.0.0.1", instrument.port)
