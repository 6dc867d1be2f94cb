"""The table of commands: what is understood, what is refused and how, and that the reference page says the same."""

import ast
import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front_proc.languages.text_arguments import Arguments, message
from front_proc.languages.text_commands import COMMANDS, PERSONS_NAMES, Prefix, find, parse, takes_block
from front_proc.languages.text_conversation import error_line
from front_proc.languages.text_verbs import milliseconds
from front_proc.serving.tickets import described, printable
from pyvisa_daemon.errors import ERRORS, Effect, Failure
from tests.support.daemon import ROOT

PROGRAM, DAEMON = COMMANDS[Prefix.PROGRAM], COMMANDS[Prefix.DAEMON]
ORIGINAL = [
    "ping",
    "list_resources",
    "list_open_resources",
    "open_resource",
    "query_resource",
    "write_resource",
    "read_resource",
]
LATER = [
    *["hello", "help", "use", "close_resource", "query_binary", "write_binary", "timeout", "termination"],
    *["stb", "clear", "trigger", "status", "reset", "mode", "lock", "unlock", "wait_srq", "await_loss", "confirm"],
]


def failure_of(line):
    with pytest.raises(Failure) as raised:
        parse(line)
    assert raised.value.effect is Effect.NONE
    return raised.value


@pytest.mark.parametrize("verb", ORIGINAL + LATER)
def test_programs_have_command(verb):
    """The original seven and those that came with the daemon."""
    assert find(Prefix.PROGRAM, verb).verb == verb


@pytest.mark.parametrize("verb", ["end_daemon", "status", "restart", "unlock", "kick"])
def test_daemon_has_command(verb):
    """Stop, look, restart."""
    assert find(Prefix.DAEMON, verb).verb == verb


# What is understood.


@pytest.mark.parametrize(
    ("line", "verb", "arguments"),
    [
        (b".#.ping", "ping", Arguments()),
        (b".#.ping ", "ping", Arguments()),
        (b".#.open_resource GPIB0::1::INSTR", "open_resource", Arguments(words=("GPIB0::1::INSTR",))),
        (b".#.query_resource *IDN?", "query_resource", Arguments(message=b"*IDN?")),
        (b".#.query_resource  *IDN? ", "query_resource", Arguments(message=b" *IDN? ")),
        (
            b".#.write_resource @A::1::INSTR VOLT 5",
            "write_resource",
            Arguments(target="A::1::INSTR", message=b"VOLT 5"),
        ),
        (b".#.write_resource VOLT @1", "write_resource", Arguments(message=b"VOLT @1")),
        (b".#.write_resource TEXT \xc3\xa9", "write_resource", Arguments(message=b"TEXT \xc3\xa9")),
        (b".#.write_binary D #15\0\n\xff##", "write_binary", Arguments(message=b"D #15\0\n\xff##")),
        (b".#.write_binary @A D #11x", "write_binary", Arguments(target="A", message=b"D #11x")),
        (b".#.termination \\n none", "termination", Arguments(words=("\\n", "none"))),
        (b".#.lock", "lock", Arguments()),
        (b".#.lock 5000", "lock", Arguments(words=("5000",))),
        (b".#.lock shared ours 5000", "lock", Arguments(words=("shared", "ours", "5000"))),
        (b".#.lock ttl 2.5", "lock", Arguments(words=("ttl", "2.5"))),
        (
            b".#.lock shared reason 0 ttl 60 reason for  ttl 5",
            "lock",
            Arguments(words=("shared", "reason", "0", "ttl", "60"), message=b"for  ttl 5"),
        ),
        (b".#.lock shared ttl reason", "lock", Arguments(words=("shared", "ttl"))),
        (b".#.lock shared shared reason x", "lock", Arguments(words=("shared", "shared"), message=b"x")),
        (b".#.lock reason \xc3\xa9", "lock", Arguments(message=b"\xc3\xa9")),
        (b".!.unlock GPIB0::1::INSTR", "unlock", Arguments(words=("GPIB0::1::INSTR",))),
        (b".!.kick anna all", "kick", Arguments(words=("anna", "all"))),
        (b".#.unlock", "unlock", Arguments()),
        (b".#.wait_srq inf", "wait_srq", Arguments(words=("inf",))),
        (b".!.end_daemon", "end_daemon", Arguments()),
        (b"...query *IDN?", "query_resource", Arguments(message=b"*IDN?")),
        (b"...sta", "status", Arguments()),
    ],
)
def test_line_is_understood(line, verb, arguments):
    """A command's message is taken to its last byte; words are separated by blanks."""
    _, row, read = parse(line)
    assert (row.verb, read) == (verb, arguments)


@pytest.mark.parametrize(("name", "verb"), PERSONS_NAMES.items())
def test_short_name_for_people_is_complete(name, verb):
    """Though longer verbs begin with it as well."""
    assert find(Prefix.PERSON, name).verb == verb


@pytest.mark.parametrize("verb", sorted(PROGRAM))
def test_people_may_shorten_any_verb_as_long_as_it_is_unique(verb):
    """Every beginning means this verb, or is a name of its own, or may mean several."""
    for length in range(1, len(verb) + 1):
        short = verb[:length]
        meant = [other for other in PROGRAM if other.startswith(short)]
        if short in PERSONS_NAMES or short in PROGRAM or len(meant) == 1:
            expected = PERSONS_NAMES.get(short, short if short in PROGRAM else meant[0])
            assert find(Prefix.PERSON, short).verb == expected
        else:
            with pytest.raises(Failure, match="may mean") as raised:
                find(Prefix.PERSON, short)
            assert all(other in raised.value.text for other in meant)


@pytest.mark.parametrize("short", ["pin", "sta", "list", "open"])
def test_programs_may_not_shorten(short):
    """What is unique today need not be tomorrow."""
    with pytest.raises(Failure) as raised:
        find(Prefix.PROGRAM, short)
    assert raised.value.token == "UNKNOWN_COMMAND"


# What is refused.


@pytest.mark.parametrize(
    "line",
    [b".#.", b".#.nonsense", b".#. ping", b".#.PING", b"...", b"...xyz", b".!.ping", b".!.", b"*IDN?", b"", b".#"],
)
def test_unknown_verb_is_refused(line):
    """And nothing else is tried."""
    assert failure_of(line).token == "UNKNOWN_COMMAND"


@pytest.mark.parametrize(
    "line",
    [
        b".#.ping now",
        b".#.open_resource",
        b".#.open_resource A B",
        b".#.query_resource",
        b".#.query_resource ",
        b".#.query_resource @A",
        b".#.query_resource @A ",
        b".#.query_resource @ *IDN?",
        b".#.write_resource \xff",
        b".#.write_resource a\0b",
        b".#.open_resource A\0B",
        b".#.\xff\xfe",
        b".#.use",
        b".#.termination a b c",
        b".#.lock shared",
        b".#.lock shared a b c",
        b".#.lock 1 2",
        b".#.lock ttl",
        b".#.lock ttl soon",
        b".#.lock ttl 0",
        b".#.lock ttl nan",
        b".#.lock ttl 5 100",
        b".#.lock ttl reason why",
        b".!.kick",
        b".!.kick a all b",
        b".!.unlock",
        b".#.unlock now",
        b".#.wait_srq",
        b".#.wait_srq 1 2",
        b".#.write_binary",
        b".#.write_binary DATA",
        b".#.write_binary #11x",
        b".#.write_binary \xff #11x",
        b".!.restart",
        b".!.end_daemon now",
    ],
)
def test_wrong_arguments_are_refused(line):
    """Missing, too many, not text."""
    assert failure_of(line).token == "BAD_ARGUMENT"


@pytest.mark.parametrize("line", [b".#.write_binary D #9abc", b".#.write_binary D #2"])
def test_block_without_a_sound_header_is_refused(line):
    """Half a block is not sent to any instrument."""
    assert failure_of(line).token == "BAD_ARGUMENT"


@pytest.mark.parametrize("verb", sorted(PROGRAM))
def test_wrong_number_of_arguments_says_the_usage(verb):
    """With the prefix that was used."""
    row = PROGRAM[verb]
    with pytest.raises(Failure) as raised:
        row.read(
            f".#.{row.syntax}", b"" if row.read is message or row.takes_block or row.usage == "RESOURCE" else b"a b c d"
        )
    assert f".#.{row.syntax}" in raised.value.text


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_failure(line):
    """Whatever somebody sends."""
    for prefix in Prefix:
        takes_block(prefix.encode() + line)
        with contextlib.suppress(Failure):
            parse(prefix.encode() + line)


@pytest.mark.parametrize(("word", "timeout_ms"), [("0", 0), ("2000", 2000), ("inf", 0xFFFFFFFF), ("INF", 0xFFFFFFFF)])
def test_timeout_is_a_number_ofmilliseconds(word, timeout_ms):
    """Or infinite."""
    assert milliseconds(word) == timeout_ms


@pytest.mark.parametrize("word", ["-1", "1.5", "1e3", "4294967295", "9" * 5000, "²", "x", "nan", "0x10"])
def test_timeout_that_is_no_number_is_refused(word):
    """However long it is."""
    with pytest.raises(Failure) as raised:
        milliseconds(word)
    assert raised.value.token == "BAD_ARGUMENT"


@pytest.mark.parametrize("row", [row for rows in COMMANDS.values() for row in rows.values()], ids=lambda row: row.verb)
def test_command_that_sends_to_an_instrument_is_known_to_act(row):
    """Without a terminator it is accepted from loopback only: half of it may be another command."""
    assert row.acts == ("COMMAND" in row.usage or row.verb in ("clear", "trigger", "reset", "abort"))
    assert row.takes_block == (row.verb == "write_binary")


@pytest.mark.parametrize("line", [b".#.write_binary ", b".#.write_binary", b"...write_b D"])
def test_block_is_expected_behind_its_verb(line):
    """Abbreviated or not."""
    assert takes_block(line)


@pytest.mark.parametrize(
    "line", [b"", b".", b".#.", b".#.write_resource x", b"\xff\xfe\xfd", b".#.\xff", b"...write x"]
)
def test_block_is_expected_nowhere_else(line):
    """Nor in half a line."""
    assert not takes_block(line)


# What is said.


@given(st.sampled_from(sorted(ERRORS)), st.text(), st.sampled_from(Effect))
def test_error_is_one_line_of_known_form(token, text, effect):
    """`.#.error TOKEN effect=... TEXT`, whatever a library had to say."""
    line = error_line(Failure(token, text, effect))
    assert re.match(rb"\.#\.error [A-Z_]+ effect=(none|maybe|done) ", line + b" ")
    assert b"\n" not in line
    assert b"\r" not in line


@given(st.binary(max_size=3000))
def test_command_is_recorded_as_bounded_text(data):
    """Bytes that are none are escaped."""
    said = described("write", data)
    assert said.startswith("write")
    assert len(printable(data)) <= 4 * 1024 + len(" ... (3000 bytes)")
    said.encode("utf-8")


def test_command_that_is_cut_says_so():
    """Behind blanks that fill what is recorded may stand anything."""
    assert printable(b"A" * 1024) == "A" * 1024
    assert printable(b" " * 1024 + b"*RST\n") == " " * 1024 + " ... (1029 bytes)"
    assert described("write", b" " * 1024, size=1029) == "write ... (1029 bytes)"


# The page and the table.


def rows_under(heading):
    """The first cells of the table under a heading of the page: what stands between backquotes."""
    page = (ROOT / "docs" / "reference" / "text-protocol.md").read_text()
    section = page.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    cells = re.findall(r"^\| `(.+?)` \|", section.split("\n### ", 1)[0], re.MULTILINE)
    return [cell.replace("\\|", "|") for cell in cells]


@pytest.mark.parametrize(
    ("heading", "prefix"),
    [("Commands for programs: `.#.`", Prefix.PROGRAM), ("Commands for the daemon: `.!.`", Prefix.DAEMON)],
)
def test_page_lists_exactly_the_table(heading, prefix):
    """Every verb with its usage, in the same order."""
    assert rows_under(heading) == [row.syntax for row in COMMANDS[prefix].values()]


def test_page_names_the_short_names_for_people():
    """They are a promise."""
    page = (ROOT / "docs" / "reference" / "text-protocol.md").read_text()
    section = page.split("## Commands for people", 1)[1].split("\n## ", 1)[0]
    assert [name for name in PERSONS_NAMES if f"`{name}`" not in section] == []


def test_every_row_has_its_help():
    """One line, for `help`."""
    for rows in COMMANDS.values():
        for verb, row in rows.items():
            assert verb == row.verb
            assert row.help
            assert "\n" not in row.help


def raised_tokens():
    """(file, line, token) of every Failure("...") and failed("...") in the server's and the backend's code."""
    for folder in ("front_proc", "instrument_proc", "pyvisa_daemon", "client"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if not isinstance(node, ast.Call) or not node.args:
                    continue
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                first = node.args[0]
                if name in ("Failure", "failed") and isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield f"{folder}/{file.name}", node.lineno, first.value


def test_every_token_that_is_raised_is_in_the_table_of_errors():
    """A reply whose token nobody can look up helps nobody."""
    found = list(raised_tokens())
    assert len(found) > 20
    assert [row for row in found if row[2] not in ERRORS] == []


def test_every_own_token_of_the_table_is_raised_somewhere():
    """The reference promises nothing that never comes."""
    texts = "".join(
        file.read_text()
        for folder in ("front_proc", "instrument_proc", "pyvisa_daemon", "client")
        for file in (ROOT / folder).rglob("*.py")
        if file.name != "errors.py"
    )
    own = [token for token in ERRORS if not token.startswith("VI_")]
    assert [token for token in own if f'"{token}"' not in texts] == []
