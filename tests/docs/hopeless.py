"""`python -m tests.docs.hopeless FILE`: the audit of a process that does not die.

A real daemon would need one that the kernel holds. So here the keeper and the audit log are the daemon's, and the event
is fed in.
"""

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from front_proc.configuration.limits import DEFAULTS
from front_proc.process.keeper import Keeper
from front_proc.process.lifecycle import Event, State
from front_proc.record.audit import Audit


async def write(file: Path) -> None:
    """Its record."""
    audit = Audit(file)
    told = ("fail_opens", "fail_queued", "fail_running", "process_ended")
    owner = SimpleNamespace(name="GPIB0::9::INSTR", **dict.fromkeys(told, lambda *_: None))
    keeper = Keeper(SimpleNamespace(audit=audit, limits=DEFAULTS, breaker_of=lambda _: None), owner)
    child = SimpleNamespace(pid=os.getpid(), describe_state=lambda: "disk-sleep in nfs_wait_bit_killable")
    keeper.state, keeper.child = State.KILLING, child
    keeper.reason = keeper.last_error = f"process {os.getpid()} hung and is killed"
    keeper.fire(Event.DEADLINE)
    audit.close()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
