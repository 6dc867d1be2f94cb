"""The pages of docs/ and what stands in their fenced blocks."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.daemon import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))

#: Their examples belong together; `test_simulate_faults` and `test_safe_state_page` execute them.
SIMULATE_FAULTS = ROOT / "docs" / "how-to" / "simulate-faults.md"
SAFE_STATE = ROOT / "docs" / "how-to" / "safe-state.md"

#: So do its: `test_reserve` executes them.
RESERVE = ROOT / "docs" / "how-to" / "reserve-an-instrument.md"

#: As are these; `test_guard_an_instrument` does.
GUARD_AN_INSTRUMENT = ROOT / "docs" / "how-to" / "guard-an-instrument.md"

#: And `test_check_who_is_there` this one's.
CHECK_WHO_IS_THERE = ROOT / "docs" / "how-to" / "check-who-is-there.md"

#: So is what it has for a network of daemons: tests/daemon/test_announced.py does.
SHARE_ON_THE_LAN = ROOT / "docs" / "how-to" / "share-on-the-lan.md"
#: And these; `test_work_from_a_shell` does.
WORK_FROM_A_SHELL = ROOT / "docs" / "how-to" / "work-from-a-shell.md"

#: Each of these is done from top to bottom by `test_walks`.
WALKED = [
    ROOT / "docs" / name
    for name in (
        "tutorial.md",
        "how-to/raspberry-pi.md",
        "how-to/container.md",
        "how-to/gpib-rack.md",
        "how-to/migrate-from-the-original.md",
        "how-to/migrate-from-pyvisa-proxy.md",
        "how-to/other-languages.md",
    )
]

#: All that have a test of their own, but for the walked.
OWN = (
    SIMULATE_FAULTS,
    SAFE_STATE,
    RESERVE,
    GUARD_AN_INSTRUMENT,
    SHARE_ON_THE_LAN,
    WORK_FROM_A_SHELL,
    CHECK_WHO_IS_THERE,
)

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """One fenced block; `name` is page and line, for the test's id."""

    name: str
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs"))


def examples(language: str, page: Path | None = None) -> list[Example]:
    """The fenced blocks in `language`, of one page or of all that have no test file of their own."""
    found = []
    own = (*OWN, *WALKED)
    for path in [path for path in PAGES if path not in own] if page is None else [page]:
        text = path.read_text("utf-8")
        for match in _FENCED.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Example(f"{name_of(path)}:{line}", match[2]))
    return found


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page.read_text("utf-8"))
