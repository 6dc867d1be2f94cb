"""A PyVISA program at the other end of a wire conversation, on a stage; the connection and the front are played."""

import asyncio

from front_proc.access.rights import EVERYTHING
from front_proc.languages.wire_conversation import WireConversation
from front_proc.serving.sessions import Client
from pyvisa_daemon import wire
from pyvisa_daemon.errors import Failure
from pyvisa_daemon.framing import FrameReader
from tests.front_proc.playbook import NAME, FakeAudit


class FakeLine:
    """A connection: what was said, and whether it goes on."""

    def __init__(self):
        self._frames = FrameReader()
        self._said = []
        self._waiting = []
        self.is_over = False
        #: Does the client keep up with what is sent?
        self.is_full = False

    def send(self, data):
        self._said += map(wire.decode_answer, self._frames.feed(data))

    async def sent(self):
        pass

    def has_room(self, resume):
        if self.is_full:
            self._waiting.append(resume)
        return not self.is_full

    def close(self):
        self.is_over = True

    end = close

    def said(self):
        said, self._said = self._said, []
        return said

    def is_read(self):
        """The client has read all of it."""
        self.is_full = False
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()


class FakeFront:
    """As much of a front as the requests need; every name is the stage's resource."""

    def __init__(self, stage, spool_folder):
        self._stage = stage
        self.audit = FakeAudit()
        self.spool_folder = spool_folder
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

    async def canonical(self, name):
        if name != "scope":
            raise Failure("VI_ERROR_INV_RSRC_NAME", name)
        return NAME

    async def find(self, name):
        return "listed" if name == NAME else "unknown"

    async def list_resources(self):
        raise ZeroDivisionError("a fault of ours")

    def note_command(self, client, command, outcome, effect, seconds):
        self.noted.append((command, outcome, effect.value, seconds))

    def note_fault(self, error):
        self.faults.append(error)


class Peer:
    """A program that was made welcome and has one session, number 1, on an interface that marks the END or not."""

    def __init__(self, stage, spool_folder, *, ends=False):
        self._stage = stage
        self.line, self.front = FakeLine(), FakeFront(stage, spool_folder)
        self.client = Client("10.0.0.9:1", "wire", rights=EVERYTHING)
        self.conversation = stage.result(self._begin())
        self.sends(wire.Hello(wire.VERSION, name="x" * 1000))
        self.sends(wire.Open(1, NAME, 0, 0))
        stage.child.opens(ends)
        assert self.heard() == [wire.Reply(1, 0, [1, 2000])]

    async def _begin(self):
        return WireConversation(self.front, self.client, self.line)

    @property
    def session(self):
        """Its one session, when it has no other."""
        [session] = self.client.sessions
        return session

    def sends(self, *requests):
        self.sends_bytes(b"".join(map(wire.encode, requests)))

    def sends_bytes(self, data):
        self._stage.result(self._receive(data))
        self._stage.run()

    async def _receive(self, data):
        self.conversation.received(data)

    def heard(self):
        return [answer for answer in self.line.said() if not isinstance(answer, wire.Welcome)]

    def tokens(self):
        """Of the replies: number and token."""
        return [(reply.id, reply.token) for reply in self.heard()]

    def leaves(self):
        """The connection is gone, and the front knows it."""
        self.conversation.left()
        for session in tuple(self.client.sessions):
            session.resource.drop_session(session)
        self._stage.run()
