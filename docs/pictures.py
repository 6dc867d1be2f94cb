"""The pictures of a terminal in these pages: `python docs/pictures.py [FOLDER]` makes them, default docs/pictures.

What is in them really happened: a daemon with the demo bench is started on a free port, two clients work at it, and the
commands of PICTURES run on a terminal (a pty) of their own. The ports are written as those that a daemon has as a rule.
Rich makes an SVG of what the terminal was sent; it has no font and nothing else that would have to be fetched.

To add a picture: a row in PICTURES, and where it is to be seen `![what it shows](pictures/NAME.svg)`.
"""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from client import Failure, SocketManager, TCPVisaSocket  # noqa: E402 - found by the line above

#: Columns of the terminal, and lines, of which there are always enough.
COLUMNS, LINES = 152, 60

#: name -> what is typed, one command after the other.
PICTURES = {
    "bench": ("instruments list", "instruments query supply '*IDN?'", "instruments query supply 'VOLT?'"),
    "status": ("instruments status",),
}

#: As rich has it, without fonts from the network and with room for what is there only.
_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
    line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Bench(NamedTuple):
    """A daemon that serves the demo bench: where it is, and (port here, usual port) of each that is in pictures."""

    address: str
    ports: list[tuple[str, str]]


@contextlib.contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Until the context ends."""
    options = ("--demo", "--port", "0", "--grace", "0.2", "--run-dir", str(folder / "run"))
    command = [sys.executable, str(ROOT / "supervisor.py"), *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as daemon:  # noqa: S603 - ours
        try:
            assert daemon.stdout is not None
            address = daemon.stdout.readline().split()[1]
            with SocketManager().open_socket(address) as socket:
                names = [name.split("::")[2] for name in socket.list_resources() if name.endswith("::SOCKET")]
            yield Bench(address, [(address.rpartition(":")[2], "1340"), *zip(names, ("5340", "5341"), strict=True)])
        finally:
            daemon.terminate()


@contextlib.contextmanager
def people(address: str) -> Iterator[None]:
    """Two who have done something: anna has a lock, and says what for; bert has met an instrument that hung."""
    with contextlib.ExitStack() as stack:

        def client(name: str, resource: str) -> TCPVisaSocket:
            socket = stack.enter_context(SocketManager().open_socket(address))
            socket.hello(name)
            socket.enter(resource)
            socket.query("*IDN?")
            return socket

        client("anna", "multimeter").lock(ttl=600, reason="calibration")
        client("bert", "oscilloscope")
        client("bert", "supply").write("VOLT 3.3")
        generator = client("bert", "generator")
        generator.timeout(200)
        with contextlib.suppress(Failure):
            generator.query("SYST:BABBLE?")
        generator.query("*IDN?")
        yield


def shown(command: str, environment: dict[str, str]) -> str:
    """What a command writes to its terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    with subprocess.Popen(  # noqa: S603 - a row of PICTURES
        ["bash", "-c", command],  # noqa: S607 - whichever bash there is
        stdin=its,
        stdout=its,
        stderr=its,
        env=environment,
        start_new_session=True,
    ):
        os.close(its)
        written = b""
        with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:  # EIO is its end
            while piece := terminal.read(65536):
                written += piece
    return written.decode().replace("\r\n", "\n")


def with_usual_ports(text: str, ports: list[tuple[str, str]]) -> str:
    """In a column the blanks that a shorter number leaves stand behind the word."""
    for here, usual in ports:
        blanks = " " * (len(here) - len(usual))
        text = re.sub(rf"\b{here}\b([^\s\x1b]*)(?=  |\x1b)", rf"{usual}\g<1>{blanks}", text)
        text = re.sub(rf"\b{here}\b", usual, text)
    return text


def drawn(name: str, turns: list[tuple[str, str]]) -> str:
    """An SVG of commands and what they wrote."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for command, output in turns:
        console.print(Text("$ ", "bold green") + Text(command, "bold"))
        console.print(Text.from_ansi(output.rstrip("\n")))
    console.print()
    svg = console.export_svg(title="labpc", theme=MONOKAI, code_format=_FORMAT, unique_id=name)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) == 2 else DOCS / "pictures"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as here, people(here.address):
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYVISA_DAEMON_HOSTS": here.address,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
        }
        for name, commands in PICTURES.items():
            turns = [(command, with_usual_ports(shown(command, environment), here.ports)) for command in commands]
            (out / f"{name}.svg").write_text(drawn(name, turns), "utf-8")
            print(out / f"{name}.svg")


if __name__ == "__main__":
    main()
