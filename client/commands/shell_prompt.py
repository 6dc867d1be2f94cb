"""The prompt of `instruments shell` on a terminal: history, completion, a line below.

Runs in the user's process. All that needs prompt_toolkit is here; nobody else imports it.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from client.commands.shell_words import WORDS
from client.commands.terminal import plain, say

#: Headers that most instruments know: IEEE 488.2, 10.1 (the first thirteen are mandatory), and SCPI-99, 4.2.1.
COMMON = {
    "*IDN?": "who it is",
    "*RST": "reset its settings",
    "*CLS": "clear status and errors",
    "*OPC": "set bit 0 of *ESR? when all is done",
    "*OPC?": "1, when all is done",
    "*WAI": "wait until all is done",
    "*ESE": "events that are summed up in the status byte",
    "*ESE?": "which these are",
    "*ESR?": "events since it was last asked",
    "*SRE": "bits of the status byte that request service",
    "*SRE?": "which these are",
    "*STB?": "the status byte",
    "*TST?": "self-test: 0 is passed",
    "*TRG": "trigger",
    "*OPT?": "its options",
    "*SAV": "save its settings",
    "*RCL": "recall them",
    "SYST:ERR?": "the oldest error of its queue",
    "SYST:VERS?": "its version of SCPI",
    "STAT:OPER?": "operation status",
    "STAT:QUES?": "questionable status",
    "STAT:PRES": "preset the status registers",
}


def history_file() -> Path:
    """The user's own, the same for all instruments."""
    if os.name == "nt":
        folder = os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
    else:
        folder = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(folder) / "pyvisa-daemon" / "shell-history"


def history() -> History:
    """What was typed before; in memory only where no file can be had for its owner alone."""
    file = history_file()
    try:
        file.parent.mkdir(0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
        if os.name != "nt":
            os.chmod(file, 0o600)
    except OSError as error:
        say(f"what is typed here is not kept: {error}")
        return InMemoryHistory()
    return FileHistory(str(file))


def headers(lines: Iterable[str]) -> Iterator[str]:
    """What was typed before the first blank of each message unit."""
    for line in lines:
        if not line.startswith((".", "#")):
            yield from (unit.split()[0] for unit in line.split(";") if unit.strip())


class Headers(Completer):
    """The shell's words behind a dot, else headers: the common ones, and those that were typed before."""

    def __init__(self, typed: History) -> None:
        self._typed = typed

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        if before.startswith("."):
            known = {word: row.help for word, row in WORDS.items()}
            begun = before
        else:
            known = COMMON | dict.fromkeys(headers(self._typed.get_strings()), "")
            begun = before.rpartition(";")[2].lstrip()
        if not begun or " " in begun:
            return
        for word, meaning in known.items():
            if word.upper().startswith(begun.upper()) and word != begun:
                yield Completion(word, -len(begun), display_meta=meaning)


def prompted(name: str, where: str) -> Iterator[str]:
    """The lines that a person types, until Ctrl-D. Ctrl-C drops the line."""
    typed = history()
    session: PromptSession[str] = PromptSession(
        f"{plain(name)}> ",
        history=typed,
        completer=Headers(typed),
        auto_suggest=AutoSuggestFromHistory(),
        bottom_toolbar=f" {plain(where)}   .help   Ctrl-D ends",
    )
    while True:
        try:
            yield session.prompt()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
