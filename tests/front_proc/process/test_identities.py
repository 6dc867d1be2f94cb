"""Who was first seen where: what is kept, what is refused, and that nobody is served by whom nobody has checked."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_proc.configuration.resource_settings import IdentityRule
from front_proc.daemonize import StartError
from front_proc.process.identities import Identities, how_to_identify
from front_proc.process.lifecycle import State
from instrument_proc.pipe import Identify
from tests.front_proc.playbook import NAME, Stage, effective, failure_of

ANN, BOB = "ACME,SCOPE,1,1.0", "ACME,SCOPE,2,1.0"


@pytest.fixture
def troubles():
    return []


@pytest.fixture
def identities(tmp_path, troubles):
    return Identities(tmp_path / "identities.json", troubles.append)


@pytest.fixture
def checked(stage):
    """Its one resource is checked."""
    stage.configure(identity=IdentityRule.CHECK)
    return stage


def reopened(stage, identity):
    """A new process, which has found this one."""
    stage.child.dies()
    stage.child.opens(identity=identity)


def test_first_one_is_kept_whatever_the_spelling(identities, tmp_path):
    """Over restarts, for its owner only."""
    assert identities.judge("TCPIP0::host::05025::SOCKET", ANN)
    assert identities.judge("tcpip0::host::5025::socket", ANN)
    file = tmp_path / "identities.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert not Identities(file, print).judge("TCPIP0::host::5025::SOCKET", BOB)


def test_other_one_is_refused_until_it_is_accepted(identities, tmp_path):
    """Then whoever comes next is known, and kept."""
    identities.judge(NAME, ANN)
    assert not identities.judge(NAME, BOB)
    assert identities.is_refused(NAME)
    refusal = identities.refusal(NAME)
    assert (refusal.token, refusal.effect) == ("INSTRUMENT_CHANGED", "none")
    assert ANN in refusal.text
    assert BOB in refusal.text
    assert identities.accept(NAME)
    assert not identities.is_refused(NAME)
    assert json.loads((tmp_path / "identities.json").read_text()) == {}
    assert identities.judge(NAME, BOB)
    assert identities.known(NAME) == BOB


def test_look_again_keeps_who_is_known(identities):
    """And says whether somebody was refused."""
    identities.judge(NAME, ANN)
    identities.judge(NAME, BOB)
    assert identities.look_again(NAME)
    assert not identities.look_again(NAME)
    assert identities.known(NAME) == ANN


def test_nobody_is_accepted_where_nobody_was_refused(identities):
    """What is known stays known."""
    identities.judge(NAME, ANN)
    assert not identities.accept(NAME)
    assert identities.known(NAME) == ANN


def test_file_that_cannot_be_written_is_a_trouble(tmp_path, troubles):
    """It is known for as long as the daemon runs."""
    identities = Identities(tmp_path / "gone" / "identities.json", troubles.append)
    identities.judge(NAME, ANN)
    assert not identities.judge(NAME, BOB)
    [trouble] = troubles
    assert "No such file" in trouble


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff"])
def test_file_that_cannot_be_read_ends_the_start(tmp_path, content):
    """Else every instrument would be the right one."""
    (tmp_path / "identities.json").write_bytes(content)
    with pytest.raises(StartError, match="remove it"):
        Identities(tmp_path / "identities.json", print)


def test_question_has_its_part_of_the_time_and_the_terminations():
    """On a stream without one, LF ends the answer."""
    assert how_to_identify(effective(termination=(b"\r\n", b"\r")), 15.0) == Identify(5000, 10, b"\r")
    assert how_to_identify(effective(termination=(b"", b"")), 3.0) == Identify(1000, 10, b"")


def test_resource_that_is_not_checked_is_not_asked(stage):
    """Whatever it would say."""
    stage.opened()
    assert stage.child.orders[-1].identify is None
    assert stage.resource.keeper.identity is None


def test_other_one_ends_its_process_and_is_refused(checked):
    """Nobody's command goes there: what waits fails, and what comes."""
    opening = checked.asks_to_open()
    checked.child.opens(identity=ANN)
    session = opening.result()
    reopened(checked, BOB)
    assert checked.child.is_being_killed
    waits = checked.submit(session)
    checked.child.dies()
    assert checked.state is State.CHANGED
    assert waits.said == checked.submit(session).said == "INSTRUMENT_CHANGED none"
    assert failure_of(checked.asks_to_open()) == "INSTRUMENT_CHANGED none"
    assert not checked.child.runs
    assert checked.house.audit.of("changed", identity=BOB, known=ANN)


def test_reset_opens_it_and_accepts_who_is_there(checked):
    """Whoever that is by then."""
    opening = checked.asks_to_open()
    checked.child.opens(identity=ANN)
    session = opening.result()
    reopened(checked, BOB)
    checked.child.dies()
    checked.resource.reset()
    checked.run()
    checked.child.opens(identity="ACME,SCOPE,3,1.0")
    assert checked.state is State.READY
    assert checked.resource.keeper.identity == "ACME,SCOPE,3,1.0"
    assert checked.submit(session).said == "SESSION_RESET none"


@pytest.mark.parametrize("word", ["reset", "restart"])
def test_operators_word_counts_while_the_process_is_being_killed(checked, word):
    """Else it would have to be said again."""
    opening = checked.asks_to_open()
    checked.child.opens(identity=ANN)
    opening.result()
    reopened(checked, BOB)
    getattr(checked.resource, word)()
    checked.child.dies()
    assert checked.state is State.OPENING
    checked.child.opens(identity=BOB if word == "reset" else ANN)
    assert checked.state is State.READY


def test_open_of_what_is_refused_starts_no_process(checked):
    """Closed by everybody, it is refused as before."""
    opening = checked.asks_to_open()
    checked.child.opens(identity=ANN)
    session = opening.result()
    reopened(checked, BOB)
    checked.child.dies()
    checked.resource.drop_session(session)
    checked.run()
    assert checked.state is State.CLOSED
    checked.resource = checked.new_resource()
    had = len(checked.children)
    assert failure_of(checked.asks_to_open()) == "INSTRUMENT_CHANGED none"
    assert len(checked.children) == had


_DEEDS = st.sampled_from(["dies", "swap", "back", "query", "done", "reset", "restart", "lost", "opens", "wait", "open"])


@given(st.lists(_DEEDS, max_size=60))
@settings(max_examples=150, deadline=None)
def test_no_command_goes_to_an_instrument_that_was_not_checked(deeds):
    """Whatever happens, and whatever operators say: a process that runs a command has said who is there, and that one
    was first seen, or accepted since."""
    with pytest.MonkeyPatch.context() as patch:
        stage = Stage(patch)
        stage.configure(identity=IdentityRule.CHECK)
        known, there, said = None, ANN, {}
        is_accepting = False

        def look(run):
            assert said[id(stage.child)] == known

        stage.on_run = look
        opening = stage.asks_to_open()
        stage.child.opens(identity=ANN)
        known = said[id(stage.child)] = ANN
        sessions, openings = [opening.result()], []
        for deed in deeds:
            child = stage.child
            match deed:
                case "dies" if child.is_alive:
                    child.dies()
                case "swap":
                    there = BOB
                case "back":
                    there = ANN
                case "query":
                    stage.submit(sessions[-1])
                case "done" if child.is_alive and child.is_occupied:
                    child.does()
                case "lost" if child.is_alive and child.is_occupied:
                    child.fails("VI_ERROR_CONN_LOST", dirty=True)
                case "reset":
                    is_accepting = is_accepting or stage.house.identities.is_refused(NAME)
                    stage.resource.reset()
                    stage.run()
                case "restart":
                    stage.resource.restart()
                    stage.run()
                case "opens" if child.is_alive and child.was_opened and stage.state is State.OPENING:
                    said[id(child)] = there
                    if is_accepting:
                        known, is_accepting = there, False
                    child.opens(identity=there)
                case "wait":
                    stage.pass_time(5)
                case "open":
                    openings.append(stage.asks_to_open())
            sessions += [each.result() for each in openings if each.done() and not each.exception()]
            openings = [each for each in openings if not each.done()]
        stage.close()
