"""The lock that a program was started under: `instruments lock RESOURCE -- COMMAND` gives COMMAND its key.

Runs in the user's process, under `highlevel` and `client`; imports nothing of VISA. A session on that resource shares
the lock from its opening to its end, so that a program works under it unchanged.
"""

import os
from typing import NamedTuple

from pyvisa_daemon import wire
from pyvisa_daemon.channel import Channel, reply_limit
from pyvisa_daemon.errors import SUCCESS

#: In the environment: the resource's canonical name, the shared lock's access key, and the daemon, `host:port`.
RESOURCE, KEY, DAEMON = "PYVISA_DAEMON_LOCK_RESOURCE", "PYVISA_DAEMON_LOCK_KEY", "PYVISA_DAEMON_LOCK_DAEMON"

#: VISA's kind of a shared lock.
SHARED = 2

#: The bits of an access mode that say which lock an open is to have (VPP-4.3, 4.3.1).
LOCK_BITS = 0b011


class InheritedLock(NamedTuple):
    """What the environment says."""

    resource: str
    key: str
    daemon: str


def inherited() -> InheritedLock | None:
    """The lock that this program was started under, if it was."""
    resource, key = os.environ.get(RESOURCE), os.environ.get(KEY)
    return InheritedLock(resource, key, os.environ.get(DAEMON, "")) if resource and key else None


def key_for(channel: Channel, name: str) -> str | None:
    """The key by which a session on the resource `name` shares that lock; None if it is of another resource. Raises
    Failure(VI_ERROR_CONN_LOST)."""
    lock = inherited()
    if lock is None:
        return None
    resolved = channel.ask(reply_limit(0), wire.Resolve, name)
    return lock.key if resolved.status >= SUCCESS and resolved.value == lock.resource else None


def is_elsewhere(channel: Channel) -> bool:
    """May the lock be another daemon's, which has a resource of the same name? Where it is not known then, nothing is
    shared; at the daemon that the environment names it is lost."""
    lock = inherited()
    return lock is not None and lock.daemon != channel.address
