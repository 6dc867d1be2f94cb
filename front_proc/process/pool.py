"""The pool of warm spares: children that have imported everything and wait for their first order.

Runs in the front. Spawning takes 0.1 to 0.3 s, most of it imports; a spare makes opening and restarting quick. There
is one; it is replaced in the background when it is taken.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable

from front_proc.configuration.limits import DEFAULTS
from front_proc.process.child import LATE, ChildProcess, start_child
from instrument_proc import pipe
from instrument_proc.spawn import ChildSettings
from pyvisa_daemon.errors import Failure

#: Seconds between the taking of a spare and the start of the next.
REFILL_TIME = 0.02

#: Children that start at once. Each keeps a core busy with nothing but imports; one core is left to those who talk to
#: their instruments meanwhile, whose slowest answers take half as long for it.
STARTS_AT_ONCE = max(1, len(os.sched_getaffinity(0)) - 1)

#: Characters of a resource's name; VISA's own limit is 255.
NAME_LIMIT = 1000

#: Names already made canonical that are remembered.
NAMES_KEPT = 4096


class Pool:
    """Gives out warm children and takes unused ones back."""

    def __init__(
        self, settings: ChildSettings, on_trouble: Callable[[str], None], start_time: float = DEFAULTS.start_time
    ) -> None:
        """`start_time`: seconds from a child's own spawn until it is warm, and for an answer of a spare."""
        self.start_time = start_time
        self._settings = settings
        self._on_trouble = on_trouble
        self._starting = asyncio.Semaphore(STARTS_AT_ONCE)
        self._spares: list[ChildProcess] = []
        self._living: set[ChildProcess] = set()
        self._next: asyncio.Task[ChildProcess] | None = None
        self._names: dict[str, str] = {}
        self._is_closed = False
        #: Why the newest child could not load the VISA library, if so.
        self.trouble = ""

    def refill(self) -> None:
        """Have a spare started if there is none."""
        self._spares = [spare for spare in self._spares if spare.is_alive]
        if not self._is_closed and not self._spares and self._next is None:
            self._next = asyncio.create_task(self._start())
            self._next.add_done_callback(self._keep)

    async def take(self) -> ChildProcess:
        """A warm child, the caller's from now on. Raises Failure(START_FAILED)."""
        try:
            while True:
                while self._spares:
                    spare = self._spares.pop()
                    if spare.is_alive:
                        return spare
                if self._is_closed:
                    raise Failure("SHUTTING_DOWN")
                if self._next is None:
                    return await self._start()
                await asyncio.wait([self._next])
        finally:
            # Not now: a start takes the loop 1 to 2 ms, and whoever takes a child is about to need it.
            asyncio.get_running_loop().call_later(REFILL_TIME, self.refill)

    def give_back(self, child: ChildProcess) -> None:
        """`child` was not used after all."""
        child.on_report = child.on_garbage = _ignore
        child.on_death = self.refill
        if self._spares or self._is_closed:
            child.kill()
        else:
            self._spares.append(child)

    async def canonical(self, resource: str) -> str:
        """The canonical name of a resource, by the VISA library's own parsing in a spare.

        Raises Failure(VI_ERROR_INV_RSRC_NAME), or START_FAILED if there is no spare to ask.
        """
        if resource in self._names:
            return self._names[resource]
        if len(resource) > NAME_LIMIT:
            raise Failure("VI_ERROR_INV_RSRC_NAME", f"a resource's name has at most {NAME_LIMIT} characters")
        if not resource.isprintable():  # others see it, in tables and errors: it is no place for a terminal's orders
            raise Failure("VI_ERROR_INV_RSRC_NAME", f"a resource's name has printable characters only: {resource!a}")
        child = await self.take()
        try:
            answer = await ask(child, pipe.Name(resource), self.start_time)
        except BaseException:  # whoever asked may be gone: the child must not be left over
            child.kill()
            raise
        self.give_back(child)
        if not isinstance(answer, pipe.Named) or answer.resource is None:
            text = answer.text if isinstance(answer, pipe.Named) else ""
            raise Failure("VI_ERROR_INV_RSRC_NAME", text)
        if len(self._names) >= NAMES_KEPT:
            self._names.clear()
        self._names[resource] = answer.resource
        return answer.resource

    async def close(self, limit: float) -> None:
        """End every process that ever came from here and still lives; wait `limit` seconds at most for them."""
        self._is_closed = True
        if self._next is not None:
            self._next.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while living := [child for child in self._living if child.is_alive]:
                    for child in living:
                        child.kill()
                    await asyncio.gather(*(child.gone.wait() for child in living))

    @property
    def living(self) -> list[int]:
        """The pids of the processes that live."""
        return sorted(child.pid for child in self._living if child.is_alive)

    async def _start(self) -> ChildProcess:
        async with self._starting:
            if self._is_closed:  # while this waited for its turn
                raise Failure("SHUTTING_DOWN")
            try:
                child = await start_child(self._settings)
            except OSError as error:
                raise Failure("START_FAILED", f"no process could be started: {error}") from error
            self._living = {living for living in self._living if living.is_alive} | {child}
            try:
                if self._is_closed:  # while it began
                    raise Failure("SHUTTING_DOWN")
                warm = await ask(child, None, self.start_time)
            except BaseException:  # whoever asked may be gone: the child must not be left over
                child.kill()
                raise
            self.trouble = warm.trouble if isinstance(warm, pipe.Warm) else ""
            child.on_death = self.refill
            return child

    def _keep(self, started: asyncio.Task[ChildProcess]) -> None:
        self._next = None
        if started.cancelled():
            return
        failure = started.exception()
        if failure is not None:
            self._on_trouble(str(failure))
        elif self._is_closed or self._spares:
            started.result().kill()
        else:
            self._spares.append(started.result())


def _ignore(_: object) -> None:
    """A spare has nothing to say."""


async def ask(child: ChildProcess, order: pipe.Order | None, limit: float) -> pipe.Report:
    """The child's next report, to `order` if one is given.

    Raises Failure(START_FAILED) if it dies, sends garbage, or has not answered after `limit` seconds; the child is
    then the caller's to kill.
    """
    answer: asyncio.Future[pipe.Report] = asyncio.get_running_loop().create_future()

    def settle(report: pipe.Report) -> None:
        if not answer.done():
            answer.set_result(report)

    def fail(why: str) -> None:
        if not answer.done():
            answer.set_exception(Failure("START_FAILED", f"the instrument's process {why}"))

    child.on_report = settle
    child.on_garbage = lambda why: fail(f"sent garbage: {why}")
    child.on_death = lambda: fail(child.describe_death())
    if order is not None:
        child.send(order)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    try:
        while not answer.done():
            await asyncio.wait([answer], timeout=max(0.0, deadline - loop.time()))
            late = loop.time() - deadline
            if late > LATE:
                deadline = loop.time() + LATE  # we slept, not they: what they said meanwhile is read first
            elif late >= 0 and not answer.done():
                raise Failure("START_FAILED", f"the instrument's process did not answer in {limit:g} s")
        return answer.result()
    finally:
        answer.cancel()  # nobody waits for it any more, whatever becomes of the child
