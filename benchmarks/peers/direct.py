"""PyVISA with pyvisa-py in the program itself, as it comes: no server, and nobody to share with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Client, Peer

if TYPE_CHECKING:
    from benchmarks.bench import Bench


def open_with(library: str, resource: str) -> Client:
    """A PyVISA resource, with the terminations of the instrument."""
    import pyvisa

    manager = pyvisa.ResourceManager(library)
    opened: Any = manager.open_resource(resource, read_termination="\n", write_termination="\n")
    return Client(opened.query, opened.write, opened.close)


@contextmanager
def _nothing(bench: "Bench", resources: Sequence[str], cpu: int | None) -> Iterator[str]:
    yield "@py"


ROWS = {"direct": Peer(_nothing, open_with, "pyvisa_py")}
