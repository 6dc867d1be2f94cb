"""Answers and blocks of more than a piece in the text protocol: whole and right, and nobody else waits for them.

The connection, the front behind and the instrument's process are played; time is the test's.
"""

import errno
import gc
import sys

import pytest

from front_proc.languages import text_long_messages, text_verbs
from front_proc.serving.spool import Spool
from pyvisa_daemon.errors import Effect
from pyvisa_daemon.framing import PIECE_SIZE, pieces
from tests.front_proc.languages.test_text_conversation import FakeLine
from tests.front_proc.languages.test_text_on_instrument import Instrumented, error_of
from tests.front_proc.playbook import NAME, TIMEOUT

#: An answer as a process gives it: the first piece shorter, the last with its outcome.
PIECES = [bytes([number]) * (1 << 16 if number == 0 else PIECE_SIZE) for number in range(10)]
LAST = b"the end"
CONTENT = b"".join(PIECES) + LAST
BLOCK = b"#7%d" % len(CONTENT) + CONTENT

#: More than a piece in a line, with a character that two pieces share.
LINE = ("°C;" * PIECE_SIZE).encode()

#: The content of a block that is long.
LONG = bytes(range(256)) * (PIECE_SIZE // 128)


class StrictLine(FakeLine):
    """A connection that takes at most a piece at a time and, from a client that `reads_slowly`, one with each read."""

    def __init__(self):
        super().__init__()
        self.reads_slowly = False

    def send(self, data):
        assert self.is_read.is_set(), "more than the client reads"
        assert 0 < len(data) <= PIECE_SIZE + 100
        super().send(data)
        if self.reads_slowly:
            self.is_read.clear()


class Reader(Instrumented):
    """Somebody who has the resource open, and reads at one pace or the other."""

    def __init__(self, stage, folder):
        super().__init__(stage)
        self.front.spool_folder = folder
        self.line = self.conversation._line = StrictLine()

    def asks(self, data):
        """All that comes when this is sent."""
        return self.sends(data) + self.reads()

    def reads(self, turns=100):
        """What comes in so many reads, or until no more comes."""
        said = self.heard()
        for _ in range(turns):
            self.line.is_read.set()
            self._stage.run()
            more = self.heard()
            if not more:
                break
            said += more
        return said


@pytest.fixture
def ann(stage, tmp_path):
    return Reader(stage, tmp_path)


@pytest.fixture
def bob(stage, ann, tmp_path):
    return Reader(stage, tmp_path)


def gives(stage, early=PIECES, last=LAST):
    """The process answers."""
    stage.child.starts()
    for piece in early:
        stage.child.gives(piece)
    stage.child.does(last)


# Long answers.


@pytest.mark.parametrize("reads_slowly", [False, True], ids=["quick", "slow"])
@pytest.mark.parametrize("mode", [b"plain", b"tagged"])
@pytest.mark.parametrize("terminator", [b"\n", b"\r\n"])
@pytest.mark.parametrize("target", [b"", b"@elsewhere "])
def test_long_block_arrives_whole(stage, ann, reads_slowly, mode, terminator, target):
    """However its client reads, marks its replies, ends its lines and names the resource."""
    ann.sends(b".#.mode " + mode + b"\n")
    ann.reads()
    ann.line.reads_slowly = reads_slowly
    ann.sends(b".#.query_binary " + target + b"CURV?" + terminator)
    gives(stage)
    assert ann.reads() == (b"ok " if mode == b"tagged" else b"") + BLOCK + terminator


@pytest.mark.parametrize("termination", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("end", [1, 2, 3])
@pytest.mark.parametrize("size", [PIECE_SIZE, 99_991])
def test_long_line_is_a_line(stage, ann, termination, end, size):
    """Without its termination, also where that is cut in two, and with characters that are."""
    typed = termination.decode().encode("unicode_escape").decode() or "none"
    ann.sends(f".#.termination {typed}\n.#.query_resource CURV?\n".encode())
    ann.reads()
    message = LINE + termination
    early = message[:-end]
    gives(stage, [early[start : start + size] for start in range(0, len(early), size)], message[-end:])
    assert ann.reads() == LINE + b"\n"


@pytest.mark.parametrize("call", [b"query_resource CURV?", b"read_resource"])
@pytest.mark.parametrize("bad", [b"\n", b"\xff"])
def test_long_answer_that_a_line_cannot_carry_is_a_block(stage, ann, call, bad):
    """As a short one is."""
    ann.sends(b".#." + call + b"\n")
    content = LINE + bad + b"x"
    gives(stage, list(pieces(content)), b"\n")
    assert ann.reads() == b"#7%d" % len(content) + content + b"\n"


def test_long_answer_that_came_at_once_goes_in_pieces(stage, ann, bob):
    """It was read ahead."""
    ann.sends(b".#.write_resource CURV?\n")
    stage.child.does(value=6)
    ann.reads()
    bob.sends(b".#.query_resource *IDN?\n")
    bob.waits(TIMEOUT + 0.1)
    assert stage.child.running.call == "read_ahead"
    gives(stage, PIECES, b"")
    stage.child.does(b"me\n")
    content = b"".join(PIECES)
    assert ann.asks(b".#.read_resource\n") == content + b"\n"


def test_others_have_turns_while_a_long_answer_goes_out(stage, ann, bob):
    """Though its client reads as fast as it can."""
    ann.sends(b".#.query_binary CURV?\n")
    gives(stage, PIECES * 3)
    assert bob.sends(b".#.ping\n") == b"pong\n"
    begun = ann.heard()
    content = b"".join(PIECES * 3) + LAST
    assert 0 < len(begun) < len(content) / 2
    assert begun + ann.reads() == b"#7%d" % len(content) + content + b"\n"


def test_fault_in_a_long_answer_ends_the_connection(stage, ann, bob, monkeypatch):
    """Half a reply is out, and none can follow it: better no connection than one that never says anything again."""

    def spoiled(*_):
        yield b"#7"
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(text_verbs, "long_block", spoiled)
    ann.sends(b".#.query_binary CURV?\n")
    gives(stage, PIECES)
    ann.reads()
    assert ann.line.is_over
    assert len(ann.front.faults) == 1
    assert bob.sends(b".#.ping\n") == b"pong\n"


@pytest.mark.parametrize("reads_slowly", [False, True])
def test_request_behind_a_long_answer_waits_its_turn(stage, ann, reads_slowly):
    """One reply at a time."""
    ann.line.reads_slowly = reads_slowly
    ann.sends(b".#.query_binary CURV?\n.#.ping\r\n.#.query_binary CURV?\n")
    gives(stage)
    assert len(stage.child.runs) == 1
    assert ann.reads() == BLOCK + b"\npong\r\n"
    gives(stage)
    assert ann.reads() == BLOCK + b"\n"


def test_long_answer_to_who_ended_its_sending_side_is_sent_to_its_end(stage, ann):
    """Then the connection is closed, and not before."""
    ann.line.reads_slowly = True
    ann.sends(b".#.query_binary CURV?\n")
    gives(stage)
    begun = ann.half_closes()
    assert not ann.line.is_over
    assert begun + ann.reads() == BLOCK + b"\n"
    assert ann.line.is_over


@pytest.mark.parametrize("target", [b"", b"@elsewhere "])
def test_failure_after_pieces_is_one_error_line(stage, ann, target):
    """And nothing of the answer."""
    ann.sends(b".#.query_binary " + target + b"CURV?\n")
    stage.child.starts()
    for piece in PIECES:
        stage.child.gives(piece)
    assert ann.heard() == b""
    stage.child.fails("VI_ERROR_TMO", Effect.DONE)
    reply = ann.reads()
    assert error_of(reply) == "VI_ERROR_TMO done"
    assert reply.count(b"\n") == 1
    assert reply.endswith(b"\n")
    assert ann.sends(b".#.ping\n") == b"pong\n"


@pytest.fixture
def no_garbage():
    """What nobody refers to is gone at once, or not at all."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_client_that_leaves_in_the_middle_of_a_long_answer_gets_no_more(stage, ann, no_garbage):
    """Nor is any of it kept."""
    piece = bytes(PIECE_SIZE)
    references = sys.getrefcount(piece)
    ann.line.reads_slowly = True
    ann.sends(b".#.query_binary CURV?\n.#.ping\n")
    gives(stage, [*PIECES, piece])
    assert ann.reads(3)
    assert sys.getrefcount(piece) > references
    ann.leaves()
    assert ann.reads() == b""
    assert sys.getrefcount(piece) == references


def test_client_that_left_before_the_end_of_a_long_answer_gets_nothing(stage, ann):
    """The instrument goes on to its end."""
    ann.sends(b".#.query_binary CURV?\n")
    stage.child.starts()
    stage.child.gives(PIECES[1])
    ann.leaves()
    gives(stage)
    assert ann.reads() == b""


@pytest.mark.parametrize("is_too_long", [False, True])
@pytest.mark.parametrize("size", [30, PIECE_SIZE])
def test_answer_is_as_long_as_a_block_at_most(stage, ann, monkeypatch, size, is_too_long):
    """What is more is not kept: the front's memory is everybody's. The command was carried out."""
    monkeypatch.setattr(text_long_messages, "BLOCK_LIMIT", 3 * size + 10)
    ann.sends(b".#.query_binary CURV?\n")
    gives(stage, [b"x" * size] * 3, b"x" * 11 if is_too_long else b"x" * 10)
    reply = ann.reads()
    if is_too_long:
        assert error_of(reply) == "VI_ERROR_ALLOC done"
    else:
        length = b"%d" % (3 * size + 10)
        assert reply == b"#%d" % len(length) + length + b"x" * int(length) + b"\n"


def test_too_long_an_answer_is_dropped_before_its_end(monkeypatch):
    """Nobody knows when that comes."""
    monkeypatch.setattr(text_long_messages, "BLOCK_LIMIT", 100)
    answer = text_long_messages.Answer()
    for _ in range(4):
        answer.add(b"x" * 30)
    assert not answer.pieces


def test_number_of_bytes_written_is_all_of_its_reply(stage, ann):
    """Whatever else the process gives."""
    ann.sends(b".#.write_resource VOLT 1\n")
    stage.child.starts()
    for piece in PIECES:
        stage.child.gives(piece)
    stage.child.does(value=7)
    assert ann.reads() == b"7\n"


# Long blocks on their way to an instrument.


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n"])
@pytest.mark.parametrize("target", [b"", b"@elsewhere "])
def test_long_block_is_written_as_it_stands(stage, ann, terminator, target):
    """Behind its command, before the write termination; what was sent behind it is answered after it."""
    block = b"#6%d" % len(LONG) + LONG
    ann.sends(b".#.write_binary " + target + b'DATA "#12",' + block + terminator + b".#.ping\n")
    ann.reads()
    assert stage.child.running.call == "write"
    assert stage.child.running.data == b'DATA "#12",' + block + b"\n"
    stage.child.does(value=len(stage.child.running.data))
    assert ann.reads() == b"%d" % len(stage.child.running.data) + terminator + b"pong\n"


def test_others_have_turns_while_a_long_block_is_kept(stage, ann, bob):
    """Nothing is done with all of it at once."""
    content = LONG * 30
    ann.sends(b".#.write_binary DATA #8%08d" % len(content) + content + b"\n")
    assert bob.sends(b".#.ping\n") == b"pong\n"
    assert not stage.child.runs
    stage.pass_time(1)
    stage.child.does(value=len(stage.child.running.data))
    assert ann.reads() == b"%d\n" % (len(b"DATA #800000000\n") + len(content))


@pytest.mark.parametrize("head", [b"", b"@elsewhere "])
def test_long_block_without_a_command_is_refused(ann, head):
    """As a short one is."""
    assert error_of(ann.asks(b".#.write_binary " + head + b"#6%d" % len(LONG) + LONG + b"\n")) == "BAD_ARGUMENT none"


def test_long_block_is_refused_to_who_came_when_there_was_no_room(ann):
    """It must not write."""
    ann.front.is_full = True
    assert error_of(ann.asks(b".#.write_binary DATA #6%d" % len(LONG) + LONG + b"\n")) == "TOO_MANY_CLIENTS none"
    assert ann.line.is_over


def test_long_block_that_the_disk_has_no_room_for_is_not_written(stage, ann, monkeypatch):
    """Not a byte of it."""

    def add(self, data):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(Spool, "add", add)
    assert error_of(ann.asks(b".#.write_binary DATA #6%d" % len(LONG) + LONG + b"\n")) == "VI_ERROR_ALLOC none"
    assert len(ann.front.faults) == 1
    assert not stage.child.runs


def test_long_block_of_a_client_that_leaves_is_not_written(stage, ann):
    """Nothing of it, and no more of it is kept."""
    content = LONG * 30
    ann.sends(b".#.write_binary DATA #8%08d" % len(content) + content + b"\n")
    block = ann.conversation._request.block
    assert block
    ann.leaves()
    stage.pass_time(1)
    assert not stage.child.runs
    assert not block


def test_resource_that_is_not_open_gets_no_long_block(stage, ann):
    """`NO_RESOURCE`, and the connection goes on."""
    ann.sends(b".#.close_resource " + NAME.encode() + b"\n")
    ann.reads()
    assert error_of(ann.asks(b".#.write_binary DATA #6%d" % len(LONG) + LONG + b"\n")) == "NO_RESOURCE none"
    assert ann.sends(b".#.ping\n") == b"pong\n"
