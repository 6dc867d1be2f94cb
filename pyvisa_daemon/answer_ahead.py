"""The rest of an answer that came before it was asked for, and what each viRead gives of it.

Runs in the user's process, under `opened`. Pure. PyVISA reads a long answer 20 kB at a time, and within a block (IEEE
488.2, 8.7.9) up to each byte that looks like a termination: round trips by the thousand. So a read that leaves some of
its answer on a stream brings more of it, and the next ones are answered here, byte for byte and status for status as
pyvisa-py would have (VPP-4.3, 6.1.1: viRead).
"""

from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT, VI_SUCCESS_TERM_CHAR

#: Bytes that a read takes beyond its count.
AHEAD = 1 << 20


class AnswerAhead:
    """`data` that came on a stream; `termination` is the character in force, or -1."""

    __slots__ = ("_data", "_position", "termination")

    def __init__(self, data: bytes, termination: int) -> None:
        self._data = data
        self._position = 0
        self.termination = termination

    @property
    def is_used_up(self) -> bool:
        return self._position >= len(self._data)

    @property
    def rest(self) -> bytes:
        """All that was not taken."""
        return self._data[self._position :]

    def take(self, count: int) -> tuple[bytes, int] | None:
        """viRead of at most `count` bytes, and its status; None if it takes more than there is."""
        start, size = self._position, len(self._data)
        end = min(start + count, size)
        found = self._data.find(self.termination, start, end) if self.termination >= 0 else -1
        if found >= 0:
            end, status = found + 1, VI_SUCCESS_TERM_CHAR
        elif end - start == count:
            status = VI_SUCCESS_MAX_CNT
        else:
            return None
        data = self._data[start:end]
        self._position = end  # last: Ctrl-C before this has taken nothing
        return data, status
