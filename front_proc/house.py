"""What the rooms around one instrument's process need of each other: two borders, no code.

House    the front, as a resource, its keeper and its service see it
Owner    whose process it is, as the keeper sees it
"""

from pathlib import Path
from typing import Protocol

from front_proc.configuration.limits import Limits
from front_proc.configuration.resource_settings import EffectiveSettings
from front_proc.process.breaker import Breaker
from front_proc.process.child import ChildProcess
from front_proc.process.identities import Identities
from front_proc.record.audit import Audit
from front_proc.serving.pace import Rate
from front_proc.serving.tickets import Outcome
from instrument_proc import pipe


class House(Protocol):
    """What a resource and its keeper need of the front around them."""

    audit: Audit
    linger: float
    grace: float
    limits: Limits
    lock_folder: Path
    #: Of all resources' commands.
    rate: Rate
    identities: Identities

    def note_fault(self, error: BaseException) -> None:
        """A fault of the daemon's own, for its log."""
        ...

    def note_hang(self, resource: str, pid: int, process: str) -> None:
        """A process is taken for hung; for the daemon's log, where its stacks come to stand."""
        ...

    async def take_child(self) -> ChildProcess:
        """A warm child. Raises Failure(START_FAILED)."""
        ...

    def breaker_of(self, resource: str) -> Breaker:
        """What counts this resource's failures, also those of its earlier openings."""
        ...

    def settings_of(self, resource: str) -> EffectiveSettings:
        """What is configured for this resource."""
        ...


class Owner(Protocol):
    """Whose process it is."""

    name: str
    settings: EffectiveSettings

    @property
    def running(self) -> int:
        """The number of the command that the process has."""
        ...

    @property
    def awaits_open(self) -> bool:
        """Has somebody asked to open it who has no answer yet?"""
        ...

    def is_wanted(self, *, at_open: bool) -> bool:
        """Should there be a process? `at_open`: one that died opening is of no use to those who wait for the open."""
        ...

    def serve(self) -> None:
        """The process is ready for a command."""
        ...

    def to_open(self) -> tuple[pipe.Attributes, list[int]]:
        """The attributes and the events that a new process sets and enables."""
        ...

    def opened(self, report: pipe.Opened) -> None:
        """A new process has the session open."""
        ...

    def reported(self, report: pipe.Report) -> None:
        """The process says something about the command that it has."""
        ...

    def fail_opens(self, refusal: Outcome) -> None: ...

    def prolongs(self) -> bool:
        """Has the process, whose deadline is here, more time by what it has done since? Then it is armed anew."""
        ...

    def distrust(self) -> None:
        """What the process says from here on is not read: no proof of what it did not do."""
        ...

    def fail_running(self, token: str, text: str) -> None: ...

    def fail_queued(self, refusal: Outcome) -> None: ...

    def process_ended(self) -> None:
        """The process is gone, or will never be."""
        ...

    def forget(self) -> None: ...
