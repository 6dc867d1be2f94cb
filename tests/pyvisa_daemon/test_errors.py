"""The error table against PyVISA's own numbers."""

import pytest
from pyvisa import constants

from pyvisa_daemon import errors
from pyvisa_daemon.errors import ERRORS, Failure, remedy_of
from pyvisa_daemon.remedies import REMEDIES

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


def test_remedy_is_one_sentence_when_shown() -> None:
    """Every error says what to do next, on one line of a terminal or two, and the table has no row for what is none."""
    assert REMEDIES.keys() == ERRORS.keys()
    for token, kind in ERRORS.items():
        assert kind.remedy[0].isupper(), token
        assert kind.remedy.endswith("."), token
        assert ". " not in kind.remedy, token
        assert len(kind.remedy) <= 150, token
        assert remedy_of(token) == kind.remedy


def test_remedy_names_the_code_when_a_library_gives_one_of_its_own() -> None:
    """A VISA library may give any completion code; nobody is left without a word."""
    assert "VI_ERROR_LINE_IN_USE" in remedy_of("VI_ERROR_LINE_IN_USE")


def test_not_found_names_visas_two_statuses_when_compared() -> None:
    """A daemon says in these two ways that it has no such instrument."""
    assert {constants.VI_ERROR_RSRC_NFOUND, constants.VI_ERROR_INV_RSRC_NAME} == errors.NOT_FOUND
