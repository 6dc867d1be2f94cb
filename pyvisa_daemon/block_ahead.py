"""The rest of a block that came before it was asked for, and what each viRead gives of it.

Runs in the user's process, under `opened`. Pure. A block of definite length (IEEE 488.2, 8.7.9) says how many bytes are
certain to come, but PyVISA reads them 20 kB at a time, and up to each byte that looks like a termination: round trips
by the thousand. So a read that ends within a block brings more of it, and the next ones are answered here, byte for
byte and status for status as the instrument's library would have (VPP-4.3, 6.1.1: viRead).
"""

from pyvisa_daemon.errors import SUCCESS, VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR

#: Bytes that a read takes beyond its count.
AHEAD = 1 << 20


class BlockAhead:
    """`data` that was read by viReads of which the last had `status`. `termination` is the character in force, or -1;
    `marks_end`: may a status of VI_SUCCESS mean that the message has ended?"""

    __slots__ = ("_data", "_position", "_status", "marks_end", "termination")

    def __init__(self, data: bytes, status: int, termination: int, marks_end: int) -> None:
        self._data = data
        self._position = 0
        self._status = status
        self.termination = termination
        self.marks_end = bool(marks_end)

    @property
    def is_used_up(self) -> bool:
        return self._position >= len(self._data)

    def take(self, count: int) -> tuple[bytes, int | None]:
        """viRead of at most `count` bytes, and its status; None if it goes on with what has yet to be read."""
        start, size = self._position, len(self._data)
        end = min(start + count, size)
        found = self._data.find(self.termination, start, end) if self.termination >= 0 else -1
        status: int | None = None
        if found >= 0:
            end, status = found + 1, VI_SUCCESS_TERM_CHAR
        elif end == size and self._status == SUCCESS and self.marks_end:
            status = SUCCESS
        elif end - start == count:
            status = VI_SUCCESS_MAX_CNT
        data = self._data[start:end]
        self._position = end  # last: Ctrl-C before this has taken nothing
        return data, status
