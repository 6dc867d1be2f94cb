"""How the checks' tests say what a check has found."""

from collections.abc import Callable

from client.commands.checkup.facts import System
from client.commands.checkup.findings import Findings


def told(check: Callable[[System], Findings], **facts: object) -> list[tuple[str, str, str]]:
    """(level, text, remedy) of what `check` finds on a machine with these facts."""
    return [(one.level.value, one.text, one.remedy) for one in check(System(**facts))]
