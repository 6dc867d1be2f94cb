"""Choosing among daemons and falling back, against scripted daemons and PyVISA's simulated library."""

import logging
from collections.abc import Callable, Iterator

import pytest
import pyvisa
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource, SerialInstrument

import client
from pyvisa_daemon import wire
from tests.pyvisa_daemon.peer import Conversation, Peer

#: One that pyvisa-sim has too.
NAME = "ASRL1::INSTR"
NOT_FOUND = wire.Reply(0, StatusCode.error_resource_not_found, token="VI_ERROR_RSRC_NFOUND", text="none such")
LOCKED = wire.Reply(0, StatusCode.error_resource_locked, token="VI_ERROR_RSRC_LOCKED", text="somebody has it")
OPENED = wire.Reply(0, 0, value=[1, 2000])

StartDaemon = Callable[..., "ScriptedDaemon"]


class ScriptedDaemon:
    """Answers Find and Open as told, and counts the opens."""

    def __init__(self, found: str, answer: wire.Reply) -> None:
        self.opens = 0
        self._found = found
        self._answer = answer
        self.peer = Peer(self._script)

    def _script(self, peer: Conversation) -> None:
        peer.greet()
        for message in peer.requests():
            number = message.id  # type: ignore[union-attr]
            if isinstance(message, wire.Find):
                peer.send(wire.Reply(number, 0, value=self._found))
            elif isinstance(message, wire.Open):
                self.opens += 1
                answer = self._answer
                peer.send(wire.Reply(number, answer.status, answer.value, token=answer.token, text=answer.text))
            else:
                peer.send(wire.Reply(number, 0))


@pytest.fixture
def start_daemons() -> Iterator[Callable[..., list[ScriptedDaemon]]]:
    """Daemons that find and open as given, which become the known hosts in this order."""
    daemons: list[ScriptedDaemon] = []

    def start(*scripts: tuple[str, wire.Reply]) -> list[ScriptedDaemon]:
        daemons.extend(ScriptedDaemon(*script) for script in scripts)
        client.tryIps = [daemon.peer.address for daemon in daemons]
        return daemons

    yield start
    for daemon in daemons:
        daemon.peer.end()


def opens(daemons: list[ScriptedDaemon]) -> list[int]:
    return [daemon.opens for daemon in daemons]


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        (("unknown", "configured", "listed", "open"), 3),
        (("unknown", "configured", "listed", "listed"), 2),
        (("unknown", "configured", "unknown", "unknown"), 1),
        (("unknown", "unknown", "unknown", "unknown"), 0),
    ],
)
def test_daemon_is_chosen_by_what_it_found_when_several_answer(
    start_daemons: Callable[..., list[ScriptedDaemon]], found: tuple[str, ...], chosen: int
) -> None:
    """Open before listed before configured; equals, and names nobody knows, in the order of tryIps."""
    daemons = start_daemons(*((word, OPENED) for word in found))
    resource = client.open_resource(NAME)
    assert opens(daemons) == [int(index == chosen) for index in range(4)]
    assert type(resource) is SerialInstrument
    resource.close()


def test_name_nobody_lists_is_tried_host_by_host_when_opened(
    start_daemons: Callable[..., list[ScriptedDaemon]],
) -> None:
    """Who cannot reach it says not found, and the next one is asked."""
    daemons = start_daemons(("unknown", NOT_FOUND), ("unknown", OPENED), ("unknown", OPENED))
    client.open_resource(NAME).close()
    assert opens(daemons) == [1, 1, 0]


def test_refusal_is_raised_when_a_daemon_has_the_instrument(
    start_daemons: Callable[..., list[ScriptedDaemon]],
) -> None:
    """Locked at the daemon is locked: opening it locally would put two programs on one instrument."""
    daemons = start_daemons(("open", LOCKED), ("unknown", OPENED))
    with pytest.raises(pyvisa.VisaIOError, match="somebody has it"):
        client.ResourceManager("@sim").open_resource(NAME, checkSocket=True)
    assert opens(daemons) == [1, 0]


def test_local_library_is_used_and_logged_when_all_daemons_say_not_found(
    start_daemons: Callable[..., list[ScriptedDaemon]], caplog: pytest.LogCaptureFixture
) -> None:
    """Every one was asked, and a warning says that this instrument is not shared."""
    daemons = start_daemons(("unknown", NOT_FOUND), ("listed", NOT_FOUND))
    manager = client.ResourceManager("@sim")
    resource = manager.open_resource(NAME, checkSocket=True, read_termination="\n", write_termination="\r\n")
    assert opens(daemons) == [1, 1]
    assert isinstance(resource, MessageBasedResource)
    assert resource.query("?IDN").startswith("LSG Serial #1234")
    (record,) = [record for record in caplog.records if record.name.startswith("client")]
    assert record.levelno == logging.WARNING
    assert NAME in record.getMessage()
    assert daemons[0].peer.address in record.getMessage()
    manager.close()
    with pytest.raises(pyvisa.errors.InvalidSession):
        resource.session  # noqa: B018


def test_local_library_is_used_and_logged_when_no_daemon_answers(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing listens: local PyVISA, with a word."""
    client.tryIps = ["127.0.0.1:9"]
    manager = client.ResourceManager("@sim")
    manager.open_resource(NAME, checkSocket=True).close()
    assert "no daemon answers" in caplog.text
    manager.close()


def test_daemons_are_left_alone_when_not_asked_for(start_daemons: Callable[..., list[ScriptedDaemon]]) -> None:
    """ResourceManager.open_resource is PyVISA's unless checkSocket=True is given."""
    daemons = start_daemons(("open", OPENED))
    manager = client.ResourceManager("@sim")
    manager.open_resource(NAME).close()
    assert opens(daemons) == [0]
    assert NAME in manager.list_resources("ASRL?*")
    manager.close()


def test_manager_needs_no_local_library_when_only_daemons_are_used(
    start_daemons: Callable[..., list[ScriptedDaemon]],
) -> None:
    """The local part is opened when it is needed first; then its absence is told as PyVISA tells it."""
    start_daemons(("listed", OPENED))
    manager = client.ResourceManager("/no/such/libvisa.so@ivi")
    resource = manager.open_resource(NAME, checkSocket=True)
    assert manager.list_opened_resources() == [resource]
    assert "libvisa" in repr(manager)
    manager.close()
    assert manager.list_opened_resources() == []
    with pytest.raises(OSError, match="libvisa"):
        manager.list_resources()


@pytest.mark.parametrize("ours_first", [True, False])
def test_manager_is_itself_when_pyvisas_own_exists(ours_first: bool) -> None:
    """Before or after `pyvisa.ResourceManager` of the same library: neither gets the other's object."""
    makers = [client.ResourceManager, pyvisa.ResourceManager]
    made = [maker("@sim") for maker in (makers if ours_first else reversed(makers))]
    ours, theirs = made if ours_first else reversed(made)
    assert isinstance(ours, client.ResourceManager)
    assert isinstance(ours, pyvisa.ResourceManager)
    assert type(theirs) is pyvisa.ResourceManager
    assert ours.session == theirs.session
    shared = theirs.open_resource(NAME)
    mine = ours.open_resource(NAME)
    ours.close()
    assert theirs.list_opened_resources() == [shared]
    with pytest.raises(pyvisa.errors.InvalidSession):
        mine.session  # noqa: B018
    theirs.close()
    assert ours.open_resource(NAME).session is not None
    ours.close()
