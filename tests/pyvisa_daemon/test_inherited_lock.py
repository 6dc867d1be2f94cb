"""A program that was started under a lock: what it reads of its environment, and what its opens then do."""

import pytest
import pyvisa
from pyvisa.constants import AccessModes

from pyvisa_daemon import inherited_lock, wire
from pyvisa_daemon.inherited_lock import InheritedLock, environment_under, inherited, inherited_on
from pyvisa_daemon.refusals import DaemonIOError
from tests.pyvisa_daemon.peer import NAME, Bench
from tests.pyvisa_daemon.threads import in_thread
from tests.support.waiting import wait_until

EXCLUSIVE, SHARED = 1, 2


@pytest.fixture
def under(monkeypatch: pytest.MonkeyPatch):
    """Starts this program under locks, so to say."""

    def start(*locks: InheritedLock) -> None:
        for lock in reversed(locks):
            for name, value in environment_under(lock).items():
                monkeypatch.setenv(name, value)

    for name in (inherited_lock.RESOURCE, inherited_lock.KEY, inherited_lock.DAEMON):
        monkeypatch.delenv(name, raising=False)
    return start


def test_program_is_under_no_lock_when_nothing_says_so(under) -> None:
    assert inherited() == []
    assert inherited_on("A", "here") is None


def test_locks_are_read_as_they_were_written(under) -> None:
    """The innermost first; each once."""
    a, b = InheritedLock("A", "key-a", "here"), InheritedLock("B", "key-b", "there")
    under(b, a, b)
    assert inherited() == [b, a]
    assert inherited_on("B", "anywhere") == b


def test_lock_of_the_daemon_itself_is_preferred(under) -> None:
    here, there = InheritedLock("A", "key-a", "here"), InheritedLock("A", "key-b", "there")
    under(there, here)
    assert [inherited_on("A", daemon) for daemon in ("here", "there", "elsewhere")] == [here, there, there]


def test_environment_without_a_daemon_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody wrote it by hand."""
    monkeypatch.setenv(inherited_lock.RESOURCE, "A")
    monkeypatch.setenv(inherited_lock.KEY, "key")
    assert inherited() == [InheritedLock("A", "key", "")]


@pytest.mark.parametrize("mode", [AccessModes.no_lock, AccessModes.exclusive_lock, AccessModes.shared_lock])
def test_open_shares_the_lock_when_it_is_of_that_resource(
    under, manager: pyvisa.ResourceManager, bench: Bench, mode: AccessModes
) -> None:
    """By whatever name; the lock that the open asks for comes after that."""
    bench.aliases[NAME] = "CANONICAL"
    under(InheritedLock("CANONICAL", "ours"))
    manager.open_resource(NAME, mode, 700)
    [opening] = bench.seen(wire.Open)
    assert opening.access_mode == 0
    first, *more = [(lock.kind, lock.key, lock.joins) for lock in bench.seen(wire.Lock)]
    assert first == (SHARED, "ours", True)
    assert more == ([] if mode == AccessModes.no_lock else [(int(mode), None, False)])


def test_open_of_another_resource_is_as_ever(under, manager: pyvisa.ResourceManager, bench: Bench) -> None:
    under(InheritedLock("OTHER", "ours"))
    manager.open_resource(NAME, AccessModes.exclusive_lock, 700)
    assert [opening.access_mode for opening in bench.seen(wire.Open)] == [EXCLUSIVE]
    assert not bench.seen(wire.Lock)


def test_open_asks_nothing_when_there_is_no_lock(under, manager: pyvisa.ResourceManager, bench: Bench) -> None:
    """Programs in general pay nothing."""
    manager.open_resource(NAME)
    assert not bench.seen(wire.Resolve)


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_open_fails_when_the_lock_is_lost(
    under, manager: pyvisa.ResourceManager, bench: Bench, is_elsewhere: bool
) -> None:
    """And leaves no session; unless the lock may be another daemon's."""
    bench.aliases[NAME] = "CANONICAL"
    under(InheritedLock("CANONICAL", "ours", "elsewhere:1" if is_elsewhere else ""))
    bench.withhold(wire.Lock)
    opening = in_thread(lambda: manager.open_resource(NAME))
    wait_until(lambda: bench.withheld)
    bench.refuse(wire.Lock, "LOCK_LOST")
    if is_elsewhere:
        opening()
        assert len(bench.sessions) == 1
        return
    with pytest.raises(DaemonIOError, match=inherited_lock.KEY) as refused:
        opening()
    assert refused.value.token == "LOCK_LOST"
    assert not bench.sessions
