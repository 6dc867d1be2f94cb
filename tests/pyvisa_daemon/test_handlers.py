"""Event handlers: who is called, with what, on which thread, and when that thread ends."""

import ctypes
import gc
import itertools
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import EventAttribute, EventMechanism, EventType, StatusCode
from pyvisa.events import Event
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import event_functions, wire
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.opened import OpenSession
from tests.pyvisa_daemon.peer import NAME, Bench
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import DEADLINE, wait_until

SRQ, TRIG = EventType.service_request, EventType.trig
QUEUE, HANDLER, SUSPENDED = EventMechanism.queue, EventMechanism.handler, EventMechanism.suspend_handler
LONG = int(DEADLINE * 1000)

Handler = Callable[..., Any]


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("y", ctypes.c_int)]


@pytest.fixture
def opened(resource: MessageBasedResource) -> OpenSession:
    """The resource's session as the library has it."""
    library = resource.visalib
    assert isinstance(library, DaemonVisaLibrary)
    return library._sessions[resource.session]


def enable(resource: MessageBasedResource, handler: Handler, user_handle: Any = None) -> Any:
    """Installed and enabled for service requests."""
    converted = resource.install_handler(SRQ, handler, user_handle)
    resource.enable_event(SRQ, HANDLER)
    return converted


def wait_for_no_listener(opened: OpenSession) -> None:
    """Its thread has ended."""
    wait_until(lambda: not opened.turns and not listeners())


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("VISA events")]


def test_handler_is_called_when_an_event_happens(resource: MessageBasedResource, bench: Bench) -> None:
    """With its session, the event's type and context, and the user handle; on a thread that is not the program's, and
    without the program calling anything."""
    called: list[tuple[Any, ...]] = []

    def handler(session: Any, event_type: Any, context: Any, user_handle: Any) -> None:
        kind = resource.visalib.get_attribute(context, EventAttribute.event_type)[0]
        called.append((session, event_type, kind, user_handle, threading.current_thread()))

    handle = enable(resource, handler, 5)
    for _ in range(2):
        bench.happen(SRQ)
    wait_until(lambda: len(called) == 2)
    for session, event_type, kind, user_handle, thread in called:
        assert (session, event_type, kind) == (resource.session, SRQ, SRQ)
        assert user_handle is handle
        assert thread not in (threading.current_thread(), threading.main_thread())
    assert called[0][4] is called[1][4]


def test_nothing_of_an_event_is_kept_when_its_handlers_have_seen_it(
    resource: MessageBasedResource, bench: Bench
) -> None:
    """A program that runs for a year may have had a million."""
    library = resource.visalib
    assert isinstance(library, DaemonVisaLibrary)
    called = []
    enable(
        resource, lambda _, __, context, ___: called.append(library.get_attribute(context, EventAttribute.event_type))
    )
    before = set(library._last_status_in_session)
    for turn in range(1, 4):
        bench.happen(SRQ)
        wait_until(lambda turn=turn: len(called) == turn)  # type: ignore[misc]
    resource.disable_event(SRQ, HANDLER)
    wait_until(lambda: not listeners())
    assert not library._contexts
    assert set(library._last_status_in_session) == before


@pytest.mark.parametrize(
    ("handle", "kind", "value"),
    [
        (1, ctypes.c_long, 1),
        (True, ctypes.c_long, 1),
        (1.5, ctypes.c_double, 1.5),
        ("text", ctypes.c_wchar_p, "text"),
        ([1, 2], ctypes.c_long * 2, [1, 2]),
        ([1, 2.5], ctypes.c_double * 2, [1.0, 2.5]),
        ([], ctypes.c_long * 0, []),
    ],
)
def test_user_handle_is_converted_as_pyvisas_own_library_does(
    resource: MessageBasedResource, bench: Bench, handle: Any, kind: Any, value: Any
) -> None:
    """The handler gets the very object that install_handler returned, and uninstall_handler takes it."""
    seen = []

    def handler(_: Any, __: Any, ___: Any, user_handle: Any) -> None:
        seen.append(user_handle)

    converted = enable(resource, handler, handle)
    assert isinstance(converted, kind)
    assert (list(converted) if isinstance(handle, list) else converted.value) == value
    bench.happen(SRQ)
    wait_until(lambda: seen)
    assert seen[0] is converted
    resource.uninstall_handler(SRQ, handler, converted)
    with pytest.raises(pyvisa.errors.UnknownHandler):
        resource.uninstall_handler(SRQ, handler, converted)


@pytest.mark.parametrize("handle", [None, Point(1, 2), ctypes.c_int(3), object(), ("a", 1)])
def test_user_handle_stays_itself_when_it_is_anything_else(resource: MessageBasedResource, handle: Any) -> None:
    """A ctypes object as PyVISA's own library has it, and any other object of Python's too."""
    assert resource.install_handler(SRQ, print, handle) is handle


def test_user_handle_is_refused_when_a_list_holds_no_numbers(resource: MessageBasedResource) -> None:
    with pytest.raises(pyvisa.errors.VisaTypeError):
        resource.install_handler(SRQ, print, ["a"])


def test_handler_is_refused_when_it_cannot_be_called(resource: MessageBasedResource) -> None:
    with pytest.raises(pyvisa.errors.VisaTypeError, match="not callable"):
        resource.install_handler(SRQ, 1)  # type: ignore[arg-type]


class Incomparable:
    """As a numpy array: neither equal nor different."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_handlers_are_uninstalled_by_identity_when_their_handles_cannot_be_compared(
    resource: MessageBasedResource, opened: OpenSession
) -> None:
    """The same function twice, with two arrays."""
    first, second = Incomparable(), Incomparable()
    for handle in (first, second):
        resource.install_handler(SRQ, print, handle)
    resource.uninstall_handler(SRQ, print, second)
    (left,) = opened.handlers
    assert left[2] is first


def test_newest_handler_is_called_first_when_there_are_several(resource: MessageBasedResource, bench: Bench) -> None:
    """VPP-4.3, 3.7.4. Those of other types are not called, and one that was taken away is not."""
    called: list[str] = []
    handlers = {name: lambda *_, name=name: called.append(name) for name in ("first", "second", "third", "gone")}
    for handler in handlers.values():
        resource.install_handler(SRQ, handler)
    resource.install_handler(TRIG, lambda *_: called.append("another type"))
    resource.uninstall_handler(SRQ, handlers["gone"])
    resource.enable_event(SRQ, HANDLER)
    bench.happen(SRQ)
    wait_until(lambda: len(called) == 3)
    assert called == ["third", "second", "first"]


@pytest.mark.parametrize("failure", [ValueError("mine"), SystemExit(1), KeyboardInterrupt()])
def test_handlers_go_on_when_one_raises(
    resource: MessageBasedResource, bench: Bench, caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    """The older ones are called, the next event too, and the log has what it raised."""
    called = []

    def bad(*_: Any) -> None:
        raise failure

    resource.install_handler(SRQ, lambda *_: called.append(1))
    with caplog.at_level(logging.ERROR):
        enable(resource, bad)
        for turn in (1, 2):
            bench.happen(SRQ)
            wait_until(lambda turn=turn: len(called) == turn)  # type: ignore[misc]
    assert caplog.text.count(f"a handler of session {resource.session} failed") == 2
    assert type(failure).__name__ in caplog.text


def test_handler_may_call_the_library_when_it_is_called(resource: MessageBasedResource, bench: Bench) -> None:
    """A query, an attribute, even closing its own resource: it has a thread of its own."""
    answers: list[str] = []

    def handler(*_: Any) -> None:
        answers.append(resource.query("*STB?"))
        resource.timeout = 500
        resource.read_stb()
        if len(answers) == 2:
            resource.close()

    enable(resource, handler)
    bench.happen(SRQ)
    wait_until(lambda: len(answers) == 1)
    bench.happen(SRQ)
    wait_until(lambda: not bench.sessions and not listeners())
    assert answers == ["*STB?", "*STB?"]


def test_handler_is_called_when_another_thread_reads_for_long(resource: MessageBasedResource, bench: Bench) -> None:
    """Whoever reads the connection hands it on; the answer is not held up by a handler that takes its time."""
    called, may_end = threading.Event(), threading.Event()

    def handler(*_: Any) -> None:
        called.set()
        assert may_end.wait(DEADLINE)

    enable(resource, handler)
    bench.withhold(wire.Query)
    reading = in_thread(lambda: resource.query("LONG?"))
    wait_until(lambda: bench.withheld)
    bench.happen(SRQ)
    assert called.wait(DEADLINE)
    bench.release()
    assert reading() == "LONG?"
    may_end.set()


def test_wrapped_handler_gets_resource_and_event_when_called(
    manager: pyvisa.ResourceManager, resource: MessageBasedResource, bench: Bench
) -> None:
    """PyVISA's `wrap_handler`; on another resource it refuses itself, which is for the log."""
    seen: list[tuple[Any, ...]] = []

    def handler(source: Any, event: Event, user_handle: Any) -> None:
        seen.append((source, event.event_type, event.get_visa_attribute(EventAttribute.event_type), user_handle))

    handle = enable(resource, resource.wrap_handler(handler), "mine")
    other = manager.open_resource(NAME)
    enable(other, resource.wrap_handler(handler))  # type: ignore[arg-type]
    bench.happen(SRQ)
    wait_until(lambda: seen)
    assert seen == [(resource, SRQ, SRQ, handle)]


def test_queue_and_handler_both_get_it_when_both_are_enabled(resource: MessageBasedResource, bench: Bench) -> None:
    called: list[int] = []
    enable(resource, lambda *_: called.append(1))
    resource.enable_event(SRQ, QUEUE)
    bench.happen(SRQ)
    assert resource.wait_on_event(SRQ, LONG).event.event_type == SRQ
    wait_until(lambda: called == [1])


def test_handlers_are_called_later_when_they_were_suspended(resource: MessageBasedResource, bench: Bench) -> None:
    """What is held back meanwhile comes in its order when they run again, unless it is discarded."""
    called: list[int] = []

    def handler(_: Any, __: Any, context: Any, ___: Any) -> None:
        called.append(resource.visalib.get_attribute(context, EventAttribute.received_trigger_id)[0])

    resource.install_handler(TRIG, handler)
    for turn in range(2):
        resource.enable_event(TRIG, SUSPENDED)
        for number in range(3):
            bench.happen(TRIG, [(EventAttribute.received_trigger_id, 10 * turn + number)])
        resource.read_stb()
        if turn == 0:
            resource.discard_events(TRIG, SUSPENDED)
            assert not listeners()
        resource.enable_event(TRIG, HANDLER)
        bench.happen(TRIG, [(EventAttribute.received_trigger_id, 10 * turn + 5)])
        wait_until(lambda turn=turn: 10 * turn + 5 in called)  # type: ignore[misc]
    assert called == [5, 10, 11, 12, 15]


def test_handler_is_called_no_more_when_disabled(resource: MessageBasedResource, bench: Bench) -> None:
    """Not for what came before and had not had its turn, nor when it is enabled again."""
    may_end = threading.Event()
    called: list[int] = []

    def handler(*_: Any) -> None:
        called.append(1)
        assert may_end.wait(DEADLINE)

    enable(resource, handler)
    resource.enable_event(SRQ, QUEUE)
    for _ in range(3):
        bench.happen(SRQ)
    wait_until(lambda: called)
    resource.read_stb()
    resource.disable_event(SRQ, HANDLER)
    may_end.set()
    wait_until(lambda: not listeners())
    resource.enable_event(SRQ, HANDLER)
    bench.happen(SRQ)
    wait_until(lambda: len(called) == 2)
    assert resource.wait_on_event(SRQ, LONG).ret == StatusCode.success_queue_not_empty
    assert len(called) == 2


def test_handlers_are_gone_when_all_are_uninstalled(resource: MessageBasedResource, opened: OpenSession) -> None:
    """As in PyVISA's own suite; installing and uninstalling is this program's own business."""
    library = resource.visalib
    resource.install_handler(SRQ, print)
    resource.install_handler(TRIG, print, 1)
    library.uninstall_all_visa_handlers(None)
    assert not library.handlers
    assert not opened.handlers
    with pytest.raises(pyvisa.errors.UnknownHandler):
        resource.uninstall_handler(SRQ, print)


def test_handlers_are_gone_when_their_resource_is_collected(manager: pyvisa.ResourceManager, bench: Bench) -> None:
    """With everything else of it, its thread too."""
    lost = manager.open_resource(NAME)
    enable(lost, print)  # type: ignore[arg-type]
    wait_until(listeners)
    del lost
    gc.collect()
    assert not manager.visalib.handlers
    assert not bench.sessions
    wait_until(lambda: not listeners())


@pytest.mark.parametrize("end", ["disable", "suspend", "close", "lose"])
def test_listener_ends_when_there_is_nothing_to_listen_for(
    resource: MessageBasedResource, opened: OpenSession, bench: Bench, end: str
) -> None:
    """One thread while handlers are enabled, none otherwise."""
    enable(resource, lambda *_: None)
    wait_until(lambda: len(listeners()) == 1)
    {
        "disable": lambda: resource.disable_event(EventType.all_enabled, EventMechanism.all),
        "suspend": lambda: resource.enable_event(SRQ, SUSPENDED),
        "close": resource.close,
        "lose": bench.hang_up,
    }[end]()
    wait_until(lambda: not listeners())
    assert end == "lose" or not opened.turns


def test_handlers_are_called_once_each_when_enabled_again_and_again(
    resource: MessageBasedResource, opened: OpenSession, bench: Bench
) -> None:
    """However quickly after disabling: there is a thread, and never two."""
    called: list[threading.Thread] = []
    resource.install_handler(SRQ, lambda *_: called.append(threading.current_thread()))
    for turn in range(1, 201):
        resource.enable_event(SRQ, HANDLER)
        assert len(listeners()) <= 2  # one may be on its way out
        bench.happen(SRQ)
        wait_until(lambda turn=turn: len(called) == turn)  # type: ignore[misc]
        resource.disable_event(SRQ, HANDLER)
    wait_for_no_listener(opened)


def test_one_listener_goes_on_when_enabled_again_at_any_step_of_its_end(
    resource: MessageBasedResource, opened: OpenSession, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread enables just before each single line of the listener's last ones: its event is handled once."""
    called: list[int] = []
    resource.install_handler(SRQ, lambda *_: called.append(1))
    code = event_functions.EventFunctions._call_handlers_of.__code__
    place, lines = 0, itertools.count()
    enabled: list[int] = []

    def trace(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code is not code:
            return None
        if event == "line" and not opened.events.has_handlers and next(lines) == place:
            in_thread(lambda: resource.enable_event(SRQ, HANDLER))()
            enabled.append(place)
        return trace

    threading.settrace(trace)
    try:
        for place in range(20):  # noqa: B007 - read by `trace`
            lines = itertools.count()
            enabled.clear()
            resource.enable_event(SRQ, HANDLER)
            wait_until(lambda: opened.turns)
            resource.disable_event(SRQ, HANDLER)
            wait_until(lambda: enabled or not listeners())
            if not enabled:
                break
            called.clear()
            bench.happen(SRQ)
            wait_until(lambda: called)
            assert len([thread for thread in listeners() if thread is opened.turns["listen"]]) == 1
            resource.disable_event(SRQ, HANDLER)
            wait_for_no_listener(opened)
            assert called == [1]
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
    assert place > 2
    assert sys.gettrace() is None
