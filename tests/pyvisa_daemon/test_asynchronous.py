"""viReadAsync, viWriteAsync, viMoveAsync, viTerminate: their completion is an event of this program's own."""

import gc
from typing import Any

import pytest
from pyvisa import VisaIOError
from pyvisa.constants import AddressSpace, DataWidth, EventAttribute, EventMechanism, EventType, StatusCode
from pyvisa.events import IOCompletionEvent
from pyvisa.resources import MessageBasedResource
from pyvisa.resources.resource import WaitResponse

from pyvisa_daemon import wire
from pyvisa_daemon.framing import PIECE_SIZE
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.opened import OpenSession
from tests.pyvisa_daemon.peer import Bench
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until

DONE = EventType.io_completion
QUEUE, HANDLER = EventMechanism.queue, EventMechanism.handler
LONG = int(DEADLINE * 1000)


@pytest.fixture
def library(resource: MessageBasedResource) -> DaemonVisaLibrary:
    assert isinstance(resource.visalib, DaemonVisaLibrary)
    resource.enable_event(DONE, QUEUE)
    return resource.visalib


@pytest.fixture
def opened(resource: MessageBasedResource, library: DaemonVisaLibrary) -> OpenSession:
    return library._sessions[resource.session]


def completion(response: WaitResponse) -> IOCompletionEvent:
    """What it says of the operation; to be asked while `response` is there."""
    assert isinstance(response.event, IOCompletionEvent)
    return response.event


def test_read_completes_when_the_answer_has_come(resource: MessageBasedResource, library: DaemonVisaLibrary) -> None:
    """As in PyVISA's own suite: the buffer is one object, longer than what was read."""
    resource.write("test")
    buffer, job, status = library.read_asynchronously(resource.session, 10)
    assert status == StatusCode.success
    assert library.get_buffer_from_id(job) is buffer
    response = resource.wait_on_event(DONE, LONG)
    event = completion(response)
    assert (event.status, event.return_count, event.operation_name, event.job_id) == (0, 5, "viReadAsync", job)
    assert event.status is StatusCode.success
    assert event.buffer is buffer
    assert bytes(buffer) == b"test\n\0\0\0\0\0"
    assert event.data == b"test\n"


def test_completion_is_local_when_enabled_and_disabled(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """The daemon is never told of that event type."""
    resource.disable_event(DONE, QUEUE)
    assert not bench.seen(wire.EnableEvent)
    assert not bench.seen(wire.DisableEvent)


def test_write_completes_when_the_daemon_has_it(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """However long it is; there is no buffer to be had for a write's job."""
    data = bytes(2 * PIECE_SIZE + 1)
    job, status = library.write_asynchronously(resource.session, data)
    assert status == StatusCode.success
    response = resource.wait_on_event(DONE, LONG)
    event = completion(response)
    assert (event.status, event.return_count, event.operation_name, event.job_id) == (0, len(data), "viWriteAsync", job)
    assert event.buffer is None


def test_move_completes_when_it_is_done(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """Its arguments are VISA's, in their order."""
    ends = ((AddressSpace.a16, 8, DataWidth.bit_16), (AddressSpace.a24, 16, DataWidth.bit_32))
    job, _ = library.move_asynchronously(resource.session, *ends[0], *ends[1], 4)
    response = resource.wait_on_event(DONE, LONG)
    event = completion(response)
    assert (event.status, event.return_count, event.operation_name, event.job_id) == (0, 4, "viMoveAsync", job)
    (call,) = bench.seen(wire.Call)
    assert (call.function, call.arguments) == ("move", [1, 8, 2, 2, 16, 4, 4])


def test_failure_is_the_events_status_when_the_operation_failed(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """Nothing is raised by the call that began it, nor by whatever call reads the reply."""
    bench.withhold(wire.Read)
    library.read_asynchronously(resource.session, 10)
    wait_until(lambda: bench.withheld)
    bench.refuse(wire.Read, "VI_ERROR_TMO")
    resource.read_stb()
    response = resource.wait_on_event(DONE, LONG)
    assert completion(response).status is StatusCode.error_timeout
    assert completion(response).return_count == 0


@pytest.mark.parametrize("status", [0x3FFC0123, -1073800000])
def test_status_unknown_to_pyvisa_harms_nobody_when_it_comes(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench, status: int
) -> None:
    """A vendor's own: the number is there, and the call that happened to read it is not concerned."""
    bench.withhold(wire.Read)
    library.read_asynchronously(resource.session, 10)
    (read,) = wait_until(lambda: bench.seen(wire.Read))
    bench.conversation.send(wire.Reply(read.id, status))
    assert resource.read_stb() == 16
    response = resource.wait_on_event(DONE, LONG)
    assert response.event.get_visa_attribute(EventAttribute.status) == status


def test_other_calls_go_on_when_a_read_is_under_way(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """It completes while another thread waits for something else, and tells whoever waits for it."""
    bench.withhold(wire.Read)
    buffer, job, _ = library.read_asynchronously(resource.session, 10)
    waiting = in_thread(lambda: resource.wait_on_event(DONE, LONG))
    assert [resource.read_stb() for _ in range(3)] == [16, 16, 16]
    resource.write("late")
    bench.release()
    response = waiting()
    assert completion(response).job_id == job
    assert bytes(buffer).startswith(b"late\n")


def test_handler_is_called_when_the_operation_completes(
    resource: MessageBasedResource, library: DaemonVisaLibrary
) -> None:
    """With a context that has the completion's attributes."""
    seen: list[tuple[Any, ...]] = []

    def handler(_: Any, event_type: Any, context: Any, __: Any) -> None:
        attributes = (EventAttribute.job_id, EventAttribute.return_count)
        seen.append((event_type, *(library.get_attribute(context, attribute)[0] for attribute in attributes)))

    resource.install_handler(DONE, handler)
    resource.enable_event(DONE, HANDLER)
    job, _ = library.write_asynchronously(resource.session, b"data")
    wait_until(lambda: seen)
    assert seen == [(DONE, job, 4)]


def test_completions_are_told_apart_when_several_are_under_way(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """By their jobs, each with its own buffer."""
    bench.withhold(wire.Read)
    jobs = {}
    for _ in range(5):
        buffer, job, _ = library.read_asynchronously(resource.session, 10)
        jobs[job] = buffer
    resource.write("x")
    bench.release()
    found = {}
    for _ in jobs:
        response = resource.wait_on_event(DONE, LONG)
        found[completion(response).job_id] = completion(response).buffer
    assert found.keys() == jobs.keys()
    assert all(found[job] is jobs[job] for job in jobs)
    assert len({id(buffer) for buffer in jobs.values()}) == 5


def test_operation_ends_as_aborted_when_terminated(
    resource: MessageBasedResource, library: DaemonVisaLibrary, opened: OpenSession, bench: Bench
) -> None:
    """VI_ERROR_ABORT, once; the daemon is told; a late answer is dropped; a second time there is no such job."""
    bench.withhold(wire.Read)
    _, job, _ = library.read_asynchronously(resource.session, 10)
    assert library.terminate(resource.session, None, job) == StatusCode.success
    response = resource.wait_on_event(DONE, LONG)
    assert (completion(response).status, completion(response).job_id) == (StatusCode.error_abort, job)
    with pytest.raises(VisaIOError) as again:
        library.terminate(resource.session, None, job)
    assert again.value.error_code == StatusCode.error_invalid_job_i_d
    (read,) = wait_until(lambda: bench.seen(wire.Read))
    wait_until(lambda: [request.id for request in bench.seen(wire.Abandon)] == [read.id])
    bench.answer(read)
    resource.read_stb()
    assert resource.wait_on_event(DONE, 0, capture_timeout=True).timed_out
    assert not opened.jobs


def test_every_operation_ends_as_aborted_when_all_are_terminated(
    resource: MessageBasedResource, library: DaemonVisaLibrary, opened: OpenSession, bench: Bench
) -> None:
    """VI_NULL means all of the session's, and none is no error."""
    assert library.terminate(resource.session, None, 0) == StatusCode.success  # type: ignore[arg-type]
    bench.withhold(wire.Read)
    jobs = {library.read_asynchronously(resource.session, 10)[1] for _ in range(3)}
    assert library.terminate(resource.session, None, None) == StatusCode.success  # type: ignore[arg-type]
    ended = set()
    for _ in jobs:
        response = resource.wait_on_event(DONE, LONG)
        assert completion(response).status is StatusCode.error_abort
        ended.add(completion(response).job_id)
    assert ended == jobs
    assert resource.wait_on_event(DONE, 0, capture_timeout=True).timed_out
    assert not opened.jobs


@pytest.mark.parametrize("job", [12345, "text"])
def test_terminating_is_refused_when_there_is_no_such_operation(
    resource: MessageBasedResource, library: DaemonVisaLibrary, job: Any
) -> None:
    with pytest.raises(VisaIOError) as failed:
        library.terminate(resource.session, None, job)
    assert failed.value.error_code == StatusCode.error_invalid_job_i_d


def test_terminating_is_refused_when_it_has_completed(
    resource: MessageBasedResource, library: DaemonVisaLibrary, opened: OpenSession
) -> None:
    """Also when its reply came before the call that sent it returned."""
    for _ in range(50):
        job, _ = library.write_asynchronously(resource.session, b"data")
        response = resource.wait_on_event(DONE, LONG)
        assert completion(response).job_id == job
        assert not opened.jobs
        with pytest.raises(VisaIOError):
            library.terminate(resource.session, None, job)


def test_job_is_forgotten_when_its_reply_overtakes_the_call(
    resource: MessageBasedResource, library: DaemonVisaLibrary, opened: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may read the reply before `start_for` is back."""
    real = type(opened.channel).start_for

    def slow(channel: Any, *arguments: Any) -> Any:
        pending = real(channel, *arguments)
        library.read_stb(resource.session)
        return pending

    monkeypatch.setattr(type(opened.channel), "start_for", slow)
    library.write_asynchronously(resource.session, b"data")
    assert not opened.jobs
    assert resource.wait_on_event(DONE, 0).ret == StatusCode.success


def test_buffer_is_forgotten_when_nobody_keeps_it(resource: MessageBasedResource, library: DaemonVisaLibrary) -> None:
    """The program, or its event, keeps it; unknown jobs have none, as PyVISA's suite asks."""
    buffer, job, _ = library.read_asynchronously(resource.session, 10)
    del buffer
    assert library.get_buffer_from_id(job) is not None  # it is still under way
    response = resource.wait_on_event(DONE, LONG)
    assert completion(response).buffer is library.get_buffer_from_id(job) is not None
    del response
    gc.collect()
    assert library.get_buffer_from_id(job) is None
    assert library.get_buffer_from_id(1) is None  # type: ignore[arg-type]


def test_no_job_is_left_when_the_connection_is_lost(
    resource: MessageBasedResource, library: DaemonVisaLibrary, opened: OpenSession, bench: Bench
) -> None:
    """What cannot be sent fails at once; what was under way never completes, and waiting for it says why."""
    bench.withhold(wire.Read)
    library.read_asynchronously(resource.session, 10)
    bench.hang_up()
    for call in (
        lambda: resource.wait_on_event(DONE, LONG),
        lambda: library.read_asynchronously(resource.session, 10),
        lambda: library.write_asynchronously(resource.session, b"x"),
    ):
        with pytest.raises(VisaIOError) as lost:
            call()
        assert lost.value.error_code == StatusCode.error_connection_lost
    assert len(opened.jobs) == 1


def test_completion_is_not_lost_when_the_reader_is_interrupted(
    resource: MessageBasedResource, library: DaemonVisaLibrary, opened: OpenSession
) -> None:
    """Ctrl-C in the callback that another thread's reading makes: the reply is handed out again."""
    real = opened.events.happened

    def interrupted(occurrence: Any) -> None:
        opened.events.happened = real  # type: ignore[method-assign]
        raise KeyboardInterrupt

    opened.events.happened = interrupted  # type: ignore[method-assign]
    job, _ = library.write_asynchronously(resource.session, b"data")
    with pytest.raises(KeyboardInterrupt):
        resource.read_stb()
    response = resource.wait_on_event(DONE, LONG)
    assert completion(response).job_id == job
