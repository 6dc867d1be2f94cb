"""Locks as a program asks for them. Who gets them is the daemon's business."""

from collections.abc import Callable
from typing import Any

import pytest
import pyvisa
from pyvisa import constants
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import channel as channel_module
from pyvisa_daemon import wire
from pyvisa_daemon.refusals import DaemonIOError
from tests.pyvisa_daemon.peer import NAME, Bench
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import wait_until

EXCLUSIVE, SHARED = int(constants.Lock.exclusive), int(constants.Lock.shared)


def test_lock_travels_as_it_was_asked_for_when_locked(resource: MessageBasedResource, bench: Bench) -> None:
    """Kind, time and key; the default time is the session's, and the key of a shared lock comes back."""
    assert resource.lock(1500) == "made"
    assert resource.lock(requested_key="mine") == "mine"
    resource.lock_excl(float("inf"))
    with resource.lock_context() as key:
        assert key is None
    for _ in range(3):
        resource.unlock()
    assert [(lock.kind, lock.timeout_ms, lock.key) for lock in bench.seen(wire.Lock)] == [
        (SHARED, 1500, None),
        (SHARED, 2000, "mine"),
        (EXCLUSIVE, constants.VI_TMO_INFINITE, None),
        (EXCLUSIVE, 2000, None),
    ]
    assert list(bench.sessions.values()) == [0]


def test_exclusive_lock_has_no_key_when_granted(resource: MessageBasedResource) -> None:
    key, status = resource.visalib.lock(resource.session, constants.Lock.exclusive, 0)
    assert (key, status) == ("", StatusCode.success)


def test_nested_lock_is_a_success_with_a_remark_when_the_daemon_says_so(
    resource: MessageBasedResource, bench: Bench
) -> None:
    """VI_SUCCESS_NESTED_SHARED and its like pass."""
    bench.withhold(wire.Lock)
    locking = in_thread(lambda: resource.visalib.lock(resource.session, constants.Lock.shared, 0))
    (request,) = wait_until(lambda: bench.seen(wire.Lock))
    bench.conversation.send(wire.Reply(request.id, int(StatusCode.success_nested_shared), "key"))
    assert locking() == ("key", StatusCode.success_nested_shared)


@pytest.mark.parametrize("token", ["VI_ERROR_TMO", "VI_ERROR_RSRC_LOCKED", "VI_ERROR_INV_ACCESS_KEY"])
def test_lock_raises_when_the_daemon_refuses_it(resource: MessageBasedResource, bench: Bench, token: str) -> None:
    """As VisaIOError; nothing is given back that was never had."""
    bench.withhold(wire.Lock)
    locking = in_thread(lambda: resource.lock(10))
    wait_until(lambda: bench.withheld)
    bench.refuse(wire.Lock, token)
    with pytest.raises(DaemonIOError) as refused:
        locking()
    assert refused.value.token == token
    resource.read_stb()
    assert not bench.seen(wire.Unlock)


def test_lock_is_waited_for_longer_than_its_time_when_the_daemon_is_slow(
    resource: MessageBasedResource, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon ends the wait; this side gives up when nothing comes at all, and a late grant is given back."""
    monkeypatch.setattr(channel_module, "QUEUE_LIMIT", 0.0)
    monkeypatch.setattr(channel_module, "SLACK", 0.05)
    bench.withhold(wire.Lock)
    with pytest.raises(pyvisa.VisaIOError) as failed:
        resource.lock(0)
    assert failed.value.error_code == StatusCode.error_timeout
    monkeypatch.undo()
    (request,) = bench.seen(wire.Lock)
    bench.answer(request)
    resource.read_stb()
    resource.read_stb()
    assert [abandoned.id for abandoned in bench.seen(wire.Abandon)] == [request.id]
    assert list(bench.sessions.values()) == [0]


@pytest.mark.parametrize(
    "call",
    [
        lambda manager: manager.open_resource(NAME, constants.AccessModes.shared_lock, 700),
        lambda manager: manager.open_resource(NAME, constants.AccessModes.exclusive_lock, 700),
    ],
)
def test_lock_at_open_travels_with_it_when_asked_for(
    manager: pyvisa.ResourceManager, bench: Bench, call: Callable[[pyvisa.ResourceManager], Any]
) -> None:
    call(manager)
    (request,) = bench.seen(wire.Open)
    assert request.access_mode in (1, 2)
    assert request.open_timeout_ms == 700
