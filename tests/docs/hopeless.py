"""`python -m tests.docs.hopeless FILE`: the audit of a process that does not die, and of one that fails too often.

A real daemon would need a process that the kernel holds, and half a minute of failures. So here the keeper and the
audit log are the daemon's, and the events are fed in.
"""

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from front_proc.audit import Audit
from front_proc.keeper import Keeper
from front_proc.lifecycle import Event, State


async def write(file: Path) -> None:
    """One record of each."""
    audit = Audit(file)
    told = ("fail_opens", "fail_queued", "fail_running", "process_ended")
    owner = SimpleNamespace(name="GPIB0::9::INSTR", **dict.fromkeys(told, lambda *_: None))
    for event in (Event.DEADLINE, Event.DIED_OFTEN):
        keeper = Keeper(SimpleNamespace(audit=audit, breaker_of=lambda _: None), owner)
        keeper.state, keeper.child = State.KILLING, SimpleNamespace(pid=os.getpid())
        keeper.reason = keeper.last_error = f"process {os.getpid()} hung and is killed"
        keeper.fire(event)
    audit.close()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
