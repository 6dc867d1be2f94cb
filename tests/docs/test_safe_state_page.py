"""docs/how-to/safe-state.md: its files are written out, its program is lost, and the conversations go as shown."""

import json
import os
import re
import subprocess
import sys

from tests.docs.pages import SAFE_STATE, examples
from tests.docs.test_examples import TURN
from tests.support.waiting import wait_until

PAGE = SAFE_STATE.read_text("utf-8")
SHOWN, *CONVERSATIONS = [example.text.splitlines() for example in examples("text", SAFE_STATE)]


def test_page_goes_as_shown(daemon_factory, tmp_path):
    files = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert list(files) == ["lab.toml", "careless.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    daemon = daemon_factory("--demo", "--config", str(tmp_path / "lab.toml"))
    environment = {**os.environ, "PYVISA_DAEMON_HOSTS": daemon.address}
    careless = [sys.executable, "careless.py"]
    lost = subprocess.run(careless, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert lost.stdout.splitlines() == SHOWN[1:] or lost.returncode == -9, lost.stderr
    wait_until(lambda: len(daemon.audit(event="safe")) == 2)
    with daemon.text() as client:
        for line in (line for conversation in CONVERSATIONS for line in conversation):
            _, direction, text = TURN.fullmatch(line).groups()
            if direction == ">":
                client.send(text.encode() + b"\n")
            else:
                expected = ".*".join(map(re.escape, text.split("…")))
                assert re.fullmatch(expected, client.reply().decode()), line
    [records] = examples("json", SAFE_STATE)
    for shown, record in zip(map(json.loads, records.text.splitlines()), daemon.audit(event="safe"), strict=False):
        assert list(shown) == list(record)
        same = ("resource", "command", "outcome", "effect")
        assert [shown[name] for name in same] == [record[name] for name in same]
