"""Long messages on disk: real files, which nobody sees and which are gone when they are no longer needed."""

import io
import os
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front_proc.serving import spool as spool_module
from front_proc.serving.spool import Spool
from pyvisa_daemon.framing import PIECE_SIZE


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path)
    yield spool
    spool.close()


@settings(deadline=None)  # a disk may be slow
@given(st.lists(st.binary(max_size=100)))
def test_message_is_what_was_added(tmp_path_factory, parts):
    """Bytes in their order, however they came."""
    spool = Spool(tmp_path_factory.getbasetemp())
    size = 0
    for part in parts:
        spool.add(part)
        size += len(part)
        assert len(spool) == size
    assert b"".join(spool.pieces()) == b"".join(parts)
    spool.close()


@pytest.mark.parametrize("size", [0, 1, PIECE_SIZE - 1, PIECE_SIZE, PIECE_SIZE + 1, 3 * PIECE_SIZE])
def test_pieces_fit_into_a_frame(spool, size):
    """None is empty, and each but the last is whole."""
    message = os.urandom(size)
    spool.add(message)
    pieces = list(spool.pieces())
    assert b"".join(pieces) == message
    assert all(len(piece) == PIECE_SIZE for piece in pieces[:-1])
    assert all(pieces)


def test_message_can_be_read_again(spool):
    """It is looked through before it is sent."""
    spool.add(bytes(PIECE_SIZE) + b"end")
    assert list(spool.pieces()) == list(spool.pieces())


def test_head_is_the_beginning(spool):
    """For the record, and for the rule that says what is a question; what is read after that is whole all the same."""
    message = os.urandom(2 * PIECE_SIZE)
    spool.add(message)
    for _ in range(2):
        assert spool.head == message[:PIECE_SIZE]
        assert b"".join(spool.pieces()) == message


def test_file_has_no_name(tmp_path, spool):
    """A process that is killed leaves nothing behind, and nobody reads what somebody else sends."""
    spool.add(bytes(1 << 20))
    assert list(tmp_path.iterdir()) == []


def test_space_is_free_when_it_is_closed(tmp_path):
    """And the descriptor."""
    before = len(os.listdir("/proc/self/fd"))
    spool = Spool(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    spool.close()
    spool.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_message_is_never_whole_in_memory(spool):
    """That is what it is for."""
    size = 64 * PIECE_SIZE
    tracemalloc.start()
    try:
        for _ in range(64):
            spool.add(bytes(PIECE_SIZE))
        assert sum(map(len, spool.pieces())) == size
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()


def test_disk_without_room_is_an_os_error(tmp_path, monkeypatch):
    """For whoever adds; what was added before is still right."""
    with open("/dev/full", "r+b", buffering=0) as full, monkeypatch.context() as patch:
        patch.setattr(spool_module.tempfile, "TemporaryFile", lambda **_: full)
        spool = Spool(tmp_path)
        with pytest.raises(OSError, match="No space left"):
            spool.add(b"x")
        assert len(spool) == 0


def test_folder_that_is_gone_is_an_os_error(tmp_path):
    """Somebody removed the run folder."""
    with pytest.raises(OSError, match="No such file"):
        Spool(tmp_path / "gone")


class Reluctant(io.FileIO):
    """Writes as much as it likes, as the kernel may."""

    def write(self, data):
        return super().write(data[:7])


def test_everything_is_written_though_the_kernel_takes_less_at_a_time(tmp_path, monkeypatch):
    """As on a disk that is nearly full, or after a signal."""
    with Reluctant(tmp_path / "spool", "w+b") as file, monkeypatch.context() as patch:
        patch.setattr(spool_module.tempfile, "TemporaryFile", lambda **_: file)
        spool = Spool(tmp_path)
        message = os.urandom(1000)
        spool.add(message)
        assert b"".join(spool.pieces()) == message
        assert len(spool) == 1000
