"""What can go wrong with an instrument, and when: the faults of `instruments simulate`.

Pure: messages and answers in, steps out. No socket, no clock. Runs in the simulating process.

    KINDS    each kind of fault: what it does and what it can be told; help and documentation are made from this table
    Fault    one row of a schedule
    Course   one run: counts the messages, says which fault has its turn, and what the instrument then does

A message is always executed first, and then the fault is in what comes back. Nothing is left to chance: the same
messages in the same order fare the same way.

To add a kind: a function that yields steps, its row in KINDS, and in the documentation what a program sees of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random

# Steps: what an instrument does on one connection.


@dataclass(frozen=True, slots=True)
class Send:
    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float


@dataclass(frozen=True, slots=True)
class StopReading:
    """Read nothing more from this connection, and answer nothing."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close this connection."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Reset all connections, forget all settings, and refuse connections for so long."""

    seconds: float


Step = Send | Wait | StopReading | Close | Restart


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of a schedule: what, for which messages, when. `times` None: without end."""

    kind: str
    on: str = "*"
    after: int = 0
    every: int = 1
    times: int | None = None
    seconds: float = 0.0
    bytes: int = 0

    def __str__(self) -> str:
        said = {"seconds": f"{self.seconds:g} s", "bytes": f"{self.bytes} bytes"}
        return " ".join([self.kind, *(said[name] for name in KINDS[self.kind].parameters)])

    def is_due(self, number: int) -> bool:
        """Has it its turn at message `number` of those that it is for, counted from 1?"""
        turn, rest = divmod(number - self.after, self.every)
        return rest == 0 and turn >= 1 and (self.times is None or turn <= self.times)


#: (the answer with its terminator, or nothing; the fault; chance) -> steps
Act = Callable[[bytes, Fault, Random], Iterator[Step]]


@dataclass(frozen=True, slots=True)
class Kind:
    """`parameters`: keys that only some kinds have, with their defaults. `is_for_answers`: it spoils nothing else."""

    act: Act
    help: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    is_for_answers: bool = True


#: A slow answer comes in so many pieces at most: in single bytes, unless it is longer.
PIECES = 100

_ANYTHING_BUT_LF = bytes(set(range(256)) - set(b"\n"))


def _slow(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    count = min(len(answer), PIECES)
    for number in range(count):
        yield Wait(fault.seconds / count)
        yield Send(answer[len(answer) * number // count : len(answer) * (number + 1) // count])


def _late(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    yield Wait(fault.seconds)
    yield Send(answer)


def _partial(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    yield Send(answer.removesuffix(b"\n")[: fault.bytes])


def _garbage(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    yield Send(bytes(chance.choices(_ANYTHING_BUT_LF, k=fault.bytes)) + b"\n")


def _silent(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    yield from ()


def _hang(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    while True:
        yield Send(b"?")
        yield Wait(fault.seconds)


def _drop(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    yield Close()


def _deaf(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    yield StopReading()


def _crash(answer: bytes, fault: Fault, chance: Random) -> Iterator[Step]:
    yield Restart(fault.seconds)


KINDS = {
    "slow": Kind(_slow, "the answer dribbles in, byte by byte, and takes `seconds` in all", {"seconds": 1.0}),
    "late": Kind(_late, "the whole answer comes `seconds` late", {"seconds": 3.0}),
    "partial": Kind(_partial, "only the first `bytes` of the answer come, and no LF", {"bytes": 4}),
    "garbage": Kind(_garbage, "`bytes` random bytes come instead of the answer, then LF", {"bytes": 16}),
    "silent": Kind(_silent, "the answer never comes"),
    "hang": Kind(_hang, "a byte every `seconds` comes instead of the answer, for ever", {"seconds": 0.05}),
    "drop": Kind(_drop, "the connection is closed instead of the answer", is_for_answers=False),
    "deaf": Kind(_deaf, "no answer, and nothing more is read from the connection", is_for_answers=False),
    "crash": Kind(
        _crash,
        "all connections are reset, settings are lost, and for `seconds` it cannot be reached",
        {"seconds": 2.0},
        is_for_answers=False,
    ),
}


class Course:
    """One run of a schedule. The messages of all connections are counted together, and a restart changes no count."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = faults
        self._counts = [0] * len(faults)
        self._chance = Random(seed)  # noqa: S311 - the same garbage again for the same seed is what is wanted

    def fault_for(self, message: str, *, is_answered: bool) -> Fault | None:
        """The fault that befalls this message, the next of the run: of those whose turn it is, the first row."""
        due = []
        for index, fault in enumerate(self._faults):
            is_concerned = is_answered or not KINDS[fault.kind].is_for_answers
            if is_concerned and fnmatchcase(message.upper(), fault.on.upper()):
                self._counts[index] += 1
                if fault.is_due(self._counts[index]):
                    due.append(fault)
        return due[0] if due else None

    def steps(self, fault: Fault | None, answer: bytes | None) -> Iterator[Step]:
        """What the instrument does where `answer` would be right. That has no terminator yet; None: nothing to say."""
        line = b"" if answer is None else answer + b"\n"
        if fault is not None:
            return KINDS[fault.kind].act(line, fault, self._chance)
        return iter([Send(line)] if line else [])
