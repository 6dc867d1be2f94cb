"""The examples in docs/ are executed, and what is said of files and fields is held against a real daemon.

In a conversation (a block marked `text` whose first line sends something) `>` sends a line, `<` expects a reply, and
`…` stands for anything; a word before either names the connection. The demo bench's TCP instruments have other ports
in a test than the usual ones.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest

from front_proc.configuration.settings import OPTIONS, read_settings
from front_proc.record.audit import EVENTS
from tests.docs.pages import PAGES, WALKED, examples, name_of, prose
from tests.docs.story import records_of_every_event
from tests.docs.walk import TURN, blocks
from tests.support.daemon import ROOT, Daemon
from tests.support.text_client import TextClient

AUDIT = ROOT / "docs" / "reference" / "audit.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
CONVERSATIONS = [example for example in examples("text") if TURN.fullmatch(example.text.split("\n")[0])]


def named(example):
    return example.name


def with_ports_of(daemon: Daemon, text: str) -> str:
    """`text` with this daemon's port, and this bench's for the oscilloscope and the generator."""
    with daemon.text() as client:
        listed = [name for name in client.ask_json(".#.list_resources") if name.endswith("::SOCKET")]
    for usual, resource in zip(("5340", "5341"), listed, strict=True):
        text = text.replace(f"TCPIP0::127.0.0.1::{usual}::SOCKET", resource)
    return text.replace('("127.0.0.1", 1340)', f'("127.0.0.1", {daemon.port})')


@pytest.mark.parametrize("example", CONVERSATIONS, ids=named)
def test_conversation_goes_as_shown(example, daemon):
    """Every request is sent, and every reply is as it stands there."""
    clients: dict[str, TextClient] = {}
    with ExitStack() as stack:
        for line in with_ports_of(daemon, example.text).splitlines():
            name, direction, text = TURN.fullmatch(line).groups()
            if name not in clients:
                clients[name] = stack.enter_context(daemon.text())
            if direction == ">":
                clients[name].send(text.encode() + b"\n")
            else:
                expected = ".*".join(map(re.escape, text.split("…")))
                assert re.fullmatch(expected, clients[name].reply().decode()), line


def test_there_are_conversations():
    assert len(CONVERSATIONS) >= 4


@pytest.mark.parametrize("example", examples("python"), ids=named)
def test_python_example_runs(example, daemon, tmp_path):
    """It ends without an error or a warning, and the multimeter has answered."""
    code = with_ports_of(daemon, example.text)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYVISA_DAEMON_HOSTS": daemon.address, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "MULTIMETER" in done.stdout


@pytest.mark.parametrize("example", examples("toml"), ids=named)
def test_toml_example_is_accepted(example, daemon_factory, tmp_path):
    """A daemon starts with it; it has every setting, with its default."""
    file = tmp_path / "settings.toml"
    file.write_text(example.text)
    # A test's daemon has a port and a folder of its own; all else is from the file.
    key = tmp_path / "key"
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    own = ("--audit-log", str(tmp_path / "audit.jsonl"), "--audit-key-file", str(key))
    assert daemon_factory("--config", str(file), *own).status()
    shown = set(re.findall(r"^(?:# )?([\w-]+) = ", example.text, re.MULTILINE))  # what is off by default as a comment
    assert [option.name for option in OPTIONS if option.name not in shown] == []
    given, default = read_settings(["--config", str(file)]), read_settings([])
    for option in OPTIONS:
        if option.default is not None:
            assert getattr(given, option.field) == getattr(default, option.field), option.name


@pytest.mark.parametrize("example", examples("json"), ids=named)
def test_json_example_parses(example):
    """One value on each line."""
    assert [json.loads(line) for line in example.text.splitlines()]


def test_audit_examples_have_the_fields_of_a_real_run(daemon_factory, instrument_factory, tmp_path):
    """Each event is shown, with the fields, in the order, in which a daemon writes it; the table names them all."""
    real = {
        (record["event"], tuple(record))
        for record in records_of_every_event(daemon_factory, instrument_factory, tmp_path)
    }
    [example] = examples("json", AUDIT)
    shown = {(record["event"], tuple(record)) for record in map(json.loads, example.text.splitlines())}
    assert shown == real
    assert {event for event, _ in shown} == EVENTS.keys()
    table = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", AUDIT.read_text(), re.MULTILINE))
    for event in EVENTS:
        fields = {field for name, names in real if name == event for field in names} - {"time", "event", "seq", "prev"}
        assert fields == set(re.findall(r"`(\w+)`", table[event])) - ({"resource"} - fields), event


def test_audit_examples_are_a_sound_log(tmp_path):
    """As their page says."""
    [example] = examples("json", AUDIT)
    (tmp_path / "audit.jsonl").write_text(example.text)
    command = [sys.executable, "-c", "from client.commands.main import main; main()", "log", "verify", "audit.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.startswith("sound: ")) == (0, True)


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("example", examples("sh", AUDIT), ids=named)
def test_jq_example_runs(example, tmp_path):
    """On the examples themselves it finds something."""
    [records] = examples("json", AUDIT)
    (tmp_path / "audit.jsonl").write_text(records.text)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.text], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """Every relative link: its file and its heading."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", prose(page)):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_every_page_is_in_the_index():
    """docs/README.md leads to all of them."""
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    assert [name_of(page) for page in PAGES if page not in linked and page != index] == []


#: What is executed, or is words; behind these what a walked page writes to a file, and what nothing here can run.
KINDS = {"text", "python", "toml", "json", "sh", "mermaid", "console"}
FILES = {"bash", "perl", "tcl", "javascript", "java", "yaml"}
NOT_RUN = {"matlab", "csharp", "julia", "r"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_a_known_kind(page):
    """A block in another language would be one that nothing checks. Signatures are `py`."""
    kinds = set(re.findall(r"^```(\w*)\n.*?^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)) - {""}
    if page in WALKED:
        unnamed = {block.language for block in blocks(page) if not block.file}
        assert kinds <= KINDS | FILES | NOT_RUN
        assert unnamed <= KINDS | NOT_RUN, "nothing writes it to a file"
    else:
        assert kinds <= KINDS - {"console"} | ({"py"} if name_of(page) == "reference/python.md" else set())


def test_programs_that_are_not_run_say_what_the_conversation_says():
    """Every line that they send is sent in the conversation of their page, which is run."""
    page = ROOT / "docs" / "how-to" / "other-languages.md"
    [conversation] = [block.text for block in blocks(page) if block.language == "text"]
    sent = {line.removeprefix("> ") for line in conversation.splitlines() if line.startswith("> ")}
    programs = [block.text for block in blocks(page) if block.language in NOT_RUN]
    assert len(programs) == len(NOT_RUN)
    for program in programs:
        assert set(re.findall(r'"(\.#\.(?!error)[^"]+)"', program)) == sent


def test_page_on_examples_has_every_page_with_examples():
    """It says of each what is done with them."""
    said = (ROOT / "docs" / "reference" / "examples.md").read_text()
    listed = {(ROOT / "docs" / "reference" / target).resolve() for target in re.findall(r"\]\(([^)#]+\.md)\)", said)}
    checked = re.compile(r"^```[a-z]", re.MULTILINE)
    assert [name_of(page) for page in PAGES if checked.search(page.read_text()) and page not in listed] == []
