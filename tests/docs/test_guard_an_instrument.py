"""docs/how-to/guard-an-instrument.md: its settings are taken, its conversations held, its table of spellings judged."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from front_proc.configuration.resource_settings import read_rows
from front_proc.configuration.resource_table import ResourceTable
from front_proc.guarding.guarded_messages import GuardedMessages
from front_proc.guarding.guards import Guards
from tests.docs.pages import GUARD_AN_INSTRUMENT, examples

PAGE = GUARD_AN_INSTRUMENT.read_text("utf-8")
LAB, SCOPE = (example.text for example in examples("toml", GUARD_AN_INSTRUMENT))
SUPPLY = "USB0::0x0957::0x0407::PS000407::0::INSTR"

#: Message, in the page's escapes, and what is said of it.
SPELLINGS = re.findall(r"^\| `([^`]+)` \| (passes|refused.*|wants a reason.*) \|$", PAGE, re.MULTILINE)


def guards_of(text: str, resource: str) -> Guards:
    rows = read_rows(tomllib.loads(text)["resource"], "lab.toml")
    return ResourceTable(rows, "@py").of(resource).guards


def verdict_on(spelling: str) -> str:
    """In the page's words."""
    messages = GuardedMessages(guards_of(LAB, SUPPLY), marks_end=True)
    messages.read(spelling.replace("\\n", "\n").replace("\\r", "\r").encode())
    messages.end()
    if messages.refusal is not None:
        rule, _, text = messages.refusal.rule.partition(" ")
        return "refused: cannot be parsed" if rule == "what" else f"refused: {rule} `{text.strip(chr(34))}`"
    return "passes" if messages.unconfirmed is None else "wants a reason"


@pytest.mark.parametrize(("spelling", "verdict"), SPELLINGS)
def test_spelling_has_the_verdict_that_the_page_says(spelling, verdict):
    assert verdict_on(spelling) == verdict


def test_page_has_spellings_of_each_kind():
    """At least forty in all."""
    verdicts = [verdict.partition(":")[0] for _, verdict in SPELLINGS]
    assert len(SPELLINGS) >= 40
    assert min(verdicts.count(each) for each in ("passes", "refused", "wants a reason")) >= 3


def test_read_only_row_is_one():
    assert guards_of(SCOPE, "TCPIP0::127.0.0.1::5340::SOCKET").read_only


def test_conversations_and_program_go_as_shown(daemon_factory, tmp_path: Path):
    """With the file from the page; the program is the second to confirm."""
    file = tmp_path / "lab.toml"
    file.write_text(LAB)
    daemon = daemon_factory("--demo", "--config", str(file))
    for example in examples("text", GUARD_AN_INSTRUMENT):
        with daemon.text() as client:
            for line in example.text.splitlines():
                if line.startswith("> "):
                    client.send(line[2:].encode() + b"\n")
                else:
                    expected = ".*".join(map(re.escape, line[2:].split("…")))
                    assert re.fullmatch(expected, client.reply().decode()), line
    [program] = examples("python", GUARD_AN_INSTRUMENT)
    code = f"import client\nclient.tryIps = ['{daemon.address}']\n{program.text}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    reasons = [record["reason"] for record in daemon.audit(event="confirmed", command="OUTP 1")]
    assert reasons == ["the heater is connected, the sample is out"] * 2
