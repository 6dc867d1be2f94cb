"""What listens there is no daemon, or means harm: one line says so, and the terminal obeys nothing."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from click.testing import CliRunner, Result

from client.commands.main import main
from tests.client.commands.false_daemon import ESCAPES, FalseDaemon, everywhere

#: A status in which each value is of a kind that nobody expects.
_ODD = {
    "escapes": everywhere(ESCAPES),
    "huge": everywhere(10**400),
    "infinite": everywhere(float("inf")),
    "not a number": everywhere(float("nan")),
    "nothing": everywhere(None),
    "a list": everywhere([1, [2]]),
    "a dict": everywhere({"a": 1}),
    "below zero": everywhere(-1),
    "rows": '{"resources": [1, null, {"resource": {}}], "aliases": [], "connections": 3}',
    "empty": "{}",
}

#: What is no status.
_NONE = {"deep": "[" * 200_000, "text": "hello", "a list": "[]", "a number": "9" * 5000}

_SUBCOMMANDS = (
    "list",
    "list --json",
    "status --clients",
    "status --json",
    "query r *IDN?",
    "query r *IDN? --timeout 1",
    "write r x",
    "capture r C? x.npy",
    "shell r",
    "reset r --wait 0.1",
    "restart r --wait 0.1",
    "abort r",
    "unlock r",
    "kick r",
)


@contextmanager
def _asked(daemon: FalseDaemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with closing(daemon):
        monkeypatch.setattr("pyvisa_daemon.hosts.tryIps", [daemon.address])
        yield


def _instruments(words: str) -> Result:
    return CliRunner().invoke(main, words.split(), input=".status\n.stb\n.timeout\n.termination\nx\n")


@pytest.mark.parametrize("kind", _ODD)
@pytest.mark.parametrize("words", ["status --clients", "status --json", "list", "reset r --wait 0.1"])
def test_status_is_shown_in_one_piece_when_nothing_in_it_is_as_expected(
    kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands where: the exit code is one of those documented, no fault is told of, and no escape gets out."""
    with _asked(FalseDaemon(_ODD[kind], [ESCAPES, 3]), monkeypatch):
        result = _instruments(words)
    assert result.exit_code in (0, 1)
    assert "fault of instruments" not in result.output
    assert "\x1b" not in result.output
    assert "\x9b" not in result.output


@pytest.mark.parametrize("words", _SUBCOMMANDS)
def test_subcommand_says_what_listens_there_when_that_is_no_daemon(
    words: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Replies that cannot be read are the daemon's fault: exit code 3, and neither wrong usage nor a fault of ours."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
    with _asked(FalseDaemon(_NONE["deep"], reply=ESCAPES), monkeypatch):
        result = _instruments(words)
    is_understood = words in ("query r *IDN?", "abort r")  # any reply is an answer
    assert result.exit_code == (0 if is_understood else 3), result.output
    assert is_understood or "answers as no instrument daemon does" in result.output


@pytest.mark.parametrize("kind", _NONE)
def test_status_says_that_it_is_none_when_it_is_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON that is too deep, too long or no object is as bad as none."""
    with _asked(FalseDaemon(_NONE[kind]), monkeypatch):
        result = _instruments("status")
    assert result.exit_code == 3
    assert len(result.output) < 500


def test_json_is_ascii_on_one_line_when_a_daemon_says_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program reads is what the daemon has said; a terminal in between obeys nothing."""
    with _asked(FalseDaemon(everywhere(ESCAPES), [ESCAPES]), monkeypatch):
        result = _instruments("list --json")
    assert result.stdout.isascii()
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout)[0]["resource"] == ESCAPES
