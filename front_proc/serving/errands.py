"""What the daemon itself has an instrument's process do, between the commands of clients.

Runs in the front, one for each resource. An errand is one order, like a client's command, but nobody's ticket:

    resynchronise   empty the instrument of old answers
    read_ahead      read an answer for a session that has not come for it, while others wait
    read_rest       look what a session has left behind the answer that it read, and keep it for that
    poll            look into the status byte for service requests
    make_safe       write one message of the resource's safe state

Each ends by firing the keeper's next event; if the process dies instead, the errand is forgotten.
"""

from collections.abc import Callable
from dataclasses import dataclass

from front_proc.house import House
from front_proc.process.keeper import Keeper
from front_proc.process.lifecycle import Event, State
from front_proc.serving.attributes import ResourceAttributes
from front_proc.serving.hold import Hold
from front_proc.serving.read_ahead import LIMIT
from front_proc.serving.sessions import Session
from instrument_proc import pipe
from instrument_proc.pipe import Argument
from pyvisa_daemon.errors import ERRORS, VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR

#: Milliseconds that a poll of the status byte may take.
POLL_MS = 1000

#: Milliseconds that reading ahead waits for an answer: it has had its time before that.
READ_AHEAD_MS = 500

#: The status that means: the child is well, the connection to the instrument is not.
LOST = ERRORS["VI_ERROR_CONN_LOST"].status

#: The number of an errand on the pipe: it is nobody's ticket. One that acts has a number of its own, like a ticket: by
#: that is known what became of it in a process that died.
ERRAND = 0


@dataclass(frozen=True, slots=True)
class _Errand:
    """One order, how it ends, and what takes its pieces: False for one that is too much, and no progress."""

    call: str
    arguments: list[Argument]
    begins_with: Event
    limit: float  # seconds
    done: Callable[[pipe.Done], None]
    takes: Callable[[bytes], bool] = lambda _: False
    number: int = ERRAND


class Errands:
    """The errands to one keeper's process, one at a time. `reopening` is the seconds that a resynchronisation has
    besides, if it makes a connection anew."""

    def __init__(self, keeper: Keeper, house: House, reopening: float) -> None:
        self._keeper = keeper
        self._house = house
        self._reopening = reopening
        self._errand: _Errand | None = None

    @property
    def is_under_way(self) -> bool:
        return self._errand is not None

    @property
    def number(self) -> int:
        """On the pipe, of the one under way."""
        return ERRAND if self._errand is None else self._errand.number

    @property
    def limit(self) -> float:
        """Seconds that the one under way has from each sign of life."""
        assert self._errand is not None
        return self._errand.limit

    def forget(self) -> None:
        """Its process is gone."""
        self._errand = None

    def reported(self, report: pipe.Report) -> None:
        """The process says something about the errand that it has."""
        errand = self._errand
        if errand is None:
            return  # its process is to die
        if isinstance(report, pipe.Piece) and errand.takes(report.data):
            self._keeper.arm(errand.limit)
        elif isinstance(report, pipe.Done):
            self._errand = None
            if self._keeper.state in (State.BUSY, State.RESYNC):
                errand.done(report)

    def resynchronise(self, hold: Hold) -> None:
        """No old answer is left afterwards, or the instrument is given up for lost."""

        def done(report: pipe.Done) -> None:
            if report.status < 0:
                self._keeper.lost(report.text)
                return
            hold.resynchronised()
            self._keeper.fire(Event.DONE)

        arguments: list[Argument] = [hold.late_answers, round(hold.patience * 1000)]
        limit = self._house.limits.resync_time + self._reopening + hold.patience
        self._send(_Errand("resynchronise", arguments, Event.DIRTY, limit, done), [])

    def read_ahead(self, hold: Hold, holder: Session, attributes: ResourceAttributes) -> None:
        """Read `holder`'s answer as that session would, into its own store; what cannot be had is lost to it."""
        pieces: list[bytes] = []

        def keep(piece: bytes) -> bool:
            is_kept = sum(map(len, pieces)) + holder.ahead.size <= LIMIT
            if is_kept:
                pieces.append(piece)
            return is_kept

        def done(report: pipe.Done) -> None:
            answer = b"".join([*pieces, report.data])
            if report.status < 0:
                attributes.are_unknown()
            if hold.holder is not holder or report.status < 0 or len(answer) + holder.ahead.size > LIMIT:
                hold.give_up()
            else:
                holder.ahead.add(answer, report.status)
                hold.was_read_ahead(report.status, answer)
            self._go_on(report)

        limit = READ_AHEAD_MS / 1000 + self._house.grace
        errand = _Errand("read_ahead", [READ_AHEAD_MS, hold.promised], Event.DIRTY, limit, done, keep)
        self._send(errand, attributes.changes(holder))

    def read_rest(self, hold: Hold, attributes: ResourceAttributes) -> None:
        """Take what the last reader has left on the stream: it is kept for that, if that is still there."""
        rest = hold.rest
        owner, (wait_ms, terminations) = rest.owner, rest.look

        def done(report: pipe.Done) -> None:
            if report.status < 0:
                attributes.are_unknown()
                hold.give_up()
            else:
                kept = hold.looked(report.data, is_all=report.status != VI_SUCCESS_MAX_CNT)
                if kept and owner is not None and len(kept) + owner.ahead.size <= LIMIT:
                    owner.ahead.add(kept, VI_SUCCESS_TERM_CHAR)
            self._go_on(report)

        limit = wait_ms * (terminations + 1) / 1000 + self._house.grace
        self._send(_Errand("read_rest", [wait_ms, terminations, rest.termination], Event.DIRTY, limit, done), [])

    def poll(self, polled: Callable[[pipe.Done], None]) -> None:
        """Read the status byte; `polled` is told of it."""

        def done(report: pipe.Done) -> None:
            polled(report)
            self._go_on(report)

        limit = POLL_MS / 1000 + self._house.grace
        self._send(_Errand("poll", [POLL_MS], Event.DISPATCHED, limit, done), [])

    def make_safe(
        self, number: int, data: bytes, changes: pipe.Attributes, seconds: float, done: Callable[[pipe.Done], None]
    ) -> None:
        """Write `data`, for which there are so many `seconds`; `done` is told of it."""

        def ended(report: pipe.Done) -> None:
            done(report)
            self._go_on(report)

        errand = _Errand("write", [], Event.DISPATCHED, seconds + self._house.grace, ended, number=number)
        self._send(errand, changes, data)

    def _send(self, errand: _Errand, changes: pipe.Attributes, data: bytes = b"") -> None:
        self._errand = errand
        self._keeper.fire(errand.begins_with)
        self._keeper.arm(errand.limit)
        assert self._keeper.child is not None
        self._keeper.child.run(pipe.Run(errand.number, errand.call, errand.arguments, changes), data)

    def _go_on(self, report: pipe.Done) -> None:
        if report.status == LOST:
            self._keeper.lost(report.text)
        else:
            self._keeper.fire(Event.DONE)
