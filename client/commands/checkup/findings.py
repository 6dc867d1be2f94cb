"""What a check has found.

Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # something does not work, or may not, that somebody may need
    PROBLEM = "problem"  # what this machine is meant for does not work


@dataclass(frozen=True)
class Finding:
    """About `subject`: what is so, and what to do if it should be otherwise. Only what is ok may have no remedy."""

    level: Level
    subject: str
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        assert self.remedy or self.level is Level.OK, f"{self.text}: and what is to be done?"


Findings = Iterator[Finding]


def ok(subject: str, text: str, remedy: str = "") -> Finding:
    return Finding(Level.OK, subject, text, remedy)


def warning(subject: str, text: str, remedy: str) -> Finding:
    return Finding(Level.WARNING, subject, text, remedy)


def problem(subject: str, text: str, remedy: str) -> Finding:
    return Finding(Level.PROBLEM, subject, text, remedy)
