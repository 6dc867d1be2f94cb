"""Both languages by hypothesis: what is said by their rules is understood as it was meant, and each request is answered
once, in order, whatever stands around it and however the bytes were cut.

`test_hostile_bytes` feeds the same parsers and conversations with what follows no rules.
"""

from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from front_proc.languages.text_arguments import Arguments, lock_terms
from front_proc.languages.text_commands import COMMANDS, PERSONS_NAMES, Command, Prefix, parse
from front_proc.languages.text_framing import as_block
from pyvisa_daemon import wire
from pyvisa_daemon.framing import FrameReader
from tests.faults.staged_daemon import StagedDaemon
from tests.front_proc.conftest import stage  # noqa: F401 - a fixture
from tests.front_proc.playbook import NAME
from tests.front_proc.test_front import make_front  # noqa: F401 - a fixture
from tests.pyvisa_daemon.test_wire import values

ROWS = [(prefix, row) for prefix, rows in COMMANDS.items() for row in rows.values()]
VERBS = {row.verb for _, row in ROWS}

#: What a word is, and what a message is, to the last byte.
words = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=12)
messages = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n"), min_size=1, max_size=30).filter(
    lambda text: not text.startswith("@") and not text.endswith("\r")
)
targets = st.none() | st.sampled_from([NAME, "multimeter", "Ölbad"])


def forms(short: int, long: int):
    """So many examples, and so many in the long form."""
    return pytest.mark.parametrize(
        "examples", [short, pytest.param(long, marks=[pytest.mark.full, pytest.mark.timeout(1200)])]
    )


def of(examples: int):
    """Settings of a property whose examples share a stage."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    phases = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
    return settings(max_examples=examples, deadline=None, suppress_health_check=quiet, phases=phases)


def targeted(target: str | None, message: bytes) -> bytes:
    return message if target is None else f"@{target} ".encode() + message


@st.composite
def commands(draw, rows: list[tuple[Prefix, Command]]):
    """A line by the rules of its row, and how it is meant."""
    prefix, row = draw(st.sampled_from(rows))
    kind = row.usage
    if "[@RESOURCE]" in kind:
        target, message = draw(targets), draw(messages).encode()
        if row.takes_block:
            assume(not any(mark in message for mark in (b"'", b'"', b"#")))
            message += b" " + as_block(draw(st.binary(max_size=20)))
        return prefix, row, targeted(target, message), Arguments(target=target, message=message)
    if row.read is lock_terms:
        shared, ms = draw(st.sampled_from([(), ("shared", "A")])), draw(st.sampled_from([(), ("5",), ("inf",)]))
        ttl, reason = draw(st.sampled_from([(), ("ttl", "60")])), draw(st.just("") | words)
        said = " ".join([*shared, *ms, *ttl, *(["reason", reason] if reason else [])])
        return prefix, row, said.encode(), Arguments(words=(*shared, *ms, *ttl), message=reason.encode())
    most = len(kind.split())
    least = 0 if kind.startswith("[") else min(most, 1)
    given_words = tuple(draw(st.lists(words, min_size=least, max_size=most)))
    if row.verb in ("read_resource",):
        target = given_words[0] if given_words else None
        return prefix, row, " ".join(given_words).encode(), Arguments(target=target)
    return prefix, row, " ".join(given_words).encode(), Arguments(words=given_words)


def line_of(prefix: str, verb: str, argument: bytes) -> bytes:
    return f"{prefix}{verb}".encode() + (b" " + argument if argument else b"")


@pytest.mark.fault(43)
@forms(300, 20_000)
def test_what_follows_a_rows_rules_is_read_as_it_was_meant(examples):
    """Every verb of the table; and so is what people say, in full or shortened."""

    @of(examples)
    @given(commands(ROWS), st.integers(1, 20))
    def holds(command, length):
        prefix, row, argument, meant = command
        assert parse(line_of(prefix, row.verb, argument)) == (prefix, row, meant)
        shortened = row.verb[:length]
        is_unique = sum(verb.startswith(shortened) for verb in COMMANDS[Prefix.PROGRAM]) == 1
        if prefix is Prefix.PROGRAM and is_unique and shortened not in PERSONS_NAMES:
            assert parse(line_of(Prefix.PERSON, shortened, argument)) == (Prefix.PERSON, row, meant)

    holds()


# Conversations, on a staged daemon.

#: What ends the daemon, waits longer than the test, or tells of the moment.
UNSPOKEN = {"end_daemon", "drain", "wait_srq", "await_loss", "status"}
SPOKEN = [(prefix, row) for prefix, row in ROWS if row.verb not in UNSPOKEN]
spoken = commands(SPOKEN).map(lambda command: line_of(command[0], command[1].verb, command[2]))
nearly = st.builds(
    lambda prefix, verb, argument: line_of(prefix, verb, argument.encode()),
    st.sampled_from([".#.", ".!."]),
    st.sampled_from(sorted(VERBS - UNSPOKEN - {"write_binary"})) | words.filter(lambda word: word not in UNSPOKEN),
    st.just("") | messages | st.sampled_from([NAME, f"@{NAME} *IDN?", "5", "inf", "shared A", f"{NAME} forget"]),
)
lines = st.lists(st.tuples(spoken | nearly, st.sampled_from([b"\n", b"\r\n"])), min_size=1, max_size=8)
#: Most conversations begin by opening what they then speak to.
openings = st.sampled_from([[], [(f".#.open_resource {NAME}".encode(), b"\n")]])


def replies_in(said: bytes, terminators: list[bytes]):
    """As many replies as there are terminators, each ended by its own; a block may hold anything."""
    for terminator in terminators:
        end = 0
        if said[:1] == b"#" and said[1:2].isdigit():
            digits = int(said[1:2])
            end = 2 + digits + int(said[2 : 2 + digits])
        end = said.index(b"\n", end) + 1
        reply, said = said[:end], said[end:]
        assert reply.endswith(b"\r\n") == (terminator == b"\r\n"), (reply, terminator)
        yield reply
    assert said == b"", f"more replies than requests: {said!r}"


@pytest.fixture
def fronts(stage, make_front):  # noqa: F811
    """A daemon that nobody has spoken to, each time."""
    front = partial(make_front, {"match": NAME, "name": "multimeter", "safe-state": ["OUTP OFF"]})

    def fresh():
        stage.children.clear()
        return StagedDaemon(stage, front)

    return fresh


@pytest.mark.fault(43)
@forms(60, 5_000)
def test_every_line_has_one_reply_that_ends_as_it_ended(fronts, examples):
    """In order, whatever the ones before were; and the same ones in whatever pieces the lines came."""

    @of(examples)
    @given(openings, lines, st.integers(1, 40))
    def holds(opening, further, piece):
        requests = opening + further
        data = b"".join(line + terminator for line, terminator in requests)
        said = fronts().hears(data, len(data))
        assert len(list(replies_in(said, [terminator for _, terminator in requests]))) == len(requests)
        assert fronts().hears(data, piece) == said

    holds()


#: Of the wire: requests with sessions that there may be, and waits that end within the test.
_SOON = {"session": st.integers(1, 3), "open_timeout_ms": st.integers(0, 900), "timeout_ms": st.integers(0, 900)}
_NAMES = {"resource": st.sampled_from([NAME, "multimeter", "nonsense", ""]), "count": st.integers(-1, 2000)}


def requests_of(*kinds):
    return st.one_of(
        st.builds(
            kind,
            **{
                name: (_SOON | _NAMES).get(name, values[kind.__annotations__[name]])
                for name in kind.__struct_fields__
                if name != "id"
            },
            id=st.just(0),
        )
        for kind in kinds
    )


ANSWERED = [kind for kind in wire.Request.__args__ if kind not in (wire.Part, wire.Abandon)]


@pytest.mark.fault(43)
@forms(60, 5_000)
def test_every_request_of_the_wire_has_one_reply(fronts, examples):
    """Unless it is abandoned; pieces come before their reply. Nobody is refused who keeps to the rules."""

    @of(examples)
    @given(st.lists(requests_of(*ANSWERED), max_size=10), st.sets(st.integers(2, 11), max_size=2), st.integers(1, 60))
    def holds(further, abandoned, piece):
        opened = [wire.Open(1, NAME, 0, 0)]
        numbered = [msgspec.structs.replace(request, id=number) for number, request in enumerate(further, 2)]
        sent = [wire.Hello(wire.VERSION), *opened, *numbered, *map(wire.Abandon, sorted(abandoned))]
        data = wire.MAGIC + b"".join(map(wire.encode, sent))
        welcome, *answers = map(wire.decode_answer, FrameReader().feed(fronts().hears(data, piece)))
        assert isinstance(welcome, wire.Welcome)
        ended = []
        for answer in answers:
            if isinstance(answer, wire.Piece):
                assert answer.id not in ended
            elif isinstance(answer, wire.Reply):
                ended.append(answer.id)
        assert len(ended) == len(set(ended))
        due = {request.id for request in (*opened, *numbered)}
        assert due - abandoned <= set(ended) <= due

    holds()


@pytest.mark.fault(43)
@forms(200, 5_000)
def test_stranger_in_either_language_is_told_so_and_no_more(fronts, examples):
    """What begins as neither gets one line."""

    @of(examples)
    @given(st.binary(min_size=1, max_size=60), st.integers(1, 60))
    def holds(data, piece):
        known = (wire.MAGIC, b".#.", b"...", b".!.")
        assume(not any(data.startswith(start) or start.startswith(data) for start in known))
        said = fronts().hears(data, piece)
        assert said.startswith(b".#.error BAD_PROTOCOL effect=none ")
        assert said.count(b"\n") == 1

    holds()
