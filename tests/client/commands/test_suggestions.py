"""Did you mean ...?"""

import client
from client.commands.suggestions import closest, did_you_mean, with_suggestion
from pyvisa_daemon.errors import Failure
from tests.support.daemon import Daemon


def test_closest_ignores_case_when_comparing() -> None:
    """And gives the name as it is written."""
    assert closest("MULTIMETR", ["multimeter", "supply"]) == ["multimeter"]


def test_question_names_all_that_are_like_it() -> None:
    """None, one, or several."""
    assert did_you_mean("xyzzy", ["list"]) == ""
    assert did_you_mean("lsit", ["list", "status"]) == "did you mean list?"
    assert did_you_mean("lock", ["locks", "unlock"]) == "did you mean locks or unlock?"


def test_failure_keeps_what_it_is_when_a_name_is_suggested(daemon: Daemon) -> None:
    """Token, effect and status; the daemons' names come behind the text. Nothing is added to what is like nothing."""
    client.tryIps = ["127.0.0.1:9", daemon.address]
    failure = Failure("VI_ERROR_RSRC_NFOUND", "there is none.")
    suggested = with_suggestion(failure, "GPIB0::23::INSTR")
    assert suggested.text == "there is none; did you mean GPIB0::22::INSTR?"
    assert (suggested.token, suggested.effect, suggested.status) == (failure.token, failure.effect, failure.status)
    assert with_suggestion(failure, "zzz") is failure
