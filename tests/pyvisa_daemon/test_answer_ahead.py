"""Reads of an answer that came ahead: each gives what the instrument's library would have given.

The judge is viRead as VPP-4.3 has it (6.1.1), on all of the answer; where that leaves something open (a count of 0, a
termination character as the last byte that was asked for), what pyvisa-py's SOCKET does.
"""

from collections.abc import Callable
from typing import Any, cast

import pytest
import pyvisa
from hypothesis import given, settings
from hypothesis import strategies as st
from pyvisa.resources import MessageBasedResource

from pyvisa_daemon import opened as opened_module
from pyvisa_daemon import wire
from pyvisa_daemon.answer_ahead import AnswerAhead
from pyvisa_daemon.channel import Channel
from pyvisa_daemon.errors import ERRORS, VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR, Failure
from pyvisa_daemon.highlevel import DaemonVisaLibrary
from pyvisa_daemon.opened import SIGN_TIME, OpenSession
from tests.pyvisa_daemon.peer import Bench
from tests.pyvisa_daemon.threads import ctrl_c, in_thread
from tests.support.waiting import wait_until

TIMEOUT = ERRORS["VI_ERROR_TMO"].status
LF, NONE = ord("\n"), -1


class Instrument:
    """An answer on its way on a stream, and viRead."""

    def __init__(self, answer: bytes) -> None:
        self.left = answer

    def read(self, count: int, termination: int) -> tuple[bytes, int]:
        """Raises Failure when the answer is not enough."""
        data = self.left[:count]
        if termination >= 0 and (found := data.find(termination)) >= 0:
            data = data[: found + 1]
        self.left = self.left[len(data) :]
        if termination >= 0 and data[-1:] == bytes([termination]):
            return data, VI_SUCCESS_TERM_CHAR
        if len(data) == count:
            return data, VI_SUCCESS_MAX_CNT
        raise Failure("VI_ERROR_TMO", status=TIMEOUT)


class FakeChannel:
    """What goes out, none of which is answered."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def start(self, kind: Callable[..., Any], *arguments: Any) -> None:
        self.sent.append(kind(0, *arguments))

    def forget(self, _: None) -> None:
        pass


class Session(OpenSession):
    """A session whose daemon reads on by as many bytes as the test has it, until the instrument falls silent."""

    def __init__(self, instrument: Instrument, ahead: list[int]) -> None:
        super().__init__(cast(Channel, FakeChannel()), 1, 1)
        self.instrument = instrument
        self.termination = NONE
        self.refusal = ""
        self._so_many = ahead

    def _request(self, count: int) -> wire.Reply:
        if self.refusal:
            return wire.Reply(1, -1, token=self.refusal, text="no")
        try:
            data, status = self.instrument.read(count, self.termination)
        except Failure as failure:
            return wire.Reply(1, TIMEOUT, token=failure.token, text=failure.text)
        more = self._so_many.pop() if self._so_many else 0
        if not more:
            return wire.Reply(1, status, data=data)
        data += self.instrument.left[:more]
        self.instrument.left = self.instrument.left[more:]
        return wire.Reply(1, VI_SUCCESS_MAX_CNT, self.termination, data)

    def set_termination(self, termination: int) -> None:
        self.termination = termination
        if self.ahead is not None:
            self.ahead.termination = termination


def results(read: Callable[[int], Any], session: Session, steps: list[tuple[int, int | None]]) -> list[Any]:
    """What each viRead gives, up to the first that fails: with that the two part, as it loses what it has read."""
    seen: list[Any] = []
    for count, termination in steps:
        if termination is not None:
            session.set_termination(termination)
        try:
            seen.append(read(count))
        except Failure as failure:
            return [*seen, failure.status]
    return seen


answers = st.lists(st.sampled_from([b"a", b"\n", b"\r", b"bc", b"x" * 9]), min_size=3, max_size=40).map(b"".join)
counts = st.integers(min_value=1, max_value=30) | st.just(1000)
terminations = st.sampled_from([None, None, None, NONE, LF, ord("\r"), ord("x"), 0])


@given(
    answer=answers,
    first=st.sampled_from([NONE, LF]),
    steps=st.lists(st.tuples(counts, terminations), min_size=5, max_size=30),
    ahead=st.lists(st.integers(min_value=0, max_value=60) | st.just(1000), min_size=1, max_size=20),
)
@settings(max_examples=500)
def test_reads_give_what_they_would_have_given_whatever_was_read_ahead(
    answer: bytes, first: int, steps: list[tuple[int, int | None]], ahead: list[int]
) -> None:
    """Any answer, counts and terminations, that change in between; enough data or not."""
    plain = Session(Instrument(answer), [])
    reading_ahead = Session(Instrument(answer), ahead)
    plain.termination = reading_ahead.termination = first
    expected = results(plain.read, plain, steps)
    assert results(reading_ahead.read, reading_ahead, steps) == expected
    assert plain.ahead is None, "the reference has read ahead itself"


@pytest.mark.parametrize(
    ("count", "termination", "expected"),
    [
        (0, NONE, (b"", VI_SUCCESS_MAX_CNT)),
        (2, NONE, (b"ab", VI_SUCCESS_MAX_CNT)),
        (3, NONE, (b"ab\n", VI_SUCCESS_MAX_CNT)),
        (2, LF, (b"ab", VI_SUCCESS_MAX_CNT)),
        (3, LF, (b"ab\n", VI_SUCCESS_TERM_CHAR)),
        (9, LF, (b"ab\n", VI_SUCCESS_TERM_CHAR)),
        (5, NONE, (b"ab\ncd", VI_SUCCESS_MAX_CNT)),
        (6, NONE, None),
        (6, ord("z"), None),
    ],
)
def test_read_ends_at_its_count_or_termination_or_goes_on(
    count: int, termination: int, expected: tuple[bytes, int] | None
) -> None:
    """None: more has to be read for it, and nothing is taken."""
    ahead = AnswerAhead(b"ab\ncd", termination)
    assert ahead.take(count) == expected
    assert ahead.rest == b"ab\ncd"[len(expected[0]) if expected else 0 :]


def test_zero_is_a_termination_character() -> None:
    """-1 is none."""
    assert AnswerAhead(b"a\0b", 0).take(9) == (b"a\0", VI_SUCCESS_TERM_CHAR)


@given(data=st.binary(min_size=1, max_size=50), taken=st.lists(st.integers(min_value=1, max_value=9), max_size=60))
def test_every_byte_is_given_once(data: bytes, taken: list[int]) -> None:
    """In its order; then nothing is left."""
    ahead = AnswerAhead(data, NONE)
    parts = [part[0] for count in taken if (part := ahead.take(count)) is not None]
    assert b"".join([*parts, ahead.rest]) == data
    assert ahead.is_used_up == (ahead.rest == b"")


def begun(left: bytes = b"fgh") -> Session:
    """A session that has read `ab`, and has `cde` of what comes."""
    session = Session(Instrument(b"abcde" + left), [3])
    assert session.read(2) == (b"ab", VI_SUCCESS_MAX_CNT)
    return session


@pytest.mark.parametrize("token", ["VI_ERROR_RSRC_LOCKED", "QUEUE_FULL", "QUEUE_TIMEOUT"])
def test_read_that_was_not_begun_has_taken_nothing(token: str) -> None:
    """Somebody else has a lock: later it goes on where it was."""
    session = begun()
    session.refusal = token
    with pytest.raises(Failure, match="no"):
        session.read(5)
    session.refusal = ""
    assert session.read(5) == (b"cdefg", VI_SUCCESS_MAX_CNT)


@pytest.mark.parametrize("token", ["VI_ERROR_TMO", "SESSION_RESET", "INSTRUMENT_CRASHED", "VI_ERROR_CONN_LOST"])
def test_nothing_of_before_is_given_after_a_read_that_failed(token: str) -> None:
    """What it has read is lost with it, as in the library; or it was of a line that is no more."""
    session = begun()
    session.refusal = token
    with pytest.raises(Failure, match="no"):
        session.read(5)
    assert session.ahead is None


@pytest.mark.parametrize(
    ("token", "is_kept"), [("VI_ERROR_RSRC_LOCKED", True), ("QUEUE_FULL", True), ("VI_ERROR_TMO", False), ("", False)]
)
def test_clear_drops_what_came_ahead_unless_it_was_not_begun(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench, token: str, is_kept: bool
) -> None:
    """One that failed may have been carried out: an old byte must not be the next answer's."""
    (opened,) = library._sessions.values()
    opened.ahead = AnswerAhead(b"old", NONE)
    bench.withhold(wire.Call)
    clearing = in_thread(resource.clear)
    wait_until(lambda: bench.withheld)
    if token:
        bench.refuse(wire.Call, token)
        with pytest.raises(pyvisa.VisaIOError):
            clearing()
    else:
        bench.release()
        clearing()
    assert (opened.ahead is not None) == is_kept


def test_clear_that_was_interrupted_drops_what_came_ahead(
    resource: MessageBasedResource, library: DaemonVisaLibrary, bench: Bench
) -> None:
    """Nobody knows how far it came."""
    (opened,) = library._sessions.values()
    opened.ahead = AnswerAhead(b"old", NONE)
    bench.withhold(wire.Call)
    with ctrl_c(lambda: bench.withheld):
        resource.clear()
    assert opened.ahead is None


def test_program_that_is_busy_with_what_it_has_says_so_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its turn would end as that of somebody idle."""
    now = 100.0
    monkeypatch.setattr(opened_module, "monotonic", lambda: now)
    session = begun()
    channel = cast(FakeChannel, session.channel)
    session.read(1)
    assert channel.sent == []
    now += SIGN_TIME + 0.1
    session.read(1)
    assert channel.sent == [wire.Reading(0, 1)]
