"""What the audit log says of a resource, when all that has happened until now is in it."""

from typing import Any

from tests.support.daemon import Daemon

#: What the daemon does of itself with a process; the other events are what clients do.
_OF_ITSELF = frozenset(
    {"opened", "restarted", "crashed", "hung", "killed", "wedged", "closed", "backoff", "broken", "unreachable"}
)


def records(daemon: Daemon, resource: str) -> list[dict[str, Any]]:
    """The log is written a moment later than things happen, but in their order: a new client ends what was before."""
    with daemon.text() as client:
        host, port = client.socket.getsockname()
        daemon.wait_for_audit(event="connect", client=f"{host}:{port}")
    return daemon.audit(resource=resource)


def story(daemon: Daemon, resource: str) -> list[str]:
    """What became of its processes, in order."""
    return [record["event"] for record in records(daemon, resource) if record["event"] in _OF_ITSELF]
