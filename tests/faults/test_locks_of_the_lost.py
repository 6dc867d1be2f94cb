"""Locks end with whoever had them, however that went; who waits is served in turn, and only for as long as it said."""

import ctypes
import os
import socket
import time

import psutil
import pytest
import pyvisa
from pyvisa.constants import StatusCode

from tests.faults.leaver import LANGUAGES, Leaver
from tests.faults.link import Link
from tests.support.waiting import wait_until

#: The system call pidfd_getfd, the same on all architectures; Python has none for it.
PIDFD_GETFD = 438


def waits(bench, resource, seconds):
    """A client that has asked for the lock and does not have it."""
    before = waiting(bench, resource)
    client = bench.client(resource)
    client.socket.settimeout(seconds + 20)
    client.send(f".#.lock {1000 * seconds}\n".encode())
    wait_until(lambda: waiting(bench, resource) == before + 1)
    return client


def waiting(bench, resource):
    return bench.daemon.resource(resource)["lock"]["waiting"]


@pytest.mark.fault(30)
@pytest.mark.parametrize("language", LANGUAGES)
def test_lock_of_a_killed_program_is_free(bench, language):
    """The kernel closes its connection; whoever waits has the lock then."""
    instrument = bench.tcp()
    with Leaver(language, bench.daemon.host, bench.daemon.port, instrument.resource, "lock") as holder:
        holder.hears("begins")
        holder.hears("done")
        client = waits(bench, instrument.resource, 20)
        with bench.figures.timed("free_after_kill"):
            holder.kill()
            assert client.line() == b"ok"
    assert client.query("ECHO? mine") == "mine"


def shorten(pid, address):
    """The times of one of a process's sockets, from outside: a peer that says nothing is gone after 1 to 2 s."""
    row = next(row for row in psutil.Process(pid).net_connections("tcp4") if row.raddr and row.raddr.ip == address)
    process = os.pidfd_open(pid)
    copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, row.fd, 0)
    os.close(process)
    assert copy >= 0, os.strerror(ctypes.get_errno())
    with socket.socket(fileno=copy) as connection:
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
            assert connection.getsockopt(socket.IPPROTO_TCP, option) > 1
            connection.setsockopt(socket.IPPROTO_TCP, option, 1)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) > 1000
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)


@pytest.mark.fault(30)
@pytest.mark.parametrize("is_shortened", [True, pytest.param(False, marks=pytest.mark.full)])
def test_lock_behind_a_link_that_was_cut_is_free(make_bench, is_shortened):
    """Nobody tells the daemon; its kernel asks the other end, and gives it up. All of that is in the long form; in the
    short one the times are made shorter from outside once the connection stands."""
    with Link() as link:
        bench = make_bench(settings={"host": "0.0.0.0", "allow": link.network})
        instrument = bench.tcp()
        resource = instrument.resource
        with Leaver("text", link.here, bench.daemon.port, resource, "lock", prefix=link.prefix) as holder:
            holder.hears("begins")
            holder.hears("done")
            other, client = bench.client(resource), waits(bench, resource, 90)
            if is_shortened:
                shorten(bench.daemon.pid, link.there)
            with bench.figures.timed("free_after_cut_shortened" if is_shortened else "free_after_cut"):
                link.cut()
                assert other.query(f"ECHO? kept out {is_shortened}").startswith(".#.error VI_ERROR_RSRC_LOCKED ")
                assert client.line() == b"ok"
        assert client.query(f"ECHO? mine {is_shortened}") == f"mine {is_shortened}"


@pytest.mark.fault(31)
def test_lock_is_waited_for_as_long_as_was_said(bench):
    """With a timeout of 0 not at all; with one of 1 s so long, and no shorter. Both protocols, both errors of VISA."""
    resource = bench.tcp().resource
    holder, client = bench.client(resource), bench.client(resource)
    assert holder.ask(".#.lock 0") == "ok"
    with bench.figures.timed("refused"):
        assert client.ask(".#.lock 0").startswith(".#.error VI_ERROR_RSRC_LOCKED effect=none ")
    began = time.monotonic()
    with bench.figures.timed("refused_after_1_s"):
        assert client.ask(".#.lock 1000").startswith(".#.error VI_ERROR_TMO effect=none ")
    assert time.monotonic() - began >= 1
    manager = pyvisa.ResourceManager(f"{bench.daemon.address}@daemon")
    session = manager.open_resource(resource)
    for timeout, status in ((0, StatusCode.error_resource_locked), (1000, StatusCode.error_timeout)):
        began = time.monotonic()
        with pytest.raises(pyvisa.VisaIOError) as failure:
            session.lock_excl(timeout)
        assert failure.value.error_code == status
        assert time.monotonic() - began >= timeout / 1000
    assert client.query("ECHO? kept out").startswith(".#.error VI_ERROR_RSRC_LOCKED effect=none ")
    assert holder.ask(".#.unlock") == "ok"
    session.lock_excl(0)
    assert client.ask(".#.lock 0").startswith(".#.error VI_ERROR_RSRC_LOCKED effect=none ")
    session.close()
    assert client.ask(".#.lock 0") == "ok"
    manager.close()


@pytest.mark.fault(31)
def test_lock_goes_to_who_came_first(bench):
    """Of ten who wait one is gone and one's time is up; each other one has it in its turn, and then nobody else."""
    instrument = bench.tcp()
    holder = bench.client(instrument.resource)
    assert holder.ask(".#.lock 0") == "ok"
    clients = [waits(bench, instrument.resource, 1 if number == 4 else 60) for number in range(10)]
    clients[7].close()
    assert clients[4].line().startswith(b".#.error VI_ERROR_TMO effect=none ")
    wait_until(lambda: waiting(bench, instrument.resource) == 8)
    left = [client for number, client in enumerate(clients) if number not in (4, 7)]
    assert holder.ask(".#.unlock") == "ok"
    for number, client in enumerate(left):
        assert client.line() == b"ok"
        for other in left[number + 1 :]:
            assert other.silence(0.01), "the lock is one's alone"
        assert client.write(f"SET {number}") == "6"
        assert holder.query(f"ECHO? kept out {number}").startswith(".#.error VI_ERROR_RSRC_LOCKED effect=none ")
        assert client.ask(".#.unlock") == "ok"
    assert holder.query("ECHO? free") == "free"
    assert instrument.history() == [*(f"SET {number}" for number in range(len(left))), "ECHO? free"]
