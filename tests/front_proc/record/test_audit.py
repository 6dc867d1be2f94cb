"""The audit log: the table of its events, its chain over restarts and rotations, and no secret in it."""

import ast
import json
import os
import re
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.commands.log_files import lines, with_rotated
from client.commands.log_verification import Verification
from front_proc.configuration.setting_values import SettingsError
from front_proc.configuration.settings import read_settings
from front_proc.record import log_file, log_writer
from front_proc.record.audit import EVENTS, Audit, open_audit
from front_proc.record.log_file import Rotation
from front_proc.record.log_writer import QUEUE_HIGH, LogWriter
from front_proc.serving.tickets import printable
from tests.support.daemon import ROOT
from tests.support.waiting import DEADLINE, wait_until

KEY = bytes(range(40))
TOKEN = "pvd_" + "Ab1_-" * 8 + "xyz"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def told():
    return []


def record(file, *numbers, told=None, **options):
    """One run of a daemon, so to speak."""
    tell = (lambda event, fields: told.append((event, fields))) if told is not None else lambda event, fields: None
    audit = Audit(file, tell=tell, **options)
    for number in numbers:
        audit.record("command", number=number)
    audit.close()
    return audit


def findings(*files, key=b"", heads=()):
    verification = Verification(key, heads)
    for each in files:
        for line in lines(each):
            verification.add(each.name, line.number, line.content, is_whole=line.is_whole)
    return [str(found) for found in verification.end()]


def numbers_in(*files):
    return [json.loads(line.content)["number"] for file in files for line in lines(file)]


# The chain.


@pytest.mark.parametrize("key", [b"", KEY], ids=["no key", "key"])
def test_chain_goes_on_when_the_daemon_starts_again(file, key):
    """One chain over all its runs; `seq` counts on."""
    for run in range(3):
        record(file, *range(run * 100, run * 100 + 100), key=key)
    assert findings(file, key=key) == []
    assert [json.loads(line.content)["seq"] for line in lines(file)] == list(range(1, 301))


def test_chain_goes_on_over_a_line_that_a_crash_has_torn(file):
    """Nothing of what is there is touched; that a line is torn is found, and it is the only thing."""
    record(file, *range(10))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    record(file, *range(10, 15))
    assert file.read_bytes().startswith(whole[:-20] + b"\n")
    [found] = findings(file)
    assert found.startswith("audit.jsonl:10: no record of the chain: torn")
    assert json.loads(file.read_bytes().splitlines()[-1])["seq"] == 15


def test_chain_goes_on_over_a_line_that_lacks_its_newline_only(file):
    """It is a record like any other."""
    record(file, *range(10))
    file.write_bytes(file.read_bytes()[:-1])
    record(file, *range(10, 15))
    assert findings(file) == []
    assert numbers_in(file) == list(range(15))


def test_chain_goes_on_over_the_zeros_that_a_power_cut_leaves(file):
    """The file has its length and not what was written."""
    record(file, *range(10))
    with file.open("ab") as opened:
        opened.write(b"\0" * 100_000)
    record(file, 11)
    [found] = findings(file)
    assert found.startswith("audit.jsonl:11: ")


@pytest.mark.parametrize("is_emptied", [False, True])
def test_chain_goes_on_behind_the_newest_rotated_file(file, is_emptied):
    """Somebody renamed the log while no daemon ran, or a crash came between the two steps of a rotation."""
    record(file, *range(5))
    oldest = file.rename(file.with_name("audit.jsonl.2"))
    record(file, *range(5, 10))
    older = file.rename(file.with_name("audit.jsonl.1"))
    os.utime(oldest, (1e9, 1e9))
    if is_emptied:
        file.touch()
    file.with_name("audit.jsonl.csv").write_text("no log\n")  # the newest of all beside it
    record(file, *range(10, 15))
    assert findings(oldest, older, file) == []


def test_log_that_another_daemon_writes_is_refused(file, tmp_path):
    """Each would go on where it thinks the chain ends. It may have it when the other has ended."""
    one = Audit(file)
    link = tmp_path / "link"
    link.symlink_to(file)
    for name in (file, link):
        with pytest.raises(OSError, match="another daemon"):
            Audit(name)
    one.reopen().result(DEADLINE)
    with pytest.raises(OSError, match="another daemon"):
        Audit(file)
    one.record("command", number=1)
    one.close()
    record(file, 2)
    assert findings(file) == []
    assert numbers_in(file) == [1, 2]


def test_chain_begins_anew_when_nothing_is_there(file):
    """Somebody has removed all of it: `verify` can say so only to whom has kept the old one, or a head."""
    audit = record(file, *range(5))
    old = file.rename(file.parent / "elsewhere")
    record(file, *range(5))
    assert findings(file) == []
    assert "elsewhere" not in "".join(findings(file))
    assert any("begins anew" in found for found in findings(old, file))
    assert findings(file, heads=[audit.describe()["head"]]) != []


def test_log_of_before_there_were_chains_gets_one(file):
    """From its last line on."""
    file.write_text('{"time":"2026-11-23T01:47:51.245645Z","event":"start"}\n' * 3)
    record(file, 1, 2)
    [found] = findings(file)
    assert found.startswith("audit.jsonl:1 to 3: ")
    assert [json.loads(line.content).get("seq") for line in lines(file)] == [None, None, None, 1, 2]


def test_key_is_needed_to_write_a_log_that_fits(file):
    """Whoever has not the key, and writes the log anew, is found."""
    record(file, *range(10), key=KEY)
    assert findings(file, key=KEY) == []
    forged = file.with_name("forged")
    record(forged, *range(10))
    assert findings(forged, key=KEY) != []
    assert KEY.hex().encode() not in file.read_bytes()


@settings(deadline=None)  # a disk may be slow
@given(gaps=st.lists(st.booleans(), max_size=30))
def test_chain_goes_over_gaps(tmp_path_factory, gaps):
    """What was lost has no number; that it was lost has one."""
    file = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    audit = Audit(file)
    for number, is_lost in enumerate(gaps):
        audit.record("command", number=object() if is_lost else number)
    audit.record("command", number=-1)
    audit.close()
    assert findings(file) == []
    rows = [json.loads(line.content) for line in lines(file)]
    assert sum(row["lost"] for row in rows if row["event"] == "gap") == sum(gaps)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))


def test_status_has_the_head_of_what_is_written(file):
    """An anchor for whoever keeps it."""
    audit = Audit(file)
    for number in range(100):
        audit.record("command", number=number)
    wait_until(lambda: audit.describe()["seq"] == 100)
    said = audit.describe()
    assert said == {"file": str(file), "seq": 100, "head": said["head"], "behind": 0, "failing": False}
    assert findings(file, heads=[said["head"]]) == []
    audit.close()


# Rotation by the daemon itself.


def test_log_is_rotated_before_it_is_too_big(file, told):
    """Nothing is lost or doubled, the chain goes through all files, and each one's head is told."""
    record(file, *range(1000), rotation=Rotation(size=20_000), told=told)
    files = with_rotated(file)
    assert len(files) > 5
    assert numbers_in(*files) == list(range(1000))
    assert findings(*files) == []
    assert all(each.stat().st_size <= 20_000 and each.stat().st_mode & 0o777 == 0o600 for each in files)
    anchors = {fields["file"]: fields["head"] for event, fields in told if event == "anchor"}
    assert list(anchors) == [str(each) for each in files]
    for each in files:
        assert findings(*files[: files.index(each) + 1], heads=[anchors[str(each)]]) == []


def test_log_is_rotated_when_it_is_too_old(file):
    """By the time of its first record, also one of an earlier run."""
    record(file, 1, rotation=Rotation(age=3600.0))
    record(file, 2, rotation=Rotation(age=3600.0))
    assert with_rotated(file) == [file]
    line = file.read_bytes()
    file.write_bytes(re.sub(rb'"time":"\d{4}', b'"time":"2020', line, count=1))
    record(file, 3, rotation=Rotation(age=3600.0))
    assert [numbers_in(each) for each in with_rotated(file)] == [[1, 2], [3]]


def test_as_many_rotated_files_are_kept_as_are_wanted(file):
    """The newest; what the daemon has not rotated stays."""
    other = file.with_name("audit.jsonl.1")
    other.write_text("{}\n")
    record(file, *range(1000), rotation=Rotation(size=20_000, keep=2))
    files = with_rotated(file)
    assert len(files) == 3
    assert numbers_in(*files) == list(range(1000))[-len(numbers_in(*files)) :]
    assert findings(*files) == []
    assert other.exists()


def test_log_behind_a_link_is_rotated_where_it_is(file, tmp_path):
    """The link stays one."""
    (tmp_path / "disk").mkdir()
    file.symlink_to(tmp_path / "disk" / "log")
    record(file, *range(500), rotation=Rotation(size=20_000))
    assert file.is_symlink()
    files = with_rotated(tmp_path / "disk" / "log")
    assert len(files) > 2
    assert numbers_in(*files) == list(range(500))


def test_log_that_cannot_be_rotated_grows_and_says_so_once(file, told, monkeypatch):
    """Records are worth more than the limit."""

    def fail(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(log_writer, "rotate", fail)
    record(file, *range(1000), rotation=Rotation(size=20_000), told=told)
    assert numbers_in(file) == list(range(1000))
    [trouble] = [fields["error"] for event, fields in told if event == "trouble"]
    assert "cannot be rotated, and grows: Operation not permitted" in trouble


def test_log_is_written_on_when_the_clock_is_out_of_its_mind(file, told, monkeypatch):
    """There is no name for such a moment."""
    monkeypatch.setattr(log_file, "time", SimpleNamespace(time=lambda: 1e18))
    writer = LogWriter(file, rotation=Rotation(size=10_000), tell=lambda event, fields: told.append(event))
    writer._records.put((1e9, "command", {"text": "x" * 9000}))
    wait_until(lambda: file.stat().st_size > 9000)
    writer._records.put((1e9, "command", {"text": "x" * 9000}))
    wait_until(lambda: file.stat().st_size > 18000)
    assert told == ["trouble"]
    writer.close()


def test_log_that_somebody_else_has_renamed_is_not_renamed_again(file):
    """Before the signal came: the daemon goes on in a new file at its next rotation."""
    audit = Audit(file, rotation=Rotation(size=20_000))
    for number in range(50):
        audit.record("command", number=number)
    wait_until(lambda: audit.describe()["seq"] == 50)
    old = file.rename(file.with_name("audit.jsonl.1"))
    for number in range(50, 500):
        audit.record("command", number=number)
    audit.close()
    assert numbers_in(old, *with_rotated(file)) == list(range(500))
    assert findings(old, *with_rotated(file)) == []


def test_reopening_keeps_the_chain_and_tells_its_head(file, told):
    """As it is with logrotate."""
    audit = Audit(file, tell=lambda event, fields: told.append(fields))
    audit.record("command", number=1)
    old = file.rename(file.with_name("audit.jsonl.1"))
    audit.reopen().result(DEADLINE)
    audit.record("command", number=2)
    audit.close()
    assert findings(old, file) == []
    assert findings(old, heads=[told[0]["head"]]) == []


# A file that cannot be written.


def test_audit_is_failing_while_its_file_cannot_be_written(file, monkeypatch):
    """And no longer, though nobody records anything."""
    monkeypatch.setattr(log_writer, "RETRY_TIME", 0.05)
    file.symlink_to("/dev/full")
    audit = Audit(file)
    assert not audit.is_failing
    audit.record("command", number=1)
    wait_until(lambda: audit.is_failing)
    assert audit.describe()["failing"] is True
    assert str(audit.no_record()).startswith(f"NO_RECORD effect=none: {file} cannot be written")
    file.unlink()
    audit.reopen().result(DEADLINE)
    wait_until(lambda: not audit.is_failing)
    audit.close()
    [gap] = [json.loads(line.content) for line in lines(file)]
    assert (gap["event"], gap["lost"], gap["seq"]) == ("gap", 1, 1)


def test_audit_is_failing_while_its_file_is_opened_anew_and_that_does_not_end(file, monkeypatch):
    """As on a file system that is gone."""
    audit, may_open = Audit(file), threading.Event()
    opened = LogWriter._opened
    monkeypatch.setattr(LogWriter, "_opened", lambda writer: opened(writer) if may_open.wait(DEADLINE) else None)
    monkeypatch.setattr(log_writer, "STALL_TIME", 0.0)
    done = audit.reopen()
    wait_until(lambda: audit.is_failing)
    may_open.set()
    done.result(DEADLINE)
    wait_until(lambda: not audit.is_failing)
    audit.close()


def test_records_that_the_end_did_not_wait_for_are_told(file, told):
    """No gap will ever tell of them."""
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer = LogWriter(file, tell=lambda event, fields: told.append((event, fields)))
    for number in range(20_000):
        writer.put("command", {"number": number, "text": "x" * 100})
    writer.close(0.1)
    [(event, fields)] = told
    assert event == "trouble"
    assert re.search(r"the end did not wait for \d+ records or more, which are lost", fields["error"])
    os.close(reader)
    wait_until(lambda: not writer._thread.is_alive())


def test_pipe_that_nobody_reads_is_refused_at_once(file):
    """A start that waited for its reader would say nothing."""
    os.mkfifo(file)
    with pytest.raises(OSError, match="No such device"):
        Audit(file)


def test_audit_is_failing_when_its_queue_is_nearly_full_or_a_write_does_not_end(file, monkeypatch):
    """A file that nobody reads."""
    monkeypatch.setattr(log_writer, "STALL_TIME", 0.2)
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    audit = Audit(file)
    assert not audit.is_failing
    for number in range(5000):
        audit.record("command", number=number, text="x" * 100)
    wait_until(lambda: audit.is_failing, what="a write that does not end")
    monkeypatch.setattr(log_writer, "STALL_TIME", 1e9)
    assert not audit.is_failing
    for number in range(QUEUE_HIGH):
        audit.record("command", number=number)
    assert audit.is_failing
    os.close(reader)  # the writer's thread meets a broken pipe, and goes on
    audit.close()


def test_log_that_was_removed_is_begun_anew_and_that_is_told(file, told):
    """What was in it is gone, and is missed."""
    audit = Audit(file, tell=lambda event, fields: told.append((event, fields)))
    audit.record("command", number=1)
    wait_until(lambda: audit.describe()["seq"] == 1)
    file.unlink()
    audit.record("command", number=2)
    wait_until(lambda: audit.describe()["seq"] == 2)
    assert not audit.is_failing
    audit.close()
    assert numbers_in(file) == [2]
    assert [json.loads(line.content)["seq"] for line in lines(file)] == [2]
    assert [fields["error"] for event, fields in told if event == "trouble"] == [
        f"{file} was removed, and with it what was in it; a new one is begun"
    ]


def test_log_whose_folder_was_removed_is_failing_until_it_is_back(file):
    """Then a gap tells how many were lost."""
    folder = file.parent / "logs"
    folder.mkdir()
    file = folder / file.name
    audit = Audit(file)
    file.unlink()
    folder.rmdir()
    audit.record("command", number=1)
    wait_until(lambda: audit.is_failing)
    folder.mkdir()
    wait_until(lambda: not audit.is_failing)
    audit.close()
    assert [json.loads(line.content)["lost"] for line in lines(file)] == [1]


# The key.


def test_key_file_is_the_owner_s_only_and_long_enough(file, tmp_path):
    """Anything else is a wrong setting."""
    key = tmp_path / "key"

    def opened():
        arguments = ["--run-dir", str(tmp_path), "--audit-key-file", str(key)]
        open_audit(read_settings(arguments), lambda event, fields: None).close()

    with pytest.raises(SettingsError, match="No such file"):
        opened()
    key.write_bytes(KEY)
    for mode in (0o604, 0o660, 0o644):
        key.chmod(mode)
        with pytest.raises(SettingsError, match="chmod 600"):
            opened()
    key.chmod(0o600)
    opened()
    key.write_bytes(KEY[:31])
    with pytest.raises(SettingsError, match="has 31 bytes"):
        opened()


# No secret.


@pytest.mark.parametrize("name", ["command", "client", "name", "error", "anything"])
@pytest.mark.parametrize("text", ["{}", ".#.auth {}", "query SYST:PASS '{}'", "{0}{0}", 'x"{}"\n\x1b', "ü{}\\"])
def test_no_field_holds_a_token(file, name, text):
    """Whoever put it there, and wherever in the text it stands."""
    audit = Audit(file)
    audit.record("command", **{name: text.format(TOKEN)})
    audit.note("command", lambda: {"fields": [{TOKEN: text.format(TOKEN)}]})
    audit.close()
    written = file.read_text()
    assert TOKEN not in written
    assert TOKEN[4:20] not in written
    assert written.count("pvd_***") >= 3
    assert findings(file) == []


@settings(deadline=None)  # a disk may be slow
@given(
    before=st.text(max_size=5), token=st.from_regex(r"pvd_[A-Za-z0-9_-]{43}", fullmatch=True), after=st.text(max_size=5)
)
def test_no_token_is_written_whatever_stands_around_it(tmp_path_factory, before, token, after):
    """In the audit and in the daemon's own log."""
    file = tmp_path_factory.mktemp("log") / "log"
    writer = LogWriter(file)
    writer.put("fault", {"error": before + token + after})
    writer.close()
    assert token not in file.read_text()


@pytest.mark.parametrize("shown", range(5, len(TOKEN)))
def test_no_beginning_of_a_token_is_left_where_a_command_is_cut(file, shown):
    audit = Audit(file)
    audit.record("command", command=printable(b" " * (1024 - shown) + TOKEN.encode()))
    audit.close()
    assert json.loads(file.read_bytes())["command"].strip().startswith("pvd_*** ... (")


def test_what_is_no_token_is_left_alone(file):
    """Too short for one."""
    record(file, "pvd_", "pvd_1340", "a pvd_file")
    assert numbers_in(file) == ["pvd_", "pvd_1340", "a pvd_file"]


# The table of events.


def recorded_events():
    """(file, event) of every `audit.record("...")` in the source; an event in a variable counts for all it may be."""
    for path in sorted((ROOT / "front_proc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "record"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                yield path.name, node.args[0].value


def test_every_recorded_event_is_in_the_table():
    """And so in the reference page."""
    found = list(recorded_events())
    assert len(found) > 10
    assert [row for row in found if row[1] not in EVENTS] == []


def test_every_event_of_the_table_is_recorded_somewhere():
    """The reference promises no record that never comes."""
    source = "".join(path.read_text() for path in (ROOT / "front_proc").rglob("*.py") if path.name != "audit.py")
    own = {"gap"}  # the writer's own
    assert [event for event in EVENTS if event not in own and f'"{event}"' not in source] == []


def test_no_field_of_a_record_can_hold_a_secret():
    """Tokens and keys are never arguments of a record."""
    for path in sorted((ROOT / "front_proc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "record":
                said = " ".join(keyword.arg or "" for keyword in node.keywords)
                assert not re.search("credential|password|secret|access_key|auth", said)
                assert not {"seq", "prev"} & set(said.split()), "these are the chain's"
