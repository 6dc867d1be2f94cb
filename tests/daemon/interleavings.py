"""Random interleavings: a few programs on one instrument that time out, give up, vanish and go on as they please.

Whatever they do, an answer that one of them gets must be one that it still has to come. A question is in what it asks
for and so is its answer, so that nobody can take one for another.

    Ledger         one program's open questions: the judge
    Player         one program, and the script by which it plays
    interleave     some play at the same time

To add a move: a function and its row in MOVES.
"""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.daemon.clients import Client, TimedOutError

#: Milliseconds that programs wait for an answer, and that a slow one takes: in time, or 20 to 120 too late.
TIMEOUTS = (30, 45, 60)
DELAYS = (10, 180)

#: Moves of one program in one interleaving, and the longest pause between two, in seconds.
MOVES_EACH = (3, 6)
LONGEST_PAUSE = 0.03


@dataclass
class Ledger:
    """What one program has asked and not read: an answer to anything else is somebody else's, or comes too late.

    A read that timed out may be done again; what it had taken of its answer is then gone, as PyVISA drops it. Whoever
    asks something new after that has done with what was.
    """

    figures: Counter[str]
    #: Everything that was done, for whoever has to find out why.
    story: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)
    _is_late: bool = False

    def asks(self, nonce: str) -> None:
        if self._is_late:
            self.forgets()
        self._open.append(nonce)
        self.figures["questions"] += 1

    def times_out(self) -> None:
        self._is_late = True
        self.figures["timeouts"] += 1

    def reads(self, answer: str) -> None:
        if self._is_late and self._open and self._open[0].endswith(answer):
            answer = self._open[0]
        if answer not in self._open:
            self.figures["crossed"] += 1
            self.wrong.append(f"{answer!r}, and {self._open} were to come")
            return
        self.figures["late answers" if self._is_late else "answers"] += 1
        del self._open[: self._open.index(answer) + 1]

    def forgets(self) -> None:
        """It clears, closes or vanishes, or begins anew."""
        self.figures["unread"] += len(self._open)
        self._open.clear()
        self._is_late = False


@dataclass
class Player:
    """One program in one interleaving."""

    program: Client
    resource: str
    ledger: Ledger
    chance: random.Random
    question: Callable[[str, int], str]
    nonces: "itertools.count[int]"
    is_open: bool = False

    def play(self) -> None:
        moves = self.chance.choices(list(MOVES), [weight for weight, _ in MOVES.values()], k=self._length())
        try:
            for name in [*moves, self.chance.choice(["close", "vanish"])]:
                if not self.is_open:
                    self._open()
                self.ledger.story.append(name)
                time.sleep(self.chance.uniform(0, LONGEST_PAUSE))
                self._make(MOVES[name][1])
        except Exception as error:
            self.ledger.wrong.append(repr(error))
        finally:
            if self.is_open:
                self.program.vanish()

    def _length(self) -> int:
        return self.chance.randint(*MOVES_EACH)

    def _open(self) -> None:
        self.program.open(self.resource)
        self.is_open = True
        self.program.set_timeout(self.chance.choice(TIMEOUTS))

    def _make(self, move: "Callable[[Player], None]") -> None:
        try:
            move(self)
        except TimedOutError:
            self.ledger.story.append("(timed out)")
            self.ledger.times_out()

    def ask(self, delay: int) -> str:
        """A new question, on record."""
        nonce = str(next(self.nonces))
        self.ledger.asks(nonce)
        self.ledger.story.append(f"{nonce} in {delay} ms")
        return self.question(nonce, delay)

    def hear(self, answer: str) -> None:
        self.ledger.story.append(f"got {answer}")
        self.ledger.reads(answer)

    def slowness(self) -> int:
        return self.chance.randint(*DELAYS)


def _query(player: Player) -> None:
    player.hear(player.program.query(player.ask(0)))


def _query_slowly(player: Player) -> None:
    player.hear(player.program.query(player.ask(player.slowness())))


def _insist(player: Player) -> None:
    """Reads again until the answer is there: late, but its own."""
    player.program.write(player.ask(player.slowness()))
    for _ in range(3):
        try:
            _read(player)
            return
        except TimedOutError:
            player.ledger.times_out()
        player.chance.choice([_set_timeout, _set_something])(player)
    _read(player)


def _write(player: Player) -> None:
    player.program.write(player.ask(0))


def _write_slowly(player: Player) -> None:
    player.program.write(player.ask(player.slowness()))


def _read(player: Player) -> None:
    player.hear(player.program.read())


def _clear(player: Player) -> None:
    player.program.clear()
    player.ledger.forgets()


def _set_timeout(player: Player) -> None:
    player.program.set_timeout(player.chance.choice(TIMEOUTS))


def _set_something(player: Player) -> None:
    player.program.set_something()


def _close(player: Player) -> None:
    player.is_open = False
    player.ledger.forgets()
    player.program.close()


def _vanish(player: Player) -> None:
    player.is_open = False
    player.ledger.forgets()
    player.program.vanish()


#: name -> how often, and the move.
MOVES: dict[str, tuple[int, Callable[[Player], None]]] = {
    "query": (6, _query),
    "query slowly": (6, _query_slowly),
    "insist": (4, _insist),
    "write": (3, _write),
    "write slowly": (3, _write_slowly),
    "read": (6, _read),
    "clear": (1, _clear),
    "set timeout": (2, _set_timeout),
    "set something": (2, _set_something),
    "close": (1, _close),
    "vanish": (1, _vanish),
}


def interleave(players: list[Player]) -> None:
    """All of them play, until the last has ended."""
    threads = [threading.Thread(target=player.play) for player in players]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
