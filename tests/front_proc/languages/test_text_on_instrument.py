"""The text protocol with an instrument behind it: locks, requests for service, answers that are read ahead.

The connection, the front behind and the instrument's process are played; time is the test's.
"""

import pytest

from front_proc.serving.events import MAV, RQS
from front_proc.serving.locks import LockKind
from front_proc.serving.sessions import VI_ATTR_TERMCHAR, VI_ATTR_TERMCHAR_EN, VI_ATTR_TMO_VALUE, VI_TMO_INFINITE
from pyvisa_daemon.errors import Effect
from tests.front_proc.languages.test_text_conversation import FakeFront, Peer
from tests.front_proc.playbook import NAME, TIMEOUT

INTERVAL = 0.1


class OpeningFront(FakeFront):
    """Every name is the stage's resource."""

    def __init__(self, stage):
        super().__init__()
        self._stage = stage

    async def canonical(self, name):
        return NAME

    async def open(self, client, name):
        return await self._stage.resource.open(client)

    async def close(self, session):
        session.resource.drop_session(session)


class Instrumented(Peer):
    """Somebody who has the resource open."""

    def __init__(self, stage, *, ends=True):
        super().__init__(stage, front=OpeningFront(stage))
        self.sends(f".#.open_resource {NAME}\n".encode())
        if not stage.child.runs and not stage.resource.sessions:
            stage.child.opens(ends)
        [self.session] = self.client.sessions
        assert self.heard() in (b"", NAME.encode() + b"\n")

    def leaves(self):
        self.conversation.left()
        for session in tuple(self.client.sessions):
            session.resource.drop_session(session)
        self._stage.run()


@pytest.fixture
def ann(stage):
    return Instrumented(stage)


@pytest.fixture
def bob(stage, ann):
    return Instrumented(stage)


def error_of(reply):
    """TOKEN and effect of an error line."""
    prefix, token, effect, *_ = reply.split(b" ")
    assert prefix == b".#.error"
    return f"{token.decode()} {effect.decode().removeprefix('effect=')}"


# What the settings say.


def test_termination_of_the_settings_is_the_one_a_connection_begins_with(stage):
    """It is appended, it ends reads, and it is stripped; until the client changes it for itself."""
    stage.configure(termination=(b"\r", b"!\r"))
    ann = Instrumented(stage, ends=False)
    assert ann.sends(b".#.termination\n") == b"\\r !\\r\n"
    ann.sends(b".#.query_resource MEAS?\n")
    assert stage.child.running.data == b"MEAS?!\r"
    assert dict(stage.child.running.attributes) == {VI_ATTR_TERMCHAR: 13, VI_ATTR_TERMCHAR_EN: True}
    stage.child.does(b"5.0\r")
    assert ann.heard() == b"5.0\n"


def test_timeout_of_the_settings_is_the_one_a_connection_begins_with(stage):
    """Until it sets its own."""
    stage.configure(timeout=VI_TMO_INFINITE)
    ann = Instrumented(stage)
    assert ann.sends(b".#.timeout\n") == b"inf\n"
    assert ann.sends(b".#.timeout 100\n") == b"100\n"


# Locks.


def test_lock_keeps_others_out_until_it_is_given_back(stage, ann, bob):
    """They are told who has it."""
    assert ann.sends(b".#.lock\n") == b"ok\n"
    reply = bob.sends(b".#.query_resource *IDN?\n")
    assert error_of(reply) == "VI_ERROR_RSRC_LOCKED none"
    assert b"is locked by 10.0.0.9:1" in reply
    ann.sends(b".#.query_resource *IDN?\n")
    stage.child.does(b"me\n")
    assert ann.heard() == b"me\n"
    assert ann.sends(b".#.unlock\n") == b"ok\n"
    bob.sends(b".#.query_resource *IDN?\n")
    stage.child.does(b"me\n")
    assert bob.heard() == b"me\n"


def test_shared_lock_has_the_key_that_was_asked_for(stage, ann, bob):
    """Whoever presents it shares."""
    assert ann.sends(b".#.lock shared ours\n") == b"ours\n"
    assert bob.sends(b".#.lock shared ours 0\n") == b"ours\n"
    assert error_of(bob.sends(b".#.lock shared theirs 0\n")) == "VI_ERROR_INV_ACCESS_KEY none"
    stranger = Instrumented(stage)
    assert error_of(stranger.sends(b".#.lock 0\n")) == "VI_ERROR_RSRC_LOCKED none"


@pytest.mark.parametrize(("words", "limit"), [(b"", TIMEOUT), (b" 500", 0.5), (b" shared x 30000", 30.0)])
def test_lock_is_waited_for_as_long_as_was_said(stage, ann, bob, words, limit):
    """By default as long as the timeout is; the next request waits for its reply."""
    ann.sends(b".#.lock\n")
    assert bob.sends(b".#.lock" + words + b"\n.#.ping\n") == b""
    assert bob.waits(limit - 0.1) == b""
    reply, pong = bob.waits(0.2).splitlines()
    assert error_of(reply) == "VI_ERROR_TMO none"
    assert pong == b"pong"


def test_lock_may_be_waited_for_for_ever(stage, ann, bob):
    """`inf`, or an infinite timeout; it comes when it is given back."""
    ann.sends(b".#.lock\n")
    third = Instrumented(stage)
    third.sends(b".#.timeout inf\n")
    bob.sends(b".#.lock inf\n")
    third.sends(b".#.lock\n")
    assert bob.waits(100_000) == b""
    ann.sends(b".#.unlock\n")
    assert bob.waits(0) == b"ok\n"
    bob.sends(b".#.unlock\n")
    assert third.waits(0) == b"ok\n"


@pytest.mark.parametrize("line", [b"lock shared", b"lock never", b"lock 1 2", b"lock shared x y", b"lock -1"])
def test_lock_that_makes_no_sense_is_refused(stage, ann, line):
    """And locks nothing."""
    assert error_of(ann.sends(b".#." + line + b"\n")) == "BAD_ARGUMENT none"
    assert stage.service.locks.describe() is None


def test_unlock_without_a_lock_is_refused(ann):
    """VISA's own status; without a resource there is nothing to unlock."""
    assert error_of(ann.sends(b".#.unlock\n")) == "VI_ERROR_SESN_NLOCKED none"
    ann.sends(b".#.close_resource\n")
    for line in (b".#.unlock\n", b".#.lock\n", b".#.wait_srq 1\n"):
        assert error_of(ann.sends(line)) == "NO_RESOURCE none"


@pytest.mark.parametrize("how", ["leaves", "closes"])
def test_lock_ends_with_its_session(stage, ann, bob, how):
    """A client that is gone keeps nobody out."""
    ann.sends(b".#.lock\n")
    bob.sends(b".#.lock inf\n")
    if how == "leaves":
        ann.leaves()
    else:
        ann.sends(b".#.close_resource\n")
    assert bob.waits(0) == b"ok\n"


def test_client_that_leaves_while_it_waits_never_has_the_lock(stage, ann, bob):
    """And nobody waits for it."""
    ann.sends(b".#.lock\n")
    bob.sends(b".#.lock inf\n")
    bob.leaves()
    ann.sends(b".#.unlock\n")
    assert stage.service.locks.describe() is None
    assert stage.submit(stage.opened()).is_open


def test_locks_are_on_record_once(stage, ann, bob):
    """By the lock itself, and not again as commands that came to no instrument."""
    ann.sends(b".#.lock\n.#.unlock\n")
    bob.sends(b".#.unlock\n")
    commands = [record["command"] for record in stage.house.audit.of("command")]
    assert commands == ["lock 1", "unlock", "unlock"]
    assert ann.front.noted == bob.front.noted == []


def test_lock_of_another_language_counts_as_well(stage, ann):
    """There is one lock for all."""
    session = stage.opened()
    stage.result(stage.resource.lock(session, LockKind.EXCLUSIVE, None, 0.0))
    assert error_of(ann.sends(b".#.write_resource VOLT 1\n")) == "VI_ERROR_RSRC_LOCKED none"


# Requests for service.


def looks(stage, stb=0):
    """The child answers what it is asked for the status byte just now; it has RQS once."""
    while stage.service.is_busy and stage.child.running.call in ("read_stb", "poll"):
        stage.child.does(value=stb)
        stb &= ~RQS


def waiting_for_request(stage, peer, line=b".#.wait_srq 5000\n"):
    """Its wait has begun, and the resource is polled for it."""
    peer.sends(line)
    stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
    looks(stage)


def test_wait_ends_with_the_status_byte_that_has_the_request(stage, ann):
    """In decimal, as `stb` gives it."""
    waiting_for_request(stage, ann)
    assert ann.waits(INTERVAL) == b""
    looks(stage)
    ann.waits(INTERVAL)
    looks(stage, RQS | MAV)
    looks(stage, MAV)
    assert ann.heard() == b"80\n"


def test_request_that_the_library_tells_ends_the_wait(stage, ann):
    """There is nothing to poll then."""
    ann.sends(b".#.wait_srq 5000\n")
    stage.child.does()
    stage.child.happens(0x3FFF200B)
    assert stage.child.running.call == "read_stb"
    stage.child.does(value=RQS)
    assert ann.heard() == b"64\n"


def test_wait_ends_after_its_time(stage, ann):
    """Then the next request is served."""
    ann.sends(b".#.wait_srq 5000\n.#.ping\n")
    stage.child.does()
    assert ann.waits(4.9) == b""
    reply, pong = ann.waits(0.2).splitlines()
    assert error_of(reply) == "VI_ERROR_TMO none"
    assert pong == b"pong"


def test_wait_may_last_for_ever(stage, ann):
    """`inf`."""
    ann.sends(b".#.wait_srq inf\n")
    stage.child.does()
    assert ann.waits(100_000) == b""
    stage.child.happens(0x3FFF200B)
    stage.child.does(value=RQS)
    assert ann.heard() == b"64\n"


@pytest.mark.parametrize("limit", [b"0", b"5000"])
def test_request_between_two_waits_is_found_by_the_second(stage, ann, limit):
    """At once, also by one that does not wait: what has happened is there to be seen."""
    ann.sends(b".#.wait_srq 1\n")
    stage.child.does()
    assert error_of(ann.waits(0.1)) == "VI_ERROR_TMO none"
    stage.child.happens(0x3FFF200B)
    ann.sends(b".#.wait_srq " + limit + b"\n")
    stage.child.does(value=RQS)
    assert ann.heard() == b"64\n"


def test_request_that_was_seen_ends_no_wait(stage, ann):
    """The client has read it out of the status byte by itself."""
    ann.sends(b".#.wait_srq 1\n")
    stage.child.does()
    ann.waits(0.1)
    stage.child.happens(0x3FFF200B)
    ann.sends(b".#.stb\n")
    stage.child.does(value=RQS)
    assert ann.heard() == b"64\n"
    ann.sends(b".#.wait_srq 1000\n")
    stage.child.does(value=0)
    assert error_of(ann.waits(1.1)) == "VI_ERROR_TMO none"


def test_each_client_sees_the_request(stage, ann, bob):
    """Whoever reads the status byte takes it from nobody."""
    for peer in (ann, bob):
        peer.sends(b".#.wait_srq 5000\n")
        if stage.service.is_busy:
            stage.child.does()
    stage.child.happens(0x3FFF200B)
    stage.child.does(value=RQS)
    stage.child.does(value=0)
    assert ann.heard() == bob.heard() == b"64\n"


def test_status_byte_that_cannot_be_read_ends_the_wait_and_loses_no_request(stage, ann):
    """The next one finds it."""
    ann.sends(b".#.wait_srq 5000\n")
    stage.child.does()
    stage.child.happens(0x3FFF200B)
    stage.child.fails("VI_ERROR_TMO")
    assert error_of(ann.heard()) == "VI_ERROR_TMO done"
    ann.sends(b".#.wait_srq 5000\n")
    stage.child.does(value=RQS)
    assert ann.heard() == b"64\n"


def test_wait_is_refused_where_there_are_no_requests(stage):
    """Each time: a second one does not wait for what can never come."""
    ann = Instrumented(stage, ends=False)
    for _ in range(2):
        ann.sends(b".#.wait_srq 1000\n")
        stage.child.fails("VI_ERROR_NSUP_OPER", Effect.NONE)
        assert error_of(ann.heard()) == "VI_ERROR_INV_EVENT none"


@pytest.mark.parametrize("word", [b"soon", b"-1", b"1.5"])
def test_wait_without_a_time_is_refused(ann, word):
    """Nothing is waited for."""
    assert error_of(ann.sends(b".#.wait_srq " + word + b"\n")) == "BAD_ARGUMENT none"


def test_nothing_is_polled_for_a_client_that_is_gone(stage, ann):
    """Nor for one that closed its session."""
    waiting_for_request(stage, ann)
    ann.leaves()
    runs = len(stage.child.runs)
    stage.pass_time(10)
    assert len(stage.child.runs) == runs


# Answers that are read ahead.


def test_answer_that_was_read_ahead_is_read_as_any_other(stage, ann, bob):
    """Without its termination, and without the instrument."""
    ann.sends(b".#.write_resource MEAS?\n")
    stage.child.does(value=6)
    assert ann.heard() == b"6\n"
    bob.sends(b".#.query_resource *IDN?\n")
    bob.waits(TIMEOUT + 0.1)
    assert stage.child.running.call == "read_ahead"
    stage.child.does(b"5.0\n")
    stage.child.does(b"me\n")
    assert bob.heard() == b"me\n"
    ann.sends(b".#.stb\n")
    stage.child.does(value=0)
    assert ann.heard() == b"%d\n" % MAV
    assert ann.sends(b".#.read_resource\n") == b"5.0\n"


def test_answer_is_read_ahead_on_a_stream_by_the_termination_of_its_client(stage):
    """LF, as a text connection has it from the beginning."""
    ann, bob = Instrumented(stage, ends=False), Instrumented(stage)
    ann.sends(b".#.write_resource MEAS?\n")
    stage.child.does(value=6)
    bob.sends(b".#.query_resource *IDN?\n")
    bob.waits(TIMEOUT + 0.1)
    assert stage.child.running.call == "read_ahead"
    stage.child.does(b"5.0\n", status=0x3FFF0005)
    assert stage.child.running.call == "query"
    assert ann.heard() == b"6\n"
    assert ann.sends(b".#.read_resource\n") == b"5.0\n"


def test_timeout_that_a_client_sets_counts_for_its_next_command(stage, ann):
    """It needs no word with the instrument."""
    ann.sends(b".#.timeout 100\n")
    assert stage.child.runs == []
    ann.sends(b".#.query_resource MEAS?\n")
    assert (VI_ATTR_TMO_VALUE, 100) in stage.child.running.attributes
