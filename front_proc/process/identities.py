"""Who answers at which resource: the instruments that were first seen, where the settings want that looked after.

Runs in the front, one for all resources. Kept in a file of the run folder, so that an instrument which is exchanged
while the daemon is not running is noticed as well. What answered in the place of a known one is refused from then on,
whoever opens the resource, until an operator's word: `accept`, or `look_again`.

    opened, and asked      judge(resource, identity)
    an operator's reset    accept(resource): whoever answers next is known from then on
    an operator's restart  look_again(resource): whoever answers next is judged
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from front_proc.configuration.resource_names import folded
from front_proc.configuration.resource_settings import EffectiveSettings
from front_proc.daemonize import StartError
from front_proc.serving.tickets import Outcome, failed
from instrument_proc.pipe import Identify

#: Of the time for viOpen, the part that each call of the question may take: clear, write, read.
_CALLS = 3

_decoder = msgspec.json.Decoder(dict[str, str])


class Identities:
    """By canonical names, in whatever spelling. `on_trouble` is told of a file that cannot be written."""

    def __init__(self, file: Path, on_trouble: Callable[[str], None]) -> None:
        """Raises StartError for a file that is there and cannot be used: whom to trust nobody would know."""
        self._file = file
        self._on_trouble = on_trouble
        self._known = _read(file)
        #: Who answered instead.
        self._refused: dict[str, str] = {}

    def known(self, resource: str) -> str | None:
        """Who was first seen there."""
        return self._known.get(folded(resource))

    def judge(self, resource: str, identity: str) -> bool:
        """Is it who was first seen there? The first one is."""
        name = folded(resource)
        if name not in self._known:
            self._known[name] = identity
            self._write()
        if self._known[name] == identity:
            return True
        self._refused[name] = identity
        return False

    def is_refused(self, resource: str) -> bool:
        return folded(resource) in self._refused

    def refusal(self, resource: str) -> Outcome:
        """What is said of one that is refused."""
        name = folded(resource)
        text = f"{resource}: {self._refused[name]!r} answers in the place of {self._known[name]!r}"
        return failed("INSTRUMENT_CHANGED", f"{text}; `reset` accepts who is there, `restart` looks again")

    def accept(self, resource: str) -> bool:
        """An operator's word. False if nobody was refused there."""
        if not self.look_again(resource):
            return False
        del self._known[folded(resource)]
        self._write()
        return True

    def look_again(self, resource: str) -> bool:
        """The same."""
        return self._refused.pop(folded(resource), None) is not None

    def _write(self) -> None:
        """All of it, or nothing: a crash leaves the file as it was."""
        new = self._file.with_name(self._file.name + ".new")
        try:
            with contextlib.suppress(FileNotFoundError):
                new.unlink()
            with open(new, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
                file.write(msgspec.json.format(msgspec.json.encode(self._known), indent=1) + b"\n")
            new.replace(self._file)
        except OSError as error:
            text = f"{self._file} cannot be written: {error.strerror}"
            self._on_trouble(f"{text}; after a restart the instruments seen since are taken as they are then")


def how_to_identify(settings: EffectiveSettings, open_time: float) -> Identify:
    """How a process is to ask: all of it within `open_time` seconds, with the terminations of text connections."""
    reads, writes = settings.termination
    return Identify(round(open_time / _CALLS * 1000), (reads or b"\n")[-1], writes)


def _read(file: Path) -> dict[str, str]:
    try:
        return _decoder.decode(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        text = f"{file} cannot be read: {error}"
        raise StartError(f"{text}; without it, every instrument is taken for the right one: remove it") from error
