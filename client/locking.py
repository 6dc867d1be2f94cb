"""Locks in Python, with what a daemon's locks have beyond VISA's: what they are for, and how long they live unused.

Runs in the user's process.
"""

import contextlib
from collections.abc import Iterator

from pyvisa import errors, util
from pyvisa.constants import Lock
from pyvisa.resources import Resource


@contextlib.contextmanager
def lock(
    instrument: Resource,
    timeout_ms: float | None = None,
    shared_key: str | None = None,
    ttl: float | None = None,
    reason: str = "",
) -> Iterator[str | None]:
    """Has `instrument` locked for the length of a `with`: exclusively, or shared with all who give the same key.

    Waits `timeout_ms` for it (default: the instrument's timeout; `float("inf")`: for ever). Gives the access key of a
    shared lock. The lock is lost when it was not used for `ttl` seconds (None: never), and others are told the `reason`
    for which they wait. If it was lost, for that or by force, the next command raises VisaIOError (LOCK_LOST), or else
    the end of the `with` does.

    An instrument that is opened locally has its library's own lock: then `ttl` and `reason` have no effect.
    """
    from pyvisa_daemon.highlevel import DaemonVisaLibrary

    library = instrument.visalib
    wait_ms = util.cleanup_timeout(instrument.timeout if timeout_ms is None else timeout_ms)
    kind = Lock.exclusive if shared_key is None else Lock.shared
    if isinstance(library, DaemonVisaLibrary):
        key, _ = library.lock(instrument.session, kind, wait_ms, shared_key, ttl_s=ttl, reason=reason)
    else:
        key, _ = library.lock(instrument.session, kind, wait_ms, shared_key)
    try:
        yield key or None
    except BaseException:
        with contextlib.suppress(errors.Error):  # what went wrong first is what counts
            instrument.unlock()
        raise
    instrument.unlock()
