"""What a captured block becomes: a file as it came, NumPy's .npy, or a column of numbers.

Runs in the user's process; nothing of VISA and nothing of NumPy. The data comes in pieces of any size, and only the
piece at hand is in memory. To add a form: a subclass of Form and its row in FORMS.

`NewFile` is the file: under a name of its own until it is whole, so that nobody ever finds half of one.
"""

import contextlib
import errno
import os
import secrets
import struct
import sys
from array import array
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

#: The types of values, as PyVISA and Python's struct have them -> bytes, and NumPy's kind.
DATATYPES = {
    "b": (1, "i"),
    "B": (1, "u"),
    "h": (2, "i"),
    "H": (2, "u"),
    "i": (4, "i"),
    "I": (4, "u"),
    "l": (4, "i"),
    "L": (4, "u"),
    "q": (8, "i"),
    "Q": (8, "u"),
    "f": (4, "f"),
    "d": (8, "f"),
}

#: Python's `array` has other sizes for some letters than the standard has.
_IN_ARRAY = {"l": "i", "L": "I"}

#: Bytes of a .npy file before its data: room for any number of values, and a multiple of 64, as its format has it.
_NPY_HEAD = 128


class PartialValueError(ValueError):
    """The block ended within a value."""


class Form:
    """Data as it came."""

    def __init__(self, file: BinaryIO, datatype: str, is_big_endian: bool) -> None:
        self._file = file
        self._datatype, self._is_big_endian = datatype, is_big_endian
        self.size = 0

    @property
    def values(self) -> int | None:
        """How many there are; None for bytes of which nobody has said what they are."""
        return None

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        self._file.write(piece)

    def finish(self) -> None:
        """That was all. Raises PartialValueError."""


class _Values(Form):
    @property
    def values(self) -> int:
        return self.size // DATATYPES[self._datatype][0]

    def finish(self) -> None:
        width = DATATYPES[self._datatype][0]
        if self.size % width:
            text = f"{self.size} bytes are no whole number of values of {width} bytes (--datatype {self._datatype})"
            raise PartialValueError(text)


class Npy(_Values):
    """NumPy's format, version 1.0: a head that says what the data is, then the data as it came. The head is written
    last, for only then is it known how much there is."""

    def __init__(self, file: BinaryIO, datatype: str, is_big_endian: bool) -> None:
        super().__init__(file, datatype, is_big_endian)
        file.write(bytes(_NPY_HEAD))

    def finish(self) -> None:
        super().finish()
        width, kind = DATATYPES[self._datatype]
        order = "|" if width == 1 else ">" if self._is_big_endian else "<"
        text = f"{{'descr': '{order}{kind}{width}', 'fortran_order': False, 'shape': ({self.values},), }}"
        head = b"\x93NUMPY\x01\x00" + struct.pack("<H", _NPY_HEAD - 10)
        self._file.seek(0)
        self._file.write(head + text.encode().ljust(_NPY_HEAD - len(head) - 1) + b"\n")


class Csv(_Values):
    """A value on each line, in as many digits as give it back."""

    def __init__(self, file: BinaryIO, datatype: str, is_big_endian: bool) -> None:
        super().__init__(file, datatype, is_big_endian)
        self._rest = b""
        self._is_swapped = is_big_endian != (sys.byteorder == "big")
        self._line = "{:.9g}\n" if datatype == "f" else "{!r}\n"

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        data = self._rest + piece
        whole = len(data) - len(data) % DATATYPES[self._datatype][0]
        self._rest = data[whole:]
        values = array(_IN_ARRAY.get(self._datatype, self._datatype), data[:whole])
        if self._is_swapped:
            values.byteswap()
        self._file.write("".join(map(self._line.format, values)).encode())


#: What --format says, and else the ending of the file's name.
FORMS: dict[str, type[Form]] = {"raw": Form, "npy": Npy, "csv": Csv}


def form_of(file: Path) -> str:
    """By the ending of its name."""
    ending = file.suffix.lower().removeprefix(".")
    return ending if ending in FORMS else "raw"


class NewFile:
    """A file that is there when it is whole, with `keep`; left without, nothing is there that was not before."""

    def __init__(self, path: Path, *, may_replace: bool) -> None:
        """Raises OSError: FileExistsError unless it `may_replace` one; and for what is there and no file, such as
        /dev/null, which is never replaced. Where a link is, what it leads to is replaced."""
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is there and no regular file")
        if not may_replace and os.path.lexists(path):
            raise FileExistsError(f"{path} is there already")
        self._path, self._may_replace = path.resolve(), may_replace
        self._draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.part")
        self.file: BinaryIO = open(self._draft, "xb")  # noqa: SIM115 - it is closed by __exit__

    def keep(self) -> None:
        """It is whole, and gets its name. Raises OSError, FileExistsError if somebody else has made one meanwhile."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        if self._may_replace:
            os.replace(self._draft, self._path)
        elif os.name == "nt":
            os.rename(self._draft, self._path)  # which there replaces nothing
        else:
            _name_anew(self._draft, self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self.file.close()  # a full disk says so once more
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._draft)


def _name_anew(draft: Path, path: Path) -> None:
    """A link replaces nothing, in one step; some file systems have none."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(path):
            raise FileExistsError(f"{path} is there already") from None
        os.rename(draft, path)
