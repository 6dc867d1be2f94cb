"""Frames where they lie, and the memory that they take: what is about their bytes alone is in test_wire."""

import platform
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvisa_daemon.framing import FRAME_LIMIT, FrameError, FrameReader, frame, put_length

#: Counts the pages that a process is given while pieces come and go, three of them at a time.
PAGES = """
import resource, sys
from pyvisa_daemon.framing import PIECE_SIZE, keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(110):
    if turn == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [b"%d" % piece + bytes(PIECE_SIZE) for piece in range(3)]
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(1, 50), min_size=1))
def test_frames_of_a_buffer_are_whole_until_it_is_filled_anew(contents: list[bytes], lengths: list[int]) -> None:
    """However the stream was cut; and what is left in the buffer does not belong to the next ones."""
    stream, reader, got = b"".join(map(frame, contents)), FrameReader(), list[bytes]()
    buffer, turn = memoryview(bytearray(50)), 0
    while stream:
        chunk, stream = stream[: lengths[turn % len(lengths)]], stream[lengths[turn % len(lengths)] :]
        buffer[: len(chunk)] = chunk
        frames = reader.feed(buffer[: len(chunk)])
        assert all(isinstance(whole, memoryview) for whole in frames)
        got += map(bytes, frames)
        buffer[:] = bytes([255]) * len(buffer)
        turn += 1
    assert got == contents


def test_frame_that_lies_in_the_buffer_is_not_copied() -> None:
    """The one that was begun before is: it is in no buffer of the caller's."""
    buffer = bytearray(frame(b"begun") + frame(b"whole"))
    reader = FrameReader()
    reader.feed(memoryview(buffer)[:6])
    begun, whole = [*reader.feed(memoryview(buffer)[6:9]), *reader.feed(memoryview(buffer)[9:])]
    buffer[:] = bytes(len(buffer))
    assert (begun, whole) == (b"begun", bytes(5))


def test_frames_before_garbage_come_with_the_error() -> None:
    """Those of a buffer, too: what they said before is as good as ever."""
    reader = FrameReader()
    reader.feed(memoryview(frame(b"begun"))[:7])
    with pytest.raises(FrameError) as refused:
        reader.feed(memoryview(frame(b"begun")[7:] + frame(b"whole") + b"\xff" * 4))
    assert refused.value.frames == [b"begun", b"whole"]
    with pytest.raises(FrameError) as refused:
        reader.feed(memoryview(frame(b"behind it")))
    assert not refused.value.frames


def test_length_is_put_before_a_message_within_the_limit() -> None:
    """As `frame` does it."""
    framed = bytearray(4) + b"message"
    put_length(framed)
    assert framed == frame(b"message")
    with pytest.raises(FrameError):
        put_length(bytearray(4 + FRAME_LIMIT + 1))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other limits")
def test_memory_of_pieces_is_used_again() -> None:
    """A process that keeps it is given hardly a page for the next pieces; any other, each one again."""
    pages = {}
    for name in ("kept", "given back"):
        command = [sys.executable, "-c", PAGES, name]
        pages[name] = int(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    assert pages["kept"] < 1000 < pages["given back"]
