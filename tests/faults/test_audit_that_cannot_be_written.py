"""A full disk, a file that nobody reads, files that are rotated under load: no request notices any of it."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from client.commands.log_files import lines, with_rotated
from client.commands.log_verification import Verification
from front_proc.record.log_writer import STALL_TIME
from tests.faults.disk import small_disk
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault(52)


def findings(*files: Path) -> list[str]:
    verification = Verification()
    for file in files:
        for line in lines(file):
            verification.add(str(file), line.number, line.content, is_whole=line.is_whole)
    return list(map(str, verification.end()))


def records_in(*files: Path) -> list[dict]:
    return [json.loads(line.content) for file in files for line in lines(file)]


def audit(bench) -> dict:
    return bench.daemon.status()["audit"]


def asks(client, numbers) -> None:
    """Each is answered."""
    for number in numbers:
        assert client.query(f"ECHO? {number}") == str(number)


def test_full_disk_costs_records_but_no_command_and_is_told(make_bench, tmp_path):
    """It is known how many records are missing, and the chain is sound; status says so while it lasts."""
    with small_disk(tmp_path / "disk") as disk:
        file = disk.folder / "audit.jsonl"
        bench = make_bench(settings={"audit-log": str(file)})
        client = bench.client(bench.tcp().resource)
        asks(client, range(100))
        wait_until(lambda: "ECHO? 99" in file.read_text(), what="what was asked before")
        disk.fill(bench.daemon.pid, file)
        asks(client, range(100, 400))
        wait_until(lambda: audit(bench)["failing"], what="the log to fail")
        asks(client, range(400, 500))
        disk.free(bench.daemon.pid)
        with bench.figures.timed("recovered"):
            wait_until(lambda: not audit(bench)["failing"], what="the log to be written again")
        asks(client, range(500, 600))
        bench.good.ends()
        bench.daemon.end()
        found = records_in(file)
        assert findings(file) == []
    asked = {one["command"].partition("ECHO? ")[2] for one in found if "ECHO? " in one.get("command", "")}
    missing = {str(number) for number in range(600)} - asked
    lost = sum(one["lost"] for one in found if one["event"] == "gap")
    assert missing
    assert len(missing) <= lost
    assert {str(number) for number in (0, 99, 599)} <= asked
    bench.figures.note("records_lost", lost)


def test_file_that_nobody_reads_costs_nothing_and_is_told(make_bench, tmp_path):
    """A pipe that is full: the records wait, and all of them come when somebody reads."""
    file = tmp_path / "pipe"
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    bench = make_bench(settings={"audit-log": str(file)})
    client = bench.client(bench.tcp().resource)
    asks(client, range(500))
    wait_until(lambda: audit(bench)["failing"], STALL_TIME + 20, what="a write that does not end")
    asks(client, range(500, 600))
    assert audit(bench)["behind"] > 0
    said: list[bytes] = []
    os.set_blocking(reader, True)
    reading = threading.Thread(target=lambda: said.extend(iter(lambda: os.read(reader, 1 << 16), b"")))
    reading.start()
    wait_until(lambda: not audit(bench)["failing"], what="the pipe to be empty")
    bench.good.ends()
    bench.daemon.end()
    reading.join(20)
    os.close(reader)
    copy = tmp_path / "copy"
    copy.write_bytes(b"".join(said))
    assert findings(copy) == []
    asked = [one for one in records_in(copy) if one["event"] == "command" and one["resource"] == client.resource]
    assert [one["command"] for one in asked if "ECHO? " in one["command"]] == [f"query ECHO? {n}" for n in range(600)]
    assert not any(one["event"] == "gap" for one in records_in(copy))


@pytest.mark.parametrize("how", ["by_itself", "by_signal"])
def test_rotation_under_load_loses_no_record_and_delays_nobody(make_bench, how):
    """Four clients at once; whoever rotates, and through all files goes one chain."""
    size = "20kB" if how == "by_itself" else "0"
    bench = make_bench(settings={"audit-rotate-size": size})
    file = bench.daemon.run_dir / "audit.jsonl"
    clients = [bench.client(bench.tcp().resource) for _ in range(4)]
    threads = [threading.Thread(target=asks, args=(client, range(250))) for client in clients]
    for thread in threads:
        thread.start()
    renamed = []
    while how == "by_signal" and len(renamed) < 5:
        renamed.append(file.rename(file.with_name(f"audit.jsonl.{len(renamed)}")))
        os.kill(bench.daemon.pid, signal.SIGHUP)
        wait_until(file.exists)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    bench.good.ends()
    bench.daemon.end()
    files = [*renamed, *with_rotated(file)]
    assert len(files) > 5
    assert findings(*files) == []
    found = records_in(*files)
    for client in clients:
        asked = [one["command"] for one in found if one["event"] == "command" and one["resource"] == client.resource]
        assert [command for command in asked if "ECHO?" in command] == [f"query ECHO? {n}" for n in range(250)]
    assert not any(one["event"] == "gap" for one in found)
    bench.figures.note("files", len(files))


def test_chain_goes_on_when_the_daemon_was_killed(make_bench):
    """kill -9 in the middle of its work: what is there is sound, and the next daemon goes on behind it."""
    bench = make_bench()
    client = bench.client(bench.tcp().resource)
    asks(client, range(300))
    bench.is_good_to_survive = False
    os.kill(bench.daemon.pid, signal.SIGKILL)
    bench.daemon.process.wait()
    file = bench.daemon.run_dir / "audit.jsonl"
    bench.daemon_again()
    wait_until(lambda: bench.daemon.audit(event="start")[1:])
    assert findings(file) == []
    starts = bench.daemon.audit(event="start")
    assert starts[1]["seq"] > starts[0]["seq"] + 100
