"""Writes that are too long for one frame: on disk until they are whole, and nothing of them anywhere afterwards.

The connection, the front behind and the instrument's process are played; time is the test's.
"""

import gc
import os

import pytest

from front_proc.languages import wire_conversation
from front_proc.languages.wire_conversation import SESSION_LIMIT, WRITE_LIMIT
from front_proc.serving import spool as spool_module
from front_proc.serving.spool import Spool
from pyvisa_daemon import wire
from tests.front_proc.wire_peer import Peer


@pytest.fixture
def peer(stage, tmp_path):
    return Peer(stage, tmp_path)


@pytest.fixture(autouse=True)
def _nothing_is_left_open(peer):
    """Neither of what was sent nor of what was not; nor is that left to the collector of garbage."""
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()
    yield
    gc.enable()
    peer.leaves()
    assert len(os.listdir("/proc/self/fd")) == before


def test_parts_and_the_write_behind_them_are_one_message(stage, peer):
    """Written when it is whole, and not before."""
    for part in (b"DATA ", b"#15", b"hel"):
        peer.sends(wire.Part(2, part))
    assert stage.child.runs == []
    peer.sends(wire.Write(2, 1, b"lo"))
    assert stage.child.running.data == b"DATA #15hello"
    stage.child.does(value=13)
    assert peer.heard() == [wire.Reply(2, 0, 13, effect="done")]


def test_parts_of_several_writes_may_be_mixed(stage, peer):
    """Each belongs to its request."""
    peer.sends(
        wire.Part(2, b"A"), wire.Part(3, b"B"), wire.Part(2, b"a"), wire.Write(3, 1, b"b"), wire.Write(2, 1, b"!")
    )
    stage.child.does()
    stage.child.does()
    assert [run.data for run in stage.child.runs] == [b"Bb", b"Aa!"]


def test_nothing_is_kept_of_a_write_for_who_has_nothing_open(peer):
    """Who may only look could fill the disk with writes that nobody will carry out."""
    peer.sends(wire.Close(2, 1))
    before = len(os.listdir("/proc/self/fd"))
    peer.sends(wire.Part(3, b"DATA "), wire.Part(4, b"DATA "))
    assert len(os.listdir("/proc/self/fd")) == before
    peer.heard()
    peer.sends(wire.Write(3, 1, b"1\n"))
    assert peer.tokens() == [(3, "NO_RESOURCE")]


def test_other_requests_are_served_between_the_parts(stage, peer):
    """A long message on a slow line holds up nobody."""
    peer.sends(wire.Part(2, bytes(1000)), wire.Call(3, 1, "read_stb", []))
    stage.child.does(value=4)
    assert peer.tokens() == [(3, "")]


def test_long_write_that_is_abandoned_before_it_is_whole_is_not_carried_out(stage, peer):
    """Ctrl-C while it was being sent: the rest of it is on its way already."""
    peer.sends(wire.Part(2, b"VOLT "), wire.Abandon(2), wire.Part(2, b"1"), wire.Write(2, 1, b"2\n"))
    assert stage.child.runs == []
    peer.sends(wire.Write(3, 1, b"VOLT 3\n"))
    stage.child.does()
    assert [run.data for run in stage.child.runs] == [b"VOLT 3\n"]


def test_long_message_is_heard_as_it_goes_out_and_not_before(stage, peer, monkeypatch):
    """Reading all of it when its turn comes would keep every other client waiting."""
    read, given = [], []
    pieces = Spool.pieces

    def watched(spool):
        for piece in pieces(spool):
            read.append(piece)
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "pieces", watched)
        patch.setattr(stage.child, "run", lambda order, data: given.append((order, data)))
        peer.sends(wire.Part(2, b"CURV #15hello"), wire.Write(2, 1, b";A?\n"))
        [(order, message)] = given
        assert read == [], "nothing of it is read for the queue's sake"
        assert b"".join(message.pieces()) == b"CURV #15hello;A?\n"
    stage.child.run(order, b"")
    stage.child.does()
    waiting = stage.submit(stage.opened())
    assert waiting.is_open, "it asked"


def test_long_question_holds_as_any_other(stage, peer):
    """Wherever its question mark is."""
    peer.sends(wire.Part(2, b"DATA #3100" + bytes(100)), wire.Write(2, 1, b";MEAS?\n"))
    stage.child.does()
    waiting = stage.submit(stage.opened())
    peer.sends(wire.Read(3, 1, 100, after=2))
    stage.child.does(b"5.0\n")
    assert waiting.is_open
    assert stage.child.running.call == "query"


def test_long_message_is_on_record_by_its_beginning(stage, peer):
    """The record is for people."""
    peer.sends(wire.Part(2, b"DATA #7" + bytes(10_000)), wire.Write(2, 1, b"end"))
    stage.child.does()
    [record] = stage.house.audit.of("command")
    assert record["command"].startswith("write DATA #7")
    assert len(record["command"]) < 5000


# What cannot be kept.


def test_unfinished_writes_have_a_limit_all_together(stage, peer, monkeypatch):
    """However many requests they belong to; what was sent as a whole does not count any more. The write fails that
    is too much, and nothing of it is written; with that there is room for the others."""
    monkeypatch.setattr(wire_conversation, "WRITE_LIMIT", 1000)
    for number in range(2, 20):
        peer.sends(wire.Part(number, bytes(400)), wire.Write(number, 1, b"x"))
        stage.child.does()
    assert {token for _, token in peer.tokens()} == {""}
    for number in range(20, 24):
        peer.sends(wire.Part(number, bytes(400)))
    assert peer.heard() == []
    for number in range(20, 24):
        peer.sends(wire.Part(number, bytes(100)), wire.Write(number, 1, b"x"))
    while stage.service.is_busy:
        stage.child.does()
    tokens = dict(peer.tokens())
    assert tokens == {20: "VI_ERROR_ALLOC", 21: "", 22: "", 23: "VI_ERROR_ALLOC"}
    assert not peer.line.is_over
    assert all(len(run.data) == 501 for run in stage.child.runs[18:])
    assert WRITE_LIMIT == 1 << 32


def test_unfinished_writes_have_a_limit_in_number(peer):
    """Each has a file of its own: who begins more and more of them is no program of ours."""
    peer.sends(*(wire.Part(number, b"") for number in range(2, SESSION_LIMIT + 2)))
    assert not peer.line.is_over
    peer.sends(wire.Part(SESSION_LIMIT + 2, b""))
    assert peer.line.is_over
    assert peer.heard()[-1].token == "BAD_PROTOCOL"


@pytest.mark.parametrize("fails_at", ["the beginning", "a part", "the end"])
def test_write_fails_when_the_disk_is_full(stage, peer, monkeypatch, fails_at):
    """With nothing written; the log says why. The next one may find room."""
    add = Spool.add

    def full(spool, data):
        if data == b"too much":
            raise OSError(28, "No space left on device")
        add(spool, data)

    def no_file(**_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "add", full)
        if fails_at == "the beginning":
            patch.setattr(spool_module.tempfile, "TemporaryFile", no_file)
        parts = [b"1", b"too much" if fails_at == "a part" else b"2", b"3"]
        peer.sends(*(wire.Part(2, part) for part in parts))
        assert peer.heard() == []
        peer.sends(wire.Write(2, 1, b"too much" if fails_at == "the end" else b"4"))
    [reply] = peer.heard()
    assert (reply.id, reply.token, reply.effect) == (2, "VI_ERROR_ALLOC", "none")
    assert [error.errno for error in peer.front.faults] == [28]
    assert stage.child.runs == []
    peer.sends(wire.Part(3, b"V"), wire.Write(3, 1, b"OLT 1"))
    assert stage.child.running.data == b"VOLT 1"
    stage.child.does()


def test_read_behind_a_write_that_could_not_be_kept_is_not_carried_out(stage, peer, monkeypatch):
    """A posted write: it was never written."""
    monkeypatch.setattr(wire_conversation, "WRITE_LIMIT", 10)
    peer.sends(wire.Part(2, bytes(20)), wire.Part(2, b"x"), wire.Write(2, 1, b"?"), wire.Read(3, 1, 100, after=2))
    assert peer.tokens() == [(2, "VI_ERROR_ALLOC"), (3, "WRITE_FAILED")]
    assert stage.child.runs == []


# Nothing is left.


@pytest.mark.parametrize("how", ["stopping", "closed session", "refused by the instrument's state"])
def test_long_write_that_is_refused_leaves_no_file(stage, peer, how):
    """It was whole, and nobody wants it."""
    number = 1
    if how == "stopping":
        peer.front.is_stopping = True
    elif how == "closed session":
        number = 9
    else:
        for _ in range(2):
            stage.child.dies()
            if not stage.child.is_alive:
                break
            stage.child.opens()
    peer.sends(wire.Part(2, bytes(1000)), wire.Write(2, number, b"end"))
    [(_, token)] = peer.tokens()
    assert token in ("SHUTTING_DOWN", "NO_RESOURCE", "INSTRUMENT_BACKOFF")
    assert stage.child.runs == []


def test_long_write_that_is_never_finished_leaves_no_file(peer):
    """Its client is gone."""
    for number in range(2, 10):
        peer.sends(wire.Part(number, bytes(1000)))


def test_long_write_that_waits_leaves_no_file_when_its_client_is_gone(stage, peer):
    """It is not written."""
    stage.submit(stage.opened())
    peer.sends(wire.Part(2, bytes(1000)), wire.Write(2, 1, b"end"))
    peer.leaves()
    stage.child.does()
    assert len(stage.child.runs) == 1
