"""`instruments completion`: the scripts in real shells, what is completed, and that nobody waits."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import client
from client.commands import completion
from client.commands.main import COMMANDS, main
from tests.client.commands.conftest import Lab
from tests.client.commands.false_daemon import FalseDaemon

#: What a person has typed -> what bash then knows, on a line each.
_COMPLETE = """
complete() { :; }; compopt() { :; }
eval "$(instruments completion bash)"
for COMP_LINE in "$@"; do
    COMP_POINT=${#COMP_LINE}
    _instruments_completion
    echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pyvisa-daemon" / "completion.json"


def completed(lab: Lab, word_breaks: str, lines: dict[str, str]) -> dict[str, str]:
    """What bash makes of each of these lines, at its end."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYVISA_DAEMON_HOSTS": lab.daemon.address,
    }
    script = f"COMP_WORDBREAKS=$1; shift; {_COMPLETE}"
    command = ["bash", "--norc", "-c", script, "bash", word_breaks, *lines]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return dict(zip(lines, done.stdout.splitlines(), strict=True))


def test_bash_completes_subcommands_options_and_resources(lab: Lab) -> None:
    """A colon ends a word for bash: it gets what comes behind the last one."""
    expected = {
        "instruments res": "reset restart",
        "instruments query multimeter '*IDN?' --read": "--read-termination",
        "instruments shell GPIB0::2": "22::INSTR",
        "instruments completion z": "zsh",
    }
    assert completed(lab, " \t\n\"'><=;|&(:", expected) == expected


def test_bash_completes_whole_names_where_a_colon_is_a_letter(lab: Lab) -> None:
    """Hosts, and resources in any case."""
    expected = {"instruments --host 127": lab.daemon.address, "instruments query gpib": "GPIB0::22::INSTR"}
    assert completed(lab, " \t\n", expected) == expected


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_script_says_how_to_install_it(shell: str) -> None:
    """In comments, so that it can be used as it is. A shell that is here finds no fault with it."""
    said = CliRunner().invoke(main, ["completion", shell])
    assert said.exit_code == 0
    assert f"instruments completion {shell}" in said.stdout.split("\n\n")[0]
    assert "_INSTRUMENTS_COMPLETE" in said.stdout
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=said.stdout, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_shell_is_the_user_s_when_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "completion for fish" in CliRunner().invoke(main, ["completion"]).stdout
    monkeypatch.setenv("SHELL", "/usr/bin/tcsh")
    assert "'tcsh' is not known here" in CliRunner().invoke(main, ["completion"]).stderr


def names(incomplete: str, *arguments: str) -> list[str]:
    context = main.make_context("instruments", [*arguments, "query"], resilient_parsing=True)
    return [item.value for item in completion.resources(click.Context(main, parent=context), incomplete)]


def test_what_was_found_is_kept_for_a_while(lab: Lab, cache: Path) -> None:
    """Each look makes a daemon search its buses. It is for these hosts, and nothing but names."""
    assert names("GPIB", "--host", lab.daemon.address) == ["GPIB0::22::INSTR"]
    kept = json.loads(cache.read_text())
    assert kept["hosts"] == [lab.daemon.address]
    cache.write_text(json.dumps(kept | {"names": ["GPIB9::9::INSTR"]}))
    assert names("GPIB", "--host", lab.daemon.address) == ["GPIB9::9::INSTR"]
    cache.write_text(json.dumps(kept | {"names": ["GPIB9::9::INSTR"], "time": kept["time"] - completion.FRESH_TIME}))
    assert names("GPIB", "--host", lab.daemon.address) == ["GPIB0::22::INSTR"]
    cache.write_text("[not JSON")
    assert names("GPIB", "--host", lab.daemon.address) == ["GPIB0::22::INSTR"]


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Somebody who accepts, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_nobody_waits_long_for_a_daemon_that_is_silent(lab: Lab, cache: Path) -> None:
    """What the others said counts, and is not kept for all there is."""
    with silent() as address:
        client.tryIps = [address, lab.daemon.address]
        began = time.monotonic()
        assert "GPIB0::22::INSTR" in names("")
        assert time.monotonic() - began < 5 * completion.LIMIT
    assert not cache.exists()


def test_names_that_a_shell_might_obey_are_not_completed() -> None:
    """bash puts them into the line as they are; a daemon may say anything."""
    evil = ["$(reboot)", "`reboot`", "a;reboot", "a b", "a\nplain,b", "\x1b[2J", "a'b", "*", "~", "a\\b", "good::INSTR"]
    with contextlib.closing(FalseDaemon("{}", [*evil])) as daemon:
        context = click.Context(main)
        context.params["host"] = daemon.address
        assert [item.value for item in completion.resources(context, "")] == ["good::INSTR"]


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no:such:host:0", "127.0.0.1?token_file=/nonsense"])
def test_there_is_nothing_to_complete_without_a_daemon(host: str) -> None:
    """And no traceback."""
    assert names("", "--host", host) == []


def test_every_resource_is_completed() -> None:
    """By every subcommand that names one."""
    context = click.Context(main)
    commands = [main.get_command(context, name) for name in COMMANDS]
    arguments = [one for command in commands if command for one in command.params if one.name == "resource"]
    named = [one for one in arguments if isinstance(one, click.Argument)]
    assert len(named) >= 10
    assert [one for one in named if one._custom_shell_complete is None] == []


def test_completion_of_a_subcommand_imports_no_more_than_its_own() -> None:
    """A TAB is as quick as it may be."""
    code = (
        "import sys\nfrom client.commands.main import main\nmain.get_command(None, 'query')\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('rich', 'prompt_toolkit')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert re.fullmatch(r"\[\]\n", done.stdout), done.stderr
