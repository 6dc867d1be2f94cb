"""Lean imports: a child is without what its libraries import only because it is installed.

Runs in the child; imports nothing of VISA. A laboratory's Python has numpy, zeroconf, psutil and more, and PyVISA and
pyvisa-py import whatever of that they find: a child with all of it has 29 MB to itself and takes 0.24 s of processor
time to start; without, 15 MB and 0.08 s. No instrument needs any of it; a search for instruments needs some.

Nothing of a library is changed, only how its imports are answered while it is being imported. One that comes to import
in another way gets what it asks for, at once, as if this file were not there.

To spare another package: its name in LAZY. Another module of pyvisa-py: see `libraries`.
"""

import importlib
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

#: Packages that are imported when something in them is first used: by PyVISA for arrays, which are made in the
#: program and not here; by pyvisa-py to find instruments in the network.
LAZY = frozenset({"numpy", "psutil", "zeroconf"})

#: What asks for nothing but its own version, which nobody here wants to know.
_VERSIONED = frozenset({"pyvisa", "pyvisa_py", "pyvisa_sim"})

_METADATA = "importlib.metadata"


@contextmanager
def lean(absent: Collection[str] = ()) -> Iterator[None]:
    """Within this, what is imported gets LAZY packages and no version of itself, and finds no module named in `absent`
    unless it is imported already. Afterwards everything can be imported as ever."""
    stand_ins: dict[str, ModuleType | None] = {_METADATA: _Metadata(_METADATA), **dict.fromkeys(absent)}
    put = {name: stand_in for name, stand_in in stand_ins.items() if name not in sys.modules}
    attribute = vars(importlib).get("metadata")
    if _METADATA in put:
        vars(importlib)["metadata"] = put[_METADATA]
    finder = _LazyFinder()
    sys.meta_path.insert(0, finder)
    sys.modules.update(put)  # type: ignore[arg-type] # None: the import system's own word for "cannot be found"
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name, stand_in in put.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        if attribute is not None and vars(importlib).get("metadata") is put.get(_METADATA):
            vars(importlib)["metadata"] = attribute  # else who has imported it finds a stand-in that knows all versions


class _LazyFinder:
    """Finds LAZY packages, and has each one loaded when it is first touched."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in LAZY else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


class _Metadata(ModuleType):
    """In the place of importlib.metadata, which brings along email, zipfile and csv: 1.8 MB and 10 ms to learn a
    version. Whoever asks it for anything else, or later, has the real one's answer."""

    class PackageNotFoundError(ModuleNotFoundError):
        """As the real one, which a library catches if it is not installed as a package."""

    def version(self, package: str) -> str:
        if package in _VERSIONED and sys.modules.get(_METADATA) is self:
            raise self.PackageNotFoundError(package)
        return str(_real_metadata().version(package))

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # the import system's own questions
            raise AttributeError(name)
        return getattr(_real_metadata(), name)


def _real_metadata() -> ModuleType:
    if isinstance(sys.modules.get(_METADATA), _Metadata):
        del sys.modules[_METADATA]
    return importlib.import_module(_METADATA)
