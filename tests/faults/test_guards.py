"""Guards in a real daemon, before a real instrument that keeps count of what it executed: every door is tried."""

import contextlib
import json

import pytest
import pyvisa
from pyvisa.constants import ResourceAttribute

import client
from pyvisa_daemon.refusals import DaemonIOError
from tests.support.text_client import TextClient
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault(54)

#: SET BAD and DROP in the instrument's own language (tests/support/instrument.py); the rest only has to be kept away.
RULES = """
[[resource]]
match = "TCPIP*"
deny = ["SET BAD", "DROP", "LOAD"]
confirm = ["SET COSTly"]
limit = {"SET:LEVel" = [0, 12]}
"""

FORBIDDEN = ("BAD", "Bad", "bad", "DROP", "LOAD", "99")


@pytest.fixture
def guarded(daemon_factory, tmp_path):
    """A daemon whose instruments are all guarded."""
    file = tmp_path / "lab.toml"
    file.write_text(RULES)
    return daemon_factory("--config", str(file))


def executed(text: TextClient) -> list[str]:
    return [str(message) for message in json.loads(text.ask(".#.query_resource HISTORY?"))]


def refused(call, *arguments, **options) -> DaemonIOError:
    with pytest.raises(DaemonIOError) as raised:
        call(*arguments, **options)
    assert (raised.value.token, raised.value.effect) == ("GUARDED", "none")
    return raised.value


def test_text_doors_keep_out_what_is_forbidden(guarded, instrument_factory):
    """For programs and for people, with a block and without, in one piece and not."""
    instrument = instrument_factory()
    with guarded.text() as text:
        text.ask(f".#.open_resource {instrument.resource}")
        for line in (
            ".#.write_resource SET BAD",
            ".#.write_resource SET OK;:set bad",
            ".#.query_resource ECHO? 1;DROP",
            ".#.query_binary ECHO? 1;DROP",
            ".#.write_binary LOAD #13abc",
            f".#.write_resource @{instrument.resource} SET:LEV 99",
            ".#.write_resource SET 'BAD",
            "...write SET BAD",
            "SET BAD",
            "ECHO? 1;SET BAD",
        ):
            assert text.ask(line).startswith(".#.error GUARDED effect=none "), line
        assert text.ask(".#.write_resource SET COSTLY").startswith(".#.error CONFIRM_FIRST effect=none ")
        assert text.ask(f".#.confirm @{instrument.resource} for the test") == "ok"
        assert text.ask(".#.write_resource SET COSTLY") == "11"
        text.ask(".#.termination \\n none")
        for piece, size in (("SET B", 5), ("AD", 2), ("GER", 3)):
            assert text.ask(f".#.write_resource {piece}") == str(size)
        text.ask(".#.termination \\n \\n")
        assert text.ask(".#.write_resource S") == "2"
        assert text.ask(".#.query_resource ECHO? 'SET BAD'") == "'SET BAD'"
        assert executed(text) == ["SET COSTLY", "SET BADGERS", "ECHO? 'SET BAD'"]
    assert guarded.audit(event="confirmed", reason="for the test", command="SET COSTLY")


def test_pyvisa_doors_keep_out_what_is_forbidden(guarded, instrument_factory, tmp_path):
    """Whatever method it is that writes."""
    instrument = instrument_factory()
    file = tmp_path / "command"
    file.write_bytes(b"SET BAD\n")
    manager = pyvisa.ResourceManager(f"{guarded.address}@daemon")
    with (
        contextlib.closing(manager),
        manager.open_resource(instrument.resource, read_termination="\n", write_termination="\n") as device,
    ):
        library, session = device.visalib, device.session
        assert "refuses SET" in refused(device.write, "SET BAD").text
        refused(device.write, "SET:LEVEL 99")
        refused(device.write_binary_values, "LOAD ", [1, 2, 3], datatype="B")
        refused(device.write_ascii_values, "SET:LEV ", [99])
        refused(device.query, "ECHO? 1;SET BAD")
        refused(library.buffer_write, session, b"SET BAD\n")
        refused(library.write_from_file, session, str(file), 100)
        refused(library.usb_control_out, session, 0, 0, 0, 0, b"SET BAD\n")
        refused(library.gpib_command, session, b"SET BAD\n")
        for piece in (b"SE", b"T B"):
            assert device.write_raw(piece) == len(piece)
        refused(device.write_raw, b"AD\n")
        device.write("ECHO? 1;DROP")  # posted: the read is told
        with pytest.raises(DaemonIOError, match="GUARDED"):
            device.read()
        with contextlib.suppress(DaemonIOError):
            library.write_asynchronously(session, b"SET BAD\n")
        assert device.query("ECHO? 'SET BAD'") == "'SET BAD'"
        with pytest.raises(DaemonIOError, match="CONFIRM_FIRST"):
            device.write("SET COSTLY")
        assert client.confirm(device, "for the test")
        device.write("SET COSTLY")
        assert device.query("ECHO? end") == "end"
        history = json.loads(device.query("HISTORY?"))
    assert history == ["ECHO? 'SET BAD'", "SET COSTLY", "ECHO? end"]


def test_long_write_is_refused_before_any_of_it_is_sent(guarded, instrument_factory):
    """Several megabytes with something forbidden behind them; meanwhile others are served."""
    instrument = instrument_factory()
    manager = pyvisa.ResourceManager(f"{guarded.address}@daemon")
    with (
        contextlib.closing(manager),
        manager.open_resource(
            instrument.resource, read_termination="\n", write_termination="\n", timeout=20_000
        ) as device,
    ):
        size = 4 << 20
        refused(device.write_raw, b"SET #7%07d" % size + bytes(size) + b";DROP\n")
        with guarded.text() as text:
            text.ask(f".#.open_resource {instrument.resource}")
            assert executed(text) == []


def test_message_over_vxi11_is_held_back_until_its_end(guarded, vxi11):
    """With END: the attribute that keeps it away makes a message of several writes."""
    manager = pyvisa.ResourceManager(f"{guarded.address}@daemon")
    with contextlib.closing(manager), manager.open_resource(vxi11.resource) as device:
        device.set_visa_attribute(ResourceAttribute.send_end_enabled, False)
        device.write_raw(b"SET ")
        device.set_visa_attribute(ResourceAttribute.send_end_enabled, True)
        refused(device.write_raw, b"BAD")
        device.write_raw(b"SET fine")
        device.assert_trigger()
        assert device.query("ECHO? 'BAD'").strip() == "'BAD'"
        history = json.loads(device.query("HISTORY?"))
        assert not [message for message in history if "SET BAD" in message]
        assert "SET fine" in [message.strip() for message in history]


def test_local_instrument_needs_no_confirmation(instrument_factory):
    """Nobody is there to ask."""
    instrument = instrument_factory()
    manager = pyvisa.ResourceManager("@py")
    with contextlib.closing(manager), manager.open_resource(instrument.resource) as device:
        assert client.confirm(device, "for the test") is False


def test_refusals_are_on_record(guarded, instrument_factory):
    """As any command that failed."""
    instrument = instrument_factory()
    with guarded.text() as text:
        text.ask(f".#.open_resource {instrument.resource}")
        text.ask(".#.write_resource SET BAD")
        records = wait_until(lambda: guarded.audit(event="command", outcome="GUARDED"), what="the record")
    assert [(record["command"], record["effect"]) for record in records] == [("write SET BAD", "none")]


def test_daemon_does_not_start_with_a_rule_that_it_cannot_read(tmp_path):
    """A sentence and exit code 2."""
    from tests.daemon.started import start

    file = tmp_path / "lab.toml"
    file.write_text('[[resource]]\nmatch = "*"\ndeny = ["*RST", "volt"]\n')
    done = start("--config", file, "--run-dir", tmp_path / "run", "--port", "0")
    assert done.returncode == 2
    assert "[[resource]] 1: deny" in done.stderr
    assert "'volt'" in done.stderr
