"""Tokens and roles in the text protocol: what a client hears, and what of it is on record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.access.rights import EVERYTHING, NOTHING, Rights, Role
from front_proc.configuration.resource_table import fit
from front_proc.languages.text_access import on_record
from front_proc.languages.text_commands import COMMANDS, PERSONS_NAMES, Prefix
from front_proc.languages.text_conversation import STRANGER_REQUESTS
from tests.front_proc.gate_bench import AccessBench
from tests.front_proc.languages.test_text_conversation import FakeFront, Peer

TOKEN = "pvd_" + "Ab1_-" * 8 + "xyz"
NAME = "GPIB0::1::INSTR"
FIRST = b".#.error FORBIDDEN effect=none this daemon needs a token: .#.auth TOKEN comes first\n"

OBSERVER, USER = (Rights(role.word, role) for role in (Role.OBSERVE, Role.USE))
LIMITED = Rights("limited", Role.OBSERVE, ((fit(NAME, is_pattern=False), Role.ADMIN),))
BARRED = Rights("barred", Role.USE, ((fit(NAME, is_pattern=False), Role.NONE),))

ALL = [(prefix, verb) for prefix, rows in COMMANDS.items() for verb in rows]


@pytest.fixture
def bench(tmp_path):
    return AccessBench(tmp_path)


@pytest.fixture
def comes(stage, bench):
    """Somebody with these rights, whose front has the bench's tokens."""

    def come(rights=NOTHING):
        front = FakeFront()
        front.access, front.audit = bench.access, bench.audit
        return Peer(stage, is_loopback=False, front=front, rights=rights)

    return come


def arguments(row):
    """Something that the verb accepts."""
    words = row.usage.replace("RESOURCE", NAME).replace("[@", "@").split()
    return " ".join(word.strip("[]") for word in words).replace("#<n><len><bytes>", "#11x")


def asks(peer, prefix, verb):
    row = COMMANDS[prefix][verb]
    return peer.sends(f"{prefix}{row.verb} {arguments(row)}".rstrip().encode() + b"\n")


@pytest.mark.parametrize(("prefix", "verb"), [(prefix, verb) for prefix, verb in ALL if verb != "auth"])
def test_stranger_may_say_nothing_but_its_token(comes, bench, prefix, verb):
    """Whatever it says is refused with a hint and recorded, nothing is looked up, and the connection stays."""
    peer = comes()
    if verb not in ("mode", "lock", "kick", "confirm"):  # their usage is no example
        assert asks(peer, prefix, verb) == FIRST
    assert peer.sends(b".#.ping\n") == FIRST
    assert {record["command"][:3] for record in bench.audit.of("denied")} <= {".#.", ".!."}
    assert peer.front.noted == []


@pytest.mark.parametrize(
    ("rights", "refused"),
    [
        (EVERYTHING, set()),
        (USER, {"reset", "restart", "unlock", "safe", "kick", "end_daemon", "drain"}),
        (OBSERVER, {verb for _, verb in ALL if COMMANDS[_][verb].least_role > Role.OBSERVE}),
        (LIMITED, {"kick", "end_daemon", "drain"}),
        (
            BARRED,
            {"open_resource", "use", "reset", "abort", "restart", "unlock", "safe", "kick", "end_daemon", "drain"},
        ),
    ],
    ids=["admin", "user", "observer", "admin of one", "barred from one"],
)
def test_role_decides_what_is_refused(comes, bench, rights, refused):
    """All rows of the table, on one resource: FORBIDDEN, or anything else that the played front makes of it."""
    said = {
        (prefix, verb): asks(comes(rights), prefix, verb)
        for prefix, verb in ALL
        if verb not in ("auth", "list_resources", "mode", "lock")
    }
    assert {verb for (_, verb), reply in said.items() if b" FORBIDDEN effect=none " in reply} == refused - {"lock"}
    assert {record["user"] for record in bench.audit.of("denied")} <= {rights.user}


def test_denial_says_who_and_what_and_is_one_record(comes, bench):
    peer = comes(OBSERVER)
    reply = peer.sends(f".#.open_resource {NAME}\n".encode())
    assert reply == b".#.error FORBIDDEN effect=none that takes the role use; observe has observe\n"
    [record] = bench.audit.records
    assert record == {
        "event": "denied",
        "client": "10.0.0.9:1",
        "name": "",
        "user": "observe",
        "resource": None,
        "command": f".#.open_resource {NAME}",
    }
    reply = comes(BARRED).sends(f".#.open_resource {NAME}\n".encode())
    assert reply == b".#.error FORBIDDEN effect=none that takes the role use there; barred has none\n"
    assert bench.audit.records[-1]["resource"] == NAME


def test_auth_says_who_one_is_and_opens_the_door(stage, comes, bench):
    """Its record has no token."""
    token = bench.gives("ann", "observe")
    stage.result(bench.access.read())
    peer = comes()
    assert peer.sends(f".#.auth {token}\n".encode()) == b"ok ann observe\n"
    assert peer.sends(b".#.ping\n") == b"pong\n"
    assert peer.front.noted == [(".#.auth", "ok", "none")]
    assert peer.sends(f"...auth {token}\r\n".encode()) == b"ok ann observe\r\n"


def test_wrong_token_ends_the_connection_late(stage, comes, bench):
    """Whatever was sent behind it is not looked at; the reply is marked and ends as any other."""
    good = bench.gives()
    stage.result(bench.access.read())
    peer = comes()
    assert peer.sends(f".#.auth {TOKEN}\r\n.#.auth {good}\r\n".encode()) == b""
    assert peer.waits(0.9) == b""
    assert peer.waits(0.2).startswith(b".#.error AUTH_FAILED effect=none ")
    assert peer.line.is_over
    assert peer.client.is_stranger
    assert peer.front.noted == []
    assert bench.audit.of("rejected", outcome="AUTH_FAILED")


def test_auth_is_refused_while_something_is_open(stage, comes, bench):
    """What was opened with other rights would outlive them."""
    token = bench.gives("ann", "observe")
    stage.result(bench.access.read())
    peer = comes(USER)
    session = stage.opened(peer.client)
    assert peer.sends(f".#.auth {token}\n".encode()).startswith(b".#.error FORBIDDEN effect=none auth comes before ")
    assert peer.client.rights == USER
    session.resource.drop_session(session)
    assert peer.sends(f".#.auth {token}\n".encode()) == b"ok ann observe\n"


def test_stranger_that_goes_on_without_its_token_is_closed(comes, bench):
    """After ten requests: who may do nothing must not fill the audit log."""
    peer = comes()
    said = peer.sends(b".#.ping\n.#.nonsense\n" * 20) + peer.waits(1)
    assert said.count(b"\n") == STRANGER_REQUESTS
    assert peer.line.is_over
    assert len(bench.audit.of("denied")) + len(peer.front.noted) == STRANGER_REQUESTS


def test_stranger_can_have_no_block_kept(comes):
    """A line is all that is kept of one who may do nothing: 64 KiB, not 64 MiB."""
    peer = comes()
    assert peer.sends(b".#.write_binary X #9060000000" + bytes(1 << 17)).startswith(b".#.error LINE_TOO_LONG ")
    assert peer.line.is_over


# What is on record of an auth.


@pytest.mark.parametrize(
    "line",
    [
        f".#.auth {TOKEN}",
        f".#.auth {TOKEN} {TOKEN}",
        f".#.auth  {TOKEN}",
        f".#.auth\t{TOKEN}",
        f".#.AUTH {TOKEN}",
        f".#. auth {TOKEN}",
        f".#.auth{TOKEN}",
        f".#.auth={TOKEN}",
        f".!.auth {TOKEN}",
        f"...auth {TOKEN}",
        f"...au {TOKEN}",
        f"...a {TOKEN}",
        f".#.auth @scope {TOKEN}",
    ],
)
def test_record_of_an_auth_has_no_token_whatever_is_wrong_with_it(comes, bench, line):
    """Neither where it is carried out nor where it is refused, by a stranger or by who may do all."""
    for rights in (NOTHING, EVERYTHING):
        peer = comes(rights)
        peer.sends(line.encode() + b"\n")
        peer.waits(2)
        assert TOKEN not in f"{peer.front.noted} {bench.audit.records} {peer.front.faults}"
    assert on_record(line.encode()) == f"{line[:3]}auth"


@given(
    st.sampled_from([".#.", "...", ".!."]),
    st.text(" \t\u3000", max_size=3),
    st.sampled_from(["auth", "Auth", "AUTH"]),
    st.text(st.characters(exclude_characters="\n\r"), max_size=5),
)
def test_nothing_behind_an_auth_is_on_record(prefix, blanks, verb, between):
    line = f"{prefix}{blanks}{verb}{between}{TOKEN}"
    assert TOKEN not in on_record(line.encode())


@pytest.mark.parametrize("verb", [verb for _, verb in ALL if verb != "auth"] + list(PERSONS_NAMES))
def test_record_of_anything_else_is_whole(verb):
    assert on_record(f"...{verb} a b".encode()) == f"...{verb} a b"
    assert on_record(b".#.query_resource auth 1") == ".#.query_resource auth 1"
    assert on_record(b".#.") == ".#."


def test_every_row_has_a_role():
    """Behind `.!.` it is admin's unless the row says otherwise."""
    assert {verb for verb, row in COMMANDS[Prefix.DAEMON].items() if row.least_role < Role.ADMIN} <= {"status"}
    assert [verb for _, verb in ALL if COMMANDS[_][verb].least_role is Role.NONE] == ["auth"]
