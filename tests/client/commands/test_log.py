"""`instruments log`, as a person types it."""

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from click.testing import CliRunner, Result

from client.commands.log_files import Followed, with_rotated
from client.commands.main import main
from front_proc.record.audit import Audit
from front_proc.record.log_file import Rotation
from tests.support.daemon import ROOT, Daemon
from tests.support.waiting import wait_until


def instruments(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def record(file: Path, numbers: range, **options: object) -> None:
    audit = Audit(file, **options)
    for number in numbers:
        outcome = "ok" if number % 10 else "VI_ERROR_TMO"
        audit.record("command", client="127.0.0.1:5", name="alice", resource=f"ASRL{number % 3}::INSTR",
                     command=f"query {number}", outcome=outcome, effect="done", ran_ms=0.5)  # fmt: skip
    audit.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "audit.jsonl"
    record(file, range(100))
    return file


def numbers(result: Result) -> list[int]:
    """Of the commands that are shown."""
    assert result.exit_code == 0, result.output
    return [int(line.partition("query ")[2].split(" ")[0].split(",")[0]) for line in result.stdout.splitlines()]


def test_log_shows_a_line_for_each_record(file: Path) -> None:
    """In order."""
    assert numbers(instruments("log", file)) == list(range(100))
    assert numbers(instruments("log", "show", file)) == list(range(100))


def test_log_shows_what_is_asked_for(file: Path) -> None:
    """All filters at once must fit."""
    assert numbers(instruments("log", file, "--outcome", "failed")) == list(range(0, 100, 10))
    assert numbers(instruments("log", "--resource", "asrl0*", "--last", 3, file)) == [93, 96, 99]
    assert numbers(instruments("log", file, "--name", "bob")) == []
    assert numbers(instruments("log", file, "--since", "1h", "--event", "command")) == list(range(100))
    assert numbers(instruments("log", file, "--until", "1h")) == []


def test_log_reads_several_files_and_packed_ones(file: Path, tmp_path: Path) -> None:
    """In the order given; the newest few of all."""
    packed = tmp_path / "old.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert numbers(instruments("log", packed, file)) == [*range(100), *range(100)]
    assert numbers(instruments("log", packed, file, "--last", 150)) == [*range(50, 100), *range(100)]
    assert instruments("log", "verify", packed).exit_code == 0


def test_log_gives_the_lines_themselves_as_json(file: Path) -> None:
    """Byte for byte, so that they can be verified."""
    assert instruments("log", file, "--json").stdout_bytes == file.read_bytes()


def test_log_gives_csv(file: Path) -> None:
    """With headings, for a spreadsheet."""
    result = instruments("log", file, "--csv", "--last", "5")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [row["command"] for row in rows] == [f"query {n}" for n in range(95, 100)]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert [row["seq"] for row in rows] == ["96", "97", "98", "99", "100"]


def test_bad_lines_are_counted_and_passed_over(file: Path) -> None:
    """On stderr, and it is no failure."""
    whole = file.read_bytes()
    file.write_bytes(whole[:1000] + b"\n\xff\xfe\n" + whole[1000:])
    result = instruments("log", file)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 99
    assert result.stderr.startswith("instruments: 3 lines are no records; see ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing.jsonl",),
        ("verify", "missing.jsonl"),
        ("verify",),
        ("verify", "--head", "abc", "pyproject.toml"),
        ("verify", "--key-file", "missing", "pyproject.toml"),
        ("verify", "--key-file", ".gitignore.none", "pyproject.toml"),
        ("--since", "soon", "pyproject.toml"),
        ("--last", "0", "pyproject.toml"),
        ("--last", "9" * 20, "pyproject.toml"),
        ("--colour", "pyproject.toml"),
    ],
)
def test_wrong_usage_ends_with_code_2(arguments: tuple[str, ...]) -> None:
    """And a sentence."""
    result = instruments("log", *arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert "Traceback" not in result.output


def test_packed_file_that_is_damaged_is_said_to_be(file: Path, tmp_path: Path) -> None:
    """Neither shown nor verified."""
    packed = tmp_path / "old.gz"
    content = gzip.compress(file.read_bytes())
    broken = [content[:20] + bytes([content[20] ^ each]) + content[21:] for each in range(1, 256)]
    for damaged in (content[:-20], content[:-8] + bytes(8), *broken):
        packed.write_bytes(damaged)
        for arguments in ((packed,), ("verify", packed)):
            result = instruments("log", *arguments)
            assert result.exit_code == 2
            assert f"{packed} cannot be read: it is damaged" in result.stderr


def test_line_that_is_nested_without_end_is_no_record(tmp_path: Path) -> None:
    """It costs itself only."""
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"[" * 200_000 + b"\n" + b'{"time":"2026-11-23T00:00:00.000000Z","event":"query 7"}\n')
    result = instruments("log", file)
    assert numbers(result) == [7]
    assert result.stderr == f"instruments: 1 line is no record; see {file}:1\n"


def test_verification_that_is_interrupted_says_nothing_of_the_log(file: Path, monkeypatch) -> None:
    """Neither that it is sound nor that it is not."""
    monkeypatch.setattr("client.commands.log._verified", MagicMock(side_effect=KeyboardInterrupt))
    result = instruments("log", "verify", file)
    assert (result.exit_code, result.output) == (130, "")


def test_output_that_cannot_be_written_is_not_called_a_log_that_cannot_be_read(file: Path) -> None:
    """A full disk, say."""
    command = [sys.executable, "-c", "from client.commands.main import main; main()", "log", str(file), "--json"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "Error: stdout cannot be written: No space left on device\n")


def test_key_is_taken_from_a_file(tmp_path: Path) -> None:
    """The daemon's own."""
    file, key = tmp_path / "audit.jsonl", tmp_path / "key"
    key.write_bytes(os.urandom(32))
    record(file, range(10), key=key.read_bytes())
    assert instruments("log", "verify", "--key-file", key, file).exit_code == 0
    without = instruments("log", "verify", file)
    assert without.exit_code == 1
    assert "the key is another one, or missing" in without.stdout


def test_help_says_what_verify_does_not_prove() -> None:
    """Where people look first."""
    said = instruments("log", "verify", "--help").stdout
    for words in ("What it does not prove", "newest lines", "written anew", "past the daemon", "Exit codes: 0 sound"):
        assert words in said
    assert "verify" in instruments("log", "--help").stdout


# With a daemon.


def test_log_without_a_file_is_that_of_the_daemon_with_what_was_rotated(daemon_factory, tmp_path: Path) -> None:
    """As status names it."""
    daemon = daemon_factory("--audit-rotate-size", "10kB")
    with daemon.text() as client:
        for number in range(100):
            client.ask(f".#.nonsense{number}")
    daemon.wait_for_audit(event="disconnect")
    assert len(with_rotated(daemon.run_dir / "audit.jsonl")) > 1
    result = instruments("--host", daemon.address, "log", "--outcome", "UNKNOWN_COMMAND")
    assert result.exit_code == 0
    said = [word for line in result.stdout.splitlines() for word in line.split() if "nonsense" in word]
    assert said == [f".#.nonsense{number}" for number in range(100)]


def test_log_lacks_nothing_that_is_rotated_while_it_is_read(file: Path, monkeypatch) -> None:
    """What is written is opened before the names of the others are looked at."""
    said = {"file": str(file)}
    connection = MagicMock(address=SimpleNamespace(host="127.0.0.1"), status=lambda: {"audit": said})
    connection.__enter__.return_value = connection
    monkeypatch.setattr("client.commands.log_reading.SocketManager.open_socket", lambda _: connection)

    def looked_at_late(log: Path) -> list[Path]:
        record(file, range(100, 1000), rotation=Rotation(size=20_000))
        return with_rotated(log)

    monkeypatch.setattr("client.commands.log_reading.with_rotated", looked_at_late)
    assert numbers(instruments("log")) == list(range(1000))


def test_log_of_a_daemon_that_cannot_be_read_here_says_what_to_do(daemon: Daemon, monkeypatch) -> None:
    """It runs elsewhere, or its file is gone."""
    monkeypatch.setattr("client.commands.log_reading._is_here", lambda host: False)
    elsewhere = instruments("--host", daemon.address, "log")
    assert elsewhere.exit_code == 2
    assert "runs on another machine" in elsewhere.stderr
    assert str(daemon.run_dir / "audit.jsonl") in elsewhere.stderr.replace("\n", "")
    monkeypatch.undo()
    shutil.move(daemon.run_dir / "audit.jsonl", daemon.run_dir / "gone")
    gone = instruments("--host", daemon.address, "log")
    assert gone.exit_code == 2
    assert "cannot be read: No such file" in gone.stderr


def test_log_says_so_when_no_daemon_is_there() -> None:
    """As every command does."""
    assert instruments("--host", "127.0.0.1:9", "log").exit_code == 3


# Following.


class Following:
    """`instruments log --follow`, in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        program = "from client.commands.main import main; main()"
        command = [sys.executable, "-c", program, "log", "--follow", *map(str, arguments)]
        self.said = Path(arguments[0]).with_name("said")
        with self.said.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE)

    def numbers(self) -> list[int]:
        return [int(line.partition("query ")[2].split()[0]) for line in self.said.read_text().splitlines()]

    def ends(self) -> tuple[int, bytes]:
        self.process.send_signal(signal.SIGINT)
        _, complaint = self.process.communicate(timeout=20)
        return self.process.returncode, complaint


@pytest.fixture
def following(file: Path) -> Iterator[Following]:
    following = Following(file)
    yield following
    following.process.kill()
    following.process.communicate()


def test_follow_begins_with_the_last_ten_and_goes_on_until_interrupted(following: Following, file: Path) -> None:
    """Ctrl-C is how it ends, and no failure."""
    wait_until(lambda: following.numbers() == list(range(90, 100)))
    record(file, range(100, 110))
    wait_until(lambda: following.numbers() == list(range(90, 110)))
    assert following.ends() == (0, b"")


def test_follow_goes_on_over_rotations_though_there_are_many_at_once(following: Following, file: Path) -> None:
    """More than one between two looks."""
    wait_until(lambda: len(following.numbers()) == 10)
    record(file, range(100, 1000), rotation=Rotation(size=20_000))
    assert len(with_rotated(file)) > 5
    wait_until(lambda: following.numbers() == list(range(90, 1000)))
    record(file, range(1000, 1010))
    wait_until(lambda: following.numbers() == list(range(90, 1010)))


def test_follow_goes_on_when_somebody_else_has_rotated(following: Following, file: Path) -> None:
    """With names of their own."""
    wait_until(lambda: len(following.numbers()) == 10)
    file.rename(file.with_name("audit.jsonl.1"))
    record(file, range(100, 105))
    wait_until(lambda: following.numbers() == list(range(90, 105)))


def test_follow_goes_on_when_a_rotated_file_is_deleted_meanwhile(tmp_path: Path, monkeypatch) -> None:
    """By `audit-keep`, between the look at the names and the opening."""
    file = tmp_path / "audit.jsonl"
    file.write_bytes(b"one\n")
    followed = Followed(file)
    file.rename(tmp_path / "audit.jsonl.20261123T000000.000001Z")
    file.write_bytes(b"two\n")
    gone = tmp_path / "audit.jsonl.20261123T000000.000002Z"
    monkeypatch.setattr("client.commands.log_files.with_rotated", lambda one: [*with_rotated(one)[:-1], gone, one])
    assert [line.content for line in followed.news()] == [b"one", b"two"]
    followed.close()


def test_follow_shows_no_half_line(following: Following, file: Path) -> None:
    """It waits for the rest."""
    wait_until(lambda: len(following.numbers()) == 10)
    line = json.dumps({"time": "2026-11-23T00:00:00.000000Z", "event": "command", "command": "query 7"}).encode()
    for part in (line[:30], line[30:], b"\n"):
        with file.open("ab") as opened:
            opened.write(part)
    wait_until(lambda: following.numbers() == [*range(90, 100), 7])
    assert following.ends() == (0, b"")


def test_reader_that_has_enough_ends_it_quietly(file: Path) -> None:
    """`instruments log | head`."""
    record(file, range(100, 5000))
    program = f"{sys.executable} -c 'from client.commands.main import main; main()' log {file} | head -3"
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, timeout=60)
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 3
