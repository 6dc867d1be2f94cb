"""Tokens and roles in the wire: who is made welcome, and what it may open, see and find."""

import pytest

from front_proc.access.rights import NOTHING, Rights, Role
from front_proc.configuration.resource_table import fit
from front_proc.languages.wire_conversation import HELLO_LIMIT, ROLES, WireConversation
from front_proc.serving.sessions import Client
from pyvisa_daemon import tokens, wire
from pyvisa_daemon.framing import frame
from tests.front_proc.gate_bench import AccessBench
from tests.front_proc.playbook import NAME
from tests.front_proc.wire_peer import FakeFront, FakeLine

NPERMISSION = -1073807192


class NamingFront(FakeFront):
    """It has one resource, with an alias."""

    async def canonical(self, name):
        return NAME if name == NAME else await super().canonical(name)

    async def find(self, name):
        return await super().find(await self.canonical(name))


class Door:
    """A program that has just connected."""

    def __init__(self, stage, bench, folder, rights=NOTHING):
        self._stage = stage
        self.line, self.front = FakeLine(), NamingFront(stage, folder)
        self.front.access, self.front.audit = bench.access, bench.audit
        self.client = Client("10.0.0.9:1", "wire", rights=rights)
        self.conversation = stage.result(self._begin())

    async def _begin(self):
        return WireConversation(self.front, self.client, self.line)

    def sends(self, *requests):
        self.sends_bytes(b"".join(map(wire.encode, requests)))
        return self.line.said()

    def sends_bytes(self, data):
        async def receive():
            self.conversation.received(data)

        self._stage.result(receive())
        self._stage.run()

    def shows(self, token):
        return self.sends(wire.Hello(wire.VERSION, credentials={"token": token}))


@pytest.fixture
def bench(tmp_path):
    return AccessBench(tmp_path)


@pytest.fixture
def comes(stage, bench, tmp_path):
    return lambda rights=NOTHING: Door(stage, bench, tmp_path, rights)


def test_hello_with_a_token_is_welcome(stage, comes, bench):
    """At once, and with what is sent behind it."""
    token = bench.gives("ann", "observe")
    stage.result(bench.access.read())
    door = comes()
    hello = wire.Hello(wire.VERSION, credentials={"token": token})
    welcome, reply = door.sends(hello, wire.Find(1, NAME))
    assert isinstance(welcome, wire.Welcome)
    assert reply.value == "listed"
    assert door.client.rights.user == "ann"


def test_hello_of_a_stranger_without_one_is_refused_at_once(comes, bench):
    door = comes()
    [refused] = door.sends(wire.Hello(wire.VERSION))
    assert refused == wire.Refused("FORBIDDEN", "this daemon needs a token: .#.auth TOKEN comes first")
    assert door.line.is_over
    assert bench.audit.of("rejected", outcome="FORBIDDEN")


def test_hello_with_a_wrong_token_is_refused_late(stage, comes, bench):
    """It is on record at once, and once."""
    bench.gives()
    stage.result(bench.access.read())
    door, wrong = comes(), tokens.new_token()
    assert door.shows(wrong) == []
    assert len(bench.audit.of("rejected", outcome="AUTH_FAILED")) == 1
    stage.pass_time(0.9)
    assert door.line.said() == []
    stage.pass_time(0.2)
    [refused] = door.line.said()
    assert refused.token == "AUTH_FAILED"
    assert door.line.is_over
    assert len(bench.audit.of("rejected")) == 1
    assert wrong not in f"{bench.audit.records}"


def test_hello_with_a_token_that_was_just_made_is_welcome(stage, comes, bench):
    bench.gives()
    stage.result(bench.access.read())
    [welcome] = comes().shows(bench.gives("bob"))
    assert isinstance(welcome, wire.Welcome)


def test_one_token_is_judged_at_a_time(stage, comes, bench):
    """Who shows another before the verdict is refused, though that one were good."""
    good = bench.gives()
    stage.result(bench.access.read())
    door = comes()
    assert door.shows(tokens.new_token()) == []
    [refused] = door.shows(good)
    assert refused.token == "BAD_PROTOCOL"
    stage.pass_time(5)
    assert door.line.said() == []
    assert door.client.is_stranger


def test_who_leaves_before_the_verdict_is_forgotten(stage, comes, bench):
    """It is on record already."""
    bench.gives()
    stage.result(bench.access.read())
    door = comes()
    door.shows(tokens.new_token())
    door.conversation.left()
    stage.pass_time(5)
    assert door.line.said() == []
    assert len(bench.audit.of("rejected")) == 1


def test_hello_of_a_stranger_is_short(comes):
    """Nothing longer is kept for it."""
    door = comes()
    door.sends_bytes(frame(bytes(2 * HELLO_LIMIT))[:-1])
    [refused] = door.line.said()
    assert refused.token == "BAD_PROTOCOL"
    assert door.line.is_over


def test_observer_may_look_and_opens_nothing(comes, bench):
    """Nobody is asked to open it; the denial has a record of its own and no other."""
    door = comes(Rights("wall", Role.OBSERVE))
    _, reply = door.sends(wire.Hello(wire.VERSION), wire.Open(1, "scope", 0, 0))
    assert (reply.status, reply.token, reply.effect) == (NPERMISSION, "FORBIDDEN", "none")
    [record] = bench.audit.records
    assert (record["event"], record["user"], record["resource"]) == ("denied", "wall", NAME)
    assert record["command"] == "open scope"
    assert door.front.noted == []
    [reply] = door.sends(wire.Find(2, "scope"))
    assert reply.value == "listed"


def test_resource_that_is_barred_is_not_there(comes):
    """Neither found, nor resolved, nor opened."""
    door = comes(Rights("ann", Role.USE, ((fit(NAME, is_pattern=False), Role.NONE),)))
    door.front.find = _found
    _, found, resolved, opened = door.sends(
        wire.Hello(wire.VERSION), wire.Find(1, "scope"), wire.Resolve(2, "scope"), wire.Open(3, "scope", 0, 0)
    )
    assert found.value == "unknown"
    assert resolved.token == opened.token == "FORBIDDEN"


async def _found(_):
    return "open"


def test_every_request_that_needs_no_session_has_a_role():
    """The others could not have one without having been let open it."""
    rest = {wire.Part, wire.Abandon}
    assert {
        request for request in wire.Request.__args__ if "session" not in request.__struct_fields__
    } - rest <= ROLES.keys()
