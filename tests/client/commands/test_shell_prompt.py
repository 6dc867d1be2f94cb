"""The prompt of `instruments shell`: what it completes, and where it keeps what was typed."""

import stat
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, InMemoryHistory

from client.commands import shell_prompt
from client.commands.shell_prompt import Headers, headers, history


@pytest.mark.parametrize(
    ("begun", "completed"),
    [
        ("*id", ["*IDN?"]),
        ("*ES", ["*ESE", "*ESE?", "*ESR?"]),
        ("VOLT 1;*ID", ["*IDN?"]),
        ("conf", ["CONF:VOLT:DC"]),
        (".st", [".stb", ".status"]),
        ("*IDN? ", []),
        (".help st", []),
        ("", []),
    ],
)
def test_headers_and_words_are_completed(begun: str, completed: list[str]) -> None:
    """The common ones and those that were typed before, in any case; behind a dot the shell's own words."""
    typed = InMemoryHistory(["CONF:VOLT:DC 10; FUNC?", ".config", "# confusion"])
    list(typed.load_history_strings())
    for line in typed.load_history_strings():
        typed.append_string(line)
    found = Headers(typed).get_completions(Document(begun), CompleteEvent())
    assert sorted({completion.text for completion in found}) == sorted(completed)


def test_headers_are_what_stands_before_the_parameters() -> None:
    assert list(headers(["VOLT 1;:CURR 2", "READ?", ".quit", ";;", "# no"])) == ["VOLT", ":CURR", "READ?"]


def test_common_headers_have_all_mandatory_ones() -> None:
    """IEEE 488.2, 10.1 (table 10-2)."""
    mandatory = "*CLS *ESE *ESE? *ESR? *IDN? *OPC *OPC? *RST *SRE *SRE? *STB? *TST? *WAI"
    assert set(mandatory.split()) <= set(shell_prompt.COMMON)


def test_history_is_its_owner_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was there before, for all to read."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    file = shell_prompt.history_file()
    file.parent.mkdir()
    file.touch(0o644)
    assert isinstance(history(), FileHistory)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_history_is_not_kept_where_there_is_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shell works all the same, and says so."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert isinstance(history(), InMemoryHistory)
    assert capsys.readouterr().err.startswith("instruments: what is typed here is not kept: ")
