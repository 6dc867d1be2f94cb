"""docs/how-to/migrate-from-pyvisa-proxy.md: what stands below "Before", where pyvisa-proxy is installed.

It is with `scripts/set_up.sh bench`. What stands below "After" is run by `test_walks`, everywhere.
"""

import shlex
import socket
import subprocess
import sys

import pytest

from tests.docs.walk import blocks
from tests.support.daemon import ROOT
from tests.support.waiting import wait_until

PAGE = ROOT / "docs" / "how-to" / "migrate-from-pyvisa-proxy.md"
SERVE, MEASURE = [block.text for block in blocks(PAGE) if block.language == "text"]
AFTER = "$ python measure.py 127.0.0.1:1340@daemon"
[PROGRAM] = [block.text for block in blocks(PAGE) if block.file]


def run(command: str, port: int) -> list[str]:
    """The page's command, with another port."""
    words = shlex.split(command.removeprefix("$ ").replace("5555", str(port)))
    return [sys.executable, *words[1:]]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_page_shows_both_with_the_same_program():
    """What is typed before and after differs in the name of the backend, and what is printed does not."""
    before = MEASURE.splitlines()
    [after] = [block.text.splitlines() for block in blocks(PAGE) if block.text.startswith(AFTER)]
    assert before[0].replace("5555@proxy", "1340@daemon") == after[0] == AFTER
    assert before[1:] == after[1:]


def test_program_runs_with_pyvisa_proxy(tmp_path):
    """As the page shows it."""
    pytest.importorskip("pyvisa_proxy")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "measure.py").write_text(PROGRAM)
    command, *shown = MEASURE.splitlines()
    with subprocess.Popen(run(SERVE.strip(), port), cwd=ROOT, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: answers(port), what="a proxy server")
            done = subprocess.run(run(command, port), cwd=tmp_path, capture_output=True, text=True, timeout=60)
        finally:
            server.kill()
    assert (done.returncode, done.stdout.splitlines()) == (0, shown), done.stderr
