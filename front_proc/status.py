"""`status`: what the daemon and its instruments' processes are doing, for people and programs.

Runs in the front. psutil looks at each child from outside, so a hung one is described as well as a healthy one.
"""

import os
import time
from typing import Any

import psutil

from front_proc.access.rights import EVERYTHING, Rights
from front_proc.front import Front
from front_proc.serving.resource import Resource
from front_proc.serving.sessions import Client, Session
from pyvisa_daemon.version import __version__


def describe(front: Front, rights: Rights = EVERYTHING) -> dict[str, Any]:
    """The answer to `status`, ready for JSON. Every resource that has a process or waits for one is in it, if whoever
    has these `rights` may know of it."""
    now = time.monotonic()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "uptime_s": round(now - front.started_at, 3),
        "clients": len(front.clients),
        "resources": [
            describe_resource(resource, front.aliases_of(name), now)
            for name, resource in sorted(front.resources.items())
            if rights.sees(name)
        ],
        "state": front.state.value,
        "addresses": front.addresses(),
        "announced": front.is_announced(),
        "memory_mb": _process(os.getpid())["memory_mb"],
        "rate_per_s": front.rate.per_second(now),
        "settings": front.settings_anew,
        "aliases": {alias: name for alias, name in front.aliases().items() if rights.sees(name)},
        "audit": front.audit.describe(),
        "connections": [_describe_client(client, rights) for client in sorted(front.clients, key=_address_of)],
    }


def _address_of(client: Client) -> str:
    return client.address


def _describe_client(client: Client, rights: Rights) -> dict[str, Any]:
    opened = [session.resource.name for session in client.sessions if rights.sees(session.resource.name)]
    return {**client.who(), "language": client.language, "sessions": len(opened), "open": sorted(set(opened))}


def describe_resource(resource: Resource, aliases: list[str], now: float) -> dict[str, Any]:
    """What `status` says of one resource, `now` in monotonic seconds."""
    keeper, service = resource.keeper, resource.service
    pace, running, hold = service.pace, service.under_way, service.hold
    pid = keeper.child.pid if keeper.child is not None else None
    return {
        "resource": resource.name,
        "aliases": aliases,
        "state": keeper.state.value,
        "pid": pid,
        "generation": keeper.generation,
        "restarts": keeper.restarts,
        "queued": service.queued,
        "sessions": len(resource.sessions),
        "commands": pace.rate.total,
        "failed": pace.failed,
        "rate_per_s": pace.rate.per_second(now),
        "latency_ms": pace.latency_ms(),
        "running": running and {**_whose(running.session, now - running.dispatched_at), "operation": running.call},
        "hold": hold.holder and _whose(hold.holder, now - hold.since),
        "lock": service.locks.describe(),
        "safe": service.safe.describe(),
        **_process(pid),
        "last_error": keeper.last_error,
        "remedy": keeper.remedy,
        "identity": keeper.identity,
    }


def _whose(session: Session, seconds: float) -> dict[str, Any]:
    return {"client": session.client.address, "name": session.client.name, "for_s": round(seconds, 3)}


def _process(pid: int | None) -> dict[str, Any]:
    nothing = {"memory_mb": None, "cpu_s": None, "process": None}
    if pid is None:
        return nothing
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return {
                "memory_mb": round(process.memory_info().rss / 1e6, 1),
                "cpu_s": round(times.user + times.system, 2),
                "process": process.status(),
            }
    except psutil.Error:
        return nothing  # it ended while we looked
