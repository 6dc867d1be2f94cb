"""What can go wrong, as one table: a token for people and text clients, a VISA status for PyVISA programs.

Every error says whether the instrument may have acted (`effect`). Runs in every process and imports nothing of VISA;
a test holds the numbers below against `pyvisa.constants.StatusCode`.

To add an error: one row in ERRORS and one in `remedies`; the docs' table and the tests are made from it.
"""

from dataclasses import dataclass
from enum import StrEnum

from pyvisa_daemon.remedies import REMEDIES


class Effect(StrEnum):
    """May the instrument have acted on the command?"""

    NONE = "none"  # certainly not: nothing of it was sent
    MAYBE = "maybe"  # some of it may have reached the instrument
    DONE = "done"  # all of it reached the instrument; what failed came afterwards


SUCCESS = 0

#: VISA completion codes of viRead: at the termination character, and at its count.
VI_SUCCESS_TERM_CHAR = 0x3FFF0005
VI_SUCCESS_MAX_CNT = 0x3FFF0006

_VISA = {
    "VI_ERROR_SYSTEM_ERROR": -1073807360,
    "VI_ERROR_INV_OBJECT": -1073807346,
    "VI_ERROR_RSRC_LOCKED": -1073807345,
    "VI_ERROR_RSRC_NFOUND": -1073807343,
    "VI_ERROR_INV_RSRC_NAME": -1073807342,
    "VI_ERROR_TMO": -1073807339,
    "VI_ERROR_ABORT": -1073807312,
    "VI_ERROR_IO": -1073807298,
    "VI_ERROR_NSUP_ATTR": -1073807331,
    "VI_ERROR_NSUP_ATTR_STATE": -1073807330,
    "VI_ERROR_ATTR_READONLY": -1073807329,
    "VI_ERROR_INV_ACC_MODE": -1073807341,
    "VI_ERROR_RSRC_BUSY": -1073807246,
    "VI_ERROR_INV_PARAMETER": -1073807240,
    "VI_ERROR_NSUP_OPER": -1073807257,
    "VI_ERROR_NIMPL_OPER": -1073807231,
    "VI_ERROR_CONN_LOST": -1073807194,
    "VI_ERROR_NPERMISSION": -1073807192,
    "VI_ERROR_ALLOC": -1073807300,
    "VI_ERROR_SESN_NLOCKED": -1073807204,
    "VI_ERROR_INV_LOCK_TYPE": -1073807328,
    "VI_ERROR_INV_ACCESS_KEY": -1073807327,
    "VI_ERROR_INV_EVENT": -1073807322,
    "VI_ERROR_INV_MECH": -1073807321,
    "VI_ERROR_INV_CONTEXT": -1073807318,
    "VI_ERROR_NENABLED": -1073807313,
    "VI_ERROR_HNDLR_NINSTALLED": -1073807320,
    "VI_ERROR_INV_JOB_ID": -1073807332,
    "VI_ERROR_FILE_ACCESS": -1073807199,
    "VI_ERROR_FILE_IO": -1073807198,
}


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row: the token on the wire, the VISA status a PyVISA program sees, what it means, and what to do next."""

    token: str
    status: int
    meaning: str
    remedy: str


def _rows() -> dict[str, ErrorKind]:
    own = [
        ("UNKNOWN_COMMAND", "VI_ERROR_NSUP_OPER", "no such verb; `help` lists them"),
        ("BAD_ARGUMENT", "VI_ERROR_INV_PARAMETER", "an argument is missing, too many, or not what the verb takes"),
        ("BAD_PROTOCOL", "VI_ERROR_INV_PARAMETER", "not a language spoken here; the connection is closed"),
        ("BAD_VERSION", "VI_ERROR_NSUP_OPER", "client and daemon speak different versions of the wire"),
        ("NO_RESOURCE", "VI_ERROR_INV_OBJECT", "no resource is open on this connection, or not that one"),
        ("LINE_TOO_LONG", "VI_ERROR_INV_PARAMETER", "a line over its limit; the connection is closed"),
        ("LINE_TIMEOUT", "VI_ERROR_TMO", "a line was begun and not ended in time; the connection is closed"),
        ("INSTRUMENT_HUNG", "VI_ERROR_TMO", "no answer by the deadline; the process was killed and starts anew"),
        ("INSTRUMENT_CRASHED", "VI_ERROR_CONN_LOST", "the instrument's process died; it starts anew"),
        ("INSTRUMENT_BACKOFF", "VI_ERROR_CONN_LOST", "it failed again; the next restart waits a while"),
        ("INSTRUMENT_BROKEN", "VI_ERROR_CONN_LOST", "it failed too often and is left alone until `reset`"),
        ("INSTRUMENT_CHANGED", "VI_ERROR_CONN_LOST", "another instrument answers there than the one first seen"),
        ("INSTRUMENT_WEDGED", "VI_ERROR_CONN_LOST", "its process cannot be killed; only the kernel can free it"),
        ("SESSION_RESET", "VI_ERROR_CONN_LOST", "the instrument was reopened since; check its settings, then go on"),
        ("COMMAND_ABORTED", "VI_ERROR_ABORT", "somebody cut the command short"),
        ("QUEUE_FULL", "VI_ERROR_RSRC_BUSY", "this client already has the most commands waiting that it may"),
        ("QUEUE_TIMEOUT", "VI_ERROR_TMO", "the command waited too long for its turn"),
        ("CLIENT_GONE", "VI_ERROR_CONN_LOST", "the client left before its command's turn came"),
        ("WRITE_FAILED", "VI_ERROR_ABORT", "not executed: the write that it follows failed"),
        ("TOO_MANY_CLIENTS", "VI_ERROR_ALLOC", "the daemon serves as many clients as it may"),
        ("SHUTTING_DOWN", "VI_ERROR_CONN_LOST", "the daemon is stopping, or drains"),
        ("FORBIDDEN", "VI_ERROR_NPERMISSION", "this client may not do that"),
        ("AUTH_FAILED", "VI_ERROR_NPERMISSION", "no such token, or none any more; the connection is closed"),
        ("LOCK_LOST", "VI_ERROR_SESN_NLOCKED", "the lock that this session had was taken from it, or ran out"),
        ("NO_RECORD", "VI_ERROR_FILE_IO", "the audit log cannot be written, and such a message needs a record"),
        ("GUARDED", "VI_ERROR_NPERMISSION", "a guard of the resource refuses the message"),
        ("CONFIRM_FIRST", "VI_ERROR_NPERMISSION", "the message needs a confirmation with a reason"),
        ("START_FAILED", "VI_ERROR_SYSTEM_ERROR", "no process could be started for the instrument"),
        ("INTERNAL_ERROR", "VI_ERROR_SYSTEM_ERROR", "a fault of the daemon's own; its log has the details"),
    ]
    rows = [(token, _VISA[visa], meaning) for token, visa, meaning in own]
    rows += [(token, status, "the VISA status of that name") for token, status in _VISA.items()]
    return {token: ErrorKind(token, status, meaning, REMEDIES[token]) for token, status, meaning in rows}


#: token -> row: the daemon's own tokens and the VISA ones that it gives itself.
ERRORS = _rows()

#: Statuses (and so tokens) by which a daemon says that it does not have an instrument: reasons to ask elsewhere.
NOT_FOUND = frozenset({_VISA["VI_ERROR_RSRC_NFOUND"], _VISA["VI_ERROR_INV_RSRC_NAME"]})


def remedy_of(token: str) -> str:
    """What to do about an error, in one sentence; of a VISA code that is no row of ERRORS, where to look."""
    return REMEDIES.get(token) or f"Look up {token} in the manual of the VISA library."


class Failure(Exception):  # noqa: N818 - it is an outcome as often as it is raised
    """A command that failed: `token` (a row of ERRORS or a VISA completion code's name), `status`, `effect`, text."""

    def __init__(self, token: str, text: str = "", effect: Effect = Effect.NONE, status: int | None = None) -> None:
        super().__init__(text or ERRORS[token].meaning)
        self.token = token
        self.status = ERRORS[token].status if status is None else status
        self.effect = effect

    @property
    def text(self) -> str:
        """What went wrong, for people."""
        return str(self.args[0])

    def __str__(self) -> str:
        return f"{self.token} effect={self.effect}: {self.text}"
