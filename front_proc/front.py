"""The front: who is connected, what is open, and the daemon's own beginning and end.

Runs in the front process, on its event loop; everything here is called from that one thread.
"""

import asyncio
import time
import traceback
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit
from typing import Any

from front_proc.access.admission import Admission, is_short, kicked_by
from front_proc.access.gate import Access
from front_proc.access.own_doors import leads_back
from front_proc.access.rights import Role
from front_proc.configuration.resource_names import folded
from front_proc.configuration.resource_settings import EffectiveSettings, ResourceSettings
from front_proc.configuration.resource_table import ResourceTable, named_rows
from front_proc.configuration.settings import Settings
from front_proc.discovery import Discovery, search_all
from front_proc.process.breaker import Breaker
from front_proc.process.child import ChildProcess
from front_proc.process.identities import Identities
from front_proc.process.lifecycle import State
from front_proc.process.pool import Pool
from front_proc.record.audit import Audit
from front_proc.record.log_writer import LogWriter
from front_proc.serving.pace import Rate
from front_proc.serving.resource import Resource
from front_proc.serving.sessions import Client, Session
from front_proc.serving.tickets import shortened
from instrument_proc.spawn import ChildSettings
from pyvisa_daemon.errors import Effect, Failure

#: Of the 10 seconds that stopping may take: for commands to finish, for safe states to be sent, for sessions to close,
#: for the killed to die.
FINISH_TIME = 2.0
SAFE_TIME = 2.0
CLOSE_TIME = 3.0
KILL_TIME = 2.5

#: Seconds between the end of the last child and the front's own, for replies.
REPLY_TIME = 0.05

#: Seconds between looks, while it drains, whether anything is still open.
DRAIN_LOOK = 0.1


class FrontState(StrEnum):
    """What the daemon is about, as `status` says it."""

    SERVING = "serving"
    DRAINING = "draining"  # no new sessions; it stops when the last one is closed
    STOPPING = "stopping"  # nothing new at all; it ends within 10 s


class Front:
    """The daemon. It serves what `library` finds, and `rows` say what is special about which resource."""

    def __init__(
        self, settings: Settings, audit: Audit, log: LogWriter, library: str, rows: Iterable[ResourceSettings]
    ) -> None:
        self.audit = audit
        self.log = log
        self.linger = settings.linger
        self.grace = settings.grace
        self.limits = settings.limits
        self.lock_folder: Path = settings.lock_folder
        self.spool_folder: Path = settings.run_dir
        limits = settings.limits
        self._admission = Admission(limits.clients, limits.reserved_clients, limits.strangers)
        self.clients = self._admission.clients
        self.resources: dict[str, Resource] = {}
        #: The same by name: the one spelling by which names are compared -> the one that it was opened by.
        self._open_as: dict[str, str] = {}
        self.rate = Rate()
        self.started_at = time.monotonic()
        self.state = FrontState.SERVING
        #: Is called when it begins to stop, once.
        self.on_stopping: Callable[[], None] = lambda: None
        #: What became of the settings when they were last read anew, for `status`.
        self.settings_anew: dict[str, Any] | None = None
        #: Where it listens, for `status`.
        self.addresses: Callable[[], dict[str, Any]] = dict
        #: Is it announced on the network?
        self.is_announced: Callable[[], bool] = lambda: False
        #: Set when the process shall end.
        self.ended = asyncio.Event()
        self._breakers: dict[str, Breaker] = {}
        self.identities = Identities(settings.run_dir / "identities.json", self._note_trouble)
        self._library = library
        self._table = ResourceTable(rows, library)
        child_settings = ChildSettings(library, str(settings.log_file))
        self._pool = Pool(child_settings, self._note_trouble, settings.limits.start_time)
        self._discoveries = {name: self._discovery(name) for name in self._table.libraries}
        self.access = Access(
            settings.tokens,
            settings.by_address,
            settings.limits.wrong_token_time,
            self.canonical,
            self._admission.recognise,
            self.clients,
            audit,
            log,
        )
        self._draining: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[list[int]] | None = None

    @property
    def is_stopping(self) -> bool:
        return self.state is FrontState.STOPPING

    async def warm_up(self) -> None:
        """Have a spare ready, and what is configured under its canonical name.

        Raises Failure if no child can be started or the library cannot be loaded, SettingsError for a row's name that
        VISA cannot parse, TokenFileError for a token file that cannot be used.
        """
        self._pool.give_back(await self._pool.take())
        if self._pool.trouble:
            raise Failure("START_FAILED", self._pool.trouble)
        self._table = await self.table_of(self._table.rows)
        await self.access.read()

    async def table_of(self, rows: Iterable[ResourceSettings]) -> ResourceTable:
        """The table of these rows, under canonical names. Raises Failure; SettingsError for all names that are none."""
        return ResourceTable(await named_rows(rows, self._pool.canonical), self._library)

    def take(self, settings: Settings, table: ResourceTable) -> list[str]:
        """Other settings hold from now on, and other guards; the other keys of the rows for what is opened from now on.
        Returns the resources that somebody has, and that are till they are closed not as the rows say."""
        if self.state is FrontState.SERVING:  # what drains does not linger
            self.linger = settings.linger
        limits = settings.limits
        self.grace, self.limits = settings.grace, limits
        self._admission.limit(limits.clients, limits.reserved_clients, limits.strangers)
        self._pool.start_time = limits.start_time
        for breaker in self._breakers.values():
            breaker.limit(limits)
        self._table = table
        self._discoveries = {name: self._discoveries.get(name) or self._discovery(name) for name in table.libraries}
        for resource in tuple(self.resources.values()):
            resource.take(table.of(resource.name))
        self.access.take(settings.tokens, settings.by_address, limits.wrong_token_time)
        return sorted(name for name, one in self.resources.items() if one.is_outdated and not one.is_ending)

    def _discovery(self, library: str) -> Discovery:
        return Discovery(library, self.take_child, self._note_trouble, self.limits.search_time)

    # What a resource and its keeper need.

    async def take_child(self) -> ChildProcess:
        return await self._pool.take()

    def breaker_of(self, resource: str) -> Breaker:
        now = time.monotonic()
        kept = self._breakers.items()
        self._breakers = {name: one for name, one in kept if name in self.resources or not one.is_forgotten(now)}
        return self._breakers.setdefault(resource, Breaker(self.limits))

    def library_of(self, resource: str) -> str:
        return self.settings_of(resource).library

    def settings_of(self, resource: str) -> EffectiveSettings:
        """What is configured for a resource, by its canonical name."""
        return self._table.of(resource)

    # Clients.

    def admit(self, client: Client, descriptor: int = 0) -> bool:
        """Count a new client in, whose connection has this descriptor, if there is room."""
        is_admitted = self._admission.admit(client, descriptor, _descriptor_limit())
        if (one_too_many := self._admission.one_too_many()) is not None:
            one_too_many.cut("makes room for newer clients that have shown no token either")
            self.leave(one_too_many)
        return is_admitted

    def is_short_of(self, descriptor: int) -> bool:
        """Is this one of the last, and wanted for other things than telling somebody that there are no more?"""
        return is_short(descriptor, _descriptor_limit())

    def may_work(self, client: Client) -> bool:
        """May it do more than look and stop the daemon?"""
        return self._admission.may_work(client, _descriptor_limit)

    def leave(self, client: Client) -> None:
        """A client is gone: its sessions close, what it has waiting is not executed."""
        self._admission.leave(client)
        client.gone = client.gone or "its connection is gone"
        for session in tuple(client.sessions):
            session.resource.drop_session(session)
        for resource in tuple(self.resources.values()):
            resource.abandon_opens(client)
        self.audit.record("disconnect", **client.who())

    def kick(self, who: str, by: Client, *, all_of_name: bool) -> int:
        """Cut the connections of the client at the address `who`, or of those with that name: how many. Never that of
        `by`. Raises Failure(BAD_ARGUMENT) for nobody, and for several that have the name if one was meant."""
        kicked = kicked_by(who, self.clients - {by}, all_of_name=all_of_name)
        for client in kicked:
            client.gone = f"kicked by {by.in_words()}"
            self.audit.record("kicked", **client.who(), by=by.in_words())
            client.cut("")  # first: what of it ends now has nobody to answer to
            self.leave(client)
        return len(kicked)

    def dismiss_all(self) -> None:
        """The daemon ends, and so does every connection."""
        for client in tuple(self.clients):
            self.leave(client)

    # Resources.

    async def canonical(self, name: str) -> str:
        """The canonical name of a resource, which may be given by an alias: as it is open, if it is, for an instrument
        has one process however its numbers are spelled. Raises Failure(VI_ERROR_INV_RSRC_NAME)."""
        resource = self._table.resource_of(name)
        if resource is None:
            resource = self._table.spelling(await self._pool.canonical(name))
        return self._as_open(resource)

    def aliases_of(self, resource: str) -> list[str]:
        """What the settings call it, by its canonical name."""
        return self._table.aliases_of(resource)

    def aliases(self) -> dict[str, str]:
        """Every alias, and the canonical name of its resource, open or not."""
        return {alias: name for name in self._table.listed for alias in self._table.aliases_of(name)}

    def _as_open(self, resource: str) -> str:
        return self._open_as.get(folded(resource), resource)

    async def open(self, client: Client, name: str) -> Session:
        """A new session of `client` on a resource, opened if nobody has it open. Raises Failure, effect none."""
        canonical = await self.canonical(name)
        if not client.rights.suffices(Role.USE, canonical):
            raise self.access.denied(client, canonical, shortened(f"open {name}"), Role.USE)
        if await leads_back(canonical, self._own_addresses()):
            text = f"{canonical} is a port of this daemon itself: open the instrument by its own name"
            raise Failure("FORBIDDEN", text)
        await self._end_of_outdated(canonical)
        if client not in self.clients:
            raise Failure("CLIENT_GONE")
        if self.is_stopping:
            raise Failure("SHUTTING_DOWN")
        if self.state is FrontState.DRAINING:
            raise Failure("SHUTTING_DOWN", "the daemon takes no new sessions: it ends when the last one is closed")
        canonical = self._as_open(canonical)  # somebody may have opened it meanwhile
        resource = self.resources.get(canonical)
        if resource is None:
            resource = self.resources[canonical] = Resource(self, canonical, self._forget)
            self._open_as[folded(canonical)] = canonical
        return await resource.open(client)

    async def _end_of_outdated(self, canonical: str) -> None:
        """Return when there is nothing left of it that only ends, and is not as it is set now."""
        while (resource := self.resources.get(self._as_open(canonical))) is not None and resource.is_ending:
            await resource.end_of_process()

    def _own_addresses(self) -> list[str]:
        doors = self.addresses()
        return [address for address in (doors.get("plain"), (doors.get("tls") or {}).get("address")) if address]

    async def close(self, session: Session) -> None:
        """viClose. With no linger, returns when the instrument's process has ended, if this was the last session."""
        resource = session.resource
        resource.drop_session(session)
        if resource.keeper.child is not None and not resource.sessions and self.linger <= 0:
            await resource.end_of_process()

    async def known(self, name: str) -> Resource:
        """The resource of that name. Raises Failure(NO_RESOURCE) unless it has a process or waits for one."""
        resource = self.resources.get(await self.canonical(name))
        if resource is None:
            raise Failure("NO_RESOURCE", f"{name} is not open")
        return resource

    async def reset(self, name: str) -> None:
        """An operator's word: what failed there is forgotten, who answers there is accepted, and it starts at once if
        somebody has it open. Raises Failure(NO_RESOURCE) if nobody has and nothing failed."""
        canonical = await self.canonical(name)
        breaker, resource = self._breakers.get(canonical), self.resources.get(canonical)
        if resource is not None:
            resource.reset()
        elif self.identities.accept(canonical):
            return
        elif breaker is not None and not breaker.is_forgotten(time.monotonic()):
            breaker.reset()
        else:
            raise Failure("NO_RESOURCE", f"{name} is not open, and has not failed")

    async def restart(self, name: str) -> None:
        """An operator's word: end its process, whatever that does, and open it again; or, where nobody has it, look
        again who answers there at the next open. Raises Failure(NO_RESOURCE) if there is nothing of it."""
        canonical = await self.canonical(name)
        if canonical in self.resources or not self.identities.look_again(canonical):
            (await self.known(name)).restart()

    async def make_safe(self, client: Client, name: str, reason: str) -> None:
        """An operator's word: send a resource's safe state; where it is not open, `client` opens it meanwhile. Returns
        when that is done. Raises Failure."""
        canonical = await self.canonical(name)
        resource, session = self.resources.get(canonical), None
        is_there = resource is not None and not resource.is_ending
        if not (resource.settings if resource and is_there else self.settings_of(canonical)).safe_state:
            since = " with which it was opened" if is_there else ""
            raise Failure("BAD_ARGUMENT", f"{name} has no safe-state in the settings{since}")
        if resource is None or not resource.is_open:
            session = await self.open(client, name)
            resource = session.resource
        try:
            await resource.make_safe(reason)
        finally:
            if session is not None:
                resource.drop_session(session)

    def known_resources(self) -> set[str]:
        """What is configured, open, or was found when somebody last looked; nothing is looked for."""
        found = (
            name
            for library, search in self._discoveries.items()
            for name in search.found
            if self._may_find(library, name)
        )
        return {*map(self._table.spelling, found), *self._table.listed, *self.resources}

    def open_resources(self) -> list[str]:
        """The resources that somebody has open."""
        return sorted(name for name, resource in self.resources.items() if resource.sessions)

    async def list_resources(self) -> list[str]:
        """All that the daemon's library finds, what others find that they would open, and what is configured.

        Raises Failure.
        """
        found = await search_all(self._discoveries, self._note_trouble)
        names = [name for library, names in found.items() for name in names if self._may_find(library, name)]
        return list(dict.fromkeys([*map(self._table.spelling, names), *self._table.listed]))

    async def find(self, name: str) -> str:
        """Is that instrument here? One of wire.FOUND; opens nothing."""
        try:
            canonical = await self.canonical(name)
        except Failure:
            return "unknown"
        if canonical in self.resources:
            return "open"
        if canonical in self._table.listed:
            return "configured"
        searches = [search for library, search in self._discoveries.items() if self._may_find(library, canonical)]
        found = await asyncio.gather(*(search.recent() for search in searches))
        return "listed" if any(canonical in names for names in found) else "unknown"

    def _may_find(self, library: str, resource: str) -> bool:
        """Does it count that `library` finds this resource? One that a row brings in finds much that others open."""
        return library in (self._library, self.library_of(resource))

    def _forget(self, resource: Resource) -> None:
        if self.resources.get(resource.name) is resource:
            del self.resources[resource.name]
            del self._open_as[folded(resource.name)]

    def _note_trouble(self, text: str) -> None:
        self.log.put("trouble", {"error": text})

    def note_hang(self, resource: str, pid: int, process: str) -> None:
        """A process is taken for hung: the stacks beside this record are its own, if it could still give them."""
        self.log.put("hung", {"resource": resource, "pid": pid, "process": process})

    def note_command(self, client: Client, command: str, outcome: str, effect: Effect, seconds: float) -> None:
        """A command that ended without going to an instrument's process, for the audit. It costs its client nothing:
        a flood of them must not fill the writer's queue, and hide in a gap what others do."""
        self.audit.record(
            "command",
            **client.who(),
            resource=None,
            command=command,
            outcome=outcome,
            effect=effect.value,
            waited_ms=0.0,
            ran_ms=round(seconds * 1000, 3),
            bytes=0,
        )
        if self.audit.is_far_behind:
            client.rest()

    def note_fault(self, error: BaseException) -> None:
        """A fault of the daemon's own, for its log."""
        self.log.put("fault", {"error": repr(error), "traceback": "".join(traceback.format_exception(error))})

    # The end.

    def drain(self) -> int:
        """Take no new sessions, and stop when the last one is closed; how many there are now."""
        if self.state is FrontState.SERVING:
            self.state = FrontState.DRAINING
            self.linger = 0.0
            for resource in tuple(self.resources.values()):
                resource.drain()
            self._draining = asyncio.create_task(self._stop_when_drained())
        return sum(len(resource.sessions) for resource in self.resources.values())

    async def _stop_when_drained(self) -> None:
        while self.state is FrontState.DRAINING and self._is_in_use():
            await asyncio.sleep(DRAIN_LOOK)
        await self.stop()

    def _is_in_use(self) -> bool:
        """Has anybody a session, or waits for one? What a client that left has running is let end, too."""
        return any(resource.is_in_use for resource in self.resources.values())

    async def stop(self) -> list[int]:
        """End all instruments' processes within 10 s; returns the pids of those that cannot be killed."""
        if self._stopping is None:
            self.state = FrontState.STOPPING
            self._stopping = asyncio.create_task(self._stop())
            self._stopping.add_done_callback(self._stopped)
            self.on_stopping()
        return await asyncio.shield(self._stopping)

    def _stopped(self, _: object) -> None:
        # Whoever asked for it is told first, if it is still there.
        asyncio.get_running_loop().call_later(REPLY_TIME, self.ended.set)

    async def _stop(self) -> list[int]:
        await self._while_any(lambda resource: resource.service.is_busy, FINISH_TIME)
        resources = list(self.resources.values())
        for resource in resources:
            resource.end_safely()
        await self._while_any(lambda resource: resource.is_being_made_safe, SAFE_TIME)
        for resource in resources:
            resource.shut()
        ending = [resource for resource in resources if resource.keeper.state is not State.WEDGED]
        closed = [asyncio.ensure_future(resource.closed()) for resource in ending]
        if closed:
            await asyncio.wait(closed, timeout=CLOSE_TIME)
        await self._pool.close(KILL_TIME)  # what still has a process by now is killed
        return self._pool.living

    async def _while_any(self, is_at_it: Callable[[Resource], bool], seconds: float) -> None:
        """Return when none is, at the latest after so long."""
        deadline = time.monotonic() + seconds
        while any(map(is_at_it, self.resources.values())) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)


def _descriptor_limit() -> int:
    """Asked anew each time: an administrator may change it while the daemon runs. Linux knows no infinite one."""
    return getrlimit(RLIMIT_NOFILE)[0]
