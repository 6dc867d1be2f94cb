"""Cutting a call short from another thread: which call it is, and what that one is then told.

First with threads of the test's own, then a real child whose simulated instrument never answers.
"""

import multiprocessing
import threading

import pytest
from pyvisa.constants import StatusCode

from instrument_proc import pipe
from instrument_proc.aborter import Aborter
from instrument_proc.failures import AbortedError, CallError
from instrument_proc.signs import Step
from pyvisa_daemon.errors import Effect
from tests.instrument_proc.conftest import IDN, TIMEOUT_VALUE
from tests.instrument_proc.spawned import error_of
from tests.support.waiting import DEADLINE

ENDED = CallError(StatusCode.error_abort)


class Device:
    """What an aborter clears, and the front's end of its pipe."""

    def __init__(self) -> None:
        orders, self._front = multiprocessing.Pipe(duplex=False)
        self.aborter = Aborter(orders)
        self._threads = set(threading.enumerate())
        self.aborter.start(self._clear)
        self.cleared = threading.Semaphore(0)
        self.clears = 0
        self.failure: CallError | None = None
        #: A clear lasts until this is set.
        self.may_be_cleared = threading.Event()
        self.may_be_cleared.set()

    def _clear(self) -> None:
        self.clears += 1
        self.cleared.release()
        assert self.may_be_cleared.wait(DEADLINE)
        if self.failure is not None:
            raise self.failure

    def abort(self, ticket: int) -> None:
        self._front.send_bytes(pipe.encode(pipe.Abort(ticket)))

    def is_cleared(self) -> bool:
        return self.cleared.acquire(timeout=DEADLINE)

    def hang_up(self) -> None:
        """The front is gone."""
        self._front.close()
        for thread in set(threading.enumerate()) - self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


@pytest.fixture
def device():
    device = Device()
    yield device
    device.hang_up()


def call(device, ticket, *aborts, is_cut=True):
    """A call that waits until it is cut short by these aborts; then its library says that it ended. Or else it does so
    for a reason of its own."""
    with device.aborter.may_abort(ticket):
        for abort in aborts:
            device.abort(abort)
        assert not is_cut or device.is_cleared()
        raise ENDED


def test_abort_clears_the_device_and_the_call_is_told(device):
    """Whatever its library says of its end."""
    with pytest.raises(AbortedError) as raised:
        call(device, 7, 7)
    assert raised.value.token == "VI_ERROR_ABORT"
    assert raised.value.__cause__ is ENDED
    assert device.clears == 1


def test_abort_of_another_call_clears_nothing(device):
    """It crossed the end of the one that it was for."""
    with pytest.raises(AbortedError):
        call(device, 7, 6, 8, 7)
    assert device.clears == 1


def test_abort_that_comes_after_the_end_clears_nothing(device):
    """Neither between two calls nor in the next one, which fails for a reason of its own."""
    with device.aborter.may_abort(7):
        pass
    device.abort(7)
    with pytest.raises(CallError) as raised:
        call(device, 8, 7, is_cut=False)
    assert raised.value is ENDED
    with pytest.raises(AbortedError):
        call(device, 9, 9)  # the aborts before it have been read by then
    assert device.clears == 1


def test_clear_that_fails_aborts_nothing(device):
    """The call goes on to whatever end it has, and the front has another way."""
    device.failure = CallError(StatusCode.error_nonsupported_operation)
    with pytest.raises(CallError) as raised:
        call(device, 7, 7)
    assert raised.value is ENDED
    device.failure = None
    with pytest.raises(AbortedError):
        call(device, 8, 8)


def test_clear_of_one_call_is_not_the_next_ones(device):
    """A timeout is one again."""
    with pytest.raises(AbortedError):
        call(device, 7, 7)
    with pytest.raises(CallError) as raised:
        call(device, 8, is_cut=False)
    assert raised.value is ENDED


def test_call_that_succeeds_in_the_moment_of_its_abort_succeeds(device):
    """Its answer was read before the device was cleared."""
    with device.aborter.may_abort(7):
        device.abort(7)
        assert device.is_cleared()


@pytest.mark.parametrize("is_over", ["well", "badly"])
def test_call_does_not_end_while_its_device_is_being_cleared(device, is_over):
    """Or the clear would reach into the next one."""
    device.may_be_cleared.clear()
    ended = threading.Event()

    def run():
        try:
            with device.aborter.may_abort(7):
                device.abort(7)
                assert device.is_cleared()
                if is_over == "badly":
                    raise ENDED
        except AbortedError:
            pass
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert not ended.wait(0.1)
    device.may_be_cleared.set()
    assert ended.wait(DEADLINE)
    thread.join(DEADLINE)


# A real child.


@pytest.fixture
def waiting(child_factory, simulation):
    """A child on a simulated instrument, and the ticket of a query that waits for an answer for a minute."""
    child = child_factory(simulation)
    assert child.open("GPIB0::8::INSTR", [(TIMEOUT_VALUE, 60_000)]).can_abort
    ticket = child.begin("query", data=b"SET\n")
    child.wait_until(Step.WRITTEN, ticket)
    assert not child.has_said_something(0.1)
    return child, ticket


def test_abort_ends_a_query_that_waits_and_the_session_works_on(waiting):
    """The question was executed, and no answer to it is left."""
    child, ticket = waiting
    child.abort(ticket)
    ended = child.report()
    assert (ended.ticket, ended.token) == (ticket, "VI_ERROR_ABORT")
    assert (ended.effect, ended.dirty) == (Effect.DONE, False)
    assert child.run("query", data=b"*IDN?\n").data == IDN


def test_abort_of_another_ticket_lets_a_query_wait(waiting):
    """One that ended long ago, and one that is not begun."""
    child, ticket = waiting
    child.abort(ticket - 1)
    child.abort(ticket + 1)
    assert not child.has_said_something(0.3)
    child.abort(ticket)
    assert child.report().token == "VI_ERROR_ABORT"


def test_timeout_after_an_abort_is_a_timeout(waiting):
    """Of what was aborted nothing is left."""
    child, ticket = waiting
    child.abort(ticket)
    child.report()
    child.abort(ticket)
    answer = child.run("read_message", attributes=[(TIMEOUT_VALUE, 100)])
    assert error_of(answer)[0] == "VI_ERROR_TMO"


def test_line_without_a_device_clear_cannot_abort(child_factory, simulation):
    """Emptying its buffers does not stop what the instrument is about: its answer would come all the same."""
    opened = child_factory(simulation).open("ASRL1::INSTR")
    assert (opened.status, opened.can_abort) == (0, False)


def test_library_that_cannot_clear_while_it_waits_says_so(child_factory, instrument):
    """In pyvisa-py both threads would read from the same connection; the front has another way."""
    opened = child_factory("@py").open(instrument.resource)
    assert (opened.status, opened.can_abort) == (0, False)
