"""`instruments query`, `write` and `read`: what is printed, and what becomes of what fails."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.client.commands.conftest import Lab
from tests.support.waiting import DEADLINE

Instruments = Callable[..., Result]

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def test_query_prints_an_answer_for_each_command_when_several_are_given(instruments: Instruments) -> None:
    """In their order, a line each; an empty answer is an empty line."""
    result = instruments("query", "scripted", "ECHO? 1", "ECHO?", "ECHO? 3")
    assert (result.exit_code, result.stdout) == (0, "1\n\n3\n")


def test_query_prints_lines_with_the_time_when_repeated(instruments: Instruments) -> None:
    """Tabs between, as spreadsheets have it; paced by the clock."""
    result = instruments("query", "scripted", "ECHO? 1", "ECHO? 2", "--repeat", "3", "--interval", "0.05")
    assert result.exit_code == 0
    assert re.fullmatch(rf"({TIME}\t1\t2\n){{3}}", result.stdout), result.stdout
    times = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert times == sorted(set(times))


def test_query_without_end_is_done_when_ctrl_c_ends_it(lab: Lab) -> None:
    """There is no other end to it: 0, as `status --watch` has it."""
    command = [str(Path(sys.executable).with_name("instruments")), "--host", lab.daemon.address, "query", "scripted"]
    with subprocess.Popen([*command, "ECHO? 1", "--interval", "0.05"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(b"\t1\n")
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(DEADLINE) == 0


def test_query_gives_one_document_when_asked_for_json(lab: Lab) -> None:
    """Bytes that are no text come in base64: nothing else of theirs can stand there."""
    result = lab.instruments("query", "scripted", "ECHO? ü", "BLOCK? 200", "--json")
    document = json.loads(result.stdout)
    assert (document["resource"], document["daemon"]) == (lab.instrument.resource, lab.daemon.address)
    text, block = document["exchanges"]
    assert re.fullmatch(TIME, text.pop("time"))
    assert text == {"command": "ECHO? ü", "answer": "ü"}
    assert set(block) == {"time", "command", "base64"}


def test_query_gives_a_document_on_each_line_when_repeated_for_json(instruments: Instruments) -> None:
    """For programs that read as it comes."""
    result = instruments("query", "scripted", "ECHO? 1", "--repeat", "2", "--interval", "0.01", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["command"], row["answer"]) for row in rows] == [("ECHO? 1", "1")] * 2


def test_query_ends_at_what_fails(instruments: Instruments) -> None:
    """The timeout is the one that was given; what came before stays printed."""
    result = instruments("query", "scripted", "ECHO? 1", "SLOW? 5000,2", "ECHO? 3", "--timeout", "0.1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("instruments: VI_ERROR_TMO effect=done")


def test_query_goes_on_behind_what_fails_when_told_to(instruments: Instruments) -> None:
    """It is told of on stderr, and by the exit code."""
    arguments = ("query", "scripted", "SLOW? 5000,2", "ECHO? 3", "--timeout", "0.1", "--keep-going")
    result = instruments(*arguments)
    assert (result.exit_code, result.stdout) == (1, "3\n")
    assert "SLOW? 5000,2: VI_ERROR_TMO" in result.stderr
    failed, well = json.loads(instruments(*arguments, "--json").stdout)["exchanges"]
    assert (failed["error"]["token"], failed["error"]["effect"], well["answer"]) == ("VI_ERROR_TMO", "done", "3")


def test_query_takes_terminations_when_given(instruments: Instruments) -> None:
    """Read up to another character; what the write is given stays as it is."""
    result = instruments("query", "scripted", "HALF? a,", "--read-termination", ",")
    assert (result.exit_code, result.stdout) == (0, "a\n")
    result = instruments("query", "scripted", "ECHO? a", "--write-termination", r"\r\n", "--read-termination", r"\n")
    assert (result.exit_code, result.stdout) == (0, "a\n")


@pytest.mark.parametrize(
    "options",
    [
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--timeout", "soon"),
        ("--read-termination", "ü"),
        ("--write-termination", "\\x"),
        ("--repeat", "0"),
        ("--interval", "inf"),
        ("--interval", "1e12"),
        ("two\nlines",),
    ],
)
def test_wrong_options_are_wrong_usage(instruments: Instruments, options: tuple[str, ...]) -> None:
    """Before anything is sent."""
    result = instruments("query", "scripted", "*IDN?", *options)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


def test_timeout_is_no_less_than_a_millisecond_when_it_is_more_than_nothing(lab: Lab) -> None:
    """VISA's 0 would mean that nothing is waited for."""
    assert lab.instruments("shell", "scripted", "--timeout", "0.0001", said=".timeout\n").stdout == "0.001 s\n"


def test_write_says_nothing_when_it_is_done(lab: Lab) -> None:
    """The instrument has it all, in order; in JSON there is how much was written."""
    result = lab.instruments("write", "scripted", "SET written 1", "SET written 2")
    assert (result.exit_code, result.output) == (0, "")
    history = json.loads(lab.instruments("query", "scripted", "HISTORY?").stdout)
    assert [message for message in history if "written" in message] == ["SET written 1", "SET written 2"]
    said = json.loads(lab.instruments("write", "scripted", "SET 1", "--json").stdout)
    assert said["exchanges"][0]["bytes"] == 6


def test_write_confirms_when_a_guard_wants_it(instruments: Instruments) -> None:
    """Not without a reason."""
    assert "CONFIRM_FIRST" in instruments("write", "supply", "OUTP 1").stderr
    assert instruments("write", "supply", "OUTP 1", "OUTP 1", "--confirm", "the heater is on").exit_code == 0


def test_read_waits_for_what_comes(lab: Lab) -> None:
    """Nothing comes: a timeout. What another program of one's own had asked is that program's."""
    result = lab.instruments("read", "scripted", "--timeout", "0.1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "VI_ERROR_TMO effect=none" in result.stderr
