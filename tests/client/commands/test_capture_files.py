"""What a block becomes in a file; and that there is never half a file."""

import contextlib
import io
import os
import struct
import sys
from pathlib import Path

import pytest

from client.commands.capture_files import DATATYPES, FORMS, NewFile, PartialValueError, form_of

#: What numpy.save writes for numpy.array([1, -2, 3], ">i2"), without the blanks behind it and the data.
NPY = b"\x93NUMPY\x01\x00v\x00{'descr': '>i2', 'fortran_order': False, 'shape': (3,), }"


def made(form: str, pieces: list[bytes], datatype: str = "B", is_big_endian: bool = False) -> bytes:
    file = io.BytesIO()
    one = FORMS[form](file, datatype, is_big_endian)
    for piece in pieces:
        one.add(piece)
    one.finish()
    return file.getvalue()


def test_npy_is_as_numpy_s_format_has_it() -> None:
    """A head of a multiple of 64 bytes that ends with LF, then the bytes as they came."""
    data = struct.pack(">hhh", 1, -2, 3)
    written = made("npy", [data[:1], data[1:]], "h", True)
    assert written == NPY.ljust(127) + b"\n" + data


def test_npy_is_what_numpy_reads() -> None:
    """Every type, in either order."""
    numpy = pytest.importorskip("numpy")
    values = [0, 1, 100]
    for datatype, (width, kind) in DATATYPES.items():
        for order in "<>":
            data = struct.pack(f"{order}3{datatype}", *values)
            file = io.BytesIO(made("npy", [data], datatype, order == ">"))
            array = numpy.load(file, allow_pickle=False)
            assert (array.tolist(), array.dtype.str[1:]) == (values, f"{kind}{width}")


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("is_big_endian", [False, True])
def test_csv_has_a_value_on_each_line(datatype: str, is_big_endian: bool) -> None:
    """However the data is cut."""
    values = [0, 1, 100]
    data = struct.pack((">" if is_big_endian else "<") + f"3{datatype}", *values)
    lines = made("csv", [data[:1], data[1:5], data[5:]], datatype, is_big_endian).decode().splitlines()
    assert [float(line) for line in lines] == values


@pytest.mark.parametrize(("datatype", "value"), [("f", 0.1), ("d", 0.1), ("f", float("inf")), ("q", -(2**63))])
def test_csv_gives_back_what_was_there(datatype: str, value: float) -> None:
    """To the last bit."""
    data = struct.pack("<" + datatype, value)
    [line] = made("csv", [data], datatype).decode().splitlines()
    assert struct.pack("<" + datatype, (int if datatype == "q" else float)(line)) == data


@pytest.mark.parametrize("form", ["npy", "csv"])
def test_block_that_ends_within_a_value_is_refused(form: str) -> None:
    """The wrong datatype, most likely."""
    with pytest.raises(PartialValueError, match="5 bytes are no whole number of values of 4 bytes"):
        made(form, [b"12345"], "f")


@pytest.mark.parametrize(
    ("name", "form"), [("a.npy", "npy"), ("a.CSV", "csv"), ("a.png", "raw"), ("npy", "raw"), ("a.npy.part", "raw")]
)
def test_form_is_told_by_the_ending(name: str, form: str) -> None:
    assert form_of(Path(name)) == form


def test_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    """Until then it has another name; the permissions are those of any new file."""
    path = tmp_path / "a.bin"
    with NewFile(path, may_replace=False) as new:
        new.file.write(b"half")
        assert not path.exists()
        new.keep()
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"half", ["a.bin"])
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_nothing_is_left_when_something_goes_wrong(tmp_path: Path) -> None:
    """What was there before is as it was."""
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with contextlib.suppress(KeyboardInterrupt), NewFile(path, may_replace=True) as new:
        new.file.write(b"half")
        raise KeyboardInterrupt
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"before", ["a.bin"])


def test_file_is_replaced_only_when_it_may_be(tmp_path: Path) -> None:
    """Also when somebody else makes it meanwhile; a dangling link is a file."""
    path = tmp_path / "a.bin"
    with NewFile(path, may_replace=False) as new:
        new.file.write(b"ours")
        path.write_bytes(b"theirs")
        with pytest.raises(FileExistsError):
            new.keep()
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"theirs", ["a.bin"])
    with NewFile(path, may_replace=True) as new:
        new.file.write(b"ours")
        new.keep()
    assert path.read_bytes() == b"ours"
    (tmp_path / "link").symlink_to("a.bin")
    with NewFile(tmp_path / "link", may_replace=True) as new:
        new.file.write(b"through")
        new.keep()
    assert ((tmp_path / "link").is_symlink(), path.read_bytes()) == (True, b"through")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("nowhere")
    for existing in (path, tmp_path / "link"):
        with pytest.raises(FileExistsError):
            NewFile(existing, may_replace=False)


@pytest.mark.parametrize("may_replace", [True, False])
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such names")
def test_what_is_no_file_is_never_replaced(tmp_path: Path, may_replace: bool) -> None:
    """A pipe, a folder, /dev/null: root would have a file in its place."""
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        with pytest.raises(OSError, match="no regular file"):
            NewFile(other, may_replace=may_replace)
    assert os.listdir(tmp_path) == ["pipe"]
