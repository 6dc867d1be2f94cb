"""How a VISA call fails: whatever a library does to say so, as one kind of error with a VISA status.

Runs in the child. PyVISA's wrappers differ: some return a negative status, some raise VisaIOError, pyvisa-py lets
whatever its drivers raise escape. `attempt` and `checked` turn all of it into CallError, once.

To give another driver's error its status: a row in _STATUS_OF or _STATUS_OF_ERRNO.
"""

import errno
import re
import socket
from collections.abc import Callable
from typing import TypeVar

from pyvisa import errors, highlevel
from pyvisa.constants import StatusCode

T = TypeVar("T")

NOT_REACHED = StatusCode.error_resource_not_found
LOST = StatusCode.error_connection_lost

_LACKING = frozenset({StatusCode.error_nonsupported_operation, StatusCode.error_nonimplemented_operation})

#: What a driver raised -> the status VPP-4.3 has for it, most special first.
_STATUS_OF: tuple[tuple[type[BaseException], StatusCode], ...] = (
    (NotImplementedError, StatusCode.error_nonsupported_operation),
    (ConnectionRefusedError, NOT_REACHED),
    (socket.gaierror, NOT_REACHED),
    (TimeoutError, StatusCode.error_timeout),
    (ConnectionError, LOST),
    (EOFError, LOST),
    (PermissionError, StatusCode.error_no_permission),
    (FileNotFoundError, NOT_REACHED),
    (MemoryError, StatusCode.error_allocation),
)

_STATUS_OF_ERRNO = {
    errno.EBUSY: StatusCode.error_resource_busy,
    errno.ENODEV: LOST,
    errno.ENXIO: LOST,
    errno.EIO: LOST,
    errno.EHOSTUNREACH: LOST,
    errno.ENETUNREACH: LOST,
    errno.EBADF: LOST,
}


class CallError(Exception):
    """A VISA call that failed: its status, the status's name, and the words of whoever raised it."""

    def __init__(self, status: int, text: str = "") -> None:
        name, meaning = errors.completion_and_error_messages.get(status, ("VI_ERROR_SYSTEM_ERROR", "unknown status"))
        super().__init__(text or meaning)
        self.status = int(status)
        self.token = name

    @property
    def is_lacking(self) -> bool:
        """Does the library say that it has no such function here?"""
        return self.status in _LACKING

    @property
    def text(self) -> str:
        return str(self.args[0])


class AbortedError(CallError):
    """A call that was cut short by a device clear: nothing of it is left in the instrument."""

    def __init__(self) -> None:
        super().__init__(StatusCode.error_abort, "cut short by a device clear")


def translate(error: Exception, otherwise: StatusCode = StatusCode.error_system_error) -> CallError:
    """What a library raised, as a VISA status; `otherwise` for what no row knows."""
    if isinstance(error, CallError):
        return error
    if isinstance(error, errors.VisaIOError):
        return CallError(error.error_code)
    words = _in_a_line(str(error))
    if isinstance(error, AttributeError) and isinstance(error.obj, highlevel.VisaLibraryBase):
        return CallError(StatusCode.error_nonsupported_operation, words)  # a vendor's VISA without that symbol
    if isinstance(error, OSError) and error.errno in _STATUS_OF_ERRNO:
        return CallError(_STATUS_OF_ERRNO[error.errno], words)
    for kind, status in _STATUS_OF:
        if isinstance(error, kind):
            return CallError(status, words)
    if isinstance(error, OSError) and otherwise is StatusCode.error_system_error:
        return CallError(LOST, words)  # pyserial's, of a line that was there: the number is in its words only
    return CallError(otherwise, words)


_LINE_BREAK = re.compile(r"\\+n")


def _in_a_line(words: str) -> str:
    """A driver's words, fit for a reply: pyvisa-sim puts a whole traceback in there, of which the end counts."""
    if "Traceback" in words:
        words = _LINE_BREAK.sub("\n", words).rstrip("'\"\\\n ").rpartition("\n")[2]
    return " ".join(words.split())[:500]


def attempt(call: Callable[[], T], otherwise: StatusCode = StatusCode.error_system_error) -> T:
    """What `call` returns. Raises CallError for anything that a driver below raises."""
    try:
        return call()
    except CallError:
        raise
    except Exception as error:  # foreign code: nobody can list what a VISA driver raises
        raise translate(error, otherwise) from error


def checked(status: int | None) -> int:
    """`status`, which is no error: a vendor may have completion codes of its own. Raises CallError for a negative one;
    pyvisa-sim returns None for success."""
    if status is None:
        return StatusCode.success
    if status < 0:
        raise CallError(int(status))
    return int(status)
