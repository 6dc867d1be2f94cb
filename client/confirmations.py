"""Confirming a message that the daemon's settings want a reason for.

Runs in the user's process.
"""

from pyvisa.resources import Resource


def confirm(instrument: Resource, reason: str) -> bool:
    """The next message to `instrument` that has to be confirmed is meant, and `reason` goes on record with it.

    It holds for one message of this resource object, for as long as the daemon's limit `confirm-time` says. Returns
    whether a daemon took it; a local instrument has no guards, so there is nothing to do and nobody to tell. Raises
    VisaIOError for a reason that is empty or over 256 characters.
    """
    library = instrument.visalib
    if not hasattr(library, "confirm"):
        return False
    library.confirm(instrument.session, reason)
    return True
