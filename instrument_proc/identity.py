"""Who is there: `*IDN?` (IEEE 488.2, 10.14), asked by the daemon itself.

Runs in the child, right after viOpen and after every connection that is made anew in between: before that nothing of a
client's is carried out. What may be left in the instrument from before is cleared away first, or its last answer to
somebody else would be taken for its name.
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
        _clear_away(session)
        with session.having(attributes):
            session.write(b"*IDN?" + how.writes)
            answer, _ = session.read(LIMIT)
    except CallError as error:
        raise CallError(error.status, f"it does not say who it is: *IDN? failed: {error.text}") from error
    identity = answer.decode("utf-8", "backslashreplace").strip()
    if not identity or not identity.isprintable():
        raise CallError(StatusCode.error_io, f"it does not say who it is: *IDN? is answered by {answer[:72]!r}")
    return identity


def _clear_away(session: "VisaSession") -> None:
    """What was left unread. A new connection to a socket is a line of its own, on which there is nothing."""
    if session.is_serial:
        session.resynchronise()
    elif not session.is_socket:
        try:
            session.clear()
        except CallError as error:
            if error.status == LOST:
                raise
