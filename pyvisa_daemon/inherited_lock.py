"""The locks that a program was started under: `instruments lock RESOURCE -- COMMAND` gives COMMAND the key.

Runs in the user's process, under `highlevel` and `client`; imports nothing of VISA. A session on that resource shares
the lock from its opening to its end, so that a program works under it unchanged. One such command in another makes
several locks: each variable then has a word for each of them, the innermost first.
"""

import os
from itertools import zip_longest
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
    """One of them. Another daemon than `daemon` may have a resource of the same name."""

    resource: str
    key: str
    daemon: str = ""


def inherited() -> list[InheritedLock]:
    """The locks that this program was started under."""
    words = (os.environ.get(variable, "").split() for variable in (RESOURCE, KEY, DAEMON))
    locks = [InheritedLock(*each) for each in zip_longest(*words, fillvalue="")]
    return [lock for lock in locks if lock.resource and lock.key]


def inherited_on(resource: str, daemon: str) -> InheritedLock | None:
    """The one that is on that resource: of that daemon, or else of another."""
    locks = [lock for lock in inherited() if lock.resource == resource]
    return next((lock for lock in locks if lock.daemon == daemon), next(iter(locks), None))


def environment_under(lock: InheritedLock) -> dict[str, str]:
    """What a program finds in its environment that is started under that lock, and those of this one."""
    locks = [lock, *(other for other in inherited() if other != lock)]
    columns = zip((RESOURCE, KEY, DAEMON), zip(*locks, strict=True), strict=True)
    return {variable: " ".join(words) for variable, words in columns}


def lock_for(channel: Channel, name: str) -> InheritedLock | None:
    """The lock that a session on the resource `name` shares, if there is one. Raises Failure(VI_ERROR_CONN_LOST)."""
    if RESOURCE not in os.environ or not inherited():
        return None
    resolved = channel.ask(reply_limit(0), wire.Resolve, name)
    return inherited_on(str(resolved.value), channel.address) if resolved.status >= SUCCESS else None
