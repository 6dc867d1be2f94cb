"""Locks that end, locks that are taken, and clients that are sent away: in a real daemon, in both languages.

What a lock may live here is so little that a test can wait for it, and so much that a slow machine keeps within it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pyvisa
from pyvisa.constants import StatusCode
from pyvisa.resources import MessageBasedResource

import client as visa
from pyvisa_daemon.refusals import DaemonIOError
from tests.support.daemon import Daemon
from tests.support.tcp_instrument import TcpInstrument
from tests.support.text_client import TextClient
from tests.support.waiting import DEADLINE, wait_until


@pytest.fixture
def lan(daemon_factory: Callable[..., Daemon]) -> Daemon:
    return daemon_factory()


@pytest.fixture
def ann(lan: Daemon, instrument: TcpInstrument) -> Iterator[TextClient]:
    """A text client that has the instrument open."""
    with lan.text() as client:
        client.ask(".#.hello ann")
        assert client.ask(f".#.open_resource {instrument.resource}") == instrument.resource
        yield client


@pytest.fixture
def bob(lan: Daemon, instrument: TcpInstrument) -> Iterator[MessageBasedResource]:
    """A PyVISA program that has it open."""
    manager = pyvisa.ResourceManager(f"{lan.address}@daemon")
    resource = manager.open_resource(instrument.resource, read_termination="\n", write_termination="\n")
    assert isinstance(resource, MessageBasedResource)
    yield resource
    manager.close()


def lock_of(lan: Daemon, instrument: TcpInstrument) -> dict[str, Any]:
    return lan.resource(instrument.resource)["lock"]


def tokens(call: Callable[[], object]) -> str:
    with pytest.raises(DaemonIOError) as refused:
        call()
    return refused.value.token


def test_lock_of_a_program_that_sleeps_goes_to_who_waits_for_it(lan, instrument, ann, bob):
    """And the sleeper is told, once, by its next command, of which the instrument hears nothing."""
    with pytest.raises(DaemonIOError) as lost, visa.lock(bob, ttl=1, reason="calibration"):  # noqa: PT012
        refusal = ann.ask(".#.query_resource *IDN?")
        assert "VI_ERROR_RSRC_LOCKED effect=none" in refusal
        assert "(calibration), since" in refusal
        assert ann.ask(".#.lock 60000") == "ok"
        bob.write("SET blindly")
    assert lost.value.token == "LOCK_LOST"
    assert lost.value.error_code == StatusCode.error_session_not_locked
    assert "not used for the 1 s" in str(lost.value)
    assert tokens(lambda: bob.query("ECHO? now")) == "VI_ERROR_RSRC_LOCKED"
    assert ann.ask(".#.unlock") == "ok"
    assert bob.query("ECHO? now") == "now"
    assert instrument.history() == ["ECHO? now"]
    record = lan.wait_for_audit(event="lease_over")
    assert (record["resource"], record["reason"], record["ttl_s"]) == (instrument.resource, "calibration", 1.0)


@pytest.mark.full
def test_lock_that_is_used_is_kept_for_longer_than_it_may_live(lan, instrument, ann, bob):
    """By whatever goes to the instrument; what a client reads that it has already is none of the daemon's affairs."""
    with visa.lock(bob, ttl=2):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert bob.query("ECHO? mine") == "mine"
            time.sleep(0.1)
        assert "VI_ERROR_RSRC_LOCKED" in ann.ask(".#.query_resource ECHO? theirs")
    assert ann.ask(".#.query_resource ECHO? theirs") == "theirs"


def test_long_command_is_use(lan, instrument, ann, bob):
    bob.timeout = 10_000
    with visa.lock(bob, ttl=1):
        assert bob.query("SLOW? 2500,late") == "late"
        assert bob.query("ECHO? mine") == "mine"
    assert lan.audit(event="lease_over") == []


def test_lock_in_the_status_says_what_for_and_how_long_and_who_waits(lan, instrument, ann, bob):
    assert ann.ask(".#.lock ttl 1000 reason a long measurement") == "ok"
    waiting = threading.Thread(target=lambda: visa.lock(bob, timeout_ms=60_000, reason="my turn").__enter__())
    waiting.start()
    held = wait_until(lambda: (found := lock_of(lan, instrument))["waiting"] and found)
    [holder], [waiter] = held["holders"], held["waiters"]
    assert (held["kind"], holder["name"], holder["reason"], holder["ttl_s"]) == (
        *("exclusive", "ann", "a long measurement"),
        1000.0,
    )
    assert 0 < holder["left_s"] <= 1000
    assert holder["held_s"] >= waiter["waited_s"] >= 0
    assert waiter["reason"] == "my turn"
    with lan.text() as person:
        person.send(b"...status\n")
        assert f"exclusive lock of {holder['client']} ann (a long measurement) for " in _until(person, "my turn", 3)
    ann.ask(".#.unlock")
    waiting.join(DEADLINE)


def _until(person: TextClient, _: str, lines: int) -> str:
    return "\n".join(person.line().decode() for _ in range(lines))


def test_timed_out_wait_tells_its_place(lan, instrument, ann, bob):
    with visa.lock(bob, reason="calibration"):
        reply = ann.ask(".#.lock 50")
        assert "VI_ERROR_TMO effect=none the time to wait is up" in reply
        assert reply.endswith("you were 1st of 1 who wait")


# Forced.


def test_forced_lock_goes_to_who_waits_and_its_holder_is_told(lan, instrument, ann, bob):
    bob.lock_excl()
    ann.send(b".#.lock 60000\n")
    wait_until(lambda: lock_of(lan, instrument)["waiting"])
    with lan.text() as admin:
        admin.ask(".#.hello root")
        assert admin.ask(f".!.unlock {instrument.resource}") == "unlocked sessions=1"
        assert ann.line() == b"ok"
        assert "BAD_ARGUMENT" not in admin.ask(f".!.unlock {instrument.resource}")
        assert "NO_RESOURCE" in admin.ask(".!.unlock TCPIP0::127.0.0.1::9::SOCKET")
    assert tokens(lambda: bob.query("ECHO? mine")) == "LOCK_LOST"
    assert tokens(bob.unlock) == "VI_ERROR_SESN_NLOCKED"
    record = lan.wait_for_audit(event="unlocked", name=lock_holder(bob))
    assert record["by"].endswith(" root")
    assert instrument.history() == []


def lock_holder(_: MessageBasedResource) -> str:
    from pyvisa_daemon import hosts

    return next(filter(None, hosts.introduction()))


def test_end_of_the_with_tells_of_a_loss_that_nobody_else_told_of(lan, instrument, bob):
    """What was done inside may not have been alone."""
    with pytest.raises(DaemonIOError, match="has forced it open"), visa.lock(bob), lan.text() as admin:
        admin.ask(f".!.unlock {instrument.resource}")


def test_local_instrument_has_its_own_library_s_lock(tmp_path):
    """A time to live and a reason have no effect there."""
    manager = pyvisa.ResourceManager("@sim")
    resource = manager.open_resource(manager.list_resources()[0])
    called = []
    resource.visalib.lock = lambda *arguments: (called.append(arguments), ("key", StatusCode.success))[1]
    resource.visalib.unlock = lambda *arguments: called.append(arguments)
    with visa.lock(resource, 5.0, "ours", ttl=1, reason="none") as key:
        assert key == "key"
    assert [arguments[1:] for arguments in called] == [(2, 5, "ours"), ()]
    resource.close()
    manager.close()


# Kicked.


def connection(lan: Daemon, **fields: str) -> dict[str, Any]:
    [row] = [row for row in lan.status()["connections"] if all(row[name] == value for name, value in fields.items())]
    return row


def test_status_shows_whom_one_could_kick(lan, instrument, ann, bob):
    text, wire = connection(lan, name="ann"), connection(lan, language="wire")
    assert text["language"] == "text"
    assert (text["sessions"], wire["sessions"]) == (1, 1)
    assert text["open"] == wire["open"] == [instrument.resource]
    assert lan.status()["clients"] == len(lan.status()["connections"])


def test_pyvisa_program_is_kicked_in_the_middle_of_a_query(lan, instrument, ann, bob):
    """It notices at once; what ran went on to its end, what it had waiting is not executed, and its lock is free."""
    bob.timeout = 60_000
    bob.lock_excl()
    failures = []

    def query():
        try:
            bob.query("SLOW? 3000,late")
        except DaemonIOError as error:
            failures.append((error.error_code, time.monotonic()))

    asking = threading.Thread(target=query)
    asking.start()
    wait_until(lambda: instrument.count("SLOW?"))
    began = time.monotonic()
    address = connection(lan, language="wire")["client"]
    with lan.text() as admin:
        assert admin.ask(f".!.kick {address}") == "kicked clients=1"
        assert "no other client is called" in admin.ask(f".!.kick {address}")
    asking.join(DEADLINE)
    [(code, noticed)] = failures
    assert code == StatusCode.error_connection_lost
    assert noticed - began < 2.5, "only when the command had ended"
    assert ann.ask(".#.lock") == "ok"
    assert ann.ask(".#.query_resource ECHO? mine") == "mine"
    assert instrument.history() == ["SLOW? 3000,late", "ECHO? mine"]
    record = lan.wait_for_audit(event="kicked")
    assert record["client"] == address
    assert lan.audit(event="disconnect", client=address)


def test_text_client_is_kicked_with_what_it_has_waiting(lan, instrument, ann, bob):
    """And may come back."""
    bob.timeout = 60_000
    running = threading.Thread(target=lambda: bob.query("SLOW? 1500,late"))
    running.start()
    wait_until(lambda: instrument.count("SLOW?"))
    ann.send(b".#.write_resource SET never\n")
    wait_until(lambda: lan.resource(instrument.resource)["queued"])
    with lan.text() as admin:
        assert admin.ask(".!.kick ann") == "kicked clients=1"
    assert ann.everything() == b""
    running.join(DEADLINE)
    assert bob.query("ECHO? after") == "after"
    assert instrument.history() == ["SLOW? 1500,late", "ECHO? after"]
    with lan.text() as again:
        assert again.ask(".#.ping") == "pong"


def test_several_of_one_name_are_kicked_only_if_all_are_meant(lan, ann):
    with lan.text() as other, lan.text() as admin:
        other.ask(".#.hello ann")
        admin.ask(".#.hello ann")  # who asks is never meant
        assert "2 clients are called ann" in admin.ask(".!.kick ann")
        assert "BAD_ARGUMENT" in admin.ask(".!.kick ann every")
        assert admin.ask(".!.kick ann all") == "kicked clients=2"
        assert admin.ask(".#.ping") == "pong"
        assert other.everything() == ann.everything() == b""


def test_client_that_reads_nothing_is_kicked_too(lan, ann):
    """Its replies fill all buffers; nothing waits for it to read them."""
    with lan.text() as deaf, lan.text() as admin:
        deaf.ask(".#.hello deaf")
        deaf.send(b".#.help\n" * 5000)
        assert admin.ask(".!.kick deaf") == "kicked clients=1"
        assert [row["name"] for row in lan.status()["connections"] if row["name"] == "deaf"] == []


def test_commands_for_leases_are_for_the_daemon_s_own_machine(lan, instrument, ann):
    """As all of `.!.`: by their methods."""
    visa.tryIps = [lan.address]
    with visa.SocketManager().open_socket() as socket:
        socket.enter(instrument.resource)
        socket.lock(ttl=100, reason="two\nlines")
        assert lock_of(lan, instrument)["holders"][0]["reason"] == "two lines"
        assert socket.force_unlock(instrument.resource) == 1
        assert "forced it open" in socket.await_loss()
        assert socket.kick("ann") == 1
