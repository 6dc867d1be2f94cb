"""README.md: its examples are executed, in its order, against one demo daemon.

Where the README says port 1340 a test's daemon has another, and so may the oscilloscope. `nc` is not on every machine:
a few lines of Python stand in for it. Of the blocks marked `console` only the one in netcat is.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ROOT, Daemon

README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^```(bash|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)

NETCAT = """#!{python}
import socket, sys
assert sys.argv[1] == "-N"
with socket.create_connection((sys.argv[2], int(sys.argv[3])), 20) as connection:
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    while data := connection.recv(65536):
        sys.stdout.buffer.write(data)
"""


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH with `nc`."""
    tool = tmp_path / "tools" / "nc"
    tool.parent.mkdir()
    tool.write_text(NETCAT.format(python=sys.executable))
    tool.chmod(0o755)
    return tool.parent


def adapted(example: str, daemon: Daemon, oscilloscope: str) -> str:
    """The example with this daemon's port, this bench's oscilloscope and this environment's programs."""
    example = example.replace("127.0.0.1 1340", f"127.0.0.1 {daemon.port}")
    example = example.replace("TCPIP0::127.0.0.1::5340::SOCKET", oscilloscope)
    return example.replace(".venv/bin/", f"{Path(sys.executable).parent}/")


def oscilloscope_of(daemon: Daemon) -> Iterator[str]:
    with daemon.text() as client:
        for name in client.ask_json(".#.list_resources"):
            if name.endswith("::SOCKET"):
                client.ask(f".#.open_resource {name}")
                if "OSCILLOSCOPE" in client.ask(".#.query_resource *IDN?"):
                    yield name


def test_examples_of_the_readme_run(daemon, tools, tmp_path):
    """Each ends without an error and says something."""
    assert len(EXAMPLES) >= 6
    [oscilloscope] = oscilloscope_of(daemon)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYVISA_DAEMON_HOSTS": daemon.address,
    }
    for language, example in EXAMPLES:
        command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-W", "error", "-c"]
        done = subprocess.run(
            [*command, adapted(example, daemon, oscilloscope)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{example}\n{done.stdout}\n{done.stderr}"
        assert done.stdout.strip(), example
        assert ".#.error" not in done.stdout, f"{example}\n{done.stdout}"


def test_session_of_the_readme_goes_as_shown(daemon):
    """What a person types in netcat, line by line, and what the daemon says."""
    [session] = re.findall(r"^```console\n\$ nc 127.0.0.1 1340\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = session.splitlines()
    assert len(lines) >= 4
    with daemon.text() as client:
        said = [line for request in lines[::2] for line in (request, client.ask(request))]
    assert said == lines


def test_links_of_the_readme_lead_somewhere():
    """Every file and folder that it links to exists."""
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
