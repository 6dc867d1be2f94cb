"""The entry point of a child: what the front gives `Process(target=...)`.

Imported by the front too, so nothing of VISA is imported before the child runs.
"""

import os
from dataclasses import dataclass
from multiprocessing.connection import Connection


@dataclass(frozen=True)
class ChildSettings:
    """What every child of one daemon is told at its start."""

    library: str
    log_file: str


def run_child(pipe: Connection, death: Connection, aborts: Connection, settings: ChildSettings) -> None:
    """Be a child until the front says Close or is gone."""
    from instrument_proc.child import Child
    from instrument_proc.guard import DeathPipe, enter_process

    enter_process(settings.log_file)
    Child(pipe, DeathPipe(death.fileno()), aborts, settings.library).serve()
    # The session is closed; taking the interpreter down in good order would only take time.
    os._exit(0)
