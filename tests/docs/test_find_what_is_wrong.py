"""docs/how-to/find-what-is-wrong.md: its commands run, and print what stands below them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from client.commands import terminal
from tests.support.daemon import ROOT, Daemon

PAGE = (ROOT / "docs" / "how-to" / "find-what-is-wrong.md").read_text()

#: A command, and the indented lines that it is said to print.
SHOWN = re.findall(r"^```sh\n(.*?)^```\n\n((?:    [^\n]*\n)+)", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def bench(daemon_factory, tmp_path):
    """A daemon of whose multimeter somebody has the lock, and the environment for a shell."""
    daemon: Daemon = daemon_factory("--demo")
    with daemon.text() as anna:
        anna.ask(".#.hello anna")
        anna.ask(".#.open_resource multimeter")
        assert anna.ask(".#.lock reason calibration of the DMM") == "ok"
        yield {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYVISA_DAEMON_HOSTS": daemon.address,
        }


def fits(line: str, printed: str) -> bool:
    """Blanks and alignment apart, with anything for each `…`."""
    expected = ".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
    said = " ".join(printed.split())
    return re.fullmatch(expected.replace(r".*\ ", ".*").replace(r"\ .*", ".*"), said) is not None


def test_commands_of_the_page_print_what_it_shows(bench, tmp_path):
    """One after the other, at the same bench."""
    assert len(SHOWN) == PAGE.count("```sh") == 6
    for command, lines in SHOWN:
        if "jq" in command and shutil.which("jq") is None:
            continue
        done = subprocess.run(
            ["bash", "-uo", "pipefail", "-c", command],
            cwd=tmp_path,
            env=bench,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        assert done.returncode == (1 if "problem" in lines else 0), done.stdout
        for line in lines.splitlines():
            assert any(fits(line, printed) for printed in done.stdout.splitlines()), f"{line}\n{done.stdout}"


def test_mistyped_name_is_answered_as_shown_when_like_one(bench):
    """Where the daemon tells of aliases, or else without the suggestion."""
    command = ["instruments", "query", "multimetr", "*IDN?"]
    done = subprocess.run(command, env=bench, capture_output=True, text=True, timeout=60)
    [shown] = re.findall(r"^    (instruments: .*)$", PAGE, re.MULTILINE)
    assert done.returncode == 1
    assert done.stderr.startswith(shown.split("…")[0])


def test_exit_codes_of_the_page_are_those_of_the_code():
    shown = [int(code) for code in re.findall(r"^\| (\d+) \| ", PAGE, re.MULTILINE)]
    assert shown == [0, terminal.REFUSED, terminal.WRONG_USAGE, terminal.NO_DAEMON, terminal.INTERRUPTED]
