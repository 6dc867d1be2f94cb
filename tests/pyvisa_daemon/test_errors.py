"""The error table against PyVISA's own numbers."""

import pytest
from pyvisa import constants

from pyvisa_daemon import errors
from pyvisa_daemon.errors import ERRORS, Failure

visa_tokens = [token for token in ERRORS if token.startswith("VI_")]


@pytest.mark.parametrize("token", visa_tokens)
def test_visa_status_is_pyvisas_when_named_alike(token: str) -> None:
    """The table repeats VISA's numbers, since the front has no PyVISA: here they are compared."""
    assert ERRORS[token].status == getattr(constants, token)


@pytest.mark.parametrize("token", ERRORS)
def test_every_error_has_a_status_of_visa_when_raised(token: str) -> None:
    """A PyVISA program gets a StatusCode that it knows for each of the daemon's own errors."""
    failure = Failure(token)
    assert constants.StatusCode(failure.status) < 0
    assert failure.text == ERRORS[token].meaning


def test_not_found_names_visas_two_statuses_when_compared() -> None:
    """A daemon says in these two ways that it has no such instrument."""
    assert {constants.VI_ERROR_RSRC_NFOUND, constants.VI_ERROR_INV_RSRC_NAME} == errors.NOT_FOUND
