"""More clients than there may be, or than there are descriptors for, and as many as there may be: all others go on."""

import contextlib
import resource
import time

import psutil
import pytest

from front_proc.configuration.limits import DEFAULTS
from tests.faults.shortage import descriptors, no_descriptors
from tests.support.waiting import wait_until

LIMIT, RESERVE = 128, DEFAULTS.reserved_clients


@contextlib.contextmanager
def crowd(bench, count):
    """So many connections that say nothing."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(bench.daemon.text()) for _ in range(count)]


@pytest.mark.fault(47)
def test_client_beyond_the_limit_gets_one_line_and_is_closed(make_bench):
    """Those who are there go on, and a few more from loopback can look and stop the daemon, but not work."""
    bench = make_bench(limits={"clients": LIMIT})
    instrument = bench.tcp()
    client = bench.client(instrument.resource)
    with crowd(bench, LIMIT - 2) as idle, crowd(bench, RESERVE) as reserve:
        with bench.daemon.text() as refused, bench.figures.timed("error"):
            reply = refused.everything()
            assert reply.startswith(b".#.error TOO_MANY_CLIENTS effect=none "), reply
            assert reply.count(b"\n") == 1
        assert client.query("ECHO? there") == "there"
        for looker in reserve[1:]:
            assert looker.ask_json(".!.status")["clients"] == LIMIT + RESERVE
            assert looker.ask(".#.ping") == "pong"
        reserve[1].send(f".#.open_resource {instrument.resource}\n".encode())
        assert reserve[1].everything().startswith(b".#.error TOO_MANY_CLIENTS effect=none ")
        idle[0].close()
        wait_until(lambda: reserve[2].ask_json(".#.status")["clients"] == LIMIT + RESERVE - 2)
        assert reserve[2].ask(f".#.open_resource {instrument.resource}") == instrument.resource, "there is room for it"
    wait_until(lambda: bench.daemon.status()["clients"] < 4)
    assert bench.daemon.audit(event="rejected", outcome="TOO_MANY_CLIENTS")
    assert bench.client(instrument.resource).query("ECHO? new") == "new"


@pytest.mark.fault(47)
def test_reserve_is_not_kept_by_who_says_nothing(make_bench):
    """It has as long as a line has; a program that would work is told at once that it cannot."""
    bench = make_bench(limits={"clients": 1, "line-time": 0.3})  # which is GOOD
    with crowd(bench, RESERVE) as silent:
        for looker in silent:
            assert looker.everything().startswith(b".#.error LINE_TIMEOUT effect=none ")
    with bench.daemon.text() as program:
        program.send(b"\x89VISAd\r\n")
        assert program.everything().startswith(b".#.error TOO_MANY_CLIENTS effect=none ")


@pytest.fixture(params=["uvloop", "asyncio"])
def modules(request, tmp_path):
    """A folder that makes the daemon do without uvloop, or nothing."""
    if request.param == "uvloop":
        return None
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "uvloop.py").write_text("raise ImportError\n")
    return folder


def load(front, seconds=1.5):
    """What part of a processor it takes."""
    before, began = front.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = front.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)


@pytest.mark.fault(48)
def test_daemon_with_64_descriptors_keeps_some_for_instruments(make_bench, modules):
    """It refuses clients while it can still say so."""
    bench = make_bench(modules=modules)
    instrument, another = bench.tcp(), bench.tcp()
    client = bench.client(instrument.resource)
    psutil.Process(bench.daemon.pid).rlimit(resource.RLIMIT_NOFILE, (64, 64))
    with crowd(bench, 100) as strangers:
        assert client.query("ECHO? there") == "there"
        heard = [hears(stranger) for stranger in strangers]
        with bench.figures.timed("opened"):
            assert client.open(another.resource).query("ECHO? another") == "another"
        bench.figures.note("descriptors", descriptors(bench.daemon.pid))
    bench.figures.note("refused", sum(reply.startswith(b".#.error TOO_MANY_CLIENTS ") for reply in heard))
    bench.figures.note("closed_without_a_word", heard.count(b""))
    assert heard.count(b"waits") < 64
    assert any(reply.startswith(b".#.error TOO_MANY_CLIENTS effect=none ") for reply in heard)
    is_itself_again(bench)


@pytest.mark.fault(48)
def test_daemon_without_any_descriptor_waits_for_one(make_bench, modules):
    """It does not spin meanwhile, nor fill its log; who is there goes on."""
    bench = make_bench(modules=modules)
    instrument = bench.tcp()
    client = bench.client(instrument.resource)
    with no_descriptors(bench.daemon.pid), crowd(bench, 100):
        bench.figures.note("front_load", busy := load(psutil.Process(bench.daemon.pid)))
        assert client.query("ECHO? there") == "there"
        assert busy < 0.5, "it spins"
    is_itself_again(bench)


def is_itself_again(bench):
    with bench.figures.timed("recovered"):
        wait_until(lambda: answers(bench))
    wait_until(lambda: bench.daemon.status()["clients"] < 4)
    log = (bench.daemon.run_dir / "daemon.log").read_text().splitlines()
    bench.figures.note("log_lines", len(log))
    assert len(log) < 20, log[:5]


def hears(stranger):
    """What it has been told by now: "waits" if nothing."""
    try:
        return b"waits" if stranger.silence(0.001) else stranger.line()
    except AssertionError:
        return b""


def answers(bench):
    with contextlib.suppress(AssertionError, OSError), bench.daemon.text() as client:
        return client.ask(".#.ping") == "pong"
    return False


def proportional_memory(pid):
    """Bytes of memory, where what is shared with others is shared out (PSS)."""
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@pytest.mark.fault(51)
def test_thousand_idle_clients_cost_little_and_nobody_any_time(bench):
    """Each has spoken once; memory for each, and how long others wait, are on record."""
    instrument = bench.tcp()
    client = bench.client(instrument.resource)
    count = DEFAULTS.clients - 3  # GOOD, this client, and who looks
    before = proportional_memory(bench.daemon.pid)
    with bench.figures.timed("all_connected"), crowd(bench, count) as idle:
        for one in idle:
            assert one.ask(".#.ping") == "pong"
        each = (proportional_memory(bench.daemon.pid) - before) / count
        bench.figures.note("kb_each", each / 1000)
        with bench.figures.timed("status"):
            assert bench.daemon.status()["clients"] == count + 3
        for number in range(50):
            with bench.figures.timed("query"):
                assert client.query(f"ECHO? {number}") == str(number)
        assert each < 50_000
    wait_until(lambda: bench.daemon.status()["clients"] < 4)
