"""A conversation: when a request is complete, and that each has one reply which ends as it ended.

The connection below and the front behind are played; time is the test's.
"""

import asyncio

import pytest

from front_proc.access.rights import EVERYTHING
from front_proc.configuration.limits import DEFAULTS as LIMITS
from front_proc.languages.text_conversation import SILENCE, Conversation
from front_proc.serving.sessions import Client
from pyvisa_daemon.errors import Failure
from tests.front_proc.playbook import FakeAudit

LINE_TIME, READ_AHEAD = LIMITS.line_time, LIMITS.line_length + 2


class FakeLine:
    """A connection: what was sent, and whether it goes on."""

    def __init__(self):
        self.said = b""
        self.is_over = False
        self.is_paused = False
        #: Has the client read what was sent?
        self.is_read = asyncio.Event()
        self.is_read.set()

    def send(self, data):
        assert not self.is_over, "nothing is said after the end"
        self.said += data

    async def sent(self):
        await self.is_read.wait()

    def has_room(self, resume):
        return self.is_read.is_set()

    def close(self):
        self.is_over = True

    end = close

    def pause(self):
        self.is_paused = True

    def resume(self):
        self.is_paused = False


class FakeFront:
    """As much of a front as the commands need that go to no instrument."""

    def __init__(self):
        self.audit = FakeAudit()
        self.limits = LIMITS
        self.is_stopping = False
        #: Is there room for more than looking?
        self.is_full = False
        #: What was put on record without a ticket: command, outcome, effect.
        self.noted = []
        self.faults = []
        self.known = asyncio.Event()

    def may_work(self, client):
        return not self.is_full

    async def list_resources(self):
        await self.known.wait()
        return ["GPIB0::1::INSTR"]

    def open_resources(self):
        raise ZeroDivisionError("a fault of ours")

    async def canonical(self, name):
        if name != "GPIB0::1::INSTR":
            raise Failure("VI_ERROR_INV_RSRC_NAME", name)
        return name

    def note_command(self, client, command, outcome, effect, seconds):
        self.noted.append((command, outcome, effect.value))
        self.seconds = seconds

    def note_fault(self, error):
        self.faults.append(error)


class Peer:
    """Somebody at the other end."""

    def __init__(self, stage, *, is_loopback=True, front=None, rights=EVERYTHING):
        self._stage = stage
        self.line, self.front = FakeLine(), front or FakeFront()
        self.client = Client("10.0.0.9:1", "text", is_loopback=is_loopback, rights=rights)
        self.conversation = stage.result(self._begin())

    async def _begin(self):
        return Conversation(self.front, self.client, self.line)

    def sends(self, data):
        self.conversation.received(data)
        self._stage.run()
        return self.heard()

    def heard(self):
        said, self.line.said = self.line.said, b""
        return said

    def waits(self, seconds):
        self._stage.pass_time(seconds)
        return self.heard()

    def half_closes(self):
        self.conversation.at_end()
        self._stage.run()
        return self.heard()


@pytest.fixture
def peer(stage):
    return Peer(stage)


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n"])
def test_reply_ends_as_its_request_ended(peer, terminator):
    """Also an error."""
    assert peer.sends(b".#.ping" + terminator) == b"pong" + terminator
    assert peer.sends(b".#.pong" + terminator).endswith(terminator)


def test_requests_are_answered_in_their_order_one_at_a_time(peer):
    """What was sent ahead waits."""
    assert peer.sends(b".#.list_resources\n.#.ping\n.#.mode\r\n") == b""
    peer.front.known.set()
    assert peer.waits(0.1) == b'["GPIB0::1::INSTR"]\npong\nplain\r\n'


def test_bytes_far_ahead_of_the_request_under_way_stay_in_the_socket(peer):
    """Nobody's memory is filled by requests that are not answered yet."""
    peer.sends(b".#.list_resources\n")
    peer.sends(b".#.ping\n" * (READ_AHEAD // 8 + 2))
    assert peer.line.is_paused
    peer.front.known.set()
    peer.waits(0.1)
    assert not peer.line.is_paused


def test_reading_goes_on_when_few_bytes_are_left_ahead(peer):
    """Not with every reply: a client that sends faster than it is served would fill the memory all the same."""
    left_when_resumed = []
    peer.line.resume = lambda: left_when_resumed.append(len(peer.conversation._reader))
    peer.sends(b".#.list_resources\n" + b".#.ping\n" * (READ_AHEAD // 8 + 20))
    peer.front.known.set()
    assert peer.waits(1).count(b"pong\n") == READ_AHEAD // 8 + 20
    assert max(left_when_resumed) <= READ_AHEAD
    assert len(left_when_resumed) > READ_AHEAD // 8


def test_long_block_that_was_sent_ahead_is_read_to_its_end(peer):
    """The request before it is answered; nothing but the rest of the block can go on from there."""
    peer.sends(b".#.list_resources\n.#.write_binary D #6300000")
    for _ in range(3):
        peer.sends(bytes(READ_AHEAD))
    assert peer.line.is_paused
    peer.front.known.set()
    peer.waits(0.1)
    assert not peer.line.is_paused
    assert peer.sends(bytes(300_000 - 3 * READ_AHEAD) + b"\n").startswith(b".#.error NO_RESOURCE effect=none ")


def test_client_that_does_not_read_gets_no_more_replies(peer):
    """One reply at a time: what it asks for meanwhile waits."""
    peer.line.is_read.clear()
    assert peer.sends(b".#.ping\n.#.mode\n") == b"pong\n"
    assert peer.waits(100) == b""
    peer.line.is_read.set()
    assert peer.waits(0.1) == b"plain\n"


def test_empty_line_is_no_request(peer):
    """And has no reply; what follows has."""
    assert peer.sends(b"\n\r\n\n.#.ping\n\n") == b"pong\n"


def test_empty_lines_are_skipped_in_one_go(peer):
    """However many: none of them costs a turn of the loop, or a frame of the stack."""
    assert peer.sends(b"\n" * 100_000 + b".#.ping\n") == b"pong\n"


def test_empty_line_is_a_terminator(peer):
    """Whoever sends one is in lines for good."""
    peer.sends(b"\n")
    assert peer.sends(b".#.ping") == b""
    assert peer.waits(SILENCE * 10) == b""


# Without a terminator.


def test_command_without_a_terminator_is_accepted_after_a_silence(peer):
    """As the original's clients send it; its reply has none either."""
    assert peer.sends(b".#.ping") == b""
    assert peer.waits(SILENCE - 0.01) == b""
    assert peer.waits(0.02) == b"pong"
    assert peer.sends(b".#.ping") == b""
    assert peer.waits(SILENCE + 0.01) == b"pong"


def test_command_that_came_in_pieces_waits_for_its_terminator(peer):
    """The next piece may be on its way."""
    peer.sends(b".#.pi")
    assert peer.sends(b"ng") == b""
    assert peer.waits(SILENCE * 10) == b""
    assert peer.sends(b"\n") == b"pong\n"


def test_connection_that_sent_a_terminator_is_in_lines_for_good(peer):
    """Nothing is ever guessed on it again."""
    peer.sends(b".#.ping\n")
    peer.sends(b".#.ping")
    assert peer.waits(LINE_TIME - 1) == b""
    assert peer.sends(b"\n") == b"pong\n"


def test_command_without_a_terminator_waits_while_another_is_outstanding(peer):
    """Two in one piece would be one."""
    peer.sends(b".#.list_resources")
    peer.waits(SILENCE + 0.01)
    peer.sends(b".#.ping")
    peer.front.known.set()
    assert peer.waits(1) == b'["GPIB0::1::INSTR"]'


@pytest.mark.parametrize(
    "line", [b".#.nonsense", b".#.open_resource", b".#.write_binary D #11x", b".#.write_resource", b"...x"]
)
def test_incomplete_or_unknown_command_waits_for_its_terminator(peer, line):
    """Then it is a timeout, nothing was executed, and the connection is closed."""
    peer.sends(line)
    assert peer.waits(LINE_TIME - 0.1) == b""
    assert peer.waits(0.2).startswith(b".#.error LINE_TIMEOUT effect=none ")
    assert peer.line.is_over


@pytest.mark.parametrize(("is_loopback", "is_accepted"), [(True, True), (False, False)])
def test_command_that_acts_is_accepted_without_a_terminator_from_loopback_only(stage, is_loopback, is_accepted):
    """A truncated `VOLT 12` is `VOLT 1`."""
    peer = Peer(stage, is_loopback=is_loopback)
    peer.sends(b".#.write_resource VOLT 1")
    assert (peer.waits(1) != b"") == is_accepted


def test_question_is_accepted_without_a_terminator_from_anywhere(stage):
    """It does no harm."""
    peer = Peer(stage, is_loopback=False)
    peer.sends(b".#.ping")
    assert peer.waits(1) == b"pong"


def test_half_close_ends_a_command_as_a_silence_does(peer):
    """`printf .#.ping | nc -N HOST 1340`: the reply is still sent, then the connection ends."""
    peer.sends(b".#.ping")
    assert peer.half_closes() == b"pong"
    assert peer.line.is_over


def test_half_close_does_not_end_a_command_that_came_in_pieces(peer):
    """A client that was killed in mid-command has half-closed as well."""
    peer.sends(b".#.mo")
    peer.sends(b"de tagged")
    assert peer.half_closes() == b""
    assert not peer.conversation.is_tagged
    assert peer.line.is_over


def test_half_close_leaves_what_is_under_way_its_reply(peer):
    """And what was sent ahead of it."""
    peer.sends(b".#.list_resources\n.#.ping\n")
    peer.half_closes()
    peer.front.known.set()
    assert peer.waits(0.1) == b'["GPIB0::1::INSTR"]\npong\n'
    assert peer.line.is_over


# Lines that do not end.


def test_line_has_ten_seconds_from_its_beginning(peer):
    """A byte now and then does not prolong it."""
    peer.sends(b".#.ping\n")
    for _ in range(9):
        assert peer.sends(b".") == b""
        assert peer.waits(1.0) == b""
    peer.sends(b".")
    assert peer.waits(2.0).startswith(b".#.error LINE_TIMEOUT effect=none ")
    assert peer.line.is_over


def test_block_has_ten_seconds_for_every_piece(peer):
    """It may be long."""
    peer.sends(b".#.write_binary D #230")
    for _ in range(29):
        assert peer.waits(LINE_TIME - 1) == b""
        assert peer.sends(b"x") == b""
    assert peer.sends(b"x\n").startswith(b".#.error NO_RESOURCE effect=none ")


def test_every_line_has_its_time_anew(peer):
    """What one took the next does not miss."""
    for _ in range(5):
        peer.sends(b".#.p")
        assert peer.waits(LINE_TIME - 1) == b""
        assert peer.sends(b"ing\n") == b"pong\n"


def test_time_of_a_line_does_not_run_while_a_request_is_under_way(peer):
    """It is not looked at yet."""
    peer.sends(b".#.list_resources\n.#.pi")
    assert peer.waits(LINE_TIME * 3) == b""
    peer.front.known.set()
    assert peer.waits(1) == b'["GPIB0::1::INSTR"]\n'
    assert peer.sends(b"ng\n") == b"pong\n"


def test_line_that_is_too_long_ends_the_connection(peer):
    """One error line, on record; what follows is not looked at."""
    assert peer.sends(b"x" * 70_000).startswith(b".#.error LINE_TOO_LONG effect=none ")
    assert peer.line.is_over
    assert peer.sends(b"\n.#.ping\n") == b""
    assert peer.front.audit.of("rejected", outcome="LINE_TOO_LONG")


# Errors and modes.


@pytest.mark.parametrize(
    ("line", "token"),
    [
        (b".#.nonsense", b"UNKNOWN_COMMAND"),
        (b".#.ping now", b"BAD_ARGUMENT"),
        (b"\xff\xfe", b"UNKNOWN_COMMAND"),
        (b".#.query_resource *IDN?", b"NO_RESOURCE"),
        (b".#.read_resource GPIB0::1::INSTR", b"NO_RESOURCE"),
        (b".#.use nonsense", b"VI_ERROR_INV_RSRC_NAME"),
        (b".#.timeout", b"NO_RESOURCE"),
        (b".#.help nonsense", b"UNKNOWN_COMMAND"),
        (b".#.mode loud", b"BAD_ARGUMENT"),
    ],
)
def test_refused_command_is_an_error_line_on_record_and_the_connection_goes_on(peer, line, token):
    """Nothing of it was done."""
    assert peer.sends(line + b"\n").startswith(b".#.error " + token + b" effect=none ")
    assert peer.front.noted == [(line.decode("utf-8", "backslashreplace"), token.decode(), "none")]
    assert peer.sends(b".#.ping\n") == b"pong\n"


@pytest.mark.parametrize("line", [b"...list", b".#.list_resources"])
def test_command_of_interest_that_comes_to_no_instrument_is_on_record(peer, line):
    """Once, as it was typed, with how it went and how long it took."""
    peer.sends(line + b"\n")
    peer.waits(0.5)
    peer.front.known.set()
    peer.waits(0.5)
    assert peer.front.noted == [(line.decode(), "ok", "none")]
    assert peer.front.seconds == pytest.approx(0.5)


@pytest.mark.parametrize("line", [b".#.ping", b"...p", b".#.help", b".#.help ping", b".#.mode tagged", b".#.hello Ann"])
def test_command_that_only_looks_or_speaks_of_itself_is_not_on_record(peer, line):
    """Somebody may ask every second."""
    assert not peer.sends(line + b"\n").startswith(b".#.error")
    assert peer.front.noted == []


def test_look_that_failed_is_on_record(peer):
    """It was not what it seemed."""
    peer.sends(b".#.help nonsense\n")
    assert peer.front.noted == [(".#.help nonsense", "UNKNOWN_COMMAND", "none")]


def test_fault_of_our_own_costs_one_reply(peer):
    """It goes to the log; the client hears of it, and goes on."""
    assert peer.sends(b".#.list_open_resources\n").startswith(b".#.error INTERNAL_ERROR ")
    assert len(peer.front.faults) == 1
    assert peer.front.noted == [(".#.list_open_resources", "INTERNAL_ERROR", "maybe")]
    assert peer.sends(b".#.ping\n") == b"pong\n"


def test_tagged_mode_marks_every_reply(peer):
    """From its own on, until it is ended."""
    assert peer.sends(b".#.mode tagged\n") == b"ok tagged\n"
    assert peer.sends(b".#.ping\n") == b"ok pong\n"
    assert peer.sends(b".#.nonsense\n").startswith(b"err .#.error UNKNOWN_COMMAND ")
    assert peer.sends(b".#.mode plain\n") == b"plain\n"


@pytest.mark.parametrize(
    ("line", "beginning"),
    [(b".#.ping", b"pong"), (b"...sta", b".#.error INTERNAL"), (b".#.hello", b"{"), (b"...help", b"ping")],
)
def test_who_came_when_there_was_no_room_may_look(peer, line, beginning):
    """And the connection stays. (What `status` would say the front that is played here does not know.)"""
    peer.front.is_full = True
    assert peer.sends(line + b"\n").startswith(beginning)
    assert not peer.line.is_over


@pytest.mark.parametrize("line", [b".!.nonsense", b".!.restart", b".!.end_daemon now", b".#.nonsense"])
def test_who_came_when_there_was_no_room_is_told_of_mistakes(peer, line):
    """Commands for the daemon are not kept from it, and what is none does no harm."""
    peer.front.is_full = True
    assert not peer.sends(line + b"\n").startswith(b".#.error TOO_MANY_CLIENTS ")
    assert not peer.line.is_over


@pytest.mark.parametrize("line", [b".#.open_resource GPIB0::1::INSTR", b".#.list_resources", b"...list"])
def test_who_came_when_there_was_no_room_must_not_work(peer, line):
    """It is told so, and closed: others may want to look."""
    peer.front.is_full = True
    assert peer.sends(b".#.ping\n") == b"pong\n"
    assert peer.sends(line + b"\n.#.ping\n").startswith(b".#.error TOO_MANY_CLIENTS effect=none ")
    assert peer.line.is_over
    assert peer.front.audit.of("rejected", outcome="TOO_MANY_CLIENTS")


def test_daemon_that_stops_refuses_new_work(peer):
    """It still says that it lives."""
    peer.front.is_stopping = True
    assert peer.sends(b".#.open_resource GPIB0::1::INSTR\n").startswith(b".#.error SHUTTING_DOWN effect=none ")
    assert peer.sends(b".#.ping\n") == b"pong\n"


# People.


def test_people_get_readable_replies(peer):
    """Over several lines, each ended as the request was."""
    peer.front.known.set()
    assert peer.sends(b"...list\r\n") == b"GPIB0::1::INSTR\r\n"
    help_ = peer.sends(b"...help\n")
    assert help_.count(b"\n") > 15
    assert b"open_resource RESOURCE" in help_


@pytest.mark.parametrize(
    ("word", "verb"),
    [("list", b"list_resources"), ("open", b"open_resource"), ("read_resource", b"read_resource"), ("sta", b"status")],
)
@pytest.mark.parametrize("prefix", ["...", ".#."])
def test_help_explains_a_verb_however_it_is_said(peer, prefix, word, verb):
    """By its full name, a person's short one, or as much of it as is unique."""
    assert peer.sends(f"{prefix}help {word}\n".encode()).startswith(verb)


def test_bare_line_goes_to_the_current_resource_once_somebody_spoke_as_a_person(peer):
    """Not before: a program's mistake must not reach an instrument."""
    assert peer.sends(b"*IDN?\n").startswith(b".#.error UNKNOWN_COMMAND ")
    peer.sends(b"...ping\n")
    assert peer.sends(b"*IDN?\n").startswith(b".#.error NO_RESOURCE ")


def test_nothing_happens_after_the_connection_is_gone(peer):
    """What was under way is abandoned."""
    peer.sends(b".#.list_resources\n.#.ping\n")
    peer.conversation.left()
    peer.front.known.set()
    assert peer.waits(100) == b""
