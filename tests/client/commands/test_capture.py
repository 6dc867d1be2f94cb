"""`instruments capture`: blocks of all kinds, on interfaces with and without END, and what goes wrong."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from client.commands.capture import _Head, _head, _is_text
from tests.client.commands.conftest import Lab
from tests.support.daemon import Daemon
from tests.support.instrument_process import SerialInstrument, Vxi11Instrument
from tests.support.waiting import DEADLINE, wait_until

Instruments = Callable[..., Result]

EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize("size", [0, 1, 10, 11, 1000, 1021, 1022, 3_000_000])
def test_block_is_in_the_file_byte_for_byte(instruments: Instruments, tmp_path: Path, size: int) -> None:
    """Of any size, LF wherever it comes; the instrument is in step afterwards."""
    file = tmp_path / "a.bin"
    result = instruments("capture", "scripted", f"BLOCK? {size}", str(file))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{file}: {size} bytes from scripted at ")
    assert file.read_bytes() == (EVERY_BYTE * (size // 256 + 1))[:size]
    assert instruments("query", "scripted", "ECHO? in step").stdout == "in step\n"


def test_block_is_whole_on_other_interfaces(
    daemon_factory: Callable[..., Daemon],
    lab: Lab,
    vxi11: Vxi11Instrument,
    serial_line: SerialInstrument,
    tmp_path: Path,
) -> None:
    """With END, and on a serial line. An answer that is no block is kept to its last byte, where END tells of it."""
    settings = tmp_path / "lab.toml"
    rows = {"networked": vxi11.resource, "serial": serial_line.resource}
    settings.write_text("".join(f'[[resource]]\nmatch = "{rows[name]}"\nname = "{name}"\n' for name in rows))
    other = lab._replace(daemon=daemon_factory("--config", str(settings)))
    for name, size in itertools.product(rows, (10, 11, 5000)):
        file = tmp_path / f"{name}{size}.bin"
        result = other.instruments("capture", name, f"BLOCK? {size}", str(file))
        assert (result.exit_code, result.stderr) == (0, "")
        assert file.read_bytes() == (EVERY_BYTE * 20)[:size]
        assert other.instruments("query", name, "ECHO? in step").stdout == "in step\n"
    for name, text in (("networked", b"text\n"), ("serial", b"text")):
        assert other.instruments("capture", name, "ECHO? text", str(tmp_path / name)).exit_code == 0
        assert (tmp_path / name).read_bytes() == text


def test_forms_are_told_by_ending_and_option(instruments: Instruments, tmp_path: Path) -> None:
    """What is said in JSON is what is in the file."""
    npy, csv, raw = tmp_path / "a.npy", tmp_path / "a.csv", tmp_path / "b.csv"
    options = ("--datatype", "h", "--big-endian")
    said = json.loads(instruments("capture", "oscilloscope", "CURV?", str(npy), *options, "--json").stdout)
    assert (said["format"], said["bytes"], said["values"]) == ("npy", 1000, 500)
    assert (npy.stat().st_size, npy.read_bytes()[:6]) == (1128, b"\x93NUMPY")
    assert instruments("capture", "scripted", "BLOCK? 4", str(csv), *options).exit_code == 0
    assert csv.read_text() == "1\n515\n"
    assert instruments("capture", "scripted", "BLOCK? 4", str(raw), "--format", "raw").exit_code == 0
    assert raw.read_bytes() == bytes(range(4))


def test_answer_that_is_no_block_is_kept_raw_only(instruments: Instruments, tmp_path: Path) -> None:
    """As it came, without the termination."""
    assert instruments("capture", "scripted", "ECHO? a#b", str(tmp_path / "a.txt")).exit_code == 0
    assert (tmp_path / "a.txt").read_bytes() == b"a#b"
    result = instruments("capture", "scripted", "ECHO? a#b", str(tmp_path / "a.npy"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no binary block, but begins with a#b" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scripted", "BLOCK? 5", "new.npy", "--datatype", "f"), "5 bytes are no whole number"),
        (("scripted", "SLOW? 5000,1", "new.bin", "--timeout", "0.1"), "VI_ERROR_TMO effect=done"),
        (("scripted", "HALF? #41000abc", "new.bin", "--timeout", "0.1"), "VI_ERROR_TMO effect=done"),
        (("nothing", "CURV?", "new.bin"), "VI_ERROR_INV_RSRC_NAME"),
        (("scripted", "BLOCK? 5", "old.bin"), "old.bin is there already; --force replaces it"),
        (("scripted", "BLOCK? 5", "no/folder.bin"), "no/folder.bin cannot be written"),
    ],
)
def test_nothing_is_left_when_it_fails(
    instruments: Instruments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    """One line, and no file but what was there."""
    monkeypatch.chdir(tmp_path)
    Path("old.bin").write_bytes(b"old")
    result = instruments("capture", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert said in result.stderr
    assert (os.listdir(), Path("old.bin").read_bytes()) == (["old.bin"], b"old")


def test_file_is_replaced_when_forced(instruments: Instruments, tmp_path: Path) -> None:
    file = tmp_path / "old.bin"
    file.write_bytes(b"old")
    assert instruments("capture", "scripted", "BLOCK? 2", str(file), "--force").exit_code == 0
    assert file.read_bytes() == b"\x00\x01"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_when_it_is_terminated(lab: Lab, tmp_path: Path, number: signal.Signals) -> None:
    """By SIGTERM, or as its terminal is closed, in the midst of it."""
    command = [str(Path(sys.executable).with_name("instruments")), "--host", lab.daemon.address, "capture", "scripted"]
    with subprocess.Popen([*command, "SLOW? 60000,1", "a.bin", "--timeout", "90"], cwd=tmp_path) as process:
        wait_until(lambda: lab.daemon.resource(lab.instrument.resource).get("state") == "busy", what="it waits")
        assert len(os.listdir(tmp_path)) == 1
        process.send_signal(number)
        time.sleep(0.1)
        lab.instruments("abort", "scripted")
        assert process.wait(DEADLINE) == 128 + number
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "is_known", "head"),
    [
        (b"", False, None),
        (b"#", False, None),
        (b"#2", False, None),
        (b"#21", False, None),
        (b"#210", True, _Head(4, 10)),
        (b":CURV #210", True, _Head(10, 10)),
        (b"#0abc", True, _Head(2, None)),
        (b"#H1F", True, None),
        (b"#2x1", True, None),
        (b"1" * 64, True, None),
        (b"#10", True, _Head(3, 0)),
    ],
)
def test_head_of_a_block_is_told_from_anything_else(data: bytes, is_known: bool, head: _Head | None) -> None:
    """IEEE 488.2, 8.7.9 and 8.7.10."""
    assert _head(data) == (is_known, head)


@pytest.mark.parametrize(
    ("answer", "is_text"),
    [
        (b"probe #12 fitted here\n", True),
        (b":CURV #15abcde\n", False),
        (b":CURV #15ab\n", False),  # more of it comes
        (b"#15abcdeEXTRA\n", False),
        (b":CURV #0ab", False),
    ],
)
def test_text_is_told_from_a_block_when_it_goes_on_behind_it(answer: bytes, is_text: bool) -> None:
    """Raw, all of it is kept, and not two letters from its midst."""
    _, head = _head(answer)
    assert head is not None
    assert _is_text(answer, head) is is_text
