"""Somebody works on the log of a daemon: `instruments log verify` finds it, and where."""

import shutil

import pytest
from click.testing import CliRunner

from client.commands.main import main

pytestmark = pytest.mark.fault(53)


def edit(lines):
    lines[6] = lines[6].replace(b"127.0.0.1", b"127.0.0.2")


def remove(lines):
    del lines[6]


def reorder(lines):
    lines[6], lines[7] = lines[7], lines[6]


def insert(lines):
    lines.insert(6, lines[6])


def tear(lines):
    lines[6] = lines[6][:40]


def cut(lines):
    del lines[-3:]


def anew(lines):
    lines.extend(lines[:3])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Of a daemon that has served a while, and its head."""
    from tests.support.daemon import Daemon

    daemon = Daemon(tmp_path_factory.mktemp("audit") / "run", "--demo")
    try:
        with daemon.text() as client:
            client.ask(".#.open_resource multimeter")
            for _ in range(20):
                assert client.ask(".#.query_resource *IDN?").startswith("DEMO BENCH,")
        daemon.end()
    finally:
        daemon.kill()
    anchor = (daemon.run_dir / "daemon.log").read_text().rpartition('"head":"')[2][:64]
    return daemon.run_dir / "audit.jsonl", anchor


def verify(*arguments):
    result = CliRunner().invoke(main, ["log", "verify", *map(str, arguments)])
    return result.exit_code, result.stdout


def test_log_of_a_daemon_is_sound(log):
    """To the head that it noted when it stopped."""
    file, head = log
    code, said = verify("--head", head, file)
    assert (code, said.startswith("sound: ")) == (0, True)
    assert f"head {head}" in said


@pytest.mark.parametrize("work", [edit, remove, reorder, insert, tear, anew])
def test_log_that_was_worked_on_is_not_sound(log, tmp_path, work):
    """Code 1, and the file and the line are named."""
    file, _ = log
    copy = tmp_path / "audit.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    work(lines)
    copy.write_bytes(b"".join(lines))
    code, said = verify(copy)
    assert code == 1
    assert "NOT sound" in said
    number = int(said.removeprefix(f"{copy}:").partition(":")[0].partition(" ")[0])
    assert number in ((len(lines) - 3, len(lines) - 2) if work is anew else (6, 7, 8))


def test_cut_off_end_is_found_by_the_head_that_was_noted(log, tmp_path):
    """And by nothing else."""
    file, head = log
    copy = tmp_path / "audit.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    cut(lines)
    copy.write_bytes(b"".join(lines))
    assert verify(copy)[0] == 0
    code, said = verify("--head", head, copy)
    assert code == 1
    assert f"no line has the head {head}" in said


def test_copy_is_as_sound_as_the_log(log, tmp_path):
    """It is the bytes that count."""
    file, head = log
    assert verify("--head", head, shutil.copy(file, tmp_path / "copy"))[0] == 0
