"""A conversation in the wire: requests become tickets, outcomes replies. The connection, the front behind and the
instrument's process are played; time is the test's."""

import asyncio

import pytest

from front_proc.sessions import NAME_LIMIT, Client
from front_proc.wire_conversation import STATE_LIMIT, WRITE_LIMIT, WireConversation
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.framing import FrameReader
from tests.front_proc.playbook import NAME, FakeAudit

TMO_VALUE = 0x3FFF001A


class FakeLine:
    """A connection: what was said, and whether it goes on."""

    def __init__(self):
        self._frames = FrameReader()
        self._said = []
        self.is_over = False

    def send(self, data):
        self._said += map(wire.decode_answer, self._frames.feed(data))

    async def sent(self):
        pass

    def close(self):
        self.is_over = True

    end = close

    def said(self):
        said, self._said = self._said, []
        return said


class FakeFront:
    """As much of a front as the requests need; every name is the stage's resource."""

    def __init__(self, stage):
        self._stage = stage
        self.audit = FakeAudit()
        self.is_stopping = False
        self.noted = []
        self.faults = []
        self.may_open = asyncio.Event()
        self.may_open.set()

    async def open(self, client, name):
        await self.may_open.wait()
        if name != NAME:
            raise Failure("VI_ERROR_RSRC_NFOUND")
        return await self._stage.resource.open(client)

    async def close(self, session):
        session.resource.drop_session(session)

    async def list_resources(self):
        raise ZeroDivisionError("a fault of ours")

    def note_command(self, client, command, outcome, effect, seconds):
        self.noted.append((command, outcome, effect.value, seconds))

    def note_fault(self, error):
        self.faults.append(error)


class Peer:
    """A PyVISA program at the other end, which was made welcome and has one session, number 1."""

    def __init__(self, stage):
        self._stage = stage
        self.line, self.front, self.client = FakeLine(), FakeFront(stage), Client("10.0.0.9:1", "wire")
        self.conversation = stage.result(self._begin())
        self.sends(wire.Hello(wire.VERSION, name="x" * 1000))
        self.sends(wire.Open(1, NAME, 0, 0))
        stage.child.opens()
        assert self.heard() == [wire.Reply(1, 0, 1)]

    async def _begin(self):
        return WireConversation(self.front, self.client, self.line)

    def sends(self, *requests):
        self._stage.result(self._receive(b"".join(map(wire.encode, requests))))
        self._stage.run()

    async def _receive(self, data):
        self.conversation.received(data)

    def heard(self):
        return [answer for answer in self.line.said() if not isinstance(answer, wire.Welcome)]

    def tokens(self):
        """Of the replies: number and token."""
        return [(reply.id, reply.token) for reply in self.heard()]


@pytest.fixture
def peer(stage):
    return Peer(stage)


def test_write_and_read_that_follows_it_are_one_exchange(stage, peer):
    """The write holds for as many answers as it has lines with a question."""
    peer.sends(wire.Write(2, 1, b"A?\nB\nC?\n"), wire.Read(3, 1, 100, after=2))
    ticket = stage.resource._running
    assert (ticket.call, ticket.holds, ticket.answers) == ("write", True, 2)
    stage.child.does(value=9)
    stage.child.does(b"a\n")
    assert peer.heard() == [wire.Reply(2, 0, 9, effect="done"), wire.Reply(3, 0, data=b"a\n", effect="done")]


def test_read_after_a_write_that_failed_is_not_carried_out(stage, peer):
    """It would read what is another's."""
    peer.sends(wire.Write(2, 1, b"A?"), wire.Read(3, 1, 100, after=2))
    stage.child.fails("VI_ERROR_IO", dirty=True)
    assert peer.tokens() == [(2, "VI_ERROR_IO"), (3, "WRITE_FAILED")]


@pytest.mark.parametrize("length", [STATE_LIMIT, STATE_LIMIT + 1])
def test_text_of_an_attribute_has_a_limit(stage, peer, length):
    """It would travel to every new process of the resource."""
    peer.sends(wire.SetAttribute(2, 1, TMO_VALUE, "x" * length))
    if length > STATE_LIMIT:
        assert peer.tokens() == [(2, "BAD_ARGUMENT")]
        assert stage.child.runs == []
    else:
        assert stage.child.running.arguments == [TMO_VALUE, "x" * length]


def test_attribute_is_on_record_with_its_number_and_state(stage, peer):
    """What was set is what somebody will look for."""
    peer.sends(wire.SetAttribute(2, 1, TMO_VALUE, 5000))
    stage.child.does()
    assert stage.house.audit.of("command", command=f"set_attribute {TMO_VALUE} 5000")


def test_name_of_a_program_has_a_limit(peer):
    """Every record has it."""
    assert peer.client.name == "x" * NAME_LIMIT


def test_unfinished_writes_have_a_limit_all_together(peer, monkeypatch):
    """However many requests they belong to; what was sent as a whole does not count any more."""
    monkeypatch.setattr("front_proc.wire_conversation.WRITE_LIMIT", 1000)
    for number in range(2, 20):
        peer.sends(wire.Part(number, bytes(400)), wire.Write(number, 1, b"x"))
    assert not peer.line.is_over
    for number in range(20, 23):
        peer.sends(wire.Part(number, bytes(400)))
    assert peer.line.is_over
    assert peer.heard()[-1].token == "BAD_ARGUMENT"
    assert WRITE_LIMIT == 1 << 28


@pytest.mark.parametrize(
    "request_",
    [
        wire.Write(2, 1, b"VOLT 1"),
        wire.Read(2, 1, 100),
        wire.Clear(2, 1),
        wire.ReadStb(2, 1),
        wire.Open(2, NAME, 0, 0),
        wire.ListResources(2),
        wire.Find(2, NAME),
    ],
    ids=lambda request: type(request).__name__,
)
def test_daemon_that_stops_refuses_new_work(stage, peer, request_):
    """Nothing of it was done."""
    peer.front.is_stopping = True
    peer.sends(request_)
    [reply] = peer.heard()
    assert (reply.id, reply.token, reply.effect) == (2, "SHUTTING_DOWN", "none")
    assert stage.child.runs == []


def test_request_that_came_to_no_instrument_is_on_record_when_it_failed(stage, peer):
    """With what was asked and how long it took."""
    peer.front.may_open.clear()
    peer.sends(wire.Open(2, "nonsense", 0, 0))
    stage.pass_time(0.5)
    peer.front.may_open.set()
    stage.run()
    [(command, outcome, effect, seconds)] = peer.front.noted
    assert (command, outcome, effect) == ("open nonsense", "VI_ERROR_RSRC_NFOUND", "none")
    assert seconds == pytest.approx(0.5)


def test_fault_of_our_own_costs_one_reply(stage, peer):
    """It goes to the log and on record; the client hears of it, and goes on."""
    peer.sends(wire.ListResources(2), wire.ReadStb(3, 1))
    stage.child.does(value=4)
    assert peer.tokens() == [(2, "INTERNAL_ERROR"), (3, "")]
    assert len(peer.front.faults) == 1
    assert [noted[:3] for noted in peer.front.noted] == [("listresources", "INTERNAL_ERROR", "maybe")]


def test_nothing_of_a_closed_session_is_remembered(stage, peer):
    """Neither it nor the write that a read might have followed."""
    peer.sends(wire.Write(2, 1, b"A?"))
    stage.child.does(value=2)
    peer.sends(wire.Close(3, 1))
    peer.sends(wire.Read(4, 1, 100, after=2))
    assert peer.tokens() == [(2, ""), (3, ""), (4, "NO_RESOURCE")]
    assert peer.conversation._posted == {}
    assert peer.conversation._sessions == {}
