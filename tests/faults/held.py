"""What the front has of its machine when it is at rest: to be the same before a test's doings and after."""

import time

import psutil

from tests.faults.bench import Bench
from tests.support.waiting import wait_until

#: GOOD's child, and a spare.
CHILDREN = 2


class Held:
    """Descriptors, threads and memory (bytes), as soon as only GOOD has something open and there is one spare."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._front = psutil.Process(bench.daemon.pid)
        wait_until(self._is_at_rest, what="only GOOD has something open, and nobody waits")
        wait_until(self._has_buried_its_dead, what="GOOD's child and one spare, and no zombie")
        self.descriptors = wait_until(self._steady_descriptors)
        self.threads = self._front.num_threads()
        self.memory: int = self._front.memory_info().rss

    def _is_at_rest(self) -> bool:
        status = self._bench.daemon.status()
        rows = status["resources"]
        return [(row["sessions"], row["queued"]) for row in rows] == [(1, 0)]

    def _has_buried_its_dead(self) -> bool:
        """multiprocessing has a tracker of resources running beside them."""
        try:
            children = self._front.children()
            processes = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
            is_buried = all(child.status() != psutil.STATUS_ZOMBIE for child in children)
        except psutil.NoSuchProcess:
            return False
        return is_buried and len(processes) == CHILDREN

    def _steady_descriptors(self) -> int:
        """The same number for a while: pipes of the dead are drained for a moment. Else 0."""
        seen = set()
        for _ in range(30):
            seen.add(self._front.num_fds())
            time.sleep(0.01)
        return seen.pop() if len(seen) == 1 else 0
