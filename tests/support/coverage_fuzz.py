"""A small coverage-guided fuzzer: inputs that make the code go a way it has not gone before are kept and varied.

Edges are pairs of lines executed one after the other within a function, seen by `sys.settrace`: slow, and of use with
any interpreter, with nothing installed. The same seed gives the same inputs.
"""

import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

Edge = tuple[str, int, int]

#: Bytes of an input.
LONGEST = 4096


class Fuzzer:
    """Feeds `target`, which raises if it finds fault, and watches what runs in the folders of `watched`."""

    def __init__(
        self,
        target: Callable[[bytes], object],
        seeds: Sequence[bytes],
        words: Sequence[bytes],
        watched: Sequence[Path],
        seed: int = 0,
    ) -> None:
        self._target = target
        self._words = words
        self._watched = tuple(map(str, watched))
        self._random = random.Random(seed)
        self._is_watched: dict[str, bool] = {}
        self._reached: set[Edge] = set()
        self.edges: set[Edge] = set()
        self.corpus: list[bytes] = []
        self.executed = 0
        for data in seeds:
            self.run(data)

    def go_on(self, seconds: float) -> None:
        """New inputs for so long. Raises AssertionError with the input that the target found fault with."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.run(self._varied())

    def run(self, data: bytes) -> None:
        """One input."""
        self._reached = set()
        self.executed += 1
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            self._target(data)
        except Exception as error:
            raise AssertionError(f"input {self.executed}: {data!r}") from error
        finally:
            sys.settrace(before)
        if not self._reached <= self.edges or not self.corpus:
            self.edges |= self._reached
            self.corpus.append(data)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        file = frame.f_code.co_filename
        if file not in self._is_watched:
            self._is_watched[file] = file.startswith(self._watched)
        if not self._is_watched[file]:
            return None
        last = 0

        def step(frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
            nonlocal last
            if event == "line":
                self._reached.add((file, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step

    def _varied(self) -> bytes:
        data = bytearray(self._random.choice(self.corpus))
        for _ in range(1 << self._random.randrange(4)):
            self._random.choice(_VARIATIONS)(self._random, data, self)
        return bytes(data[:LONGEST])

    def word(self) -> bytes:
        return self._random.choice(self._words)

    def other(self) -> bytes:
        return self._random.choice(self.corpus)


def _place(chance: random.Random, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _change(chance: random.Random, data: bytearray, _: Fuzzer) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _flip(chance: random.Random, data: bytearray, _: Fuzzer) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _insert(chance: random.Random, data: bytearray, _: Fuzzer) -> None:
    place = _place(chance, data)
    data[place:place] = chance.randbytes(chance.randrange(1, 5))


def _insert_word(chance: random.Random, data: bytearray, fuzzer: Fuzzer) -> None:
    place = _place(chance, data)
    data[place:place] = fuzzer.word()


def _remove(chance: random.Random, data: bytearray, _: Fuzzer) -> None:
    place = _place(chance, data)
    del data[place : place + chance.randrange(1, 9)]


def _repeat(chance: random.Random, data: bytearray, _: Fuzzer) -> None:
    place = _place(chance, data)
    data[place:place] = data[place : place + chance.randrange(1, 33)] * chance.randrange(1, 5)


def _join(chance: random.Random, data: bytearray, fuzzer: Fuzzer) -> None:
    data[_place(chance, data) :] = fuzzer.other()[chance.randrange(8) :]


_VARIATIONS = (_change, _flip, _insert, _insert_word, _remove, _repeat, _join)
