"""The judge of the soak: it lets through what a fault explains, and nothing else."""

from types import SimpleNamespace

import pytest

from pyvisa_daemon.errors import ERRORS
from tests.faults import explained
from tests.faults.explained import LONGEST_BACKOFF, TOKENS, Account


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(explained, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def account(clock):
    """Of an instrument whose process crashed, from second 10 to 11."""
    account = Account()
    clock.now = 10.0
    fault = account.begins("crash")
    clock.now = 11.0
    account.over(fault)
    return account


def test_error_without_a_fault_is_not_explained(clock):
    """None of any kind."""
    assert not any(Account().explains(token, 0.0, 0.0) for tokens in TOKENS.values() for token in tokens)


def test_error_is_explained_by_a_fault_of_its_kind_only(account):
    """A crash is no abort, and no timeout."""
    assert account.explains("INSTRUMENT_CRASHED", 10.5, 0.0)
    assert not account.explains("COMMAND_ABORTED", 10.5, 0.0)
    assert not account.explains("VI_ERROR_TMO", 10.5, 0.0)


def test_error_that_was_told_before_the_fault_is_not_explained(clock, account):
    """It had another reason."""
    clock.now = 9.0
    assert not account.explains("INSTRUMENT_CRASHED", 8.0, 0.0)


def test_fault_explains_nothing_once_a_command_that_began_after_it_has_succeeded(clock, account):
    """But to those whose command was under way then."""
    clock.now = 13.0
    account.succeeded(12.0)
    clock.now = 20.0
    assert not account.explains("INSTRUMENT_CRASHED", 14.0, 0.0)
    assert account.explains("INSTRUMENT_CRASHED", 12.5, 0.0)


def test_success_of_a_command_that_began_during_the_fault_proves_nothing(clock, account):
    """It may have been served before."""
    clock.now = 13.0
    account.succeeded(10.5)
    clock.now = 20.0
    assert account.explains("INSTRUMENT_CRASHED", 14.0, 0.0)


def test_new_process_is_explained_to_each_session_until_its_next_command(clock, account):
    """Whenever that is."""
    clock.now = 13.0
    account.succeeded(12.0)
    clock.now = 1000.0
    assert account.explains("SESSION_RESET", 999.0, 5.0)
    assert not account.explains("SESSION_RESET", 999.0, 14.0)


def test_back_off_is_explained_for_as_long_as_it_may_last(clock, account):
    """Though an operator has had it start before that."""
    clock.now = 13.0
    account.succeeded(12.0)
    clock.now = 20.0
    assert account.explains("INSTRUMENT_BACKOFF", 13.0 + LONGEST_BACKOFF - 0.1, 0.0)
    assert not account.explains("INSTRUMENT_BACKOFF", 13.0 + LONGEST_BACKOFF + 0.1, 0.0)


def test_every_token_that_may_come_of_a_fault_is_one_of_ours():
    """A misspelt one would explain nothing."""
    assert all(tokens <= ERRORS.keys() for tokens in TOKENS.values())
