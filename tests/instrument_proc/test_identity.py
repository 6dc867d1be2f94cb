"""Who is there: what is taken for an instrument's name, on a stream and on a bus, and what is not."""

from contextlib import contextmanager

import pytest
from pyvisa.constants import StatusCode

from instrument_proc.failures import LOST, CallError
from instrument_proc.identity import LIMIT, identity_of
from instrument_proc.pipe import Identify

HOW = Identify(500, ord("\n"), b"\n")
NAME = b"ACME,SCOPE,1,1.0\n"
TIMEOUT = CallError(StatusCode.error_timeout, "nothing came")


class Session:
    """What a VISA session is to the question; it gives `answers`, one for each read."""

    def __init__(self, *answers, marks_end, clears=None):
        self.marks_end = marks_end
        self.answers = list(answers)
        self.done = []
        self._clears = clears

    @contextmanager
    def having(self, attributes):
        yield

    def drain(self):
        self.done.append("drain")

    def clear(self):
        self.done.append("clear")
        if self._clears is not None:
            raise self._clears

    def write(self, data):
        self.done.append(data)

    def read(self, count):
        answer = self.answers.pop(0)
        if isinstance(answer, CallError):
            raise answer
        return answer[:count], StatusCode.success_max_count_read if len(answer) >= count else StatusCode.success


def test_bus_is_cleared_and_asked_once():
    """A device clear leaves nothing of what was asked before."""
    session = Session(NAME, marks_end=True)
    assert identity_of(session, HOW) == "ACME,SCOPE,1,1.0"
    assert session.done == ["clear", b"*IDN?\n"]


def test_stream_is_drained_and_asked_twice():
    session = Session(NAME, NAME, marks_end=False)
    assert identity_of(session, HOW) == "ACME,SCOPE,1,1.0"
    assert session.done == ["drain", b"*IDN?\n", b"*IDN?\n"]


def test_bus_without_a_clear_is_asked_twice():
    """Of its library, or of the instrument itself."""
    session = Session(NAME, NAME, marks_end=True, clears=CallError(StatusCode.error_nonsupported_operation))
    assert identity_of(session, HOW) == "ACME,SCOPE,1,1.0"
    assert session.done == ["clear", b"*IDN?\n", b"*IDN?\n"]


def test_lost_connection_is_no_lack_of_a_clear():
    with pytest.raises(CallError) as raised:
        identity_of(Session(marks_end=True, clears=CallError(LOST, "gone")), HOW)
    assert raised.value.status == LOST


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ((b"1.25\n", NAME), "'1.25', and asked again by 'ACME,SCOPE,1,1.0'"),
        ((b"\n", b"\n"), "''"),
        ((b"\x1b[2J\n", b"\x1b[2J\n"), r"'\x1b[2J'"),
        ((b"A" * LIMIT + b"\n",), f"{LIMIT} bytes, and no end"),
        ((TIMEOUT,), "nothing came"),
        ((NAME, TIMEOUT), "nothing came"),
    ],
    ids=["late", "empty", "unprintable", "endless", "silent", "silent the second time"],
)
def test_what_is_no_name_is_not_taken_for_one(answers, said):
    with pytest.raises(CallError) as raised:
        identity_of(Session(*answers, marks_end=False), HOW)
    assert raised.value.text.startswith("it does not say who it is: ")
    assert said in raised.value.text
