"""Who is there: `*IDN?` (IEEE 488.2, 10.14), asked by the daemon itself.

Runs in the child, right after viOpen and after every connection that is made anew in between: before that nothing of a
client's is carried out. What may be left in the instrument from before is cleared away first, or its last answer to
somebody else would be taken for its name. Where that cannot be done for certain it is asked twice: an old answer that
comes late is not what it says the second time.
"""

from typing import TYPE_CHECKING

from pyvisa.constants import ResourceAttribute, StatusCode

from instrument_proc.failures import LOST, CallError
from instrument_proc.pipe import Attributes, Identify

if TYPE_CHECKING:
    from instrument_proc.visa_session import VisaSession

#: Bytes of an answer. IEEE 488.2 has 72 at most; some instruments say more.
LIMIT = 1024


def identity_of(session: "VisaSession", how: Identify) -> str:
    """The answer, without what ends it. Raises CallError, whose text says that this is what failed."""
    attributes: Attributes = [(ResourceAttribute.timeout_value, how.timeout_ms)]
    if not session.marks_end:
        attributes += [(ResourceAttribute.termchar, how.reads_to), (ResourceAttribute.termchar_enabled, True)]
    try:
        is_clear = _clear_away(session)
        with session.having(attributes):
            identity = _answer(session, how)
            again = identity if is_clear else _answer(session, how)
    except CallError as error:
        raise CallError(error.status, f"it does not say who it is: *IDN? failed: {error.text}") from error
    if again != identity:
        said = f"{identity[:72]!r}, and asked again by {again[:72]!r}"
        raise CallError(StatusCode.error_io, f"it does not say who it is: *IDN? is answered by {said}")
    if not identity or not identity.isprintable():
        raise CallError(StatusCode.error_io, f"it does not say who it is: *IDN? is answered by {identity[:72]!r}")
    return identity


def _answer(session: "VisaSession", how: Identify) -> str:
    session.write(b"*IDN?" + how.writes)
    answer, status = session.read(LIMIT)
    if status == StatusCode.success_max_count_read:  # its rest would be somebody's answer
        raise CallError(StatusCode.error_io, f"{LIMIT} bytes, and no end")
    return answer.decode("utf-8", "backslashreplace").strip()


def _clear_away(session: "VisaSession") -> bool:
    """What was left unread. Is it sure that nothing comes of it? Without a device clear an instrument goes on with what
    it was asked, and what is behind a socket may be a line that others have asked before."""
    if not session.marks_end:
        session.drain()
        return False
    try:
        session.clear()
    except CallError as error:
        if error.status == LOST:
            raise
        return False
    return True
