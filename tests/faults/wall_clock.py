"""A wall clock that can be stepped for some processes only: the machine's own is everybody's.

A library that is loaded before all others adds a number of seconds from a shared file to CLOCK_REALTIME, as its callers
see it; the kernel's own waits and the monotonic clock go on. Needs a C compiler.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path

COMPILER = shutil.which("gcc") or shutil.which("cc")

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile long long *step;

__attribute__((constructor)) static void begin(void)
{
    int fd = open(getenv("WALL_CLOCK_STEP"), O_RDONLY);
    void *page = fd < 0 ? MAP_FAILED : mmap(0, sizeof *step, PROT_READ, MAP_SHARED, fd, 0);
    step = page == MAP_FAILED ? 0 : page;
}

static long long stepped(void) { return step ? *step : 0; }

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += stepped();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exactly;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exactly);
    now->tv_sec = exactly.tv_sec;
    now->tv_usec = exactly.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}
"""


class WallClock:
    """What is started with this `environment` sees the clock that `step` sets."""

    def __init__(self, folder: Path) -> None:
        assert COMPILER is not None
        source, library, self._file = folder / "clock.c", folder / "clock.so", folder / "clock.step"
        source.write_text(_SOURCE)
        command = [COMPILER, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_STEP": str(self._file)}

    def step(self, seconds: int) -> None:
        """From now on the clock is so many seconds ahead of the machine's own."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
            file.flush()
            os.fsync(file.fileno())
