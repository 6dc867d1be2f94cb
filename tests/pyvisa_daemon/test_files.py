"""viReadToFile and viWriteFromFile: files of the program's machine, through the daemon in pieces."""

from collections.abc import Callable
from pathlib import Path

import pytest
import pyvisa
from pyvisa.constants import ResourceAttribute, StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import highlevel, wire
from tests.pyvisa_daemon.conftest import Manage
from tests.pyvisa_daemon.peer import NAME, Bench, Conversation, refusal

MAX_COUNT, TERM_CHAR = StatusCode.success_max_count_read, StatusCode.success_termination_character_read
IS_APPENDED = ResourceAttribute.file_append_enabled

Answers = list[tuple[StatusCode, bytes]]


@pytest.fixture
def reading(manage: Manage, monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], pyvisa.resources.Resource]:
    """A resource whose reads give these, one each; what is asked for in one is at most 10 bytes."""
    monkeypatch.setattr(highlevel, "FILE_CHUNK", 10)

    def start(answers: Answers) -> pyvisa.resources.Resource:
        coming = iter(answers)

        def script(peer: Conversation) -> None:
            peer.greet()
            for request in peer.requests():
                match request:
                    case wire.Open(id=number):
                        peer.send(wire.Reply(number, 0, [1, 2000]))
                    case wire.Read(id=number, count=count):
                        status, data = next(coming)
                        assert count <= 10
                        assert len(data) <= count
                        peer.send(wire.Reply(number, int(status), data=data))
                    case wire.GetAttribute(id=number):
                        peer.send(refusal(number, "VI_ERROR_NSUP_ATTR"))
                    case wire.Close(id=number):
                        peer.send(wire.Reply(number, 0))

        resource = manage(script).open_resource(NAME)
        resource.visalib.issue_warning_on.discard(MAX_COUNT)
        return resource

    return start


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that has something."""
    path = tmp_path / "data"
    path.write_bytes(b"before")
    return path


@pytest.mark.parametrize("end", [StatusCode.success, TERM_CHAR])
def test_answer_is_in_the_file_when_it_came_in_several_reads(
    reading: Callable[[Answers], pyvisa.resources.Resource], target: Path, end: StatusCode
) -> None:
    """Up to its END or termination character, whose status is the call's; what the file had is gone."""
    resource = reading([(MAX_COUNT, b"0123456789"), (MAX_COUNT, b"0123456789"), (end, b"012\n")])
    assert resource.visalib.read_to_file(resource.session, str(target), 100) == (24, end)
    assert target.read_bytes() == b"01234567890123456789012\n"


def test_reading_ends_when_the_count_is_reached(
    reading: Callable[[Answers], pyvisa.resources.Resource], target: Path
) -> None:
    """Not a byte more is asked for."""
    resource = reading([(MAX_COUNT, b"0123456789"), (MAX_COUNT, b"01234")])
    assert resource.visalib.read_to_file(resource.session, str(target), 15) == (15, MAX_COUNT)
    assert target.read_bytes() == b"012345678901234"


def test_answer_goes_behind_what_the_file_has_when_appending(
    resource: MessageBasedResource, bench: Bench, target: Path
) -> None:
    """VI_ATTR_FILE_APPEND_EN."""
    resource.write_raw(b"after")
    resource.set_visa_attribute(IS_APPENDED, True)  # type: ignore[arg-type]
    assert resource.visalib.read_to_file(resource.session, str(target), 5)[0] == 5
    assert target.read_bytes() == b"beforeafter"
    resource.set_visa_attribute(IS_APPENDED, False)  # type: ignore[arg-type]
    resource.visalib.read_to_file(resource.session, str(target), 5)
    assert target.read_bytes() == b"after"


def test_file_keeps_what_it_has_when_the_connection_is_lost(
    resource: MessageBasedResource, bench: Bench, target: Path
) -> None:
    """It is not emptied for an answer that cannot come."""
    bench.hang_up()
    with pytest.raises(pyvisa.VisaIOError) as lost:
        resource.visalib.read_to_file(resource.session, str(target), 5)
    assert lost.value.error_code == StatusCode.error_connection_lost
    assert target.read_bytes() == b"before"


def test_message_is_the_files_beginning_when_written(
    resource: MessageBasedResource, bench: Bench, tmp_path: Path
) -> None:
    """At most `count` bytes, all of a shorter file, as one message however long."""
    path = tmp_path / "data"
    path.write_bytes(bytes(700_000))
    assert resource.visalib.write_from_file(resource.session, str(path), 600_000) == (600_000, StatusCode.success)
    path.write_bytes(b"CONF 1")
    assert resource.visalib.write_from_file(resource.session, str(path), 100) == (6, StatusCode.success)
    assert len(bench.seen(wire.Write)) == 2


@pytest.mark.parametrize("name", ["read_to_file", "write_from_file"])
def test_file_that_cannot_be_opened_is_a_visa_error_when_named(
    resource: MessageBasedResource, tmp_path: Path, name: str
) -> None:
    """VI_ERROR_FILE_ACCESS, with what the system says; the instrument saw nothing."""
    path = tmp_path / "none" / "data"
    with pytest.raises(pyvisa.VisaIOError, match="No such file") as failed:
        getattr(resource.visalib, name)(resource.session, str(path), 10)
    assert failed.value.error_code == StatusCode.error_file_access
