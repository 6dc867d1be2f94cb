"""What `benchmarks.processes` makes of /proc."""

import os

import pytest

from benchmarks.processes import (
    Peak,
    cpu_seconds,
    memory,
    on_one_cpu,
    private,
    rows_in_bytes,
    wait_until_quiet,
    writing_bytecode,
)

ROLLUP = """\
55d0c0a00000-7ffe6d3e2000 ---p 00000000 00:00 0                          [rollup]
Rss:                1000 kB
Pss:                 500 kB
Private_Clean:        10 kB
Private_Dirty:       200 kB
"""

#: Bytes that the kernel may have counted on a CPU and not yet in /proc.
COUNTED_LATER = 2 << 20

#: No process has it: it is above the kernel's limit.
NOBODY = 1 << 23


def test_rows_are_in_bytes():
    assert rows_in_bytes(ROLLUP) == {
        "Rss": 1_024_000, "Pss": 512_000, "Private_Clean": 10_240, "Private_Dirty": 204_800
    }  # fmt: skip


def test_rows_without_a_size_are_left_out():
    assert rows_in_bytes("Name:\tpython\nThreads:\t1\nVmHWM:\t 12 kB\n") == {"VmHWM": 12_288}


def test_private_is_clean_and_dirty():
    assert private(rows_in_bytes(ROLLUP)) == 215_040


def test_memory_of_a_process_is_found_and_of_none_is_nothing():
    assert memory(os.getpid())["Pss"] > 1_000_000
    assert set(memory(NOBODY).values()) == {0}


def test_peak_sees_what_was_freed_again():
    size = 64 << 20
    peak = Peak(os.getpid())
    block = bytearray(size)  # so long that the allocator gives it back when it is freed
    block[::4096] = b"x" * len(range(0, size, 4096))
    del block
    assert size - COUNTED_LATER <= peak.above_base() < 2 * size


def test_cpu_seconds_grow_and_are_nothing_for_nobody():
    before = cpu_seconds(os.getpid())
    sum(range(1_000_000))
    assert cpu_seconds(os.getpid()) > before
    assert cpu_seconds(NOBODY) == 0.0


def test_waiting_ends_when_nobody_works_and_fails_when_somebody_does():
    wait_until_quiet(list, quiet=0.0)
    with pytest.raises(TimeoutError):
        wait_until_quiet(lambda: [os.getpid()], limit=-1.0)


def test_on_one_cpu_ends_as_it_began():
    before = os.sched_getaffinity(0)
    with on_one_cpu(0):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


def test_bytecode_is_kept_whatever_the_environment_says():
    assert writing_bytecode({"PYTHONDONTWRITEBYTECODE": "1", "PATH": "here"}) == {"PATH": "here"}
