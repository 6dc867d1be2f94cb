"""The entry point of a child: what the front gives `Process(target=...)`.

Imported by the front too, so nothing of VISA is imported before the child runs.
"""

import gc
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection

from instrument_proc.signs import Signs


@dataclass(frozen=True)
class ChildSettings:
    """What every child of one daemon is told at its start."""

    library: str
    log_file: str


def run_child(pipe: Connection, death: Connection, aborts: Connection, signs: Signs, settings: ChildSettings) -> None:
    """Be a child until the front says Close or is gone."""
    gc.disable()  # what is imported is there to stay: looking for garbage in it only takes time
    from instrument_proc.lean_imports import lean

    with lean():
        from instrument_proc.child import Child
        from instrument_proc.guard import DeathPipe, enter_process

    enter_process(settings.log_file)
    child = Child(pipe, DeathPipe(death.fileno()), aborts, signs, settings.library)
    gc.freeze()  # nor need a full collection, which comes in the midst of a command: 3.7 ms
    gc.enable()
    child.serve()
    # The session is closed; taking the interpreter down in good order would only take time.
    os._exit(0)
