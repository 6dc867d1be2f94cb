"""Answers that were read ahead for a session that had not come for them, while others waited for the instrument.

Pure. Runs in the front, one for each session. Its reads take from here first, with the counts and statuses of viRead.
"""

from collections import deque

from pyvisa_daemon.errors import VI_SUCCESS_MAX_CNT

#: Bytes that are kept for one session.
LIMIT = 1 << 24


class ReadAhead:
    """Messages that wait for their reader, the oldest first."""

    def __init__(self) -> None:
        #: Each message, and the status with which it ended; of the first, the bytes that were taken.
        self._messages: deque[tuple[bytes, int]] = deque()
        self._taken = 0

    def __bool__(self) -> bool:
        return bool(self._messages)

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return sum(len(message) for message, _ in self._messages)

    def add(self, message: bytes, status: int) -> None:
        """One more message, or the rest of one, which ended with `status`."""
        self._messages.append((message, status))

    def take(self, count: int | None) -> tuple[bytes, int]:
        """viRead of at most `count` bytes, or to the end of the message: the bytes and the status."""
        message, status = self._messages[0]
        end = len(message) if count is None else self._taken + count
        data = message[self._taken : end]
        if end < len(message):
            self._taken = end
            return data, VI_SUCCESS_MAX_CNT
        self._messages.popleft()
        self._taken = 0
        return data, status

    def clear(self) -> None:
        """Nobody will ask for them any more."""
        self._messages.clear()
        self._taken = 0
