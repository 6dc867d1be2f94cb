"""The thread that writes a log: one JSON line for each record, and never a reason to wait."""

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from datetime import datetime
from types import SimpleNamespace

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from front_proc.record import log_writer as writer_module
from front_proc.record.audit import Audit
from front_proc.record.log_lines import LogLines
from front_proc.record.log_writer import QUEUE_LIMIT, LogWriter
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until


def lines(file):
    return [json.loads(line) for line in file.read_bytes().split(b"\n")[:-1]]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "audit.jsonl"


def test_audit_writes_one_json_line_for_each_record_in_order(file):
    """Time and event first."""
    audit = Audit(file)
    for number in range(1000):
        audit.record("command", number=number, command="query *IDN?")
    audit.close()
    records = lines(file)
    assert [record["number"] for record in records] == list(range(1000))
    assert list(records[0])[:2] == ["time", "event"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["time"]) for record in records)


def test_audit_keeps_the_order_of_each_thread(file):
    """Records are never mixed up within a line either."""
    audit = Audit(file)

    def record(who):
        for number in range(500):
            audit.record("command", who=who, number=number)

    threads = [threading.Thread(target=record, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit.close()
    for who in range(4):
        assert [row["number"] for row in lines(file) if row["who"] == who] == list(range(500))


def test_record_is_in_the_file_soon(file):
    """Without anybody closing anything."""
    audit = Audit(file)
    audit.record("start", address="127.0.0.1:1340")
    wait_until(lambda: file.read_text().endswith("\n"))
    audit.close()


@given(st.dictionaries(st.sampled_from(["command", "client", "error"]), st.text()))
def test_record_survives_any_text(tmp_path_factory, fields):
    """Line breaks, control characters and lone surrogates: one line, and the next record follows."""
    file = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    audit = Audit(file)
    audit.record("command", **fields)
    audit.record("stop")
    audit.close()
    records = lines(file)
    assert {name: records[0][name] for name in fields} == fields
    assert records[-1]["event"] == "stop"


def test_record_that_cannot_be_written_costs_no_other(file):
    """A fault of ours in one record must not silence the log."""
    writer = LogWriter(file)
    writer.put("fault", {"error": object()})
    writer.put("fault", {"error": "file \udcff"})
    writer.put("stop", {})
    writer.close()
    assert "stop" in [record["event"] for record in lines(file)]


@pytest.mark.parametrize("error", [KeyError, ZeroDivisionError, RecursionError])
def test_record_whose_fields_cannot_be_had_is_counted_and_costs_no_other(file, error):
    """Whatever goes wrong in asking for them: the writer's thread goes on."""

    def fields():
        raise error("a fault of ours")

    writer = LogWriter(file)
    writer.put("command", {"number": 1})
    writer.put("command", fields)
    writer.put("command", {"number": 2})
    writer.close()
    records = lines(file)
    assert [record["number"] for record in records if record["event"] == "command"] == [1, 2]
    assert [record["lost"] for record in records if record["event"] == "gap"] == [1]


@given(moments=st.lists(st.floats(min_value=0, max_value=4e9), min_size=1, max_size=5))
def test_record_is_stamped_with_its_moment(moments):
    """To the microsecond, in UTC, whatever the record before it had."""
    lines = LogLines()
    for moment in moments + moments:
        assert lines.add(moment, "start", {})
        stamp = json.loads(lines.take()[0])["time"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", stamp)
        assert abs(datetime.fromisoformat(stamp).timestamp() - moment) < 2e-6


@pytest.mark.parametrize("moment", [1e12, 1e18, float("nan")])
def test_record_of_a_moment_that_no_calendar_has_costs_no_other(file, monkeypatch, moment):
    """Nor has the gap of that time a line; it is told when the clock is right again."""
    writer = LogWriter(file)
    monkeypatch.setattr(writer_module, "time", SimpleNamespace(time=lambda: moment, sleep=time.sleep))
    writer.put("command", {"number": 1})
    wait_until(lambda: writer._unwritten == 1)
    monkeypatch.undo()
    writer.put("command", {"number": 2})
    writer.close()
    assert [record.get("number", record.get("lost")) for record in lines(file)] == [1, 2]


def test_writer_makes_its_logger_once(file, monkeypatch):
    """structlog may keep something for each logger that it was ever given."""
    made = []
    monkeypatch.setattr(
        structlog, "wrap_logger", lambda *a, real=structlog.wrap_logger, **k: made.append(1) or real(*a, **k)
    )
    writer = LogWriter(file)
    for number in range(5):
        writer.put("command", {"number": number, "error": object() if number == 2 else ""})
        wait_until(lambda: not writer._records.qsize())
        time.sleep(2 * writer_module.GATHER_TIME)
    writer.close()
    assert [record["event"] for record in lines(file)].count("gap") == 1
    assert len(made) == 1


def test_file_is_the_owner_s_only_and_is_appended_to(file):
    """What instruments were told is nobody else's business; a restart loses nothing."""
    for _ in range(2):
        audit = Audit(file)
        audit.record("start")
        audit.close()
    assert len(lines(file)) == 2
    assert file.stat().st_mode & 0o777 == 0o600


def test_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path):
    """A daemon without its record does not start."""
    with pytest.raises(FileNotFoundError):
        Audit(tmp_path / "missing" / "audit.jsonl")
    with pytest.raises(IsADirectoryError):
        Audit(tmp_path)


def test_full_device_delays_and_fails_nobody(tmp_path):
    """`/dev/full` refuses every byte."""
    link = tmp_path / "audit.jsonl"
    link.symlink_to("/dev/full")
    audit = Audit(link)
    for number in range(1000):
        audit.record("command", number=number)
    audit.close()


def test_stalled_file_delays_nobody_and_the_gap_is_recorded(file):
    """A reader that does not read: records wait, then are counted instead."""
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(file)
    for number in range(QUEUE_LIMIT + 5000):
        writer.put("command", {"number": number})
    os.set_blocking(reader, True)
    data = b""
    while b'"gap"' not in data[-100_000:]:
        data += os.read(reader, 1 << 20)
    while not data.endswith(b"\n"):
        data += os.read(reader, 1 << 20)
    writer.close()
    os.close(reader)
    records = [json.loads(line) for line in data.splitlines()]
    gaps = sum(record["lost"] for record in records if record["event"] == "gap")
    assert gaps > 0
    assert len([record for record in records if record["event"] == "command"]) <= QUEUE_LIMIT + 5000 - gaps


#: Files may not grow beyond 4 KiB in this process for a while.
_LIMITED = """
    import resource, sys, time
    from pathlib import Path
    from front_proc.record.log_writer import LogWriter

    file = Path(sys.argv[1])
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    writer = LogWriter(file)
    for number in range(1000):
        writer.put("command", {"number": number})
    deadline = time.monotonic() + 20
    while writer._records.qsize() and time.monotonic() < deadline:
        time.sleep(0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    writer.put("command", {"number": 1000})
    writer.put("command", {"number": 1001})
    writer.close()
"""


def test_full_disk_costs_records_but_their_number_is_known(file):
    """When there is room again, the gap says how many are missing; nothing is torn or doubled."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_LIMITED), str(file)], cwd=ROOT, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    records = lines(file)
    numbers = [record["number"] for record in records if record["event"] == "command"]
    assert numbers == sorted(set(numbers))
    lost = sum(record["lost"] for record in records if record["event"] == "gap")
    assert lost == 1002 - len(numbers)


def test_closing_is_bounded(file):
    """A file that stalls for ever does not keep a daemon from ending."""
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(file)
    for number in range(20_000):
        writer.put("command", {"number": number, "text": "x" * 100})
    closing = threading.Thread(target=writer.close, args=(0.1,))
    closing.start()
    closing.join(DEADLINE)
    assert not closing.is_alive()
    os.close(reader)  # the writer's thread meets a broken pipe, and ends
    wait_until(lambda: not writer._thread.is_alive())


def test_file_is_closed_when_the_log_is(file):
    """Nothing is left open."""
    writer = LogWriter(file)
    writer.put("stop", {})
    writer.close()
    assert str(file) not in [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]


# Rotation: the file is renamed, then reopened.


def numbers(*files):
    return [record["number"] for file in files for record in lines(file)]


def test_rotation_loses_and_doubles_nothing(file):
    """Whatever is written meanwhile, from several threads; each record is in one file, and their order is kept."""
    audit = Audit(file)
    rotated = [file.with_suffix(f".{number}") for number in range(20)]
    is_over = threading.Event()

    def record(who):
        number = 0
        while not is_over.wait(1e-4):  # or the writer would fall behind
            audit.record("command", who=who, number=number)
            number += 1

    threads = [threading.Thread(target=record, args=(who,), daemon=True) for who in range(2)]
    for thread in threads:
        thread.start()
    for old in rotated:
        file.rename(old)
        audit.reopen().result(DEADLINE)
        is_over.wait(0.01)
    is_over.set()
    for thread in threads:
        thread.join()
    audit.close()
    records = [record for each in (*rotated, file) for record in lines(each)]
    for who in range(2):
        written = [record["number"] for record in records if record.get("who") == who]
        assert written == list(range(len(written)))
        assert len(written) > 20


def test_records_before_a_rotation_are_in_the_old_file_and_those_after_it_in_the_new(file):
    """To the record; the new one is for its owner only, as the old was."""
    audit = Audit(file)
    for number in range(5000):
        audit.record("command", number=number)
    old = file.rename(file.with_suffix(".1"))
    done = audit.reopen()
    audit.record("command", number=5000)
    done.result(DEADLINE)
    audit.close()
    assert numbers(old) == list(range(5000))
    assert numbers(file) == [5000]
    assert file.stat().st_mode & 0o777 == 0o600


def test_reopening_without_renaming_appends(file):
    """SIGHUP may come for another reason."""
    audit = Audit(file)
    audit.record("command", number=1)
    audit.reopen().result(DEADLINE)
    audit.record("command", number=2)
    audit.close()
    assert numbers(file) == [1, 2]


def test_file_that_cannot_be_opened_anew_is_kept(tmp_path):
    """Its folder is gone from its place: all records go on into the old file, and whoever asked is told."""
    (tmp_path / "logs").mkdir()
    audit = Audit(tmp_path / "logs" / "audit.jsonl")
    audit.record("command", number=1)
    moved = (tmp_path / "logs").rename(tmp_path / "old")
    with pytest.raises(FileNotFoundError):
        audit.reopen().result(DEADLINE)
    audit.record("command", number=2)
    audit.close()
    assert numbers(moved / "audit.jsonl") == [1, 2]


def test_writer_that_is_too_far_behind_is_not_reopened(file):
    """Whoever asked is told at once."""
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(file)
    for number in range(QUEUE_LIMIT + 5000):
        writer.put("command", {"number": number})
    with pytest.raises(OSError, match="too far behind"):
        writer.reopen().result(0)
    os.close(reader)
    writer.close()


def test_rotation_leaves_no_file_open(file):
    """The old one's space is free as soon as it is deleted."""
    writer = LogWriter(file)
    old = file.rename(file.with_suffix(".1"))
    writer.reopen().result(DEADLINE)
    open_files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert (str(file) in open_files, str(old) in open_files) == (True, False)
    writer.close()


def test_followers_lead_to_the_file_that_is_written(file, tmp_path):
    """What a daemon and the libraries in it print goes where its log is, also after a rotation."""
    follower = os.open(tmp_path / "elsewhere", os.O_WRONLY | os.O_CREAT)
    writer = LogWriter(file, followers=[follower])
    os.write(follower, b"before\n")
    old = file.rename(file.with_suffix(".1"))
    writer.reopen().result(DEADLINE)
    os.write(follower, b"after\n")
    writer.close()
    os.close(follower)
    assert (old.read_text(), file.read_text()) == ("before\n", "after\n")
