"""What instruments are there: `list_resources` in a process of its own, with a deadline.

Runs in the front. Finding resources may take seconds (broadcasts, bus scans) or hang; a child does it, who asks
meanwhile joins the search under way, and the last answer is kept with its age. Each VISA library has a search of its
own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from front_proc.configuration.limits import DEFAULTS
from front_proc.process.child import ChildProcess
from front_proc.process.pool import ask
from instrument_proc import pipe
from pyvisa_daemon.errors import Failure

#: Seconds that an answer is fresh enough to say whether an instrument is there, and that such a question waits.
FRESH_TIME = 60.0
FIND_TIME = 5.0


class Discovery:
    """The resources that one VISA library finds, by their canonical names."""

    def __init__(
        self,
        library: str,
        take_child: Callable[[], Awaitable[ChildProcess]],
        on_trouble: Callable[[str], None],
        search_time: float = DEFAULTS.search_time,
    ) -> None:
        """`search_time`: seconds that a search may take."""
        self._library = library
        self._search_time = search_time
        self._take_child = take_child
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        self._child: ChildProcess | None = None
        self._search: asyncio.Task[list[str]] | None = None
        self._found: list[str] = []
        self._found_at: float | None = None

    async def resources(self) -> list[str]:
        """All that the library finds now; if that fails, what it found last. Raises Failure if it never did."""
        if self._search is None:
            self._search = asyncio.create_task(self._find())
            self._search.add_done_callback(self._finished)
        try:
            return await asyncio.shield(self._search)
        except Failure as failure:
            if self.age is None:
                raise
            self._on_trouble(f"{self._library}: {failure.text}; the answer of {self.age:.0f} s ago was given")
            return self._found

    @property
    def found(self) -> list[str]:
        """What was found last."""
        return self._found

    @property
    def age(self) -> float | None:
        """Seconds since the last answer; None without one."""
        return None if self._found_at is None else self._loop.time() - self._found_at

    async def recent(self) -> list[str]:
        """What was found lately, or is found within FIND_TIME; what is known after that."""
        if self.age is None or self.age > FRESH_TIME:
            try:
                return await asyncio.wait_for(self.resources(), FIND_TIME)
            except (Failure, TimeoutError):
                return self._found
        return self._found

    def _finished(self, search: asyncio.Task[list[str]]) -> None:
        self._search = None
        if not search.cancelled():
            search.exception()  # whoever waited has it; without anybody it is of no interest

    async def _find(self) -> list[str]:
        if self._child is None or not self._child.is_alive:
            self._child = await self._take_child()
        end = self._loop.time() + self._search_time
        try:
            answer = await ask(self._child, pipe.List(self._library), self._search_time)
            found = answer.resources if isinstance(answer, pipe.Listed) else []
            names = [await self._canonical(self._child, resource, end - self._loop.time()) for resource in found]
        except Failure as error:
            self._child.kill()
            self._child = None
            raise Failure("VI_ERROR_TMO", f"the search for instruments failed: {error.text}") from error
        if not isinstance(answer, pipe.Listed):
            raise Failure("INTERNAL_ERROR", "the search for instruments was answered by something else")
        if answer.status < 0:
            raise Failure(answer.token, answer.text, status=answer.status)
        self._found, self._found_at = list(dict.fromkeys(names)), self._loop.time()
        return self._found

    async def _canonical(self, child: ChildProcess, resource: str, limit: float) -> str:
        """A found resource's canonical name; as it was found if VISA's own parsing does not know such a name."""
        answer = await ask(child, pipe.Name(resource), limit)
        return answer.resource or resource if isinstance(answer, pipe.Named) else resource


async def search_all(discoveries: Mapping[str, Discovery], on_trouble: Callable[[str], None]) -> dict[str, list[str]]:
    """What each library finds, all searching at once; one that fails is told of and left out.

    Raises Failure, that of the first, if all fail.
    """
    searches = [discovery.resources() for discovery in discoveries.values()]
    found: dict[str, list[str]] = {}
    failures: dict[str, Failure] = {}
    for library, result in zip(discoveries, await asyncio.gather(*searches, return_exceptions=True), strict=True):
        if isinstance(result, Failure):
            failures[library] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            found[library] = result
    if not found:
        raise next(iter(failures.values()))
    for library, failure in failures.items():
        on_trouble(f"{library}: {failure.text}; the list is without what it finds")
    return found
