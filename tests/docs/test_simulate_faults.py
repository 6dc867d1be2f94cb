"""docs/how-to/simulate-faults.md: its files are written out, its commands run, and its tests tested."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo_bench.schedule import Schedule, read_option, read_schedule
from tests.docs.pages import SIMULATE_FAULTS, examples
from tests.support.waiting import DEADLINE

PAGE = SIMULATE_FAULTS.read_text("utf-8")
TOML = [example.text for example in examples("toml", SIMULATE_FAULTS)]

#: What a session shows: the command behind `$`, and the lines that it prints.
SESSIONS = [example.text.splitlines() for example in examples("text", SIMULATE_FAULTS)]
[OPTION] = re.findall("--fault '(.*)'", SESSIONS[0][0])

#: What is another each time: the moment, and the port.
VARYING = re.compile(r"^\d\d:\d\d:\d\d\.\d{3}|(?<=::)\d+(?=::SOCKET)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files that the page names in front of a block."""
    files = re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["meter.toml", "careless.py", "measure.py", "test_measure.py"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    return tmp_path


def environment(library: str) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYVISA_LIBRARY": library}


@contextlib.contextmanager
def simulation(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The page's command, and its first line."""
    command = ["bash", "-c", "exec " + SESSIONS[0][0].removeprefix("$ ")]
    with subprocess.Popen(command, cwd=folder, env=environment("@py"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().rstrip("\n")
        finally:
            process.kill()


def careless(folder: Path, library: str, ready: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "careless.py", ready.split()[1]],
        cwd=folder,
        env=environment(library),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def masked(lines: list[str]) -> list[str]:
    return [VARYING.sub("", line) for line in lines]


def test_careless_program_falls_for_the_late_answer_as_shown(folder):
    """Both terminals, line by line."""
    with simulation(folder) as (process, ready):
        assert careless(folder, "@py", ready) == SESSIONS[1][1:]
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=DEADLINE)
    assert masked([ready, *stdout.splitlines()]) == masked(SESSIONS[0][1:])
    assert process.returncode == 0


def test_careless_program_is_spared_by_the_daemon_as_shown(folder, daemon_factory):
    """The third terminal."""
    with simulation(folder) as (_, ready):
        assert careless(folder, f"{daemon_factory().address}@daemon", ready) == SESSIONS[2][1:]


def test_tests_on_the_page_pass(folder):
    """As a laboratory would run them."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "test_measure.py"],
        cwd=folder,
        env=environment("@py"),
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE,
    )
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_row_on_the_page_is_what_the_option_says():
    """The same fault in both forms, and a file of answers without any."""
    assert read_schedule(TOML[0], "meter.toml").faults == ()
    assert read_schedule(TOML[1], "faults.toml") == Schedule(faults=(read_option(OPTION, "--fault 1"),))


def test_record_on_the_page_has_the_fields_of_a_real_one(folder):
    """In their order, with values of their types."""
    [example] = examples("json", SIMULATE_FAULTS)
    shown = [json.loads(line) for line in example.text.splitlines()]
    command = ["instruments", "simulate", "meter.toml", "--quiet", "--record", "record.jsonl", "--fault", OPTION]
    with subprocess.Popen(command, cwd=folder, env=environment("@py"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        careless(folder, "@py", process.stdout.readline())
        process.terminate()
    real = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    assert {tuple(row) for row in shown} == {tuple(row) for row in real}
    assert {**real[2], "time": shown[0]["time"]} == shown[0]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["time"]) for row in [*shown, *real])
